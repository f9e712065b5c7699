"""What the commands print: results to stdout, words and progress to stderr, exit statuses."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

DONE = 0
FAILED = 1
WRONG_USAGE = 2
SOME_INPUTS_FAILED = 3
INTERRUPTED = 130

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

OnProgress = Callable[[int, int], None]


def say(text: str) -> None:
    """Print one plain line of words to stderr."""
    err.print(text, markup=False)


def print_page(text: str) -> None:
    """Print text out of a file to stdout; what would steer the terminal becomes U+FFFD."""
    from pleura.formats.values import printable

    out.print(printable(text, allowed="\n\t"), markup=False)


def print_json(value: Any) -> None:
    """Print `value` to stdout as JSON (keys in order, NaN as null)."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_json_line(value: Any) -> None:
    """Print `value` to stdout as one line of JSON, in ASCII, at once."""
    print(json.dumps(value, allow_nan=False), flush=True)


def print_failures(failures: Sequence[tuple[str, str]]) -> None:
    """List failed inputs on stderr, one line each.

    Args:
        failures: Pairs of (path, reason).
    """
    for path, reason in failures:
        line = reason if reason.startswith(path) else f"{path}: {reason}"
        err.print(f"[red]failed[/red] {escape(line)}")


def print_flagged(path: str, flags: str) -> None:
    """Say on stderr that a file was answered although it may not be what the model knows.

    Args:
        path: The file.
        flags: Names from the input guard, joined by semicolons.
    """
    line = f"{path}: not like a frontal chest radiograph ({flags.replace(';', ', ')})"
    err.print(f"[yellow]flagged[/yellow] {escape(line)}")


def print_table(title: str, rows: Mapping[str, object]) -> None:
    """Print a two-column table to stdout."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows.items():
        table.add_row(escape(name), escape(str(value)))
    out.print(table)


def print_columns(lines: Sequence[tuple[str, str, str]], styles: Mapping[str, str]) -> None:
    """Print lines of a word in its style, a name and a text: wrapped on a terminal alone."""
    if out.is_terminal:
        from rich.table import Table

        table = Table(show_header=False, box=None, pad_edge=False, expand=False)
        for _ in range(2):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for word, name, text in lines:
            table.add_row(f"[{styles[word]}]{word}[/]" if word else "", name, escape(text))
        out.print(table, soft_wrap=False)
        return
    wide = [max(len(line[column]) for line in lines) for column in (0, 1)]
    for word, name, text in lines:
        out.print(f"{word:<{wide[0]}}  {name:<{wide[1]}}  {text}", markup=False)


@contextmanager
def progress(description: str, unit: str = "files") -> Iterator[OnProgress]:
    """Yield a function of (done, total): a bar on a terminal, plain lines in a pipe."""
    if err.is_terminal:
        with _bar(description, unit) as update:
            yield update
    else:
        yield _Lines(description, unit)


@contextmanager
def _bar(description: str, unit: str) -> Iterator[OnProgress]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(description, total=None, rate="")
        pace = _Pace()

        def update(done: int, total: int) -> None:
            rate = pace.per_second(done)
            bar.update(
                task, completed=done, total=total, rate=f"{rate:.1f} {unit}/s" if rate else ""
            )

        yield update


class _Pace:
    """How fast a work goes on, measured from the first that is told."""

    def __init__(self) -> None:
        self._begun: tuple[float, int] | None = None

    def per_second(self, done: int) -> float:
        """Return the mean pace since the first call, 0 in its first second."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = now, done
        begun, first = self._begun
        return (done - first) / (now - begun) if now - begun >= 1 else 0.0


class _Lines:
    """A plain line at most every ten seconds, and one at the end."""

    def __init__(self, description: str, unit: str) -> None:
        self._label = f"{description}: {{done}} of {{total}} {unit}"
        self._unit = unit
        self._pace = _Pace()
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        rate = self._pace.per_second(done)
        now = time.monotonic()
        if done >= total or now - self._last >= 10:
            self._last = now
            line = self._label.format(done=done, total=total)
            if rate:
                line += f", {rate:.1f} {self._unit}/s"
            if rate and done < total:
                line += f", {_spoken((total - done) / rate)} left"
            say(line)


def _spoken(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
