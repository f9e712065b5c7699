"""How good the answers are, with intervals, and pages that show it."""
