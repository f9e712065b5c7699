"""Fits what an upright film looks like, and counts how often each measure of a picture is right.

``python -m benchmarks.pictures SIIM NIH`` takes the SIIM-ACR files in Kaggle's layout and a folder
of NIH ChestX-ray14 files named ``PPPPPPPP_NNN.*`` (P is the patient). It fits the maps of
:mod:`pleura.data.pictures` five times, each time without a fifth of the patients, and prints for
each fault its threshold, how many of the films held out are flagged, and how many planted faults
are found. With ``--write`` it stores maps fitted to all films; the same films give the same file.
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

from pleura.data import pictures
from pleura.data.near_duplicates import (
    RADIUS,
    candidate_pairs,
    likeness,
    same_picture,
    small,
)
from pleura.data.patients import siim_patient
from pleura.data.phantom import draw_phantom
from pleura.data.phantom.anatomy import draw_person
from pleura.data.pictures import LOOK_SIDE, POSTURES, Maps, faults, look_of
from pleura.data.workers import ordered_map
from pleura.formats.atomic import atomic_path
from pleura.formats.dicom import read_radiograph

SIDE = 512
PHANTOMS = 480
FOLDS = 5
UNITS = 32
EPOCHS = 40
NETWORKS = 3
MARGINS = ("inverted", "upside-down", "rotated", "mirrored", "hard-cropped")

# Real films with a fault, found by these measures and then looked at: no false alarms. They are not
# fitted to, and nothing is planted in them.
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
class Film:
    """One film: its name, its patient, where it is from, and ``(512, 512)`` uint8 pixels."""

    name: str
    patient: str
    source: str
    pixels: Pixels


# ------------------------------------------------------------------------------- the films


def siim_films(folder: Path) -> list[Film]:
    """Return the annotated films of a folder in Kaggle's layout."""
    films = []
    for path in sorted(folder.rglob("*.dcm")):
        radiograph = read_radiograph(path)
        patient = siim_patient(path.stem)
        if patient is not None:
            films.append(Film(path.stem, patient, "siim", shrunk(radiograph.pixels)))
    return films


def nih_films(folder: Path) -> list[Film]:
    """Return the films of a folder of NIH ChestX-ray14."""
    films = []
    for path in sorted(folder.rglob("*_*.[jp][pn]g")):
        patient = path.stem.split("_")[0]
        if patient.isdecimal():
            pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            films.append(Film(path.stem, str(int(patient)), "nih", shrunk(pixels)))
    return films


def phantom_films(count: int, side: int = SIDE) -> list[Film]:
    """Return made-up films, each of a patient of its own, drawn at 128, 256 or 384 pixels."""
    pixels = ordered_map(_phantom, range(count), 0)
    return [
        Film(f"phantom {n}", f"phantom {n}", "phantoms", shrunk(own))
        for n, own in enumerate(pixels)
    ]


def _phantom(seed: int) -> Pixels:
    rng = np.random.default_rng([20, seed])
    return draw_phantom(rng, size=(128, 256, 384)[seed % 3], pneumothorax=seed % 2 == 0).pixels


def shrunk(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Pixels:
    """Return pixels at 512 x 512."""
    if pixels.dtype != np.uint8:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    how = cv2.INTER_AREA if min(pixels.shape) >= SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=how), np.uint8)


# ----------------------------------------------------------------------- faults, as planted


def turned(pixels: Pixels, posture: int, rng: np.random.Generator) -> Pixels:
    """Return a film in a posture of `POSTURES`; upside-down is a flip or half a turn."""
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
    """Return a film a little turned, scaled, shifted, trimmed and windowed."""
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
    """Return a film through a window: grey `low` becomes 0, `high` 255."""
    table = (np.arange(256) - low) * (255 / (high - low))
    return np.asarray(np.clip(table, 0, 255).astype(np.uint8)[pixels])


def burnt(pixels: Pixels) -> Pixels:
    """Return an overexposed film."""
    return leveled(pixels, 0, 255 / 2.2)


def flat(pixels: Pixels) -> Pixels:
    """Return a film with a twelfth of its contrast."""
    return np.asarray(110 + pixels // 12, np.uint8)


def framed(pixels: Pixels, level: int = 255, share: float = 0.125) -> Pixels:
    """Return a film made smaller, with a frame of one grey around it."""
    wide = max(1, round(share * len(pixels)))
    inside = cv2.resize(pixels, (len(pixels) - 2 * wide,) * 2, interpolation=cv2.INTER_AREA)
    return np.asarray(
        cv2.copyMakeBorder(inside, *([wide] * 4), cv2.BORDER_CONSTANT, value=level), np.uint8
    )


# ---------------------------------------------------------------------------------- the fit

_VERSIONS = (8, 2, 1, 1, 6, 1, 1, 1, 1, 2)  # of each posture, per film


def training_looks(film: Film) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return looks ``(n, 576)`` of varied copies of a film in all postures, and the postures."""
    rng = np.random.default_rng([21, *film.name.encode()])
    postures = np.repeat(np.arange(len(POSTURES)), _VERSIONS)
    looks = [look_of(turned(varied(film.pixels, rng), int(p), rng)) for p in postures]
    return np.array(looks), postures


def fit(looks: NDArray[np.float32], postures: NDArray[np.int64]) -> Maps:
    """Return the maps that tell the postures apart, and mirrored films from the others."""
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
    """Write what :mod:`pleura.data.pictures` reads."""
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
    """One film, untouched or with a planted fault, measured by maps that were not fitted to it."""

    film: Film
    planted: str
    picture: pictures.Picture


def trials(films: Sequence[Film]) -> tuple[list[Trial], Maps]:
    """Return every film with every fault, measured out of fold, and the maps of all films."""
    parts = ordered_map(training_looks, films, 0)
    looks, postures = zip(*parts, strict=True)
    sound = np.array([film.name not in TRULY for film in films])
    patients = np.array([film.patient for film in films])
    results: list[Trial] = []
    for kept, held in GroupKFold(FOLDS).split(patients, groups=patients):
        maps = fit_some(looks, postures, kept[sound[kept]])
        results += [trial for place in held for trial in measured(films[place], maps)]
    return results, fit_some(looks, postures, np.flatnonzero(sound))


def fit_some(
    looks: Sequence[NDArray[np.float32]],
    postures: Sequence[NDArray[np.int64]],
    places: NDArray[np.int64],
) -> Maps:
    """Return maps fitted to the films at `places`."""
    return fit(
        np.concatenate([looks[place] for place in places]),
        np.concatenate([postures[place] for place in places]),
    )


def measured(film: Film, maps: Maps) -> Iterator[Trial]:
    """Yield one film's measures: untouched, then with every fault."""
    yield Trial(film, "", pictures.measure(film.pixels, maps))
    if film.name in TRULY:
        return
    rng = np.random.default_rng([22, *film.name.encode()])
    for code, changes in PLANTED.items():
        for change in changes:
            yield Trial(film, code, pictures.measure(change(film.pixels, rng), maps))


def print_faults(results: Sequence[Trial]) -> None:
    """Print a line per fault: films flagged without need, and planted faults found."""
    print("| code | siim | nih | phantoms | planted: real films | exactly | phantoms | exactly |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for code in PLANTED:
        alarms = [flagged(results, code, source) for source in ("siim", "nih", "phantoms")]
        real = detected(results, code, ("siim", "nih"))
        made = detected(results, code, ("phantoms",))
        print(f"| `{code}` | {' | '.join(alarms)} | {real} | {made} |")
    for trial in results:
        if not trial.planted and (found := faults(trial.picture)):
            truth = " (truly)" if set(found) <= set(TRULY.get(trial.film.name, ())) else ""
            print(f"  {trial.film.source} {trial.film.name}: {', '.join(found)}{truth}")
    for code in MARGINS:
        print(f"{code}: {', '.join(largest(results, code))}")


def largest(results: Sequence[Trial], code: str) -> list[str]:
    """Return the largest margins of untouched films, which show where a threshold may lie."""
    own = [trial for trial in results if not trial.planted and trial.film.name not in TRULY]
    margins = [(getattr(t.picture, code.replace("-", "_")), t.film.name) for t in own]
    return [f"{name} {margin:.1f}" for margin, name in sorted(margins, reverse=True)[:10]]


def flagged(results: Sequence[Trial], code: str, source: str) -> str:
    """Return how many untouched films of a source have a code that is not true of them."""
    own = [trial for trial in results if trial.film.source == source and not trial.planted]
    wrong = [
        trial
        for trial in own
        if code in faults(trial.picture) and code not in TRULY.get(trial.film.name, ())
    ]
    return f"{len(wrong)} / {len(own)}"


def detected(results: Sequence[Trial], code: str, sources: Sequence[str]) -> str:
    """Return the shares of planted faults that are found, and found with nothing beside them."""
    own = [trial for trial in results if trial.film.source in sources and trial.planted == code]
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


def print_near_duplicates(films: Sequence[Film]) -> None:
    """Print how far apart copies and other films are, by hash and by pixels."""
    hashes = [pictures.measure(film.pixels).hash for film in films]
    print("| copies | bits, median | 99 % | proposed | and confirmed |")
    print("| --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(23)
    some = list(range(0, len(films), 3))
    for name, change in COPIES.items():
        copies = [change(films[place].pixels, rng) for place in some]
        bits = [
            differing(pictures.measure(copy).hash, hashes[place])
            for copy, place in zip(copies, some, strict=True)
        ]
        same = [
            same_picture(copy, films[place].pixels)
            for copy, place in zip(copies, some, strict=True)
        ]
        near = np.array(bits) <= RADIUS
        print(
            f"| {name} | {np.median(bits):.0f} | {np.quantile(bits, 0.99):.0f} "
            f"| {near.mean():.1%} | {(near & same).mean():.1%} |"
        )
    print_others("pairs of different real films", films, hashes)
    print_others("pairs of different phantoms", *person_films(60, 1))
    print_others("pairs of phantoms of 20 people", *person_films(20, 3))


def print_others(what: str, films: Sequence[Film], hashes: Sequence[str]) -> None:
    """Print how many pairs of different films are proposed, and how many are taken for one."""
    bits = [differing(one, other) for place, one in enumerate(hashes) for other in hashes[:place]]
    pairs = candidate_pairs(hashes)
    patients = [
        (a, b) for a, film in enumerate(films) for b in range(a) if film.patient == films[b].patient
    ]
    wrong = [(a, b) for a, b in pairs if same_picture(films[a].pixels, films[b].pixels)]
    alike = [likeness_of(films[a], films[b]) for a, b in {*patients, *pairs}]
    print(
        f"{what}: {len(bits)}, of them {len(patients)} of one patient; nearest {min(bits)} bits; "
        f"{len(pairs)} proposed, {len(wrong)} confirmed; greatest likeness "
        f"{max(alike, default=0):.2f}"
    )
    for a, b in wrong:
        print(f"  {films[a].name} and {films[b].name}")


def person_films(people: int, films: int) -> tuple[list[Film], list[str]]:
    """Return phantoms, `films` of each person, and their hashes."""
    made = []
    for number in range(people):
        rng = np.random.default_rng([24, number])
        person = draw_person(rng)
        for _ in range(films):
            drawn = draw_phantom(rng, size=256, pneumothorax=False, person=person)
            made.append(Film(f"{number}", f"{number}", "phantoms", shrunk(drawn.pixels)))
    return made, [pictures.measure(film.pixels).hash for film in made]


def likeness_of(one: Film, other: Film) -> float:
    """Return the correlation that decides whether two films are the same."""
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
    films = siim_films(wanted.siim) + nih_films(wanted.nih) + phantom_films(PHANTOMS)
    results, maps = trials(films)
    if wanted.write:
        write_maps(maps)
    print_faults(results)
    print_near_duplicates([film for film in films if film.source != "phantoms"])


if __name__ == "__main__":
    main()
