"""How the labelled images are spread, and what goes with the label."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency

from pleura.audit.findings import Association, Balance, BalanceRow, Finding, Item, Quantile, found
from pleura.data.folds import group_numbers
from pleura.data.records import ImageRecord

QUANTILES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)
BINS = 24

LEAST_VOTES = 10
"""Values of an attribute that have fewer votes are taken together in an association."""

LARGEST_P = 0.001
LEAST_V = 0.1
"""A smaller association is no finding: in 10,000 images next to nothing is significant already."""

_Attribute = Callable[[ImageRecord], str]


def age_band(years: int | None) -> str:
    """Return the decade of an age, such as ``40-49``; ``90+`` above, empty where unknown."""
    if years is None or years > 120:
        return ""
    return "90+" if years >= 90 else f"{years // 10 * 10}-{years // 10 * 10 + 9}"


STRATA: Mapping[str, _Attribute] = {
    "sex": lambda record: record.sex,
    "age": lambda record: age_band(record.age_years),
    "view": lambda record: record.view,
}
ATTRIBUTES: Mapping[str, _Attribute] = {
    **STRATA,
    "modality": lambda record: record.modality,
    "encoding": lambda r: f"{r.transfer_syntax} {r.photometric_interpretation}".strip(),
    "size": lambda record: f"{record.rows} x {record.columns}",
}
"""What a network might learn instead of the finding."""


def balance_of(records: Sequence[ImageRecord]) -> Balance | None:
    """Return how the labelled `records` are spread; None where there is none."""
    labelled = [record for record in records if record.labelled]
    if not labelled:
        return None
    positive = [record for record in labelled if record.positive]
    masks = [record for record in positive if record.mask_known]
    shares = np.array([100 * (r.area_px or 0) / (r.rows * r.columns) for r in masks])
    areas = np.array([record.area_px or 0 for record in masks])
    edges, counts = _histogram(shares)
    groups = group_numbers(labelled)
    return Balance(
        images=len(labelled),
        positive=len(positive),
        patients=len(np.unique(groups)),
        area_quantiles=tuple(
            Quantile(q, int(np.quantile(areas, q)), float(np.quantile(shares, q)))
            for q in QUANTILES
            if masks
        ),
        area_edges_percent=edges,
        area_counts=counts,
        strata=tuple(_strata(labelled, groups)),
        associations=tuple(_associations(labelled, groups)),
    )


def balance_findings(balance: Balance | None) -> Iterator[Finding]:
    """Yield what is to be said of a balance."""
    if balance is None:
        return
    if balance.positive in (0, balance.images):
        label = "with" if balance.positive else "without"
        yield found(
            "one-class", [Item("label", f"all {label} a pneumothorax")], count=balance.images
        )
    yield found(
        "shortcut",
        (
            Item(a.attribute, f"Cramér's V {a.cramers_v:.2f}, p = {a.p:.1g}")
            for a in balance.associations
            if a.p < LARGEST_P and a.cramers_v >= LEAST_V
        ),
    )


def _histogram(percent: np.ndarray) -> tuple[tuple[float, ...], tuple[int, ...]]:
    if not percent.size:
        return (), ()
    low = 10 ** np.floor(np.log10(percent.min()))
    high = 10 ** np.ceil(np.log10(percent.max()) + 1e-9)
    edges = np.geomspace(low, high, BINS + 1)
    edges[0], edges[-1] = min(edges[0], percent.min()), max(edges[-1], percent.max())
    counts = np.histogram(percent, edges)[0]
    return tuple(map(float, edges)), tuple(map(int, counts))


def _strata(labelled: Sequence[ImageRecord], groups: NDArray[np.int64]) -> Iterator[BalanceRow]:
    for name, value_of in STRATA.items():
        images = Counter(value_of(record) for record in labelled)
        positive = Counter(value_of(record) for record in labelled if record.positive)
        pairs = {(value_of(r), g) for r, g in zip(labelled, groups.tolist(), strict=True)}
        patients = Counter(value for value, _ in pairs)
        for value in sorted(images, key=_in_words):
            yield BalanceRow(name, value, images[value], positive[value], patients[value])


def _in_words(value: str) -> tuple[int, str]:
    """Sort ages by number, others by name, the unknown last."""
    number = value.split("-")[0].rstrip("+")
    return (10_000, "") if not value else (int(number) if number.isdecimal() else 9_999, value)


def _associations(
    labelled: Sequence[ImageRecord], groups: NDArray[np.int64]
) -> Iterator[Association]:
    positive = np.array([bool(record.positive) for record in labelled])
    for name, value_of in ATTRIBUTES.items():
        values = np.array([value_of(record) for record in labelled])
        known = np.flatnonzero(values != "")
        _, patient = np.unique(groups[known], return_inverse=True)
        vote = 1 / np.bincount(patient)[patient] if known.size else np.zeros(0)
        names, place = np.unique(values[known], return_inverse=True)
        table = np.zeros((len(names), 2))
        np.add.at(table, (place, positive[known].astype(int)), vote)
        table = _pooled(table)
        if len(table) < 2 or not table.sum(axis=0).all():
            continue
        chi2, p, degrees, _ = chi2_contingency(table, correction=False)
        yield Association(
            attribute=name,
            chi2=float(chi2),
            degrees=int(degrees),
            p=float(p),
            cramers_v=float(np.sqrt(chi2 / table.sum())),
            images=known.size,
            patients=int(patient.max()) + 1,
        )


def _pooled(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows of enough votes, and one of all others where those have enough together."""
    enough = table.sum(axis=1) >= LEAST_VOTES
    rest = table[~enough].sum(axis=0, keepdims=True)
    return np.concatenate([table[enough], rest[rest.sum(axis=1) >= LEAST_VOTES]])
