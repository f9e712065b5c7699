"""Looking for near-duplicates: all pairs of hashes, against bands of their bits.

``python -m benchmarks.near_duplicates`` prints, in half a minute, the time of bands over that of
all pairs, in seconds of the processor, and how many pairs bands leave. Two hashes that differ in at
most `RADIUS` bits agree in one of ``RADIUS + 1`` bands at least, so bands lose nothing. With fewer
bands, two agree but for ``RADIUS // bands`` bits in one of them. Random hashes are the best case
for bands: those of real radiographs, where there are any, are nearer to one another.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.data.files import dicom_files
from pleura.dicom.radiograph import open_radiograph
from pleura.pictures.measures import measure
from pleura.pictures.near_duplicates import RADIUS, _distances, _proposals, _words

REAL = Path(__file__).parents[2] / "shared/data"
BITS = 256
BANDS = (RADIUS + 1, 31, 16, 8, 4)

Words = NDArray[np.uint64]


def hashes_of(count: int) -> Words:
    """Return hashes of which one in fifty is a near-duplicate of another."""
    words = np.random.default_rng(count).integers(0, 2**64, (count, 4), np.uint64)
    words[-count // 50 :] = words[: count // 50 + (count % 50 > 0)] ^ np.uint64(7)
    return words


def all_pairs(words: Words) -> int:
    """Return how many pairs pleura finds."""
    return sum(len(near) for _, near in _proposals(words, []))


def by_bands(words: Words) -> int:
    """Return how many pairs are found by confirming those that share a band."""
    bands = band_values(words)
    buckets: list[dict[int, list[int]]] = [{} for _ in bands]
    found, wanted = 0, np.zeros(len(words), bool)
    for place in range(len(words)):
        for bucket, values in zip(buckets, bands, strict=True):
            members = bucket.setdefault(int(values[place]), [])
            wanted[members] = True
            members.append(place)
        near = np.flatnonzero(wanted)
        found += int((_distances(words[place : place + 1], words[near])[0] <= RADIUS).sum())
        wanted[:] = False
    return found


def bits_of(words: Words) -> NDArray[np.int16]:
    """Return hashes as bits."""
    return np.unpackbits(words.view(np.uint8).reshape(-1, BITS // 8), axis=1).astype(np.int16)


def band_values(words: Words) -> list[NDArray[np.int64]]:
    """Return the number that each band of each hash spells."""
    parts = np.array_split(bits_of(words), RADIUS + 1, axis=1)
    return [part @ (1 << np.arange(part.shape[1])) for part in parts]


def left(words: Words, bands: int) -> float:
    """Return the share of pairs that are near in one of so many bands, and so must be confirmed."""
    near = np.zeros((len(words), len(words)), bool)
    for part in np.array_split(bits_of(words), bands, axis=1):
        near |= part @ (1 - part).T + (1 - part) @ part.T <= RADIUS // bands
    return float(near[np.triu_indices(len(words), 1)].mean())


def seconds(find: Callable[[Words], int], words: Words) -> tuple[float, int]:
    begun = time.process_time()
    found = find(words)
    return time.process_time() - begun, found


def report() -> Iterator[str]:
    for count in (5_000, 20_000):
        words = hashes_of(count)
        (plain, pairs), (banded, same) = seconds(all_pairs, words), seconds(by_bands, words)
        assert pairs == same == count // 50
        yield f"{count:,} hashes: all pairs {plain:.2f} s, bands {banded / plain:.1f} times that"
    sets = {"random": hashes_of(500)}
    if REAL.is_dir():
        found = [measure(open_radiograph(path).radiograph.pixels) for path in dicom_files(REAL)]
        sets["real"] = _words([picture.hash for picture in found if not picture.blank])
    for name, words in sets.items():
        shares = ", ".join(f"{bands}: {left(words, bands):.1%}" for bands in BANDS)
        yield f"{len(words):,} {name} hashes, pairs left by so many bands: {shares}"


if __name__ == "__main__":
    print(*report(), sep="\n")
