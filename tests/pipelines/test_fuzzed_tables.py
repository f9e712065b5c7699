"""Tables and settings that people write, changed at random: read, or refused in one sentence.

Nothing seals them, so a changed one may be read as another. No other error than pleura's comes of
it, none takes long, and none takes much memory.
"""

import gzip
import random
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pleura import config
from pleura.data.fold_table import read_folds
from pleura.data.manifest import read_manifest
from pleura.data.patients import read_patients
from pleura.formats.annotation_table import read_annotations
from pleura.formats.image_table import read_image_table
from pleura.formats.labels import read_labels
from tests.damage import damaged, refusals, trials

pytestmark = pytest.mark.slow

SECONDS = 3.0
MOST_S = 10.0
MOST_KIB = 512 * 1024

SETTINGS = b"""out = "out"
[data]
path = "siim"
rle = "relative"
[network]
name = "unet"
width = 16
[train]
epochs = 3
positive_fraction = 0.5
progressive_sizes = [64, 128]
[predict]
operating_point = "sensitive"
worklist = true
"""
ANNOTATIONS = b"ImageId, EncodedPixels\n1.2.3,-1\n1.2.4,0 2 5 7\n1.2.4, 900 12\nr\xc3\xa9, 17 3\n"
FOLDS = b"image_id,fold,group\n1.2.3,0,a\n1.2.4,1,b\n1.2.5,2,c\n1.2.6,0,a\n"
LABELS = b'Image Index,Pneumothorax,sex,age\na.png,1,F,031Y\n"b.png",0,M,77\nc.png,,F,\n'
IMAGES = b"ImageId,kind\n1.2.3,drain\n1.2.4, fold of skin \n1.2.5,\n"
PATIENTS = b"ImageId;patient\n1.2.3;p1\n1.2.4;p1\n1.2.5;p2\n"


def labels(path: Path) -> object:
    return read_labels(config.Labels(table=str(path), id="Image Index", columns=["Pneumothorax"]))


def images(path: Path) -> object:
    return read_image_table(path, "kind")


READERS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "run.toml": (SETTINGS, config.load_run),
    "train-rle.csv": (ANNOTATIONS, read_annotations),
    "folds.csv": (FOLDS, read_folds),
    "labels.csv": (LABELS, labels),
    "images.csv": (IMAGES, images),
    "patients.csv": (PATIENTS, read_patients),
}


def larger(content: bytes, rng: random.Random) -> bytes:
    """Return a content in which one place is far longer than anybody writes."""
    place, many = rng.randrange(len(content)), rng.choice((300, 70_000, 2_000_000))
    piece = rng.choice((b'"', b",", b"9", b"[", b"\n", b" ", b"x,1\n", b"a.", b"\xff", b"\0"))
    return content[:place] + piece * (many // len(piece)) + content[place:]


def changed(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = damaged(content, rng) or b"\n"
    return larger(content, rng) if rng.random() < 0.05 else content


@pytest.fixture
def bounded():
    """Hold each test to memory, and each file to time."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"a file took more than {MOST_S} s")

    before, earlier = most_kib(), signal.signal(signal.SIGALRM, too_long)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, MOST_S)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, earlier)
    assert most_kib() - before < MOST_KIB


def most_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", [*READERS, "labels.csv.gz", "patients.csv.gz"])
def test_what_people_write(tmp_path, bounded, name):
    content, read = READERS[name.removesuffix(".gz")]
    packed = name.endswith(".gz")
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if packed else content)
    read(path)  # it is sound
    count = 0
    for rng in trials(SECONDS, 3000):
        if packed and rng.random() < 0.5:
            path.write_bytes(changed(gzip.compress(content), rng))
        else:
            inner = changed(content, rng)
            path.write_bytes(gzip.compress(inner, 1) if packed else inner)
        bounded()
        # A table of settings is told of several faults at once.
        with refusals(4000 if name == "run.toml" else 600) as told:
            read(path)
        count += bool(told)
    assert count > 5, "much of it is refused"


def test_manifests(small_prepared, tmp_path, bounded):
    """They are sealed: read as before, or refused."""
    path = tmp_path / "manifest.json"
    content = (small_prepared.path / path.name).read_bytes()
    path.write_bytes(content)
    whole = read_manifest(tmp_path)
    for rng in trials(SECONDS, 3000):
        path.write_bytes(changed(content, rng))
        bounded()
        with refusals():
            assert read_manifest(tmp_path) == whole
