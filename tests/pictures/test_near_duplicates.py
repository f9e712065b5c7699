import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.dicom.radiograph import read_radiograph
from pleura.pictures import near_duplicates
from pleura.pictures.measures import measure
from pleura.pictures.near_duplicates import (
    RADIUS,
    candidate_pairs,
    clusters,
    find_clusters,
    same_picture,
    small,
)
from pleura.synthesis.phantom import draw_phantom
from pleura.synthesis.phantom.anatomy import draw_person

SIDE = 256
BITS = 256


@pytest.fixture(scope="module")
def radiographs() -> list[np.ndarray]:
    """Two radiographs of each of three people."""
    made = []
    for seed in range(3):
        rng = np.random.default_rng([31, seed])
        person = draw_person(rng)
        for _ in range(2):
            made.append(draw_phantom(rng, size=SIDE, pneumothorax=True, person=person).pixels)
    return made


def jpeg(pixels, quality):
    code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)


def leveled(pixels, low, high):
    return np.clip((pixels - float(low)) * 255 / (high - low), 0, 255).astype(np.uint8)


COPIES = {
    "same": lambda pixels: pixels,
    "jpeg": lambda pixels: jpeg(pixels, 30),
    "half": lambda pixels: cv2.resize(pixels, (128, 128), interpolation=cv2.INTER_AREA),
    "larger": lambda pixels: cv2.resize(pixels, (600, 500), interpolation=cv2.INTER_CUBIC),
    "window": lambda pixels: leveled(pixels, 20, 220),
    "gamma": lambda pixels: (255 * (pixels / 255) ** 0.6).astype(np.uint8),
    "sixteen bits": lambda pixels: pixels.astype(np.uint16) * 257,
    "trimmed": lambda pixels: pixels[6:, 3:-7],
    "framed": lambda pixels: cv2.copyMakeBorder(pixels, 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=255),
}


def as_hash(bits):
    return np.packbits(bits).tobytes().hex()


def find(pictures):
    """Return the clusters of pixels, and the places that were read."""
    read = []

    def shrunk(path):
        read.append(int(path))
        return small(pictures[int(path)])

    paths = [str(place) for place in range(len(pictures))]
    hashes = [measure(picture).hash for picture in pictures]
    return find_clusters(hashes, paths, shrunk), read


# ----------------------------------------------------------------------------- candidates


@st.composite
def hash_lists(draw):
    """Hashes of which some are near one another."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    hashes = [rng.random(BITS) < 0.5 for _ in range(draw(st.integers(0, 5)))]
    for base in list(hashes):
        for bits in draw(st.lists(st.integers(0, 2 * RADIUS), max_size=4)):
            flipped = base.copy()
            flipped[rng.permutation(BITS)[:bits]] ^= True
            hashes.append(flipped)
    order = rng.permutation(len(hashes))
    return [as_hash(hashes[place]) for place in order]


@given(hash_lists(), st.integers(1, 5))
@settings(max_examples=60)
def test_candidates_are_those_of_a_plain_loop(hashes, block):
    expected = [
        (a, b)
        for a, b in itertools.combinations(range(len(hashes)), 2)
        if (int(hashes[a], 16) ^ int(hashes[b], 16)).bit_count() <= RADIUS
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_BLOCK", block)
        assert candidate_pairs(hashes) == expected


@given(hash_lists(), st.randoms(use_true_random=False))
def test_candidates_do_not_depend_on_the_order(hashes, random):
    order = list(range(len(hashes)))
    random.shuffle(order)
    shuffled = candidate_pairs([hashes[place] for place in order])
    again = {tuple(sorted((order[a], order[b]))) for a, b in shuffled}
    assert again == set(candidate_pairs(hashes))


# ------------------------------------------------------------------------------- clusters


@given(st.integers(0, 30).flatmap(lambda n: st.tuples(st.just(n), pair_lists(n))))
def test_clusters_are_the_connected_components(case):
    count, pairs = case
    found = clusters(pairs, count)
    members = [place for cluster in found for place in cluster]
    assert len(members) == len(set(members))
    assert all(len(cluster) > 1 and list(cluster) == sorted(cluster) for cluster in found)
    assert [cluster[0] for cluster in found] == sorted(cluster[0] for cluster in found)
    assert set(members) == {place for a, b in pairs if a != b for place in (a, b)}
    number = {place: n for n, cluster in enumerate(found) for place in cluster}
    assert all(number[a] == number[b] for a, b in pairs if a != b)
    # No finer partition will do: the pairs reach every member from the first.
    for cluster in found:
        reached = {cluster[0]}
        for _ in cluster:
            reached |= {x for pair in pairs if reached & set(pair) for x in pair}
        assert reached == set(cluster)


def pair_lists(count):
    if count == 0:
        return st.just([])
    place = st.integers(0, count - 1)
    return st.lists(st.tuples(place, place), max_size=20)


# ------------------------------------------------------------------------------ the pixels


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_the_same_picture(radiographs, copy):
    for pixels in radiographs[::2]:
        assert same_picture(pixels, COPIES[copy](pixels))
        assert same_picture(COPIES[copy](pixels), pixels)


def test_other_radiographs_are_not_even_of_the_same_person(radiographs):
    assert not any(same_picture(a, b) for a, b in itertools.combinations(radiographs, 2))


def test_blank_pictures_are_not_the_same(radiographs):
    blank = np.full((64, 64), 7, np.uint8)
    assert not same_picture(blank, blank)
    assert not same_picture(blank, radiographs[0])
    assert not same_picture(radiographs[0], blank)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (40, 3)])
def test_odd_shapes_are_compared(shape, radiographs):
    odd = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert not same_picture(odd, radiographs[0])


# ---------------------------------------------------------------------------- all together


def test_copies_are_clustered_and_other_radiographs_are_not_read(radiographs):
    copied = [COPIES[name](radiographs[0]) for name in ("jpeg", "window", "half")]
    pictures = [
        *radiographs[:3],
        copied[0],
        radiographs[4],
        copied[1],
        jpeg(radiographs[4], 60),
        copied[2],
    ]
    found, read = find(pictures)
    assert found == [(0, 3, 5, 7), (4, 6)]
    assert set(read) >= {0, 3, 4, 5, 6, 7}
    assert len(read) == len(set(read))


def test_nothing_at_all():
    assert find([]) == ([], [])


def test_many_copies_are_each_read_and_compared_once(radiographs, monkeypatch):
    compared = []

    def alike(a, b):
        compared.append(1)
        return True

    monkeypatch.setattr(near_duplicates, "_alike", alike)
    monkeypatch.setattr(near_duplicates, "_KEPT", 16)
    count = 400
    read = []
    hashes = [measure(radiographs[0]).hash] * count
    found = find_clusters(
        hashes, list(map(str, range(count))), lambda path: read.append(path) or radiographs[0]
    )
    assert found == [tuple(range(count))]
    assert len(compared) == count - 1
    assert len(read) == count


def test_many_blank_pictures_are_compared_with_a_few_each(monkeypatch):
    blank = np.zeros((32, 32), np.uint8)
    compared = []
    monkeypatch.setattr(near_duplicates, "_alike", lambda a, b: compared.append(1))
    count = 60
    hashes = [measure(blank).hash] * count
    assert find_clusters(hashes, [""] * count, lambda path: blank) == []
    assert len(compared) <= count * near_duplicates.TRIES


# ----------------------------------------------------------------------------- real radiographs


def test_real_radiographs_of_one_patient_are_no_near_duplicates(real_data):
    """Thirteen of these 71 radiographs are of one patient."""
    folder = real_data / "siim" / "dicom-images-train"
    pictures = [read_radiograph(path).pixels for path in sorted(folder.rglob("*.dcm"))]
    found, read = find([*pictures, jpeg(pictures[7], 40)])
    assert found == [(7, len(pictures))]
    assert len(set(read)) <= 12
