"""The shell blocks of README, tutorial and how-to: a reader who types them gets what they promise.

They run in bash, one after the other, in a folder that holds what the page says one needs, on a few
small phantoms. What needs another machine or a service is in `NOT_RUN`; its words are still parsed.
"""

import itertools
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import typer

import pleura
from pleura.cli.app import execute
from pleura.data.arrays import Prepared
from pleura.evaluation import paper
from pleura.models import shipped
from pleura.models.bundle import read_bundle
from pleura.synthesis.phantom import write_cohort
from tests.contracts.test_docs import COMMAND, PAGES, ROOT, fences, named
from tests.page_shell import run_script

FOLLOWED = [ROOT / "README.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]
FOLLOWED += [ROOT / "docs/index.md", *sorted((ROOT / "docs/tutorial").glob("*.md"))]
WITH_BLOCKS = [page for page in FOLLOWED if fences(page, "sh")]

NOT_RUN: Mapping[str, str] = {
    "make demo": "a new environment; tests/stages has the demo",
    "pip install": "packages come from elsewhere",
    "python3 -m pip wheel": "packages come from elsewhere",
    "python3 -m venv": "packages come from elsewhere",
    ".venv/bin/pip": "packages come from elsewhere",
    "try/bin/": "packages come from elsewhere",
    ". .venv/bin/activate": "packages come from elsewhere",
    "pleura fetch": "Kaggle is elsewhere; tests/fetch has a stand-in",
    "pleura predict s3://": "a store and Ray; tests/remote and tests/cluster have both",
    "pleura predict model.h5 s3://": "a store and Ray; tests/cli has results at addresses",
    "pleura evaluate --predictions s3://": "a store; tests/cli has the folder of a job in one",
    "pleura predict 'dicomweb+": "a PACS is elsewhere; tests/cli has one",
    "pleura audit s3://": "a store and Ray; tests/cli has the one, tests/data both",
    "pleura prepare s3://": "a store and Ray; tests/cli has the one, tests/data both",
    "pleura simulate s3://": "a store and Ray; tests/synthesis has both",
    "pleura evaluate model.h5 s3://": "a store and Ray; tests/stages has both",
    "aws s3 cp --recursive prepared": "a store is elsewhere; tests/cli has one",
    "pleura train s3://": "a store is elsewhere; tests/cli has one",
    "pleura tune prepared --run runs/tune.toml --out study --study": "a database is elsewhere; "
    "tests/cli has a file in its place",
    "torchrun --nnodes": "further machines; tests/training has two processes",
    "pleura predict --watch": "goes on until Ctrl-C; tests/cli ends it",
    "pleura train prepared --set network.name=efficientnet --set train.init_from": "a tiny model "
    "stands in for the one that comes with pleura; tests/models/test_shipped.py begins with it",
    "pleura evaluate --predictions new/out_of_fold.csv": "the shelf's masks are of other images; "
    "tests/stages pairs both",
    "echoscu": "a PACS is elsewhere",
    "storescp": "a PACS is elsewhere",
    "storescu": "a PACS is elsewhere",
}
"""How the lines begin that no test can run, and why."""

LAUNCHER = re.compile(r"^torchrun .*-m pleura ")
"""Starts pleura on several GPUs; here it is one process."""

SMALLER: Mapping[str, str] = {
    "--size": "64",
    "--image-size": "96x96",
    "--train": "20",
    "--test": "4",
    "--folds": "2",
}
"""Values that stand in for those of a page, to save time."""

_TINY = ("train.epochs=1", "network.width=4", "network.depth=2")
SHORTER: Mapping[str, tuple[str, ...]] = {
    "train": tuple(word for text in _TINY for word in ("--set", text)),
    "run": tuple(
        word
        for text in (*_TINY, "prepare.size=64", "prepare.workers=1", "predict.workers=1")
        for word in ("--set", text)
    ),
    **dict.fromkeys(("prepare", "predict", "phantom"), ("--workers", "1")),
}
"""What is added to a command, likewise: short trainings, and no further processes to start."""

GIVEN: Mapping[str, str] = {
    "README.md": "radiograph.dcm siim FOLDER=siim runs",
    "first-model.md": "",
    "compare.md": "new/model.h5 old/model.h5 prepared ours.csv theirs.csv labels.csv patients.csv "
    "ours theirs masks old.toml new.toml",
    "fetch.md": "siim",
    "index.md": "",
    "image-labels.md": "nih siim-320",
    "judge.md": "predictions nnunet-output labelsTs submission.csv stage_2_train.csv xrv.csv masks "
    "scores.csv Data_Entry_2017.csv coco.json patients.csv masks.zip segmentations radiographs",
    "kaggle.md": "prepared model=new submission.csv stage_2_train.csv",
    "masks.md": "radiographs masks coco.json t.csv predictions",
    "own-data.md": "images masks patients.csv new-images",
    "pacs.md": "FOLDER",
    "plan.md": "",
    "several-gpus.md": "prepared runs",
    "ship.md": "prepared runs FOLDER",
}
"""What a page says that its reader has, by the names that it uses; NAME=OTHER is one as OTHER."""

NOTHING_RUNS = {"clusters.md", "many-machines.md"}
QUICK = {"index.md", "plan.md"}


def commands(page: Path) -> list[str]:
    """Return the lines of a page's shell blocks, each with what continues it."""
    blocks = "\n".join(fences(page, "sh")).replace("\\\n", " ")
    return [line for line in blocks.splitlines() if line.strip() and not line.startswith("#")]


def not_run(line: str) -> bool:
    return line.startswith(tuple(NOT_RUN))


def smaller(words: list[str]) -> list[str]:
    """Return a command that does the same to less, or for a shorter time."""
    said = [SMALLER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    return [*said, *SHORTER.get(words[0], ())]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_of_a_shell_block_parses(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(re.sub(r" > \S+$", "", line), comments=True)
        launched = "-m" in words and words[words.index("-m") + 1] == "pleura"
        if launched:
            words = words[words.index("-m") + 1 :]
        if Path(words[0]).name != "pleura":
            continue
        verb, *rest = words[1:]
        try:
            COMMAND.commands[verb].make_context(verb, rest)
        except typer.TyperException as error:
            pytest.fail(f"{line}: {error.format_message()}")


def test_each_line_that_is_not_run_stands_on_a_page() -> None:
    lines = [line for page in WITH_BLOCKS for line in commands(page)]
    assert [start for start in NOT_RUN if not any(line.startswith(start) for line in lines)] == []
    assert set(GIVEN) | NOTHING_RUNS == {page.name for page in WITH_BLOCKS}
    for page in WITH_BLOCKS:
        run = [line for line in commands(page) if "pleura " in line and not not_run(line)]
        assert bool(run) == (page.name not in NOTHING_RUNS), page


def test_a_page_names_the_size_that_the_model_wants() -> None:
    size = read_bundle(shipped.DEFAULT).preprocessing.size
    text = (ROOT / "docs/how-to/own-data.md").read_text()
    assert f"It wants {size} pixels" in text
    assert f" --size {size} --out prepared-{size}" in text


def _png(pixels: np.ndarray) -> bytes:
    return imagecodecs.png_encode(np.ascontiguousarray(pixels, np.uint8))


def _table(path: Path, head: str, rows: list[str]) -> None:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def shelf(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, small_prepared: Prepared
) -> Path:
    """All that pages say their readers have: one small cohort in many forms, and tiny models."""
    shelf = tmp_path_factory.mktemp("shelf")
    cohort = shelf / "siim"
    write_cohort(cohort, train=30, test=4, seed=7, size=96, prevalence=0.5, clean=True, workers=1)
    table = pleura.read_annotations(cohort / "train-rle.csv")
    folders = "radiographs images masks ours theirs nih new-images FOLDER new old"
    for name in folders.split():
        (shelf / name).mkdir()
    names, labels, scores = {}, {}, {}
    masks: list[str] = []
    for number, path in enumerate(sorted((cohort / "dicom-images-train").rglob("*.dcm"))):
        radiograph, name = pleura.read_radiograph(path), f"case{number:03d}"
        mask = table.mask(radiograph.id, radiograph.pixels.shape)
        names[radiograph.id], labels[name] = name, int(mask.any())
        scores[name] = round(0.2 + 0.5 * mask.any() + 0.02 * (number % 7), 3)
        masks.append(f"{name}.dcm,{pleura.mask2rle(mask, form='absolute')}")
        shutil.copy(path, shelf / f"radiographs/{name}.dcm")
        picture, drawn = _png(radiograph.pixels), np.where(mask, 255, 0).astype(np.uint8)
        (shelf / f"images/{name}.png").write_bytes(picture)
        (shelf / f"nih/{number:08d}_000.png").write_bytes(picture)
        (shelf / f"masks/{name}.png").write_bytes(_png(drawn))
        (shelf / f"theirs/{name}.png").write_bytes(_png(drawn))
        grown = cv2.dilate(drawn, np.ones((5, 5), np.uint8))
        (shelf / f"ours/{name}.png").write_bytes(_png(grown))
    for path in sorted((cohort / "dicom-images-test").rglob("*.dcm")):
        shutil.copy(path, shelf / "FOLDER")
    shutil.copy(shelf / "radiographs/case000.dcm", shelf / "radiograph.dcm")
    shutil.copy(shelf / "images/case000.png", shelf / "new-images/new.png")
    _table(shelf / "t.csv", "file,runs", masks)
    rows = [line.split(",") for line in (cohort / "patients.csv").read_text().splitlines()[1:]]
    _table(
        shelf / "patients.csv",
        "ImageId,patient",
        [f"{names[key]},{patient}" for key, patient in rows if key in names],
    )
    _table(shelf / "labels.csv", "ImageId,pneumothorax", [f"{k},{v}" for k, v in labels.items()])
    for name in ("ours", "theirs", "scores"):
        _table(shelf / f"{name}.csv", "ImageId,score", [f"{k},{v}" for k, v in scores.items()])
    said = [(f"{n:08d}_000.png", label) for n, label in enumerate(labels.values())]
    _table(
        shelf / "Data_Entry_2017.csv",
        "Image Index,Finding Labels",
        [f"{name},{'Effusion|Pneumothorax' if label else 'No Finding'}" for name, label in said],
    )
    _table(
        shelf / "xrv.csv",
        "Image Index,Pneumothorax",
        [f"{name},{0.3 + 0.4 * label}" for name, label in said],
    )
    _table(
        shelf / "nih/labels.csv",
        "image,adjudicated,pneumothorax,boxes",
        [f"{name},{label},{label},{'200 200 300 300' * label}" for name, label in said],
    )
    shutil.copy(cohort / "train-rle.csv", shelf / "stage_2_train.csv")
    shutil.copy(cohort / "train-rle.csv", shelf / "submission.csv")
    for to, out in (("coco", "coco.json"), ("nifti", "labelsTs"), ("nifti", "nnunet-output")):
        convert = ["convert", str(shelf / "masks"), "--to", to]
        assert execute([*convert, "--out", str(shelf / out)]) == 0
    to_seg = ["convert", str(shelf / "masks"), "--to", "seg", "--images", f"{shelf}/radiographs"]
    assert execute([*to_seg, "--out", str(shelf / "segmentations")]) == 0
    with zipfile.ZipFile(shelf / "masks.zip", "w") as archive:
        for uid, name in names.items():
            archive.write(shelf / f"masks/{name}.png", f"{uid}.png")
    for model in ("new", "old"):
        shutil.copy(tiny_model, shelf / model / "model.h5")
    for name in ("prepared", "siim-320"):
        shutil.copytree(small_prepared.path, shelf / name)
    shutil.copytree(ROOT / "runs", shelf / "runs")
    for name, loss in (("old", "bce"), ("new", "bce_dice")):
        (shelf / f"{name}.toml").write_text(f'[train]\nloss = "{loss}"\n')
    predict = ["predict", str(tiny_model), str(shelf / "radiographs"), "--workers", "1"]
    assert execute([*predict, "--out", str(shelf / "predictions")]) in (0, 3)
    return shelf


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """A function from the names of things to a folder that holds them."""

    def laid(names: str) -> Path:
        folder = tmp_path / "desk"
        folder.mkdir()
        for name in names.split():
            called, _, same = name.partition("=")
            there = request.getfixturevalue("shelf") / (same or called)
            here = folder / called
            here.parent.mkdir(exist_ok=True)
            (shutil.copytree if there.is_dir() else shutil.copy)(there, here)
        return folder

    return laid


def make_smaller(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tiny models stand in for those that come with pleura; draw each figure in one form."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    for name in shipped.names():
        shutil.copy(tiny_model, folder / f"{name.removeprefix(shipped.PREFIX)}.h5")
    monkeypatch.setattr(shipped, "FOLDER", folder)
    monkeypatch.setattr(paper, "_FORMATS", ("svg",))


def promised(words: tuple[str, ...]) -> list[str]:
    """Return the files and folders that a command says it will write."""
    named = {"--out", "--report", "--figures", "--per-image", "--checklist"}
    return [word for before, word in itertools.pairwise(words) if before in named]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page.name in QUICK else pytest.mark.slow, id=named(page))
        for page in WITH_BLOCKS
        if page.name not in NOTHING_RUNS
    ],
)
def test_a_reader_follows_a_page(
    page: Path,
    desk: Callable[[str], Path],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = desk(GIVEN[page.name])
    if page.name not in QUICK:
        make_smaller(tmp_path, request.getfixturevalue("tiny_model"), monkeypatch)
    if page.name == "first-model.md":
        (folder / "first").mkdir()
        (folder / "first/small.toml").write_text("\n".join(fences(page, "toml")))
    lines = [LAUNCHER.sub("pleura ", line) for line in commands(page) if not not_run(line)]
    script = "\n".join(lines).replace("mkdir first", "mkdir -p first")
    ran = run_script(script, folder, tmp_path / "said", smaller)
    printed = capfd.readouterr()
    if "patients.csv" in GIVEN[page.name]:
        assert "Some patients are unknown" not in printed.out
    done_but = "xit status 3" in page.read_text(encoding="utf-8")
    assert ran[-1].status in (0, 3), (ran[-1], printed.err[-2000:])
    assert len(ran) == sum(line.startswith("pleura ") for line in lines)
    for one in ran:
        assert one.status == 0 or done_but, (one, printed.err[-2000:])
        for name in promised(one.words):
            assert (folder / name).exists() or (folder / "first" / name).exists(), one
