"""What the commands print: results to stdout, words and progress to stderr, exit statuses.

This is the one way to the terminal. A name of a file, a value of a header or a text of somebody
else's table may hold what steers it, so every text passes through here, as plain text: what is not
printable becomes U+FFFD, in JSON an escape, and neither markup nor emoji are looked for. What a
library names as a setting, such as `mask_label`, is said to people as the option, --mask-label.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.text import Text

from pleura.printable import json_text, printable, rounded
from pleura.processes.progress import OnProgress

DONE = 0
FAILED = 1
WRONG_USAGE = 2
SOME_INPUTS_FAILED = 3  # or were not assessed
INTERRUPTED = 130
TERMINATED = 143

out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


Held = TypeVar("Held")
_held = ExitStack()


def hold(resource: AbstractContextManager[Held]) -> Held:
    """Enter a context that lasts until the command ends, such as a lock on what it writes."""
    return _held.enter_context(resource)


def let_go() -> None:
    """Leave what :func:`hold` entered: the command has ended."""
    _held.close()


def say(text: str) -> None:
    """Print one line of words to stderr."""
    err.print(_words(text))


def say_stage(name: str, state: str) -> None:
    """Print to stderr what a stage of a run does now."""
    err.print(Text.assemble(_plain(name, "bold"), " ", _plain(state)))


def show(text: object = "") -> None:
    """Print one line of a result to stdout."""
    out.print(_plain(str(text)))


def print_page(text: str) -> None:
    """Print a text of many lines to stdout."""
    out.print(Text(printable(text, allowed="\n\t")))


_SETTING = re.compile(r"`([a-z][a-z0-9_]*)`")


def _words(text: str) -> Text:
    """Return what a library says, with the option in place of each setting that it names."""
    return _plain(_SETTING.sub(lambda found: f"--{found[1].replace('_', '-')}", text))


def _plain(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def print_json(value: Any) -> None:
    """Print `value` to stdout as JSON, keys in their order, fractions rounded."""
    value = rounded(value)
    text = json_text(value, indent=2)
    try:
        text.encode(out.encoding)
    except UnicodeEncodeError:  # a terminal of few letters
        text = json.dumps(value, indent=2, allow_nan=False)
    print(text)


def print_json_line(value: Any) -> None:
    """Print `value` to stdout as one line of JSON, in ASCII, fractions rounded, at once."""
    print(json.dumps(rounded(value), allow_nan=False), flush=True)


def print_failures(failures: Sequence[tuple[str, str]]) -> None:
    """List failed inputs on stderr, one line each.

    Args:
        failures: Pairs of (path, reason).
    """
    for path, reason in failures:
        line = reason if reason.startswith(path) else f"{path}: {reason}"
        err.print(Text.assemble(("failed", "red"), " ", _words(line)))


def print_flagged(path: str, flags: Sequence[str], *, assessed: bool) -> None:
    """Say on stderr that a file was not assessed, or was answered all the same, and why.

    Args:
        path: The file.
        flags: What speaks against an answer.
        assessed: Whether it was answered.
    """
    from pleura.pictures.flags import in_words

    outcome = "flagged, answered all the same" if assessed else "not assessed"
    err.print(Text.assemble((outcome, "yellow"), " ", _plain(f"{path}: {in_words(flags)}")))


def say_passed_over(passed: Mapping[str, int]) -> None:
    """Say on stderr how many files below named folders were passed over, if any.

    Args:
        passed: Counts by what the files are.
    """
    from pleura.data.files import in_words
    from pleura.dicom.suffixes import PICTURES

    if passed:
        named = "; pictures beside DICOM files are read if you name them, such as 'FOLDER/*.png'"
        say(f"passed over {in_words(passed)}{named if PICTURES & passed.keys() else ''}")


def say_table_uses(uses: Iterable[object], where: str) -> None:
    """Say on stderr what is to be said of the tables, if anything, and where to read more.

    Args:
        uses: Sentences, such as :class:`pleura.data.table_use.TableUse`.
        where: The page or the command that tells each case.
    """
    uses = list(uses)
    for use in uses:
        err.print(Text.assemble(("table", "yellow"), " ", _words(str(use))))
    if uses:
        say(f"each case: {where}")


def print_table(title: str, rows: Mapping[str, object]) -> None:
    """Print a two-column table to stdout."""
    from rich.table import Table

    table = Table(
        title=_plain(title), title_justify="left", show_header=False, box=None, pad_edge=False
    )
    table.add_column(style="dim")
    table.add_column(overflow="fold")  # a long id is never cut
    for name, value in rows.items():
        table.add_row(_plain(name), _plain(str(value)))
    out.print(table)


def print_grid(
    columns: Sequence[str], rows: Iterable[Iterable[str]], title: str = "", left: Sequence[str] = ()
) -> None:
    """Print a table with a head to stdout.

    Args:
        columns: Their names.
        rows: The texts of their cells.
        title: Above it; empty for none.
        left: The columns whose texts stand at the left, the first of them on one line; those of
            others stand at the right.
    """
    from rich.table import Table

    heading = _plain(title) if title else None
    table = Table(title=heading, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        first = name in left[:1]
        justify: Literal["left", "right"] = "left" if name in left else "right"
        table.add_column(_plain(name), justify=justify, no_wrap=first, overflow="fold")
    for row in rows:
        table.add_row(*map(_plain, row))
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
            style = styles.get(word, "")
            table.add_row(_plain(word, style), _plain(name), _words(text))
        out.print(table, soft_wrap=False)
        return
    wide = [max(len(line[column]) for line in lines) for column in (0, 1)]
    for word, name, text in lines:
        out.print(_words(f"{word:<{wide[0]}}  {name:<{wide[1]}}  {text}"))


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
        self._done = 0

    def per_second(self, done: int) -> float:
        """Return the mean pace since the first call, 0 in its first second.

        A count that falls is that of another stage, which begins anew.
        """
        now = time.monotonic()
        if self._begun is None or done < self._done:
            self._begun = now, done
        self._done = done
        begun, first = self._begun
        return (done - first) / (now - begun) if now - begun >= 1 else 0.0


class _Lines:
    """A plain line at most every ten seconds, and one at the end."""

    def __init__(self, description: str, unit: str) -> None:
        self._label = f"{description}: {{done}} of {{total}} {unit}"
        self._unit = unit
        self._pace = _Pace()
        self._last = time.monotonic()
        self._ended_at = -1

    def __call__(self, done: int, total: int) -> None:
        rate = self._pace.per_second(done)
        now = time.monotonic()
        ends = done >= total and done != self._ended_at
        self._ended_at = done if done >= total else -1
        if ends or now - self._last >= 10:
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
