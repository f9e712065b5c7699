"""What changed between two versions of a data set, from their two audits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from pleura.audit.findings import (
    Audit,
    AuditComparison,
    Change,
    Finding,
    FindingChange,
    ImageSummary,
)


def compare(old: Audit, new: Audit, since: str = "") -> AuditComparison:
    """Return what changed from `old` to `new`; `since` names the old one."""
    before = {(image.part, image.id): image for image in old.images}
    after = {(image.part, image.id): image for image in new.images}
    both = [(before[key], after[key]) for key in before if key in after]
    return AuditComparison(
        since=since,
        counts=_changes(asdict(old.counts), asdict(new.counts)),
        findings=tuple(_finding_changes(old, new)),
        added=tuple(key[1] for key in after if key not in before),
        removed=tuple(key[1] for key in before if key not in after),
        other_pixels=tuple(a.id for a, b in both if _other_pixels(a, b)),
        other_label=tuple((a.id, a.label, b.label) for a, b in both if a.label != b.label),
        other_mask=tuple(_other_masks(both)),
        other_facts=tuple((a.id, names) for a, b in both if (names := _other_facts(a, b))),
    )


_FACTS = ("path", "rows", "columns", "sex", "age_years", "view", "encoding")
_Pair = tuple[ImageSummary, ImageSummary]


def _other_pixels(old: ImageSummary, new: ImageSummary) -> bool:
    """Return whether the picture changed; no hash tells nothing."""
    return bool(old.pixel_hash and new.pixel_hash) and old.pixel_hash != new.pixel_hash


def _other_masks(both: Sequence[_Pair]) -> Iterator[tuple[str, int, int]]:
    """Yield id and areas of each image with a mask before and after that is another now."""
    for old, new in both:
        same = (old.area_px, old.mask_hash) == (new.area_px, new.mask_hash)
        if old.area_px is not None and new.area_px is not None and not same:
            yield old.id, old.area_px, new.area_px


def _other_facts(old: ImageSummary, new: ImageSummary) -> tuple[str, ...]:
    return tuple(name for name in _FACTS if getattr(old, name) != getattr(new, name))


def _finding_changes(old: Audit, new: Audit) -> Iterator[FindingChange]:
    before = {finding.code: finding for finding in old.findings}
    after = {finding.code: finding for finding in new.findings}
    for code in dict.fromkeys([*before, *after]):
        was, is_now = before.get(code), after.get(code)
        ids_before, ids_after = _ids(was), _ids(is_now)
        change = FindingChange(
            name=code,
            before=was.count if was else None,
            after=is_now.count if is_now else None,
            came=tuple(key for key in ids_after if key not in ids_before),
            went=tuple(key for key in ids_before if key not in ids_after),
        )
        if change.came or change.went or change.before != change.after:
            yield change


def _ids(finding: Finding | None) -> dict[str, None]:
    """Return the ids that a finding concerns, each once and in order."""
    return dict.fromkeys(item.id for item in finding.items) if finding is not None else {}


def _changes(
    before: Mapping[str, int | None], after: Mapping[str, int | None]
) -> tuple[Change, ...]:
    return tuple(
        Change(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    )
