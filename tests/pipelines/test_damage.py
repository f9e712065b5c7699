"""What pleura wrote and something damaged: refused in one sentence, or the results are the same.

Seeded: the same damage each time, and as much of it as the time allows.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pleura.audit.report import audit_index, read_findings, write_findings
from pleura.config import Data, Network, Train
from pleura.data import arrays
from pleura.data.arrays import Prepared, open_prepared, write_prepared
from pleura.data.records import read_index, write_index
from pleura.data.scan import scan_files
from pleura.data.sources import find_sources
from pleura.inference.job_store import NAME, JobStore
from pleura.inference.row import Row
from pleura.stages import run
from pleura.storage.seal import sealed
from pleura.training.loop import Trainer
from tests.damage import damaged, refusals, trials

pytestmark = pytest.mark.slow

SECONDS = 8.0
"""What each of these tests may take, about."""


def damage(path: Path, rng: random.Random) -> None:
    path.write_bytes(damaged(path.read_bytes(), rng))


def all_of(prepared: Prepared) -> list[object]:
    read = [np.asarray(prepared.x_train), np.asarray(prepared.y_train), np.asarray(prepared.x_test)]
    about = [prepared.size, prepared.fingerprint, prepared.train, prepared.test]
    return [*(array.tobytes() for array in read), *about]


def test_prepared_folders(small_prepared, tmp_path):
    whole, folder = all_of(small_prepared), tmp_path / "p"
    names = sorted(path.name for path in small_prepared.path.iterdir())
    shutil.copytree(small_prepared.path, folder)
    count = 0
    for rng in trials(SECONDS, 3000):
        name = rng.choice(names)
        if rng.random() < 0.05:
            shutil.copy(small_prepared.path / rng.choice(names), folder / name)
        elif rng.random() < 0.02:
            (folder / name).unlink()
        else:
            damage(folder / name, rng)
        with refusals() as told:
            assert all_of(open_prepared(folder)) == whole
        count += bool(told)
        shutil.copy(small_prepared.path / name, folder / name)
    assert count > 20, "most damage is refused"
    assert all_of(open_prepared(folder)) == whole


def test_the_index_and_arrays_of_other_folders(small_index, small_prepared, tmp_path):
    """Files that are whole, but of another folder: of other images, in another order or size."""
    train, test = small_index.train, small_index.test
    others = {
        "fewer": (train[:-1], test, 64),
        "reversed": (train[::-1], test, 64),
        "size": (train, test, 32),
    }
    for name, (some, more, size) in others.items():
        write_prepared(some, more, tmp_path / name, size=size, workers=1)
    for name in others:
        for file in ("index.parquet", "X_train.npy", "Y_train.npy", "X_test.npy"):
            folder = Path(shutil.copytree(small_prepared.path, tmp_path / "mixed"))
            shutil.copy(tmp_path / name / file, folder / file)
            same = (folder / file).read_bytes() == (small_prepared.path / file).read_bytes()
            with refusals() as told:
                all_of(open_prepared(folder))
            assert bool(told) != same
            shutil.rmtree(folder)


def test_prepared_folders_that_were_begun(small_index, tmp_path, monkeypatch):
    """A preparation that was killed, and of which a file was damaged, goes on.

    A damaged store is refused, and once it is removed, as the message asks, it goes on too.
    """
    whole = write_prepared(small_index.train, small_index.test, tmp_path / "whole", size=32)
    real = arrays._taken

    def killed(chunk, parts):
        if chunk.number >= 2:
            raise KeyboardInterrupt
        return real(chunk, parts)

    begun = tmp_path / "begun"
    monkeypatch.setattr(arrays, "_taken", killed)
    with pytest.raises(KeyboardInterrupt):
        write_prepared(small_index.train, small_index.test, begun, size=32, workers=1)
    monkeypatch.setattr(arrays, "_taken", real)
    names = sorted(path.name for path in begun.iterdir() if path.stat().st_size)
    for rng in trials(SECONDS, 200):
        folder = Path(shutil.copytree(begun, tmp_path / "p"))
        damage(folder / rng.choice(names), rng)
        with refusals() as told:
            write_prepared(small_index.train, small_index.test, folder, size=32, workers=1)
        if told:
            assert f"{arrays.STORE}: is " in told[0]
            for path in folder.glob(f"{arrays.STORE}*"):
                path.unlink()
            write_prepared(small_index.train, small_index.test, folder, size=32, workers=1)
        for path in whole.path.iterdir():
            assert (folder / path.name).read_bytes() == path.read_bytes()
        assert len(list(folder.iterdir())) == 5
        shutil.rmtree(folder)


def test_journals_of_scans(cohort, tmp_path):
    radiographs = sorted(cohort.rglob("*.dcm"))[:12]
    journal = tmp_path / ".audit.journal"
    whole = scan_files(radiographs, workers=1, journal=journal)
    content, count = journal.read_bytes(), 0
    for rng in trials(SECONDS, 300):
        for path in tmp_path.glob(f"{journal.name}*"):
            path.unlink()
        journal.write_bytes(damaged(content, rng))
        with refusals() as told:
            assert scan_files(radiographs, workers=1, journal=journal) == whole
        count += bool(told)
    assert count > 0, "damage is refused"


def test_stores_of_predictions(tmp_path):
    rows = {
        f"{number:032x}": Row(f"radiograph-{number}.dcm", f"1.2.{number}", 0.5, 3, 9, 9, 0.1, "1 2")
        for number in range(12)
    }
    with JobStore(tmp_path, "job") as store:
        for key, row in rows.items():
            store.add(key, row)
    content, count = (tmp_path / NAME).read_bytes(), 0
    for rng in trials(SECONDS / 4, 2000):
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / NAME).write_bytes(damaged(content, rng))
        with refusals() as told, JobStore(tmp_path, "job") as store:
            found = dict(store.items())
            assert found in ({}, rows), "all of it, or another job's"
        count += bool(told)
    assert count > 0, "damage is refused"


def test_stamps_of_runs(tmp_path):
    stamp = tmp_path / "audit.json"
    said = {"digest": "ab" * 32, "result": {"counts": {"rows": 12}, "files": {"page": "a.html"}}}
    content = (sealed({**said, "wrote": {"page": "cd" * 32}}) + "\n").encode()
    for rng in trials(SECONDS / 4, 3000):
        stamp.write_bytes(damaged(content, rng))
        found = run._read_stamp(stamp)
        assert found == {} or {name: found[name] for name in said} == said


def test_indices_and_findings(cohort, small_index, tmp_path):
    """Tables that nothing seals: whatever is in them, no more than one sentence comes of it."""
    index, findings = tmp_path / "indices.parquet", tmp_path / "findings.json"
    write_index(small_index.records, index)
    write_findings(audit_index(small_index, find_sources(Data(path=str(cohort)))), findings)
    readers: list[tuple[Path, Callable[[Path], object]]] = [
        (index, read_index),
        (findings, read_findings),
    ]
    for path, read in readers:
        content = path.read_bytes()
        for rng in trials(SECONDS / 2, 1000):
            path.write_bytes(damaged(content, rng))
            with refusals():
                read(path)


def test_trainings_that_were_cut_off(small_prepared, tmp_path):
    """A training goes on to the numbers of an unbroken one, or says what it refuses."""
    network = Network(name="cnn", width=4, depth=2)
    settings = Train(epochs=2, batch=16, folds=3, precision="fp32")

    def trained(out, **options):
        return Trainer(small_prepared, out, network, settings).run(**options)

    class CutOffError(Exception):
        pass

    def cut_off(step):
        if step.epoch == 2:
            raise CutOffError

    whole = trained(tmp_path / "whole").digest
    begun = tmp_path / "begun"
    with pytest.raises(CutOffError):
        trained(begun, on_step=cut_off)
    names = sorted(path.name for path in begun.iterdir() if path.stat().st_size)
    assert {"checkpoint.h5", "model.h5"} <= set(names)
    count = 0
    for rng in trials(SECONDS, 100):
        folder = Path(shutil.copytree(begun, tmp_path / "t"))
        damage(folder / rng.choice(names), rng)
        with refusals() as told:
            assert trained(folder, resume=True).digest == whole
        count += bool(told)
        shutil.rmtree(folder)
    assert count
