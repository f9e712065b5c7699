"""What long work tells while it goes on."""

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
"""Told (done, of so many)."""


def untold(done: int, total: int) -> None:
    """Tell nobody."""
