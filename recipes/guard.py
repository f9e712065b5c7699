"""Fits the input guard, and counts how often it flags frontal radiographs and other pictures.

``python -m recipes.guard SIIM NIH`` takes the SIIM-ACR files in Kaggle's layout and a folder
of NIH ChestX-ray14 files named ``PPPPPPPP_NNN.*`` (P is the patient). The weights of
:mod:`pleura.pictures.guard` are fitted to the NIH radiographs of patients with an even number who
have no radiograph in SIIM, and to phantoms and drawings. Everything that is counted was not fitted
    to: all SIIM
radiographs, the other NIH radiographs and phantoms, other drawings, and changed copies of those
radiographs. With ``--unseen`` drawn kinds are counted a second time, by weights that were fitted
without the kind.

``--lungs`` names folders of lung fields (PNG, named as the radiographs), by which one lung is made
white or black. ``--others FOLDER`` counts further pictures, DICOM, PNG or JPEG, in a folder for
each kind; those of kinds whose name begins with "frontal" are expected not to be flagged. ``--ct
FILE`` counts projections of a chest CT (NIfTI). ``--write`` stores the weights; the same
radiographs give the same file. ``--show FOLDER`` writes a contact sheet of what was judged wrongly
for each kind.
"""

import argparse
import gzip
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from pleura.dicom.radiograph import read_radiograph
from pleura.errors import DicomError
from pleura.pictures import guard
from pleura.pictures.guard import (
    KINDS,
    Weights,
    assess,
    assess_thumb,
    kind_values,
    left_over,
    measures_of,
    not_frontal,
)
from pleura.pictures.measures import thumb_of
from pleura.processes.workers import ordered_map
from pleura.storage.atomic import atomic_path
from recipes.measures import (
    TRULY,
    Pixels,
    Radiograph,
    half,
    nih_radiographs,
    phantom_radiographs,
    shrink,
    siim_radiographs,
    varied,
    window,
)
from recipes.other_views import VIEWS, draw_view

SIDE = 256
PHANTOMS = 280
PHANTOMS_FITTED = 80
COMPONENTS = 80
ALARMS = 0.01
DRAWN = 60
DRAWN_FITTED = 400
MADE = 40
MADE_FITTED = 40
DRAWN_KINDS = ("lateral", "other-part", "other-picture")

# Radiographs whose lungs are white and whose bones are black, as was seen by looking: they are no
# false alarms, and neither fitted to nor counted.
INVERTED = frozenset(name for name, codes in TRULY.items() if "inverted" in codes)

Change = Callable[[Radiograph, np.random.Generator], Pixels | None]
Thumb = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture: what group it is counted in, the kind it is, its name and its thumb."""

    group: str
    kind: str
    name: str
    thumb: Thumb


# ------------------------------------------------------------------- frontal radiographs, changed


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """Return a radiograph turned about its middle, black where nothing was."""
    middle = (len(pixels) - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, 1)
    return np.asarray(cv2.warpAffine(pixels, matrix, pixels.shape[::-1]), np.uint8)


def tilt(low: float, high: float) -> Change:
    """Return the change that turns a radiograph by `low` to `high` degrees to either side."""
    return lambda radiograph, rng: turned(
        radiograph.pixels, rng.choice([-1, 1]) * rng.uniform(low, high)
    )


def collimated(radiograph: Radiograph, rng: np.random.Generator) -> Pixels:
    """Return a radiograph whose edges are dark for up to an eighth of the side, a little askew."""
    spare = rng.uniform(0, SIDE / 8, (4, 2))
    (top, bottom, left, right), end = spare, SIDE - 1
    corners = [
        (left[0], top[0]),
        (end - right[0], top[1]),
        (end - right[1], end - bottom[1]),
        (left[1], end - bottom[0]),
    ]
    inside = cv2.fillConvexPoly(
        np.zeros_like(radiograph.pixels), np.round(corners).astype(np.int32), 255, cv2.LINE_AA
    )
    share = inside / np.float32(255)
    return np.asarray(radiograph.pixels * share + rng.uniform(0, 25) * (1 - share), np.uint8)


def trimmed(radiograph: Radiograph, rng: np.random.Generator) -> Pixels:
    """Return a radiograph of which up to an eighth of the side is cut away at each edge."""
    top, bottom, left, right = rng.integers(0, SIDE // 8, 4)
    return radiograph.pixels[top : SIDE - bottom, left : SIDE - right]


def exposed(radiograph: Radiograph, rng: np.random.Generator) -> Pixels:
    """Return a radiograph through another gamma and window, not burnt out."""
    grey = 255 * (radiograph.pixels / 255) ** np.exp(rng.uniform(-0.6, 0.6))
    low, high = rng.uniform(0, 40), rng.uniform(170, 255)
    return np.asarray(low + grey * (high - low) / 255, np.uint8)


def lung_filled(
    radiograph: Radiograph, rng: np.random.Generator, level: tuple[float, float]
) -> Pixels | None:
    """Return a radiograph with one lung, as its lung fields show it, brought to one level of grey.

    Args:
        radiograph: The radiograph; None is returned where its lung fields are not known.
        rng: Chooses the side and, from the percentiles `level` of the radiograph, the grey.
        level: Percentiles.
    """
    lungs = LUNGS.get(radiograph.name)
    if lungs is None:
        return None
    columns = np.flatnonzero(lungs.any(axis=0))
    middle = (columns[0] + columns[-1]) // 2
    side = slice(None, middle) if rng.random() < 0.5 else slice(middle, None)
    lung = np.zeros_like(lungs)
    lung[:, side] = lungs[:, side]
    if not lung.any():
        return None
    share = cv2.GaussianBlur(cv2.dilate(lung, np.ones((5, 5))).astype(np.float32), (0, 0), 4)
    rest = 0.25 * (radiograph.pixels - radiograph.pixels[lung > 0].mean())
    grey = np.percentile(radiograph.pixels, rng.uniform(*level)) + rest
    return np.asarray(np.clip(radiograph.pixels * (1 - share) + share * grey, 0, 255), np.uint8)


white_lung = partial(lung_filled, level=(75.0, 92.0))
black_lung = partial(lung_filled, level=(5.0, 15.0))

FRONTAL: dict[str, Change] = {
    "untouched": lambda radiograph, rng: radiograph.pixels,
    "mirrored": lambda radiograph, rng: radiograph.pixels[:, ::-1],
    "other exposure": exposed,
    "turned by up to 10 degrees": tilt(0, 10),
    "collimated": collimated,
    "trimmed": trimmed,
    "one lung white": white_lung,
    "one lung black": black_lung,
}

FITTED_FRONTAL: tuple[Change, ...] = (
    *(lambda radiograph, rng: radiograph.pixels,) * 2,
    *(lambda radiograph, rng: varied(radiograph.pixels, rng),) * 6,
    exposed,
    *(tilt(0, 11),) * 2,
    *(collimated,) * 4,
    *(trimmed,) * 3,
    *(white_lung,) * 3,
    *(black_lung,) * 2,
    *(lambda radiograph, rng: varied(collimated(radiograph, rng), rng),) * 2,
)

# ---------------------------------------------------------------- what is no frontal radiograph,
# derived

DERIVED: dict[str, tuple[str, Change]] = {
    "inverted": ("inverted", lambda radiograph, rng: 255 - radiograph.pixels),
    "turned by 180 degrees": ("upside-down", lambda radiograph, rng: radiograph.pixels[::-1, ::-1]),
    "flipped upside down": ("upside-down", lambda radiograph, rng: radiograph.pixels[::-1]),
    "turned by 90 degrees": ("rotated", lambda radiograph, rng: np.rot90(radiograph.pixels)),
    "turned by 270 degrees": ("rotated", lambda radiograph, rng: np.rot90(radiograph.pixels, -1)),
    "turned by 20 degrees": ("tilted", tilt(20, 20)),
    "turned by 30 degrees": ("tilted", tilt(30, 30)),
    "turned by 45 degrees": ("tilted", tilt(45, 45)),
    "cut to one quarter": ("cropped", lambda radiograph, rng: quarter(radiograph.pixels, rng)),
    "cut to 45 to 65 % of the side": (
        "cropped",
        lambda radiograph, rng: window(radiograph.pixels, rng.uniform(0.45, 0.65), rng),
    ),
    "blurred": (
        "blurred",
        lambda radiograph, rng: cv2.GaussianBlur(radiograph.pixels, (0, 0), rng.uniform(10, 20)),
    ),
    "faint": (
        "low-contrast",
        lambda radiograph, rng: np.asarray(110 + radiograph.pixels // 12, np.uint8),
    ),
}

FITTED_DERIVED: tuple[tuple[str, Change], ...] = (
    *((kind, change) for kind, change in DERIVED.values() if kind in KINDS),
    *(("tilted", tilt(17, 60)),) * 2,
    ("tilted", tilt(120, 160)),
    ("inverted", lambda radiograph, rng: 255 - varied(radiograph.pixels, rng)),
    ("inverted", lambda radiograph, rng: 255 - np.rot90(radiograph.pixels, rng.integers(1, 4))),
    ("upside-down", lambda radiograph, rng: varied(radiograph.pixels, rng)[::-1]),
    ("rotated", lambda radiograph, rng: np.rot90(varied(radiograph.pixels, rng))),
    ("cropped", lambda radiograph, rng: window(radiograph.pixels, rng.uniform(0.4, 0.65), rng)),
)


def quarter(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return one of the four quarters of a radiograph."""
    rows, columns = rng.integers(0, 2, 2) * (SIDE // 2)
    return pixels[rows:, columns:][: SIDE // 2, : SIDE // 2]


# ----------------------------------------------------------------------- what is none, made up


def text_page(rng: np.random.Generator) -> Pixels:
    """Return a page of text, dark on light or light on dark."""
    page = np.full((512, 512), 255, np.uint8)
    for row in range(30, 492, int(rng.integers(14, 40))):
        words = ["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(8)]
        place = (int(rng.integers(5, 40)), row)
        cv2.putText(page, " ".join(words), place, 0, rng.uniform(0.4, 1), 0, 1, cv2.LINE_AA)
    return page if rng.random() < 0.7 else 255 - page


def gradient(rng: np.random.Generator) -> Pixels:
    """Return a slope from one grey to another."""
    rows, columns = np.ogrid[-1:1:256j, -1:1:256j]
    angle = rng.uniform(0, 2 * np.pi)
    return _grey(np.cos(angle) * rows + np.sin(angle) * columns)


def noise(rng: np.random.Generator) -> Pixels:
    """Return noise without a structure."""
    return rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)


def clouds(rng: np.random.Generator) -> Pixels:
    """Return smooth noise."""
    return _grey(cv2.GaussianBlur(rng.standard_normal((256, 256)), (0, 0), rng.uniform(3, 40)))


def shapes(rng: np.random.Generator) -> Pixels:
    """Return ellipses and boxes of random greys, in front of each other."""
    picture = np.full((256, 256), rng.integers(0, 256), np.uint8)
    for _ in range(rng.integers(1, 12)):
        at, size = rng.integers(0, 256, 2).tolist(), rng.integers(10, 120, 2).tolist()
        grey = int(rng.integers(0, 256))
        if rng.random() < 0.5:
            cv2.ellipse(picture, at, size, rng.uniform(0, 180), 0, 360, grey, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(picture, at, [at[0] + size[0], at[1] + size[1]], grey, -1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 4)), np.uint8)


def slice_like(rng: np.random.Generator) -> Pixels:
    """Return a bright round body on black with darker and lighter rounds in it."""
    picture = np.zeros((256, 256), np.float32)
    size = rng.uniform(50, 115, 2).tolist()
    cv2.ellipse(picture, ([128, 128], [2 * s for s in size], rng.uniform(0, 180)), 1.0, -1)
    for _ in range(rng.integers(2, 9)):
        at = (128 + rng.uniform(-0.6, 0.6, 2) * size).tolist()
        inner = rng.uniform(8, 60, 2).tolist()
        box = (at, inner, rng.uniform(0, 180))
        cv2.ellipse(picture, box, rng.uniform(0.1, 1.8), -1)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.7, 3))
    return _grey(picture + 0.03 * rng.standard_normal(picture.shape))


def stripes(rng: np.random.Generator) -> Pixels:
    """Return stripes or a chequered field."""
    rows, columns = np.ogrid[-1:1:256j, -1:1:256j]
    angle, often = rng.uniform(0, np.pi), rng.uniform(4, 60)
    along = np.cos(angle) * rows + np.sin(angle) * columns
    across = np.sin(angle) * rows - np.cos(angle) * columns
    return _grey(np.sin(often * along) * (np.sin(often * across) if rng.random() < 0.5 else 1))


def _grey(values: NDArray[np.floating]) -> Pixels:
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) * (255 / max(high - low, 1e-9)), np.uint8)


MADE_UP: dict[str, Callable[[np.random.Generator], Pixels]] = {
    "text": text_page,
    "gradient": gradient,
    "noise": noise,
    "smooth noise": clouds,
    "shapes": shapes,
    "drawn slice": slice_like,
    "stripes": stripes,
    "one grey": lambda rng: np.full((SIDE, SIDE), rng.integers(0, 256), np.uint8),
}

FAMILIES: tuple[frozenset[str], ...] = (
    *(frozenset([f"{name} (drawn)"]) for name in VIEWS),
    frozenset(MADE_UP) - {"one grey"},
)
"""What is left out together, for the counts of kinds that were not fitted to."""

# ------------------------------------------------------------------------- what is fitted to

LUNGS: dict[str, NDArray[np.uint8]] = {}


def smaller(radiographs: Sequence[Radiograph]) -> list[Radiograph]:
    """Return radiographs at 256 x 256 pixels."""
    size = (SIDE, SIDE)
    return [
        replace(
            radiograph, pixels=cv2.resize(radiograph.pixels, size, interpolation=cv2.INTER_AREA)
        )
        for radiograph in radiographs
    ]


def read_lungs(folders: Iterable[Path]) -> None:
    """Read the lung fields of radiographs, PNG files of their names, for `lung_filled`."""
    for folder in folders:
        for path in sorted(folder.glob("*.png")):
            lungs = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            field = cv2.resize(lungs, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 127
            if field.any():
                LUNGS[path.stem] = field.view(np.uint8)


def fitted_samples(radiograph: Radiograph) -> list[Sample]:
    """Return the copies of one radiograph that are fitted to."""
    rng = np.random.default_rng([41, *radiograph.name.encode()])
    changes = [("frontal", change) for change in FITTED_FRONTAL] + list(FITTED_DERIVED)
    return [
        Sample(kind, kind, radiograph.name, thumb_of(np.ascontiguousarray(pixels)))
        for kind, change in changes
        if (pixels := change(radiograph, rng)) is not None
    ]


def counted_samples(radiograph: Radiograph) -> list[Sample]:
    """Return one radiograph and its changed copies, as they are counted."""
    rng = np.random.default_rng([42, *radiograph.name.encode()])
    source = {"siim": "SIIM", "nih": "NIH", "phantoms": "phantoms"}[radiograph.source]
    changes = [(f"{source}, {name}", "frontal", change) for name, change in FRONTAL.items()]
    if radiograph.source != "phantoms":
        changes += [(name, kind, change) for name, (kind, change) in DERIVED.items()]
    return [
        Sample(name, kind, radiograph.name, thumb_of(np.ascontiguousarray(pixels)))
        for name, kind, change in changes
        if (pixels := change(radiograph, rng)) is not None
    ]


def drawn(job: tuple[str, int, int]) -> Sample:
    """Return a drawing: its kind, the seed's first number and its second."""
    name, part, seed = job
    rng = np.random.default_rng([part, seed])
    if name in VIEWS:
        kind = "lateral" if name == "lateral chest" else "other-part"
        return Sample(f"{name} (drawn)", kind, f"{name} {seed}", thumb_of(draw_view(name, rng)))
    return Sample(name, "other-picture", f"{name} {seed}", thumb_of(MADE_UP[name](rng)))


def drawings(part: int, views: int, made: int) -> list[Sample]:
    """Return so many drawings of each kind; `part` keeps those fitted to from those counted."""
    jobs = [(name, part, seed) for name in VIEWS for seed in range(views)]
    jobs += [(name, part, seed) for name in MADE_UP for seed in range(made)]
    return list(ordered_map(drawn, jobs, 0))


def fit(samples: Sequence[Sample]) -> Weights:
    """Return what tells frontal radiographs from other pictures.

    The limits are such that a share of `ALARMS` of the frontal pictures, most of them changed, is
    flagged for either reason when judged by what was fitted to the other two thirds of the
    radiographs.
    """
    measures, kinds = _numbers(samples)
    names = np.array([sample.name for sample in samples])
    odds, rest = [], []
    for kept, held in GroupKFold(3).split(measures, groups=names):
        part = _fitted(measures[kept], kinds[kept])
        own = measures[held][kinds[held] == 0]
        odds.append(not_frontal(kind_values(own, part)))
        rest.append(left_over(own, part))
    limits = [np.quantile(np.concatenate(values), 1 - ALARMS) for values in (odds, rest)]
    return fitted_weights(samples, half(np.array(limits)))


def fitted_weights(samples: Sequence[Sample], limits: NDArray[np.float32]) -> Weights:
    """Return what tells frontal radiographs from other pictures, with limits that are known."""
    return replace(_fitted(*_numbers(samples)), limits=limits)


def _numbers(samples: Sequence[Sample]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    measures = np.array([measures_of(sample.thumb) for sample in samples])
    return measures, np.array([KINDS.index(sample.kind) for sample in samples])


def _fitted(measures: NDArray[np.float32], kinds: NDArray[np.int64]) -> Weights:
    """Return the weights without limits.

    What is drawn counts ten times: there is little of it beside the copies of a thousand
        radiographs,
    and real laterals and abdomens are further from drawings than radiographs are from their copies.
    """
    model = LogisticRegression(C=0.03, max_iter=500)
    drawn = np.isin(kinds, [KINDS.index(kind) for kind in DRAWN_KINDS])
    model.fit(measures, kinds, sample_weight=np.where(drawn, 10.0, 1.0))
    weights = np.zeros((len(KINDS), measures.shape[1]))
    bias = np.full(len(KINDS), -1e4)  # a kind that was left out is never likely
    weights[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    frontal = PCA(COMPONENTS, svd_solver="full").fit(measures[kinds == 0])
    return Weights(
        kinds=half(weights),
        bias=half(bias),
        mean=half(frontal.mean_),
        components=half(frontal.components_),
        limits=np.zeros(2, np.float32),
    )


def write_weights(weights: Weights, target: Path = guard.WEIGHTS) -> None:
    """Write what :mod:`pleura.pictures.guard` reads."""
    with atomic_path(target) as partial_path, partial_path.open("wb") as file:
        columns = {field.name: getattr(weights, field.name) for field in fields(Weights)}
        np.savez_compressed(file, **{name: own.astype("<f2") for name, own in columns.items()})


def print_nearest(radiographs: Sequence[Radiograph], weights: Weights) -> None:
    """Print how much a component resembles a single radiograph, of which none must be stored."""
    apart = (
        np.array([measures_of(thumb_of(radiograph.pixels)) for radiograph in radiographs])
        - weights.mean
    )
    cosines = np.abs(apart @ weights.components.T) / np.linalg.norm(apart, axis=1, keepdims=True)
    print(f"cosine of a component and a radiograph fitted to: {cosines.max():.2f} at most")


# ---------------------------------------------------------------- pictures from elsewhere


def other_samples(folder: Path) -> Iterator[Sample]:
    """Yield the pictures below a folder, in groups by the name of the folder they are in."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        pixels = _read(path)
        if pixels is not None:
            name = path.parent.name
            kind = "frontal" if name.startswith("frontal") else "other-picture"
            yield Sample(name, kind, path.name, thumb_of(pixels))


def _read(path: Path) -> Pixels | None:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is not None:
        return np.asarray(picture, np.uint8)
    try:
        pixels = read_radiograph(path).pixels
    except DicomError as error:
        print(f"not counted: {error}")
        return None
    return shrink(pixels) if pixels.dtype != np.uint8 else pixels


def projections(path: Path) -> Iterator[Sample]:
    """Yield radiographs made from a chest CT by adding up its attenuation, from all sides.

    Args:
        path: A NIfTI file (.nii.gz) of int16 numbers, its third axis along the body, head last.
    """
    raw = gzip.decompress(path.read_bytes())
    columns, rows, slices = struct.unpack("<3h", raw[42:48])
    _, wide, _, high = struct.unpack("<4f", raw[76:92])
    scale, offset = struct.unpack("<2f", raw[112:120])
    stored = np.frombuffer(raw, "<i2", offset=352, count=columns * rows * slices)
    density = stored.reshape(slices, rows, columns)[::-1] * np.float32(scale) + np.float32(offset)
    attenuation = np.clip(density / 1000 + 1, 0, 4) * np.float32(0.02 * wide)
    length = round(slices * high / wide)
    for angle in range(0, 360, 5):
        away = min(angle % 180, 180 - angle % 180)
        group = "frontal" if away <= 10 else "lateral" if away >= 70 else "oblique"
        matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle, 1)
        sums = np.stack(
            [cv2.warpAffine(own, matrix, (columns, rows)).sum(axis=0) for own in attenuation]
        )
        radiograph = cv2.resize(sums, (columns, length))[:, columns // 2 - length // 2 :][
            :, :length
        ]
        low, high_ = np.percentile(radiograph, [1, 99.7])
        grey = 255 / (1 + np.exp(-5 * ((radiograph - low) / (high_ - low) - 0.5)))
        kind = "frontal" if group == "frontal" else "lateral"
        yield Sample(f"{group} projection of a CT", kind, f"{angle}", thumb_of(grey.astype("u1")))


# ------------------------------------------------------------------------------ the counts


@dataclass(frozen=True, slots=True)
class Count:
    """How many of a group are flagged, and how many of those with the right name."""

    group: str
    frontal: bool
    flagged: int
    named: int
    total: int
    wrong: tuple[tuple[float, Sample], ...]


def counted(samples: Sequence[Sample], weights: Weights) -> list[Count]:
    """Return a count for each group, in the order in which they come first."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    counts = []
    for group, own in groups.items():
        found = [assess_thumb(sample.thumb, weights) for sample in own]
        frontal = own[0].kind == "frontal"
        wrong = [
            (guard_.score, sample)
            for guard_, sample in zip(found, own, strict=True)
            if guard_.flagged == frontal
        ]
        named = sum(
            sample.kind in guard_.flags or guard_.flags == ("blank",)
            for guard_, sample in zip(found, own, strict=True)
        )
        flagged = sum(guard_.flagged for guard_ in found)
        order = sorted(wrong, key=lambda pair: (-pair[0], pair[1].name))
        counts.append(Count(group, frontal, flagged, named, len(own), tuple(order)))
    return counts


def wilson(hits: int, total: int) -> str:
    """Return ``hits / total`` with the share's 95 % interval after Wilson, in per cent."""
    z2 = 1.96**2
    share, scale = hits / total, 1 + z2 / total
    middle = (share + z2 / (2 * total)) / scale
    reach = 1.96 / scale * (share * (1 - share) / total + z2 / (4 * total**2)) ** 0.5
    low, high = max(middle - reach, 0), min(middle + reach, 1)
    return f"{hits} / {total} | {share:.1%} ({low:.1%} to {high:.1%})"


def print_counts(counts: Sequence[Count], unseen: dict[str, Count]) -> None:
    """Print two tables: what must not be flagged, and what must be."""
    print("| frontal radiographs | flagged | share (95 %) |\n| --- | --- | --- |")
    for count in counts:
        if count.frontal:
            print(f"| {count.group} | {wilson(count.flagged, count.total)} |")
    print(
        "\n| no frontal radiographs | flagged | share (95 %) | rightly named | kind not fitted to |"
    )
    print("| --- | --- | --- | --- | --- |")
    for count in counts:
        if not count.frontal:
            other = unseen.get(count.group)
            without = f"{other.flagged} / {other.total}" if other else ""
            print(
                f"| {count.group} | {wilson(count.flagged, count.total)} "
                f"| {count.named / count.total:.0%} | {without} |"
            )
    for count in counts:
        if count.wrong:
            names = ", ".join(f"{own.name} {score:.2f}" for score, own in count.wrong[:8])
            print(f"  {count.group}: {names}")


def print_largest(samples: Sequence[Sample], weights: Weights) -> None:
    """Print the largest scores of untouched radiographs, which show where the threshold may lie."""
    own = [sample for sample in samples if sample.group.endswith("untouched")]
    scores = sorted(((assess_thumb(s.thumb, weights).score, s.name) for s in own), reverse=True)
    print(
        "largest of untouched radiographs:",
        ", ".join(f"{n} {score:.3f}" for score, n in scores[:12]),
    )


def show(counts: Sequence[Count], folder: Path) -> None:
    """Write a contact sheet of up to 40 thumbs for each group with mistakes."""
    folder.mkdir(parents=True, exist_ok=True)
    for count in counts:
        thumbs = [sample.thumb for _, sample in count.wrong[:40]]
        if thumbs:
            thumbs += [np.zeros_like(thumbs[0])] * (-len(thumbs) % 8)
            rows = [np.hstack(thumbs[at : at + 8]) for at in range(0, len(thumbs), 8)]
            cv2.imwrite(str(folder / f"{count.group.replace('/', '-')}.png"), np.vstack(rows))


def print_time() -> None:
    """Print how long a radiograph of 1024 x 1024 pixels takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (1024, 1024), dtype=np.uint8)
    assess(pixels)
    began = time.perf_counter()
    for _ in range(50):
        assess(pixels)
    print(f"{(time.perf_counter() - began) * 20:.2f} ms for 1024 x 1024 pixels")


def main() -> None:
    """Fit, count, and write the weights where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("siim", type=Path)
    parser.add_argument("nih", type=Path)
    parser.add_argument("--lungs", type=Path, nargs="*", default=[], help="folders of lung fields")
    parser.add_argument("--others", type=Path, help="further pictures, a folder for each kind")
    parser.add_argument("--ct", type=Path, help="a chest CT, .nii.gz")
    parser.add_argument("--unseen", action="store_true", help="fit again without each drawn kind")
    parser.add_argument("--write", action="store_true", help="store the weights")
    parser.add_argument("--show", type=Path, help="a folder for what is judged wrongly")
    asked = parser.parse_args()

    read_lungs(asked.lungs)
    siim = smaller(siim_radiographs(asked.siim))
    nih = [
        radiograph
        for radiograph in smaller(nih_radiographs(asked.nih))
        if radiograph.name not in INVERTED
    ]
    phantoms = smaller(phantom_radiographs(PHANTOMS))
    known = {radiograph.patient for radiograph in siim}
    own = [
        radiograph
        for radiograph in nih
        if radiograph.patient not in known and int(radiograph.patient) % 2 == 0
    ]
    rest = [radiograph for radiograph in nih if radiograph not in own]
    fitted = [s for part in map(fitted_samples, own + phantoms[:PHANTOMS_FITTED]) for s in part]
    fitted += [
        s if s.kind in KINDS else replace(s, kind="other-picture")
        for s in drawings(43, DRAWN_FITTED, MADE_FITTED)
        if s.group != "one grey"
    ]
    print(
        f"fitted to {len(fitted)} pictures from {len(own)} NIH radiographs, phantoms and drawings"
    )
    weights = fit(fitted)
    print_nearest(own, weights)
    if asked.write:
        write_weights(weights)

    samples = [s for radiograph in siim + rest for s in counted_samples(radiograph)]
    samples += [s for radiograph in phantoms[PHANTOMS_FITTED:] for s in counted_samples(radiograph)]
    made = drawings(44, DRAWN, MADE)
    samples += made
    if asked.others:
        samples += other_samples(asked.others)
    if asked.ct:
        samples += projections(asked.ct)
    unseen = {}
    for kept in FAMILIES if asked.unseen else ():
        without = fitted_weights([s for s in fitted if s.group not in kept], weights.limits)
        for count in counted([s for s in made if s.group in kept], without):
            unseen[count.group] = count
    counts = counted(samples, weights)
    print_counts(counts, unseen)
    print_largest(samples, weights)
    print_time()
    if asked.show:
        show(counts, asked.show)


if __name__ == "__main__":
    main()
