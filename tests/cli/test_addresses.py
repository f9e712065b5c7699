"""What audit, prepare, gallery and evaluate make of addresses: what they make of the same files."""

import hashlib
import inspect
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from pleura.cli import options
from pleura.cli.app import VERBS, execute
from pleura.data import arrays
from pleura.data.arrays import open_prepared
from pleura.models.bundle import read_bundle
from pleura.remote.objects import Objects
from tests.dicom_files import make_dicom
from tests.remote.pacs import address, pacs
from tests.remote.servers import serving

SECRETS = ("the-secret-key", "AKIATHEKEYID", "5ec3e7", "me:secret")


@pytest.fixture(scope="module")
def tables(cohort, tmp_path_factory):
    """Masks and scores of the cohort's training images, for evaluate."""
    folder = tmp_path_factory.mktemp("tables")
    truth = (cohort / "train-rle.csv").read_text().splitlines()[1:]
    ids = dict.fromkeys(row.split(",")[0] for row in truth)
    scores = [f"{name},{number / 100}" for number, name in enumerate(ids)]
    (folder / "scores.csv").write_text("\n".join(["ImageId,score", *scores]))
    return folder


def put_folder(store, folder, prefix):
    files = [path for path in folder.rglob("*") if path.is_file()]
    store.put({f"{prefix}/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in files})


def files_of(folder, *leave):
    """Return the bytes of what a command wrote, but for what names the place."""
    return {
        path.name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in leave and not path.name.startswith(".")
    }


def findings(out):
    return json.loads((out / "findings.json").read_text()) | {"source": ""}


@pytest.mark.slow
def test_an_audit_of_addresses_is_that_of_the_files(cohort, tmp_path, capsys, store):
    data = tmp_path / "set"
    data.mkdir()
    films = sorted(cohort.glob("dicom-images-train/**/*.dcm"))
    (data / "torn.dcm").write_bytes(films[0].read_bytes()[:-100])
    (data / "no-suffix").write_bytes(films[1].read_bytes())
    (data / "read-me").write_text("this is text")
    (data / "odd.film").write_bytes(films[2].read_bytes())
    (data / "preview.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (data / ".hidden").write_bytes(b"x")
    (data / "train-rle.csv").write_bytes((cohort / "train-rle.csv").read_bytes())
    (data / "notes.csv").write_text("a,b\n1,2\n")
    with tarfile.open(data / "more.tar", "w") as shard:
        for path in films[3:20]:
            shard.add(path, path.relative_to(cohort))
    put_folder(store, data, "set")
    store.faults[:] = ["500", "503", "cut"]
    for name, place in (("here", data), ("there", "s3://films/set")):
        status = execute(["audit", str(place), "--out", str(tmp_path / name), "--workers", "2"])
        assert status == 3, capsys.readouterr().err
    assert not store.faults
    assert findings(tmp_path / "there") == findings(tmp_path / "here")
    assert files_of(tmp_path / "here", "audit.html", "findings.json", "indices.parquet") == (
        files_of(tmp_path / "there", "audit.html", "findings.json", "indices.parquet")
    )
    shown = capsys.readouterr()
    written = b"".join(files_of(tmp_path / "there").values())
    for secret in SECRETS:
        assert secret not in shown.out + shown.err
        assert secret.encode() not in written


@pytest.mark.slow
def test_an_audit_of_a_pacs_is_that_of_its_files(cohort, tmp_path, capsys):
    data = tmp_path / "set"
    shutil.copytree(cohort / "dicom-images-train", data)
    report = make_dicom(StudyInstanceUID="1.2", SeriesInstanceUID="1.3", Modality="SR")
    (data / "report.dcm").write_bytes(report)
    files = [path.read_bytes() for path in data.rglob("*.dcm")]
    table = ["--annotations", str(cohort / "train-rle.csv")]
    with pacs(*files) as server:
        for name, place in (("here", str(data)), ("there", address(server))):
            assert execute(["audit", place, *table, "--out", str(tmp_path / name)]) in (0, 3)
    found = {
        name: {one["code"]: one["count"] for one in findings(tmp_path / name)["findings"]}
        for name in ("here", "there")
    }
    assert found["there"] == found["here"]
    assert found["there"]["other-object"] == 1
    masks = [files_of(tmp_path / name)["masks.parquet"] for name in ("here", "there")]
    assert masks[0] == masks[1]
    shown = capsys.readouterr()
    assert "the-password" not in shown.out + shown.err
    assert not any(b"the-password" in one for one in files_of(tmp_path / "there").values())


@pytest.mark.slow
def test_arrays_and_pictures_of_addresses_are_those_of_the_files(
    cohort, tmp_path, capsys, store, monkeypatch
):
    fetched, fetch, write = [], Objects.fetch, arrays.write_prepared

    def noted(objects, address, stamp=None):
        fetched.append(f"{address}")
        return fetch(objects, address, stamp)

    def written(*records, **settings):
        fetched.clear()
        return write(*records, **settings)

    monkeypatch.setattr(Objects, "fetch", noted)
    monkeypatch.setattr(arrays, "write_prepared", written)
    put_folder(store, cohort, "set")
    films = sorted(cohort.glob("*/**/*.dcm"))
    rows = [
        f"s3://films/set/{path.relative_to(cohort).as_posix()},"
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in films
    ]
    (tmp_path / "list.csv").write_text("\n".join(["address,sha256", *rows]))
    tables = ["--annotations={}/train-rle.csv", "--patients={}/patients.csv"]
    of = {
        "here": [str(cohort)],
        "there": ["s3://films/set/"],
        "globbed": ["s3://films/set/**/*.dcm", *(one.format("s3://films/set") for one in tables)],
        "listed": [str(tmp_path / "list.csv"), *(one.format("s3://films/set") for one in tables)],
    }
    for name, data in of.items():
        out = tmp_path / name
        assert (
            execute(["prepare", *data, "--out", str(out), "--size", "64", "--workers", "1"]) == 0
        ), capsys.readouterr().err
        assert not fetched  # the pass that made the index kept what it saw
        assert files_of(out, "index.parquet", "manifest.json") == (
            files_of(tmp_path / "here", "index.parquet", "manifest.json")
        )
        assert open_prepared(out).fingerprint == open_prepared(tmp_path / "here").fingerprint
        if name in ("here", "there"):
            picture = tmp_path / f"{name}.png"
            assert (
                execute(["gallery", *data, "--out", str(picture), "--tile", "64", "--workers", "1"])
                == 0
            )
            assert picture.read_bytes() == (tmp_path / "here.png").read_bytes()
    paths = [record.path for record in open_prepared(tmp_path / "there").train]
    assert all(path.startswith("s3://films/set/dicom-images-train/") for path in paths)


@pytest.mark.slow
def test_pictures_masks_and_labels_at_addresses_are_those_of_the_files(tmp_path, capsys, store):
    data, random = tmp_path / "set", np.random.default_rng(0)
    for number in range(20):
        radiograph, mask = random.integers(0, 255, (128, 128), np.uint8), np.zeros((128, 128))
        mask[:number, :number] = 255
        for kind, picture in (("images", radiograph), ("masks", mask)):
            (data / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(data / kind / f"c{number}.png"), picture)
    rows = [f"c{number},{number % 2}" for number in range(20)]
    (data / "labels.csv").write_text("\n".join(["image,pneumothorax", *rows]))
    put_folder(store, data, "set")
    for name, place in (("here", str(data)), ("there", "s3://films/set")):
        out = tmp_path / name
        for verb, *words in (
            ["prepare", f"--annotations={place}/masks", f"--out={out}/masks", "--size=64"],
            ["prepare", f"--labels={place}/labels.csv", f"--out={out}/labels", "--size=64"],
            ["folds", f"--annotations={place}/masks/*.png", f"--out={out}/folds.csv", "--k=2"],
        ):
            assert execute([verb, f"{place}/images", "--workers", "1", *words]) == 0
    leave = ("index.parquet", "manifest.json")
    for name in ("masks", "labels"):
        there = files_of(tmp_path / "there" / name, *leave)
        assert there == files_of(tmp_path / "here" / name, *leave)
    assert files_of(tmp_path / "there")["folds.csv"] == files_of(tmp_path / "here")["folds.csv"]


@pytest.mark.slow
def test_figures_over_addresses_are_those_of_the_files(
    cohort, tables, tiny_model, tmp_path, capsys, store
):
    put_folder(store, cohort, "set")
    put_folder(store, tables, "tables")
    told = []
    for data, scores in ((str(cohort), str(tables)), ("s3://films/set", "s3://films/tables")):
        command = ["evaluate", "--predictions", f"{scores}/scores.csv", "--json"]
        command += ["--truth", f"{data}/train-rle.csv", "--patients", f"{data}/patients.csv"]
        assert execute([*command, "--images", f"{data}/dicom-images-train"]) == 0
        told.append(capsys.readouterr().out.replace(data, "").replace(scores, ""))
    assert told[0] == told[1]
    pages = []
    for data in (str(cohort), "s3://films/set"):
        out = tmp_path / "prepared"
        assert (
            execute(["prepare", data, "--out", str(out), "--size", "64", "--workers", "1"]) == 0
        ), capsys.readouterr().err
        page = tmp_path / "page.html"
        assert execute(["evaluate", str(tiny_model), str(out), "--report", str(page)]) == 0
        pages.append(page.read_bytes())
    assert pages[0] == pages[1]


def test_what_a_store_does_not_give_is_told_by_name(cohort, tmp_path, capsys):
    film = next(cohort.rglob("*.dcm")).read_bytes()
    table = (cohort / "train-rle.csv").read_bytes()
    with serving(files={"/a.dcm": film, "/t.csv": table}) as web:
        signed = f"http://me:secret@{web.address}"
        command = ["audit", f"{signed}/a.dcm?key=5ec3e7", f"{signed}/no.dcm?key=5ec3e7"]
        web.faults[:] = ["403"] * 4
        assert execute([*command, "--out", str(tmp_path / "o")]) == 3
        told = json.loads((tmp_path / "o" / "findings.json").read_text())
        (unreadable,) = (one for one in told["findings"] if one["code"] == "unreadable")
        assert all(item["note"].startswith("may not be read: ") for item in unreadable["items"])
        web.faults.clear()
        command = ["prepare", f"{signed}/a.dcm", "--out", str(tmp_path / "p")]
        web.faults[:] = ["403"]
        assert execute([*command, "--annotations", f"{signed}/t.csv?key=5ec3e7"]) == 1
        assert f"{web.url}/t.csv: may not be read: check what gives" in capsys.readouterr().err
        assert execute([*command, "--annotations", f"{signed}/no.csv?key=5ec3e7"]) == 1
        shown = capsys.readouterr()
        assert f"{web.url}/no.csv: there is no such object, or no such bucket" in shown.err
        two = [f"{signed}/a.dcm?key=1", f"{signed}/a.dcm?key=5ec3e7"]
        assert execute(["audit", *two]) == 1
        shown = capsys.readouterr()
        assert f"{web.url}/a.dcm: two files have this address, without what follows a" in shown.err
    written = b"".join(files_of(tmp_path / "o").values())
    for secret in SECRETS:
        assert secret not in shown.out + shown.err
        assert secret.encode() not in written


def test_results_are_not_written_to_an_address(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (
        ["folds", "here", "--out", "hdfs://me:5ec3e7@host/folds.csv"],
        ["audit", "here", "--out", "s3://me:5ec3e7@films/out"],
        ["evaluate", "m.h5", "p", "--per-image", "https://me:secret@host/rows.csv"],
    ):
        assert execute(words) == 2
        shown = capsys.readouterr().err
        assert "results are written to a folder of this machine; name one, and copy it" in shown
        assert not any(secret in shown for secret in SECRETS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_knows_what_it_writes(verb):
    """An option of a folder or file that is written is :data:`options.Out`."""
    written = {"out", "report", "per_image", "figures", "checklist"}
    for option in inspect.signature(verb).parameters.values():
        if get_args(option.annotation)[:1] in [(Path,), (Path | None,)]:
            marked = get_args(options.Out)[1] in get_args(option.annotation)
            assert marked == (option.name in written), option.name


def test_a_cluster_reads_radiographs_alone(small_prepared, cohort, tmp_path, capsys):
    table = str(cohort / "train-rle.csv")
    assert execute(["folds", str(cohort), "--out", str(tmp_path / "f.csv"), "--cpus", "2"]) == 2
    said = "--cpus 2: is for the workers of a cluster; name one with --on, or leave it out"
    assert said in capsys.readouterr().err
    for words in (
        ["audit", str(small_prepared.path)],
        ["audit", "--annotations", table],
        ["folds", "--annotations", table],
    ):
        assert execute([*words, "--on", "ray"]) == 2
        assert "--on ray: only the radiographs of a data folder are read by a cluster" in (
            capsys.readouterr().err
        )


def test_masks_at_addresses_are_converted_as_those_of_the_files(cohort, tmp_path, capsys, store):
    put_folder(store, cohort, "set")
    for name, place in (("here", str(cohort)), ("there", "s3://films/set")):
        words = ["convert", f"{place}/train-rle.csv", "--out", str(tmp_path / name), "--to", "png"]
        assert execute([*words, "--images", f"{place}/dicom-images-train"]) == 0
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert execute(["convert", "s3://films/none.csv", "--to", "coco", "--out", "c.json"]) == 1
    assert "s3://films/none.csv: there is no such object" in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_at_an_address_is_judged_as_that_in_a_folder(
    cohort, tiny_model, tmp_path, capsys, store
):
    films = str(cohort / "dicom-images-test")
    assert execute(["predict", str(tiny_model), films, "--out", str(tmp_path / "o")]) in (0, 3)
    put_folder(store, tmp_path / "o", "out")
    store.put({"truth.csv": (cohort / "test-truth.csv").read_bytes()})
    capsys.readouterr()
    told = []
    for job, truth in (
        (str(tmp_path / "o"), str(cohort / "test-truth.csv")),
        ("s3://films/out", "s3://films/truth.csv"),
    ):
        assert execute(["evaluate", "--predictions", job, "--truth", truth, "--json"]) == 0
        told.append(capsys.readouterr().out.replace(job, "").replace(truth, ""))
        masks = tmp_path / f"{len(told)}"
        assert execute(["convert", job, "--to", "png", "--out", str(masks)]) == 0
        capsys.readouterr()
    assert told[0] == told[1]
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")


@pytest.mark.slow
def test_a_training_at_an_address_is_that_of_the_folder(
    small_prepared, tmp_path, capsys, store, monkeypatch
):
    put_folder(store, small_prepared.path, "prepared")
    learning = ["network.name=cnn", "network.width=4", "network.depth=2", "train.batch=4"]
    learning += ["train.epochs=3", "train.folds=3", "train.positive_fraction=0.8"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name, how in (
        ("here", [str(small_prepared.path)]),
        ("there", ["s3://films/prepared", "--work", str(tmp_path / "kept")]),
        ("no-room", ["s3://films/prepared", "--work", str(tmp_path / "k"), "--work-gib", "1e-9"]),
    ):
        store.faults[:] = ["500", "cut"] if name == "there" else []
        words = ["-m", "pleura", "train", *how, "--out", str(tmp_path / name)]
        words += [word for one in learning for word in ("--set", one)]
        subprocess.run([*torchrun, *words], check=True, capture_output=True, timeout=300)
    histories = [
        [row.rsplit(",", 1)[0] for row in (tmp_path / name / "history.csv").read_text().split()]
        for name in ("here", "there", "no-room")
    ]
    assert len(histories[0]) == 4
    assert histories[1] == histories[2] == histories[0]
    models = [read_bundle(tmp_path / name / "model.h5") for name in ("here", "there", "no-room")]
    assert models[0].digest == models[1].digest == models[2].digest


@pytest.mark.slow
def test_a_run_of_addresses_is_that_of_paths(cohort, small_prepared, tmp_path, capsys, store):
    put_folder(store, cohort, "set")
    learning = ["network.name=cnn", "network.width=4", "network.depth=2", "train.epochs=1"]
    learning += ["prepare.size=64", "prepare.workers=1", "predict.workers=1", "train.batch=8"]
    (tmp_path / "run.toml").write_text("")
    start = tmp_path / "start"
    begin = ["train", str(small_prepared.path), "--out", str(start)]
    assert execute([*begin, *(w for one in learning[:4] for w in ("--set", one))]) == 0
    store.put({"start.h5": (start / "model.h5").read_bytes(), "run.toml": b""})
    for name, place, other, run in (
        ("here", str(cohort), str(start / "model.h5"), str(tmp_path / "run.toml")),
        ("there", "s3://films/set", "s3://films/start.h5", "s3://films/run.toml"),
    ):
        texts = [*learning, f"out={tmp_path / name}", f"data.path={place}"]
        texts += [f"data.test_annotations={place}/test-truth.csv", f"train.init_from={other}"]
        texts += [f"predict.inputs=['{place}/dicom-images-test']"]
        words = ["run", run]
        assert execute([*words, *(w for one in texts for w in ("--set", one))]) in (0, 3), (
            capsys.readouterr().err
        )
    shown = capsys.readouterr()
    assert "the-secret-key" not in shown.out + shown.err
    for name in ("prepared/X_train.npy", "predictions/submission.csv", "predictions/test.json"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    extra = tmp_path / "extra"
    words = ["train", str(tmp_path / "here" / "prepared"), "--out", str(extra)]
    words += ["--set", "train.extra=['s3://films/none']"]
    assert execute(words) == 1
    assert "s3://films/none/index.parquet: there is no such object" in capsys.readouterr().err
    none = ["--set", f"out={tmp_path / 'no'}", "--set", f"data.path={cohort}"]
    none += ["--set", "predict.inputs=['s3://films/none/']"]
    assert execute(["run", "s3://films/run.toml", *none]) == 1  # before any work
    assert "s3://films/none/: holds no DICOM file" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_options_of_arrays_at_an_address_go_with_one(small_prepared, tmp_path, capsys):
    out = ["--out", str(tmp_path / "m")]
    assert execute(["train", str(small_prepared.path), *out, "--work-gib", "1"]) == 2
    assert "--work, --work-gib: are for arrays at an address; leave" in capsys.readouterr().err
    assert execute(["train", "https://me:secret@host/p", *out]) == 2
    shown = capsys.readouterr().err
    assert "https://host/p: a prepared folder is read from this machine, or from s3://" in shown


HERE = "s3://films/x"


@pytest.mark.parametrize(
    "words",
    [
        ["export", "a.h5", "--to", "onnx", "--out", "a.onnx", "--check", HERE],
        ["predict", "--watch", HERE, "--out", "o"],
    ],
    ids=lambda words: " ".join(words).replace(HERE, "X"),
)
def test_what_is_read_from_this_machine_is_no_address(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert execute(words) == 2
    said = f"{HERE}: this is read from this machine alone; copy it here, and name the copy"
    assert said in capsys.readouterr().err
    other = [word.replace("s3://films", "hdfs://me:5ec3e7@host") for word in words]
    assert execute(other) == 2
    shown = capsys.readouterr().err
    assert "hdfs://host/x: addresses of hdfs:// are not read; this is read from this" in shown
    assert "5ec3e7" not in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["audit", "d", "--compare", HERE],
        ["ensemble", "a.h5", HERE, "--out", "e.h5"],
        ["evaluate", HERE, "p"],
        ["evaluate", "a.h5", "p", "--against", HERE],
        ["export", HERE, "--to", "onnx", "--out", "a.onnx"],
        ["info", HERE],
        ["predict", "a.dcm", "--ensemble", HERE, "--out", "o"],
        ["run", HERE],
        ["train", "p", "--run", HERE, "--out", "o"],
    ],
    ids=lambda words: " ".join(words).replace(HERE, "X"),
)
def test_an_address_of_another_kind_is_no_path(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert execute([word.replace("s3://films", "hdfs://me:5ec3e7@host") for word in words]) == 2
    shown = capsys.readouterr().err
    assert "hdfs://host/x: addresses of s3://, gs://, az://, http://, https://, dicomweb" in shown
    assert "5ec3e7" not in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["train", "p", "--out", "o", "--set", f"network.backbone={HERE}"], "network.backbone"),
        (["tune", "p", "--run", "r.toml", "--out", "o"], "out"),
        (["run", "r.toml"], "out"),
    ],
)
def test_a_run_names_paths_alone(words, key, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(f'out = "{HERE}"\n')
    assert execute(words) == 2
    shown = capsys.readouterr().err
    assert f"{key}" in shown
    assert f"{HERE}: this is read from this machine, and written to it; copy it here" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["r.toml"]


def test_a_file_address_is_a_path_for_every_option(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table, out = f"file://{cohort}/train-rle.csv", f"file://{tmp_path}/a%20b.csv"
    assert execute(["convert", table, "--to", "absolute", "--out", out]) == 0
    assert execute(["folds", f"file://{cohort}", "--annotations", table, "--out", "f.csv"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a b.csv", "f.csv"]
