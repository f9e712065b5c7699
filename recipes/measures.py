"""Fits what an upright radiograph looks like, and counts how often each measure is right.

``python -m recipes.measures SIIM NIH`` takes the SIIM-ACR files in Kaggle's layout and a folder
of NIH ChestX-ray14 files named ``PPPPPPPP_NNN.*`` (P is the patient). It fits the maps of
:mod:`pleura.pictures.measures` five times, each time without a fifth of the patients, and prints
for each fault its threshold, how many of the radiographs held out are flagged, and how many planted
ones are found. With ``--write`` it stores maps fitted to all radiographs; the same radiographs give
the same file.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.neural_network import MLPClassifier

from pleura.data.patients import siim_patient
from pleura.dicom.radiograph import read_radiograph
from pleura.pictures import measures as pictures
from pleura.pictures.measures import LOOK_SIDE, POSTURES, Maps, faults, look_of
from pleura.pictures.near_duplicates import RADIUS, candidate_pairs, likeness, same_picture, small
from pleura.processes.workers import ordered_map
from pleura.storage.atomic import atomic_path
from pleura.synthesis.phantom import draw_phantom
from pleura.synthesis.phantom.anatomy import draw_person

SIDE = 512
PHANTOMS = 480
FOLDS = 5
UNITS = 32
EPOCHS = 40
NETWORKS = 3
MARGINS = ("inverted", "upside-down", "rotated", "mirrored", "hard-cropped")

# Real radiographs with a fault, found by these measures and then looked at: no false alarms. They
# are not fitted to, and nothing is planted in them.
TRULY = {
    "00017999_000": ("inverted",),
    "00017625_000": ("inverted",),
    "00018902_000": ("mirrored",),
    "00020440_000": ("mirrored",),
    "00005618_000": ("burned-in-border", "saturated"),
    "00019534_000": ("burned-in-border",),
    "00026402_000": ("burned-in-border",),
    "00028405_000": ("burned-in-border",),
    "1.2.276.0.7230010.3.1.4.8323329.10000.1517875220.938530": ("burned-in-border",),
}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One radiograph: its name, its patient, where it is from, and ``(512, 512)`` uint8 pixels."""

    name: str
    patient: str
    source: str
    pixels: Pixels


# ------------------------------------------------------------------------------- the radiographs


def siim_radiographs(folder: Path) -> list[Radiograph]:
    """Return the annotated radiographs of a folder in Kaggle's layout."""
    radiographs = []
    for path in sorted(folder.rglob("*.dcm")):
        radiograph = read_radiograph(path)
        patient = siim_patient(path.stem)
        if patient is not None:
            radiographs.append(Radiograph(path.stem, patient, "siim", shrink(radiograph.pixels)))
    return radiographs


def nih_radiographs(folder: Path) -> list[Radiograph]:
    """Return the radiographs of a folder of NIH ChestX-ray14."""
    radiographs = []
    for path in sorted(folder.rglob("*_*.[jp][pn]g")):
        patient = path.stem.split("_")[0]
        if patient.isdecimal():
            pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            radiographs.append(Radiograph(path.stem, str(int(patient)), "nih", shrink(pixels)))
    return radiographs


def phantom_radiographs(count: int, side: int = SIDE) -> list[Radiograph]:
    """Return made-up radiographs, each of a patient of its own, drawn at 128, 256 or 384 pixels."""
    pixels = ordered_map(_phantom, range(count), 0)
    return [
        Radiograph(f"phantom {n}", f"phantom {n}", "phantoms", shrink(own))
        for n, own in enumerate(pixels)
    ]


def _phantom(seed: int) -> Pixels:
    rng = np.random.default_rng([20, seed])
    return draw_phantom(rng, size=(128, 256, 384)[seed % 3], pneumothorax=seed % 2 == 0).pixels


def shrink(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Pixels:
    """Return pixels at 512 x 512."""
    if pixels.dtype != np.uint8:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    how = cv2.INTER_AREA if min(pixels.shape) >= SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=how), np.uint8)


# ----------------------------------------------------------------------- faults, as planted


def turned(pixels: Pixels, posture: int, rng: np.random.Generator) -> Pixels:
    """Return a radiograph in a posture of `POSTURES`; upside-down is a flip or half a turn."""
    codes = POSTURES[posture]
    if "upside-down" in codes:
        pixels = pixels[::-1, :: -1 if rng.random() < 0.5 else 1]
    elif "rotated" in codes:
        pixels = np.rot90(pixels, 1 if POSTURES.index(codes) == posture else -1)
    elif "hard-cropped" in codes:
        pixels = window(pixels, rng.uniform(0.45, 0.65), rng)
    return 255 - pixels if "inverted" in codes else pixels


def window(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Return a square window of `share` of the side at a random place."""
    side = round(share * len(pixels))
    top, left = rng.integers(0, len(pixels) - side + 1, 2)
    return pixels[top : top + side, left : left + side]


def varied(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a radiograph a little turned, scaled, shifted, trimmed and windowed."""
    middle = (len(pixels) - 1) / 2
    matrix = cv2.getRotationMatrix2D(
        (middle, middle), rng.normal(0, 3), float(np.exp(rng.normal(0, 0.06)))
    )
    matrix[:, 2] += rng.normal(0, 0.025 * len(pixels), 2)
    moved = cv2.warpAffine(pixels, matrix, pixels.shape, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.3:
        moved = window(moved, rng.uniform(0.85, 1), rng)
    if rng.random() < 0.4:
        return leveled(moved, rng.uniform(0, 40), rng.uniform(120, 255))
    return np.asarray(moved, np.uint8)


def leveled(pixels: Pixels, low: float, high: float) -> Pixels:
    """Return a radiograph through a window: grey `low` becomes 0, `high` 255."""
    table = (np.arange(256) - low) * (255 / (high - low))
    return np.asarray(np.clip(table, 0, 255).astype(np.uint8)[pixels])


def burnt(pixels: Pixels) -> Pixels:
    """Return an overexposed radiograph."""
    return leveled(pixels, 0, 255 / 2.2)


def flat(pixels: Pixels) -> Pixels:
    """Return a radiograph with a twelfth of its contrast."""
    return np.asarray(110 + pixels // 12, np.uint8)


def framed(pixels: Pixels, level: int = 255, share: float = 0.125) -> Pixels:
    """Return a radiograph made smaller, with a frame of one grey around it."""
    wide = max(1, round(share * len(pixels)))
    inside = cv2.resize(pixels, (len(pixels) - 2 * wide,) * 2, interpolation=cv2.INTER_AREA)
    return np.asarray(
        cv2.copyMakeBorder(inside, *([wide] * 4), cv2.BORDER_CONSTANT, value=level), np.uint8
    )


# ---------------------------------------------------------------------------------- the fit

_VERSIONS = (8, 2, 1, 1, 6, 1, 1, 1, 1, 2)  # of each posture, per radiograph


def training_looks(radiograph: Radiograph) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return looks ``(n, 576)`` of varied copies in all postures, and the postures."""
    rng = np.random.default_rng([21, *radiograph.name.encode()])
    postures = np.repeat(np.arange(len(POSTURES)), _VERSIONS)
    looks = [look_of(turned(varied(radiograph.pixels, rng), int(p), rng)) for p in postures]
    return np.array(looks), postures


def fit(looks: NDArray[np.float32], postures: NDArray[np.int64]) -> Maps:
    """Return the maps that tell the postures apart, and mirrored radiographs from the others."""
    model = LogisticRegression(C=0.03, max_iter=2000, tol=1e-3).fit(looks, postures)
    upright = looks[postures == 0].reshape(-1, LOOK_SIDE, LOOK_SIDE)
    sides = np.concatenate([upright, upright[:, :, ::-1]]).reshape(2 * len(upright), -1)
    answers = np.repeat([0, 1], len(upright))
    networks = [network(sides, answers, seed) for seed in range(NETWORKS)]
    return Maps(
        weights=half(model.coef_),
        bias=half(model.intercept_),
        hidden=half(np.concatenate([own.coefs_[0].T for own in networks])),
        hidden_bias=half(np.concatenate([own.intercepts_[0] for own in networks])),
        sides=half(np.concatenate([own.coefs_[1][:, 0] for own in networks]) / NETWORKS),
    )


def network(looks: NDArray[np.float32], answers: NDArray[np.int64], seed: int) -> MLPClassifier:
    """Return a small network that tells mirrored looks from others; several are averaged."""
    model = MLPClassifier(
        (UNITS,),
        activation="tanh",
        alpha=0.1,
        batch_size=256,
        max_iter=EPOCHS,
        n_iter_no_change=EPOCHS,
        random_state=seed,
    )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return model.fit(looks, answers)  # it is stopped early on purpose


def half(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return values with the precision that they are stored with."""
    return values.astype(np.float16).astype(np.float32)


def write_maps(maps: Maps, target: Path = pictures.ORIENTATION) -> None:
    """Write what :mod:`pleura.pictures.measures` reads."""
    with atomic_path(target) as partial_path, partial_path.open("wb") as file:
        columns = {field.name: getattr(maps, field.name) for field in fields(Maps)}
        np.savez_compressed(file, **{name: own.astype("<f2") for name, own in columns.items()})


# ------------------------------------------------------------------------------ the counts

Change = Callable[[Pixels, np.random.Generator], Pixels]

PLANTED: dict[str, tuple[Change, ...]] = {
    "inverted": (lambda pixels, rng: 255 - pixels,),
    "upside-down": (lambda pixels, rng: pixels[::-1], lambda pixels, rng: pixels[::-1, ::-1]),
    "rotated": (lambda pixels, rng: np.rot90(pixels), lambda pixels, rng: np.rot90(pixels, -1)),
    "mirrored": (lambda pixels, rng: pixels[:, ::-1],),
    "hard-cropped": tuple(
        lambda pixels, rng: window(pixels, rng.uniform(0.45, 0.65), rng) for _ in range(3)
    ),
    "saturated": (lambda pixels, rng: burnt(pixels),),
    "low-contrast": (lambda pixels, rng: flat(pixels),),
    "burned-in-border": (
        lambda pixels, rng: framed(pixels),
        lambda pixels, rng: framed(pixels, 128),
        lambda pixels, rng: framed(pixels, 255, 0.02),
    ),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """A radiograph, untouched or with a planted fault, measured by maps not fitted to it."""

    radiograph: Radiograph
    planted: str
    picture: pictures.Picture


def trials(radiographs: Sequence[Radiograph]) -> tuple[list[Trial], Maps]:
    """Return every radiograph with every fault, measured out of fold, and the maps of all."""
    parts = ordered_map(training_looks, radiographs, 0)
    looks, postures = zip(*parts, strict=True)
    sound = np.array([radiograph.name not in TRULY for radiograph in radiographs])
    patients = np.array([radiograph.patient for radiograph in radiographs])
    results: list[Trial] = []
    for kept, held in GroupKFold(FOLDS).split(patients, groups=patients):
        maps = fit_some(looks, postures, kept[sound[kept]])
        results += [trial for place in held for trial in measured(radiographs[place], maps)]
    return results, fit_some(looks, postures, np.flatnonzero(sound))


def fit_some(
    looks: Sequence[NDArray[np.float32]],
    postures: Sequence[NDArray[np.int64]],
    places: NDArray[np.int64],
) -> Maps:
    """Return maps fitted to the radiographs at `places`."""
    return fit(
        np.concatenate([looks[place] for place in places]),
        np.concatenate([postures[place] for place in places]),
    )


def measured(radiograph: Radiograph, maps: Maps) -> Iterator[Trial]:
    """Yield one radiograph's measures: untouched, then with every fault."""
    yield Trial(radiograph, "", pictures.measure(radiograph.pixels, maps))
    if radiograph.name in TRULY:
        return
    rng = np.random.default_rng([22, *radiograph.name.encode()])
    for code, changes in PLANTED.items():
        for change in changes:
            yield Trial(radiograph, code, pictures.measure(change(radiograph.pixels, rng), maps))


def print_faults(results: Sequence[Trial]) -> None:
    """Print a line per fault: radiographs flagged without need, and planted faults found."""
    print("| code | siim | nih | phantoms | planted: real ones | exactly | phantoms | exactly |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for code in PLANTED:
        alarms = [flagged(results, code, source) for source in ("siim", "nih", "phantoms")]
        real = detected(results, code, ("siim", "nih"))
        made = detected(results, code, ("phantoms",))
        print(f"| `{code}` | {' | '.join(alarms)} | {real} | {made} |")
    for trial in results:
        if not trial.planted and (found := faults(trial.picture)):
            truth = " (truly)" if set(found) <= set(TRULY.get(trial.radiograph.name, ())) else ""
            print(f"  {trial.radiograph.source} {trial.radiograph.name}: {', '.join(found)}{truth}")
    for code in MARGINS:
        print(f"{code}: {', '.join(largest(results, code))}")


def largest(results: Sequence[Trial], code: str) -> list[str]:
    """Return the largest margins of untouched radiographs, which show where a threshold may lie."""
    own = [trial for trial in results if not trial.planted and trial.radiograph.name not in TRULY]
    margins = [(getattr(t.picture, code.replace("-", "_")), t.radiograph.name) for t in own]
    return [f"{name} {margin:.1f}" for margin, name in sorted(margins, reverse=True)[:10]]


def flagged(results: Sequence[Trial], code: str, source: str) -> str:
    """Return how many untouched radiographs of a source have a code that is not true of them."""
    own = [trial for trial in results if trial.radiograph.source == source and not trial.planted]
    wrong = [
        trial
        for trial in own
        if code in faults(trial.picture) and code not in TRULY.get(trial.radiograph.name, ())
    ]
    return f"{len(wrong)} / {len(own)}"


def detected(results: Sequence[Trial], code: str, sources: Sequence[str]) -> str:
    """Return the shares of planted faults that are found, and found with nothing beside them."""
    own = [
        trial for trial in results if trial.radiograph.source in sources and trial.planted == code
    ]
    found = [faults(trial.picture) for trial in own]
    some = sum(code in codes for codes in found) / len(own)
    return f"{some:.1%} | {sum(codes == (code,) for codes in found) / len(own):.1%}"


# ------------------------------------------------------------------------- near-duplicates

COPIES: dict[str, Change] = {
    "JPEG quality 30": lambda pixels, rng: jpeg(pixels, 30),
    "half the size": lambda pixels, rng: cv2.resize(
        pixels, (SIDE // 2,) * 2, interpolation=cv2.INTER_AREA
    ),
    "gamma 0.5": lambda pixels, rng: gamma(pixels, 0.5),
    "gamma 2": lambda pixels, rng: gamma(pixels, 2),
    "window 30 to 200": lambda pixels, rng: leveled(pixels, 30, 200),
    "trimmed up to 3 % per side": lambda pixels, rng: trimmed(pixels, rng),
    "black border of 2 %": lambda pixels, rng: framed(pixels, 0, 0.02),
    "white border of 2 %": lambda pixels, rng: framed(pixels, 255, 0.02),
    "trimmed, gamma 0.7, JPEG 40": lambda pixels, rng: jpeg(gamma(trimmed(pixels, rng), 0.7), 40),
}


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Return pixels after a JPEG compression."""
    code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)


def gamma(pixels: Pixels, power: float) -> Pixels:
    """Return pixels with another gamma."""
    return np.asarray((255 * (np.arange(256) / 255) ** power).astype(np.uint8)[pixels])


def trimmed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return pixels without up to 3 % at each side."""
    top, bottom, left, right = (rng.uniform(0, 0.03, 4) * len(pixels)).round().astype(int)
    return pixels[top : len(pixels) - bottom, left : len(pixels) - right]


def print_near_duplicates(radiographs: Sequence[Radiograph]) -> None:
    """Print how far apart copies and other radiographs are, by hash and by pixels."""
    hashes = [pictures.measure(radiograph.pixels).hash for radiograph in radiographs]
    print("| copies | bits, median | 99 % | proposed | and confirmed |")
    print("| --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(23)
    some = list(range(0, len(radiographs), 3))
    for name, change in COPIES.items():
        copies = [change(radiographs[place].pixels, rng) for place in some]
        bits = [
            differing(pictures.measure(copy).hash, hashes[place])
            for copy, place in zip(copies, some, strict=True)
        ]
        same = [
            same_picture(copy, radiographs[place].pixels)
            for copy, place in zip(copies, some, strict=True)
        ]
        near = np.array(bits) <= RADIUS
        print(
            f"| {name} | {np.median(bits):.0f} | {np.quantile(bits, 0.99):.0f} "
            f"| {near.mean():.1%} | {(near & same).mean():.1%} |"
        )
    print_others("pairs of different real radiographs", radiographs, hashes)
    print_others("pairs of different phantoms", *person_radiographs(60, 1))
    print_others("pairs of phantoms of 20 people", *person_radiographs(20, 3))


def print_others(what: str, radiographs: Sequence[Radiograph], hashes: Sequence[str]) -> None:
    """Print how many pairs of different radiographs are proposed, how many are taken for one."""
    bits = [differing(one, other) for place, one in enumerate(hashes) for other in hashes[:place]]
    pairs = candidate_pairs(hashes)
    patients = [
        (a, b)
        for a, radiograph in enumerate(radiographs)
        for b in range(a)
        if radiograph.patient == radiographs[b].patient
    ]
    wrong = [(a, b) for a, b in pairs if same_picture(radiographs[a].pixels, radiographs[b].pixels)]
    alike = [likeness_of(radiographs[a], radiographs[b]) for a, b in {*patients, *pairs}]
    print(
        f"{what}: {len(bits)}, of them {len(patients)} of one patient; nearest {min(bits)} bits; "
        f"{len(pairs)} proposed, {len(wrong)} confirmed; greatest likeness "
        f"{max(alike, default=0):.2f}"
    )
    for a, b in wrong:
        print(f"  {radiographs[a].name} and {radiographs[b].name}")


def person_radiographs(people: int, radiographs: int) -> tuple[list[Radiograph], list[str]]:
    """Return phantoms, `radiographs` of each person, and their hashes."""
    made = []
    for number in range(people):
        rng = np.random.default_rng([24, number])
        person = draw_person(rng)
        for _ in range(radiographs):
            drawn = draw_phantom(rng, size=256, pneumothorax=False, person=person)
            made.append(Radiograph(f"{number}", f"{number}", "phantoms", shrink(drawn.pixels)))
    return made, [pictures.measure(radiograph.pixels).hash for radiograph in made]


def likeness_of(one: Radiograph, other: Radiograph) -> float:
    """Return the correlation that decides whether two radiographs are the same."""
    return likeness(small(one.pixels), small(other.pixels))


def differing(one: str, other: str) -> int:
    """Return the bits in which two hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def main() -> None:
    """Fit, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("siim", type=Path, metavar="SIIM")
    parser.add_argument("nih", type=Path, metavar="NIH")
    parser.add_argument("--write", action="store_true", help="store the maps in the package")
    wanted = parser.parse_args()
    radiographs = (
        siim_radiographs(wanted.siim) + nih_radiographs(wanted.nih) + phantom_radiographs(PHANTOMS)
    )
    results, maps = trials(radiographs)
    if wanted.write:
        write_maps(maps)
    print_faults(results)
    print_near_duplicates(
        [radiograph for radiograph in radiographs if radiograph.source != "phantoms"]
    )


if __name__ == "__main__":
    main()
