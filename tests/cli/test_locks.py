"""What one command writes, no second one may write meanwhile."""

import re
import threading

import pytest

from pleura.cli.app import execute
from pleura.errors import OutputError
from pleura.storage.lock import locked_file, locked_folder

SPACE = '[tune.space]\n"train.batch" = [8, 16]\n'


@pytest.fixture
def places(cohort, small_prepared, tiny_model, tmp_path):
    tune, run = tmp_path / "tune.toml", tmp_path / "run.toml"
    tune.write_text(SPACE)
    run.write_text(f'out = "{tmp_path / "out"}"\n[data]\npath = "{cohort}"\n')
    return {
        "DATA": cohort,
        "PREPARED": small_prepared.path,
        "MODEL": tiny_model,
        "OUT": tmp_path / "out",
        "TUNE": tune,
        "RUN": run,
    }


@pytest.fixture
def held(places):
    """Let another thread, which is as good as another process, hold what is written."""
    ready, over = threading.Event(), threading.Event()

    def hold(hold_it):
        with hold_it:
            ready.set()
            over.wait()

    threads = []

    def begin(hold_it):
        threads.append(threading.Thread(target=hold, args=(hold_it,)))
        threads[0].start()
        ready.wait()

    yield begin
    over.set()
    threads[0].join()


@pytest.mark.parametrize(
    "command",
    [
        "prepare DATA --out OUT",
        "audit DATA --out OUT",
        "train PREPARED --out OUT",
        "train PREPARED --out OUT --folds 2",
        "tune PREPARED --run TUNE --out OUT",
        "phantom OUT",
        "simulate DATA --out OUT",
        "run RUN",
        "demo --out OUT",
        "folds DATA --out OUT/table.csv",
        "convert DATA/train-rle.csv --to absolute --out OUT/absolute.csv",
        "gallery DATA --out OUT/sheet.png",
        "evaluate MODEL PREPARED --report OUT/page.html",
        "ensemble MODEL MODEL --out OUT/whole.h5",
        "export MODEL --to onnx --out OUT/model.onnx",
    ],
)
def test_the_second_is_told_who_holds_it(places, held, capsys, command):
    words = [
        re.sub("[A-Z]{3,}", lambda found: str(places[found[0]]), word) for word in command.split()
    ]
    target = places["OUT"] / command.partition("OUT/")[2]
    (places["OUT"]).mkdir()
    lock = locked_folder if target == places["OUT"] else locked_file
    held(lock(target, "train"))
    assert execute(words) == 1
    said = capsys.readouterr()
    assert f"pleura: error: {target}: is in use by pleura train (process " in said.err
    assert said.out == ""


def test_a_command_that_failed_lets_go(tmp_path, capsys):
    assert execute(["prepare", str(tmp_path / "absent"), "--out", str(tmp_path / "out")]) == 1

    def other():
        with locked_folder(tmp_path / "out", "prepare"):
            free.append(True)

    free = []
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert free


def test_fetching_into_a_folder_that_is_held(tmp_path, held, monkeypatch):
    from pleura.fetch import kaggle as fetch

    monkeypatch.setattr(fetch, "_kagglehub", lambda: None)
    held(locked_folder(tmp_path / "siim", "fetch"))
    with pytest.raises(OutputError, match="siim: is in use by pleura fetch"):
        fetch.fetch_siim(tmp_path / "siim")
