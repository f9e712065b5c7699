"""Commands that are killed at random moments: the same command then comes to the same results.

Seeded, and as many kills as the time allows.
"""

import itertools
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from pleura.config import Run, parse
from tests import kagglehub_stand_in as stand_in

pytestmark = pytest.mark.slow

SECONDS = 10.0
"""What the kills of one command may take, about, the unbroken run aside."""

TINY = (
    "--set network.name=cnn --set network.width=2 --set network.depth=2 --set train.batch=4"
    " --set train.epochs=3"
)
MADE = re.compile(rb'[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} UTC|"seconds": [0-9.]+')
GROWS = ("history.jsonl", "trials.csv")
"""What gets lines while a command runs: a kill leaves the first of them."""
SO_FAR = "best.toml"
"""What a search writes anew after each trial: a kill leaves the best of those that ended."""
ONLY_INTO_NEW = {"phantom", "simulate", "convert"}
"""Once such a command is done, the same one refuses: a folder is theirs alone."""

SEARCH = """
[network]
name = "cnn"
width = 2
depth = 2
[train]
epochs = 1
batch = 8
folds = 2
[tune]
trials = 2
[tune.space]
"train.loss" = ["bce", "bce_dice"]
"""

RUN = """
[data]
path = "data"
[prepare]
size = 64
[network]
name = "cnn"
width = 2
depth = 2
[train]
epochs = 1
batch = 8
[predict]
answer_flagged = true
"""

FETCHING = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import pytest
from pleura.cli.app import main
from pleura.fetch.kaggle import DATASET
from tests import kagglehub_stand_in as stand_in
with pytest.MonkeyPatch.context() as changed:
    kaggle = stand_in.install(changed, Path("cache").resolve())
    kaggle.things[DATASET] = Path("published").resolve()
    main()
"""
"""`pleura fetch` of what lies in `published`, and in kagglehub's cache since the first time."""


def pleura(*arguments: object) -> list[str]:
    code = "from pleura.cli.app import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def done(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with radiographs, a prepared folder and a model."""
    folder = tmp_path_factory.mktemp("work")
    phantoms = ["--train", 12, "--test", 3, "--size", 128, "--seed", 1, "--workers", 1]
    (folder / "search.toml").write_text(SEARCH)
    (folder / "run.toml").write_text(RUN)
    many = {f"dicom-images-train/1.{n}/1.{n}.1/{n}.dcm": f"{n}" * 1000 for n in range(400)}
    stand_in.write_files(folder / "published", stand_in.STAGE_1 | many)
    for command in (
        ["phantom", "data", *phantoms],
        ["prepare", "data", "--out", "prepared", "--size", 64],
        ["train", "prepared", "--out", "one", *TINY.split()],
    ):
        ran = done(pleura(*command), folder)
        assert ran.returncode == 0, ran.stderr
    return folder


COMMANDS = {
    "phantom": "phantom OUT --train 12 --size 128 --seed 1",
    "audit": "audit data --out OUT",
    "folds": "folds data --k 2 --out OUT/folds.csv",
    "gallery": "gallery data --out OUT/gallery.png",
    "prepare": "prepare data --out OUT --size 64",
    "train": f"train prepared --out OUT --resume {TINY}",
    "train folds": f"train prepared --out OUT --folds 2 --resume {TINY}",
    "run": "run run.toml --set out=OUT",
    "fetch": "fetch siim --out OUT",
    "tune": "tune prepared --run search.toml --out OUT",
    "simulate": "simulate data/dicom-images-test --out OUT --count 2 --size 256 --seed 1",
    "predict": "predict one/model.h5 data --out OUT --worklist --overlays --dicom all"
    " --answer-flagged",
    "evaluate": "evaluate one/model.h5 prepared --report OUT/page.html --per-image OUT/images.csv",
    "export": "export one/model.h5 --to openvino --out OUT/m.xml",
    "ensemble": "ensemble one/model.h5 --tta --out OUT/m.h5",
    "convert": "convert data/train-rle.csv --to png --images data --out OUT/masks",
}


def command_of(name: str, out: str) -> list[str]:
    command = pleura(*COMMANDS[name].replace("OUT", out).split())
    return [command[0], "-c", FETCHING, *command[3:]] if name == "fetch" else command


def results(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder by their paths, without when and how fast they were made."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): MADE.sub(b"", path.read_bytes()) for path in files}


def is_whole(path: str, left: bytes, whole: bytes) -> bool:
    """Return whether a file is as at the end, or what such a file is while a command runs."""
    if path.endswith(SO_FAR):
        return parse(Run, tomllib.loads(left.decode()), path).tune is not None
    if not path.endswith(GROWS):
        return left == whole
    return whole.startswith(left) and left[-1:] in (b"", b"\n")


def kill(command: list[str], folder: Path, delay: float) -> None:
    child = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.wait()


@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_killed_is_finished_by_the_same_command(work, name):
    begun = time.monotonic()
    for out in ("whole", "again", "killed"):
        shutil.rmtree(work / out, ignore_errors=True)
        (work / out).mkdir()
    first = done(command_of(name, "whole"), work)
    took = time.monotonic() - begun
    assert first.returncode in (0, 3), first.stderr
    second = done(command_of(name, "again"), work)
    assert second.returncode == first.returncode
    whole, again = results(work / "whole"), results(work / "again")
    assert whole.keys() == again.keys()
    same = {path for path, content in whole.items() if content == again[path]}  # no times in it
    rng, killing = random.Random(name), time.monotonic()
    for count in itertools.count():
        if count and time.monotonic() - killing + 2 * took > SECONDS:
            break
        kill(command_of(name, "killed"), work, took * rng.uniform(0.25, 1.05))
        left = results(work / "killed")
        half = [p for p in same & left.keys() if not is_whole(p, left[p], whole[p])]
        assert not half, "what bears its name is whole"
        if left.keys() == whole.keys() and name in ONLY_INTO_NEW:
            continue
        finished = done(command_of(name, "killed"), work)
        assert finished.returncode == first.returncode, finished.stderr
        found = results(work / "killed")
        assert found.keys() == whole.keys()
        assert [path for path in same if found[path] != whole[path]] == []
        shutil.rmtree(work / "killed")
        (work / "killed").mkdir()
