"""What changed between two versions of a data set, from their two audits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pleura.data.audit.findings import Audit


@dataclass(frozen=True, slots=True)
class Change:
    """A number that changed; None where there was, or is, no such thing."""

    name: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed; images are told apart by their id.

    Attributes:
        counts: The counts that changed.
        findings: The codes of which the count changed, came or went.
        added: Ids of images that are new.
        removed: Ids of images that are gone.
        other_pixels: Ids of images of which the picture changed.
        other_label: Ids of images of which the label or part changed, with both.
        other_mask: Ids of images with a pneumothorax before and after, of which the area changed.
    """

    counts: tuple[Change, ...]
    findings: tuple[Change, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    other_pixels: tuple[str, ...]
    other_label: tuple[tuple[str, str, str], ...]
    other_mask: tuple[tuple[str, int, int], ...]

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not any(asdict(self).values())

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def compare(old: Audit, new: Audit) -> Comparison:
    """Return what changed from `old` to `new`."""
    before = {image.id: image for image in old.images}
    after = {image.id: image for image in new.images}
    both = [(before[key], after[key]) for key in before if key in after]
    return Comparison(
        counts=_changes(asdict(old.counts), asdict(new.counts)),
        findings=_changes(
            {finding.code: finding.count for finding in old.findings},
            {finding.code: finding.count for finding in new.findings},
        ),
        added=tuple(key for key in after if key not in before),
        removed=tuple(key for key in before if key not in after),
        other_pixels=tuple(
            a.id for a, b in both if a.pixel_hash != b.pixel_hash and a.pixel_hash and b.pixel_hash
        ),
        other_label=tuple((a.id, a.label, b.label) for a, b in both if a.label != b.label),
        other_mask=tuple(
            (a.id, a.area_px, b.area_px)
            for a, b in both
            if a.area_px is not None and b.area_px is not None and a.area_px != b.area_px
        ),
    )


def _changes(
    before: Mapping[str, int | None], after: Mapping[str, int | None]
) -> tuple[Change, ...]:
    return tuple(
        Change(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    )
