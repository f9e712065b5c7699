"""What changed between two versions of a data set, from their two audits."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from pleura.data.audit.findings import Audit, Change, Comparison, FindingChange


def compare(old: Audit, new: Audit, since: str = "") -> Comparison:
    """Return what changed from `old` to `new`; `since` names the old one."""
    before = {(image.part, image.id): image for image in old.images}
    after = {(image.part, image.id): image for image in new.images}
    both = [(before[key], after[key]) for key in before if key in after]
    facts = ((a.id, tuple(n for n in _FACTS if getattr(a, n) != getattr(b, n))) for a, b in both)
    return Comparison(
        since=since,
        counts=_changes(asdict(old.counts), asdict(new.counts)),
        findings=tuple(_finding_changes(old, new)),
        added=tuple(key[1] for key in after if key not in before),
        removed=tuple(key[1] for key in before if key not in after),
        other_pixels=tuple(
            a.id for a, b in both if a.pixel_hash != b.pixel_hash and a.pixel_hash and b.pixel_hash
        ),
        other_label=tuple((a.id, a.label, b.label) for a, b in both if a.label != b.label),
        other_mask=tuple(
            (a.id, a.area_px, b.area_px)
            for a, b in both
            if a.area_px is not None
            and b.area_px is not None
            and (a.area_px, a.mask_hash) != (b.area_px, b.mask_hash)
        ),
        other_facts=tuple((image_id, names) for image_id, names in facts if names),
    )


_FACTS = ("path", "rows", "columns", "sex", "age_years", "view", "encoding")


def _finding_changes(old: Audit, new: Audit) -> Iterator[FindingChange]:
    before = {finding.code: finding for finding in old.findings}
    after = {finding.code: finding for finding in new.findings}
    for code in dict.fromkeys([*before, *after]):
        was, is_now = before.get(code), after.get(code)
        ids_before = dict.fromkeys(item.id for item in (was.items if was else ()))
        ids_after = dict.fromkeys(item.id for item in (is_now.items if is_now else ()))
        change = FindingChange(
            name=code,
            before=was.count if was else None,
            after=is_now.count if is_now else None,
            came=tuple(key for key in ids_after if key not in ids_before),
            went=tuple(key for key in ids_before if key not in ids_after),
        )
        if change.came or change.went or change.before != change.after:
            yield change


def _changes(
    before: Mapping[str, int | None], after: Mapping[str, int | None]
) -> tuple[Change, ...]:
    return tuple(
        Change(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    )
