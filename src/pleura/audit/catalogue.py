"""The catalogue of all that an audit can find; ``docs/reference/findings.md`` shows it."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

Severity = Literal["note", "warning", "error"]
Group = Literal["files", "pictures", "annotations", "leaks", "balance"]

SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
GROUPS: tuple[Group, ...] = ("files", "pictures", "annotations", "leaks", "balance")


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Kind:
    """What a code means.

    Attributes:
        severity: ``note`` (harmless, but know it), ``warning`` (look at it: pleura treats it, or a
            person must judge) or ``error`` (unusable, contradictory, or a score would be a lie).
        group: The part of the data it is about.
        unit: What its count counts: files, images, rows, clusters, ids ...
        title: What is found, to be read after the count: "12 files ...". In it and in `unit`,
            ``[is|are]`` stands for the word that goes with one and that for several.
        treatment: What pleura does about it, with such words too.
        override: How to have it otherwise, likewise.
    """

    severity: Severity
    group: Group
    unit: str
    title: str
    treatment: str
    override: str

    def words(self, count: int) -> tuple[str, str]:
        """Return the unit and the title as they read after `count`."""
        return inflect(self.unit, count), inflect(self.title, count)


@cache
def catalogue() -> Mapping[str, Kind]:
    """Return every code with its kind, in the order of a report."""
    text = files("pleura.audit").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, Kind]).validate_python(tomllib.loads(text))


def inflect(text: str, count: int) -> str:
    """Return a text with the first of each ``[one|several]`` where `count` is 1, else the second.

    Example:
        >>> inflect("file[|s] break[s|] off", 1)
        'file breaks off'
    """
    return re.sub(r"\[([^]]*?)\|(.*?)\]", r"\1" if count == 1 else r"\2", text)
