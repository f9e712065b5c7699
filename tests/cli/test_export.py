import json
import os
import subprocess
import sys

import pytest

from pleura.cli.app import execute
from pleura.stages import export as stage

WATCHED = """
import sys

def refused(event, _):
    # What a command opens beyond its files: none of it may lead anywhere else.
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        print("NETWORK", event, file=sys.stderr)

sys.addaudithook(refused)
from pleura.cli.app import execute
status = execute(sys.argv[1:])
print("MODULES", *sorted(sys.modules), file=sys.stderr)
sys.exit(status)
"""
HEAVY = {"torch", "monai", "transformers", "matplotlib", "scipy", "sklearn", "accelerate"}


def run(*arguments):
    """Run one command in a fresh process; return its output and the modules it imported."""
    command = [sys.executable, "-W", "error", "-c", WATCHED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert "NETWORK" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("MODULES")]
    modules = set(line.split()[1:])
    assert not any(name.startswith("openvino_telemetry") for name in modules)
    return done.stdout, modules


@pytest.fixture
def converted(exported, monkeypatch):
    monkeypatch.setattr(stage, "to_onnx", lambda _: exported("onnx").exported)
    monkeypatch.setattr(stage, "to_openvino", lambda _: exported("openvino").exported)


@pytest.fixture
def radiograph(cohort):
    return next((cohort / "dicom-images-test").rglob("*.dcm"))


def export(model, kind, out, *more):
    return execute(["export", str(model), "--to", kind, "--out", str(out), *map(str, more)])


def test_what_it_says(tiny_model, converted, cohort, tmp_path, capsys):
    out, folder = tmp_path / "m.onnx", cohort / "dicom-images-test"
    assert export(tiny_model, "onnx", out, "--check", folder) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert f"onnx fp32 beside torch fp32, on 6 radiographs of {folder}: largest" in said.err
    assert "decisions on 6 images: identical; 0 pixels of their masks differ" in said.err


def test_json(tiny_model, converted, tmp_path, capsys):
    out = tmp_path / "m.xml"
    assert export(tiny_model, "openvino", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == [str(out), str(out.with_suffix(".bin"))]
    assert found["engine"] == "openvino fp32"
    assert found["agreement"]["images"] == 8
    assert found["agreement"]["source"] == "8 phantoms drawn for it, no real radiographs"
    assert found["int8"] is None


def test_int8_says_what_it_lost(
    tiny_model, converted, small_prepared, tmp_path, capsys, monkeypatch
):
    from dataclasses import replace

    monkeypatch.setattr(stage, "quantise", lambda made, _: replace(made, precision="int8"))
    more = ["--int8", "--calibration", small_prepared.path]
    assert export(tiny_model, "openvino", tmp_path / "m.xml", *more) == 0
    said = capsys.readouterr().err
    assert f"calibrated on {len(small_prepared.x_train)} annotated radiographs of" in said
    assert "Dice lost: 0.0000, against the annotations of 11 images (mean 0." in said
    assert export(tiny_model, "openvino", tmp_path / "m.xml", *more, "--json") == 0
    assert json.loads(capsys.readouterr().out)["int8"]["loss"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "tensorrt"], "'tensorrt' is not one of 'onnx', 'openvino'"),
        (["--to", "onnx", "--int8"], "--int8 and --calibration FOLDER go together"),
        (["--to", "onnx", "--calibration", "x"], "--int8 and --calibration FOLDER go together"),
    ],
)
def test_wrong_usage(tiny_model, arguments, message, tmp_path, capsys):
    command = ["export", str(tiny_model), *arguments, "--out", str(tmp_path / "m.onnx")]
    assert execute(command) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "name"), [("onnx", "m.onnx"), ("openvino", "m.xml")])
def test_an_exported_file_predicts_without_torch(
    tiny_model, converted, radiograph, kind, name, tmp_path, capsys
):
    assert export(tiny_model, kind, tmp_path / name) == 0
    capsys.readouterr()
    out = ["--precision", "fp32", "--out", tmp_path / "out"]  # bf16 rounds where a processor has it
    _, modules = run("predict", tmp_path / name, radiograph, *out)
    assert modules & HEAVY == set()
    reference = [
        "predict",
        str(tiny_model),
        str(radiograph),
        "--engine",
        "torch",
        "--precision",
        "fp32",
    ]
    assert execute([*reference, "--out", str(tmp_path / "torch")]) == 0
    both = [tmp_path / where / "submission.csv" for where in ("out", "torch")]
    assert both[0].read_text() == both[1].read_text()


def test_a_model_needs_torch_once(tiny_model, exported, radiograph, tmp_path):
    exported("openvino")  # as a first prediction would have done
    _, modules = run("predict", tiny_model, radiograph, "--out", tmp_path / "out")
    assert modules & HEAVY == set()


@pytest.mark.slow
def test_neither_conversion_nor_int8_reports_to_anybody(
    tiny_model, small_prepared, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for kind, name in (("onnx", "m.onnx"), ("openvino", "m.xml")):
        run(
            *("export", tiny_model, "--to", kind, "--out", tmp_path / name),
            *("--int8", "--calibration", small_prepared.path, "--max-dice-loss", 1),
        )


def test_info_reads_an_exported_file(tiny_model, converted, tmp_path, capsys):
    assert export(tiny_model, "onnx", tmp_path / "m.onnx") == 0
    capsys.readouterr()
    assert execute(["info", str(tmp_path / "m.onnx")]) == 0
    assert capsys.readouterr().out == "# A tiny model\n"
    assert execute(["info", str(tmp_path / "m.onnx"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exported"]["engine"] == "onnx"
    assert found["exported"]["precision"] == "fp32"
    assert execute(["info", str(tiny_model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == found["exported"]["model_digest"]


def test_an_engine_that_there_is_not(tiny_model, radiograph, tmp_path, capsys):
    command = [
        "predict",
        str(tiny_model),
        str(radiograph),
        "--out",
        str(tmp_path),
        "--engine",
        "tpu",
    ]
    assert execute(command) == 2
    assert "'tpu' is not one of 'auto', 'torch', 'openvino', 'onnx'" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_said_once(
    tiny_model, exported, radiograph, tmp_path, capsys, monkeypatch
):
    graph, blocked = exported("openvino").exported, tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr("pleura.engines.convert.to_openvino", lambda _: graph)
    assert (
        execute(["predict", str(tiny_model), str(radiograph), "--out", str(tmp_path / "out")]) == 0
    )
    assert capsys.readouterr().err.count("the converted network is not kept, and every start") == 1
