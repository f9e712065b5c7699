"""The command as a whole: its surface, its exit statuses, and what it never shows."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer

from pleura.cli import app as app_module
from pleura.cli.app import app, execute, main
from pleura.errors import OutputError, UsageError
from tests.dicom_files import make_dicom

PROGRAM = Path(sys.executable).with_name("pleura")
COMMAND = typer.main.get_command(app)
VERBS = sorted(COMMAND.commands)


def installed(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run the console script, as a user does."""
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, **options
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_error_and_no_file_takes_its_place(closed, tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom())
    command = ["sh", "-c", f'exec "$0" inspect "$1" {closed}', str(PROGRAM), str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert bool(ran.stdout) == (" >&-" not in f" {closed}")
    assert path.read_bytes() == make_dicom()


# ------------------------------------------------------------------ the surface


def test_the_verbs():
    assert VERBS == [
        "audit",
        "convert",
        "demo",
        "ensemble",
        "evaluate",
        "export",
        "fetch",
        "folds",
        "gallery",
        "info",
        "inspect",
        "phantom",
        "plan",
        "predict",
        "prepare",
        "run",
        "simulate",
        "train",
        "tune",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_each_of_its_options_has_its_help(verb):
    command = COMMAND.commands[verb]
    first = (command.help or "").splitlines()[0]
    assert first.endswith(".")
    for parameter in command.params:
        assert parameter.help, f"pleura {verb}: {parameter.name} has no help"
        assert parameter.help.rstrip().endswith("."), f"pleura {verb}: {parameter.name}"


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_prints_its_help_to_stdout(verb, capsys):
    assert execute([verb, "--help"]) == 0
    said = capsys.readouterr()
    assert f"pleura {verb}" in said.out
    assert said.err == ""


def test_the_program_says_what_it_is_not(capsys):
    assert execute(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Not a medical device" in shown
    assert "Exit status: 0 done, 1 an error, 2 wrong usage" in shown
    assert all(verb in shown for verb in VERBS)


def test_a_flag_takes_no_value_in_the_help_and_options_have_panels(capsys):
    assert execute(["prepare", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "<bool>" not in shown.split("--help")[0]
    assert "Usage: pleura prepare [OPTIONS] [DATA]...\n" in re.sub(" +\n", "\n", shown)
    panels = re.findall("^\u256d\u2500 (.+?) \u2500+", shown, re.MULTILINE)
    more = ["Masks and their tables", "A table of labels", "Many machines"]
    assert panels == ["Arguments", "Options", *more]
    assert shown.index("--labels ") < shown.index("--label-column")


LIGHT = """
import sys
{code}
heavy = {{"torch", "pydicom", "cv2", "pyarrow", "scipy", "matplotlib", "h5py", "numpy", "sklearn"}}
print(sorted(heavy & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    "code",
    [
        "import pleura",
        "import pleura.cli.app",
        "from pleura.cli.app import execute; execute(['--help'])",
        "from pleura.cli.app import execute; execute(['predict', '--help'])",
        "from pleura.cli.app import execute; execute(['predict', '--wrong'])",
    ],
)
def test_nothing_heavy_is_imported_before_a_command_runs(code):
    command = [sys.executable, "-c", LIGHT.format(code=code)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_results_need_no_torch_where_there_is_no_network(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(make_dicom())
    code = f"from pleura.cli.app import execute; execute(['inspect', {str(path)!r}])"
    code += "; print(sorted({'torch', 'pyarrow', 'matplotlib'} & sys.modules.keys()))"
    command = [sys.executable, "-c", f"import sys; {code}"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [["info", "--models"], ["info", "pleura:fast"], ["--version"]])
def test_what_prints_text_needs_no_torch(words):
    code = f"from pleura.cli.app import execute; assert execute({words!r}) == 0"
    code += "; print(sorted({'torch', 'monai', 'matplotlib'} & sys.modules.keys()))"
    command = [sys.executable, "-c", f"import sys; {code}"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_the_version(capsys):
    assert execute(["--version"]) == 0
    assert capsys.readouterr().out == f"pleura {version('pleura')}\n"


# ------------------------------------------------------------------ exit statuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "No such option: --nonsense"),
        (["info", "--nonsense"], "No such option: --nonsense"),
        (["predict"], "Missing option '--out'"),
        (["predict", "m.h5", "a.dcm"], "Missing option '--out'"),
        (["prepare", "x", "--out", "y", "--size", "big"], "--size"),
        (["predict", "m.h5", "a.dcm", "--out", "o", "--workers", "-1"], "--workers"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_2(arguments, message, capsys):
    assert execute(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1
    assert "--help lists what there is" in said.err


def test_without_a_verb_the_help_is_shown(capsys):
    assert execute([]) == 2
    said = capsys.readouterr()
    assert "predict" in said.out + said.err


def raising(error, monkeypatch):
    def fail(function, piece, name):
        raise error

    monkeypatch.setattr("pleura.processes.guarded.guarded", fail)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (OutputError("x.dcm: is [bad]"), 1, "pleura: error: x.dcm: is [bad]\n"),
        (UsageError("--x 3: no"), 2, "pleura: --x 3: no\n"),
        (KeyboardInterrupt(), 130, "pleura: interrupted; what was finished is kept\n"),
        (
            RuntimeError("boom"),
            1,
            "pleura: internal error: RuntimeError: boom; PLEURA_DEBUG=1 shows where it happened\n",
        ),
        *(
            (
                error,
                1,
                f"pleura: error: there is not enough memory ({shown}); end other programs, or "
                "raise the limit that this one was started with (ulimit -v)\n",
            )
            for error, shown in (
                (MemoryError(), "MemoryError"),
                (RuntimeError("x.cpp:79: std::bad_alloc"), "x.cpp:79: std::bad_alloc"),
                (
                    ImportError("a.so: failed to map segment from shared object"),
                    "a.so: failed to map segment from shared object",
                ),
            )
        ),
    ],
)
def test_each_kind_of_error_is_one_line_with_its_status(error, status, line, monkeypatch, capsys):
    monkeypatch.delenv("PLEURA_DEBUG", raising=False)
    raising(error, monkeypatch)
    assert execute(["inspect", "x.dcm"]) == status
    assert capsys.readouterr() == ("", line)


def test_debugging_shows_where_it_happened(monkeypatch):
    monkeypatch.setenv("PLEURA_DEBUG", "1")
    raising(RuntimeError("boom"), monkeypatch)
    with pytest.raises(RuntimeError, match="boom"):
        execute(["inspect", "x.dcm"])


@pytest.mark.parametrize("status", [0, 1, "no licence"])
def test_a_library_that_ends_the_program_is_an_error(monkeypatch, capsys, status):
    def ends(*_, **__):
        raise SystemExit(status)

    monkeypatch.setattr(app_module, "app", ends)
    assert execute(["info"]) == 1
    said = capsys.readouterr().err
    assert said == f"pleura: internal error: a library ended the program ({status})\n"


def test_main_exits_with_the_status(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pleura", "--nonsense"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2


def test_the_installed_program(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(make_dicom())
    good = installed("inspect", path)
    assert (good.returncode, good.stderr) == (0, "")
    assert "4 x 5" in good.stdout
    some = installed("inspect", path, tmp_path / "none.dcm")
    assert some.returncode == 3
    assert "none.dcm" in some.stderr
    assert "none.dcm" not in some.stdout
    wrong = installed("inspect", "--nonsense")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    bad = installed("audit", tmp_path / "nowhere")
    assert bad.returncode == 1
    assert bad.stderr.startswith("pleura: error: ")
    for done in (good, some, wrong, bad):
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["info"], ["info", "--json"]])
def test_a_reader_who_went_away_is_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        command = [str(PROGRAM), *arguments]
        done = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------ patients

CANARY = "Canary"


@pytest.fixture
def canaries(tmp_path):
    """A data folder of which every file names the same patient, physician and so on."""
    data = tmp_path / "data"
    rng = np.random.default_rng(0)
    rows = ["ImageId, EncodedPixels"]
    for part, count in (("dicom-images-train", 20), ("dicom-images-test", 2)):
        (data / part).mkdir(parents=True)
        for number in range(count):
            uid = f"1.2.{1 if 'train' in part else 2}.{number}"
            content = make_dicom(
                rng.integers(256, size=(64, 64), dtype=np.uint8),
                SOPInstanceUID=uid,
                PatientName=f"{CANARY}^Jane",
                PatientID=f"{CANARY}-4711",
                OtherPatientIDs=f"{CANARY}-4712",
                PatientAddress=f"{CANARY} Street",
                ReferringPhysicianName=f"{CANARY}^Doctor",
                AccessionNumber=CANARY,
                PatientAge="044Y",
                PatientSex="F",
                ViewPosition="PA",
            )
            (data / part / f"{number}.dcm").write_bytes(content)
            if "train" in part:
                rows.append(f"{uid}, {'-1' if number % 2 else '1300 30'}")
    (data / "train-rle.csv").write_text("\n".join(rows) + "\n")
    whole = (data / "dicom-images-train" / "0.dcm").read_bytes()
    (data / "dicom-images-train" / "torn.dcm").write_bytes(whole[:-3000])
    (data / "dicom-images-test" / "torn.dcm").write_bytes(whole[:-3000])
    return data


def test_no_patient_is_named_in_anything_printed_or_written(canaries, tmp_path, capsys):
    out = tmp_path / "out"
    train = ["network.name=cnn", "network.width=4", "network.depth=2", "train.epochs=1"]
    sets = [word for setting in [*train, "train.folds=2"] for word in ("--set", setting)]
    model, prepared = out / "model" / "model.h5", out / "prepared"
    predict = ["predict", model, canaries]
    commands = [
        (3, ["inspect", *sorted(map(str, canaries.rglob("*.dcm")))]),
        (3, ["audit", canaries, "--out", out / "audit"]),
        (3, ["audit", canaries, "--json"]),
        (3, ["gallery", canaries, "--out", out / "gallery.png", "--tile", "64"]),
        (3, ["prepare", canaries, "--out", prepared, "--size", "32"]),
        (0, ["train", prepared, "--out", out / "model", *sets]),
        (0, ["evaluate", model, prepared, "--report", out / "report.html"]),
        (0, ["evaluate", model, prepared, "--json"]),
        (3, [*predict, "--out", out / "predicted", "--overlays", "--answer-flagged"]),
        (3, [*predict, "--out", out / "again", "--json"]),
        (0, ["info", model]),
        (0, ["info", model, "--json"]),
    ]
    for status, command in commands:
        assert execute([str(word) for word in command]) == status, command
        said = capsys.readouterr()
        assert CANARY not in said.out + said.err, command
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) > 30
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += pl.read_parquet(path).write_json().encode()
        assert CANARY.encode() not in content, path
