"""Writes that happen whole, one writer at a time, and a digest of what was written."""
