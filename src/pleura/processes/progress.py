"""What long work tells while it goes on."""

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
"""Told (done, of so many)."""
