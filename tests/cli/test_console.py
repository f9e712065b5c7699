import ast
import json
from pathlib import Path

import pytest
from rich.console import Console

from pleura.cli import app, console

HOSTILE = "a\x1b[2J\x9b5m\r\u202e\u2028\x07[red]:smile:[/red]\udcff"
TAMED = "a\ufffd[2J\ufffd5m\ufffd\ufffd\ufffd\ufffd[red]:smile:[/red]\ufffd"


def test_plain_lines_tell_pace_and_time_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress("predicting") as told:
        for done, seconds in [(10, 101), (30, 111), (31, 112), (430, 141), (6030, 1000)]:
            now[0] = seconds
            told(done, 20_000)
        now[0] = 1101.0
        for _ in range(3):  # some works tell of their end more than once
            told(20_000, 20_000)
    assert capsys.readouterr().err.splitlines() == [
        "predicting: 30 of 20000 files, 2.0 files/s, 2 h 46 min left",
        "predicting: 430 of 20000 files, 10.5 files/s, 31 min 4 s left",
        "predicting: 6030 of 20000 files, 6.7 files/s, 34 min 46 s left",
        "predicting: 20000 of 20000 files, 20.0 files/s",
    ]


def test_a_count_that_falls_is_of_another_stage(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress("simulating") as told:
        for done, total, seconds in [(4, 12, 101), (12, 12, 103), (2, 12, 104), (12, 12, 109)]:
            now[0] = seconds
            told(done, total)
    assert capsys.readouterr().err.splitlines() == [
        "simulating: 12 of 12 files, 4.0 files/s",
        "simulating: 12 of 12 files, 2.0 files/s",
    ]


def test_a_line_of_json_is_ascii_and_one_line(capsys):
    console.print_json_line({"path": "fil\udcff\n", "score": 0.5})
    assert capsys.readouterr().out == '{"path": "fil\\udcff\\n", "score": 0.5}\n'


def test_fractions_in_json_are_rounded_and_counts_are_not(capsys):
    value = {"score": 1 / 3, "p": 1.23456789e-9, "at": [(1234567.125, 12345678)], "sure": True}
    expected = {"score": 0.333333, "p": 1.23457e-9, "at": [[1234567.12, 12345678]], "sure": True}
    console.print_json_line(value)
    console.print_json(value)
    line, text = capsys.readouterr().out.split("\n", 1)
    assert json.loads(line) == json.loads(text) == expected


def test_a_page_out_of_a_file_cannot_steer_the_terminal(capsys):
    console.print_page("# Kärtchen\n\n|\ta |\x1b]0;owned\x07\x9b2J\u202e\n")
    assert capsys.readouterr().out == "# Kärtchen\n\n|       a |�]0;owned��2J�\n\n"


def test_a_name_does_not_steer_the_terminal(capsys):
    console.print_failures([("a\x1b[2J.dcm", "is torn")])
    console.say("a\x1b]0;x\x07.dcm")
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "a\ufffd[2J.dcm: is torn" in said


PRINTED = {
    "say": lambda text: console.say(text),
    "stage": lambda text: console.say_stage(text, text),
    "show": lambda text: console.show(text),
    "page": lambda text: console.print_page(text),
    "failures": lambda text: console.print_failures([(text, text)]),
    "flagged": lambda text: console.print_flagged(text, [text], assessed=False),
    "passed over": lambda text: console.say_passed_over({text: 1}),
    "table": lambda text: console.print_table(text, {text: text}),
    "grid": lambda text: console.print_grid([text], [[text]], text),
    "columns": lambda text: console.print_columns([("error", text, text)], {"error": "red"}),
}


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", PRINTED)
def test_no_text_is_more_than_text(monkeypatch, capsys, name, terminal):
    if terminal:
        wide = {"force_terminal": True, "width": 200, "color_system": None}
        plain = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}
        monkeypatch.setattr(console, "out", Console(**wide, **plain))
        monkeypatch.setattr(console, "err", Console(stderr=True, **wide, **plain))
    PRINTED[name](HOSTILE)
    said = "".join(capsys.readouterr())
    assert TAMED in said
    assert all(one.isprintable() or one == "\n" for one in said)


def test_how_pictures_that_were_passed_over_are_read_is_said(capsys):
    console.say_passed_over({".txt": 1})
    console.say_passed_over({".txt": 1, ".png": 2})
    first, second = capsys.readouterr().err.splitlines()
    assert "are read" not in first
    assert second.endswith("are read if you name them, such as 'FOLDER/*.png'")


def test_a_name_of_two_lines_is_one_line(capsys):
    console.print_failures([("a.dcm: is fine\nfailed b.dcm", "is torn")])
    assert capsys.readouterr().err.count("\n") == 1


def test_json_is_printable_and_comes_back(capsys):
    console.print_json({HOSTILE: [HOSTILE, "K\u00e4the", "\U000e0001"]})
    said = capsys.readouterr().out
    assert json.loads(said) == {HOSTILE: [HOSTILE, "K\u00e4the", "\U000e0001"]}
    assert "K\u00e4the" in said
    assert all(one.isprintable() or one == "\n" for one in said)


@pytest.mark.parametrize(
    "path", sorted(Path(app.__file__).parent.glob("*.py")), ids=lambda p: p.stem
)
def test_nothing_reaches_the_terminal_another_way(path):
    if path.stem == "console":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "typer.echo", "typer.secho", "sys.stdout.write"}, called
            assert not called.endswith((".out.print", ".err.print", "Table")), called


def test_a_long_id_is_never_cut(capsys):
    uid = "1.2." + "8" * 200
    console.print_table("title", {"uid": uid})
    console.print_grid(["name", "n", "about"], [["a", "1", uid]], left=("name", "about"))
    said = "".join(capsys.readouterr().out.split())
    assert said.count("8") == 400
