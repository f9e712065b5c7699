from pleura.cli import console


def test_plain_lines_tell_pace_and_time_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress("predicting") as told:
        for done, seconds in [(10, 101), (30, 111), (31, 112), (430, 141), (6030, 1000)]:
            now[0] = seconds
            told(done, 20_000)
        now[0] = 1101.0
        told(20_000, 20_000)
    assert capsys.readouterr().err.splitlines() == [
        "predicting: 30 of 20000 files, 2.0 files/s, 2 h 46 min left",
        "predicting: 430 of 20000 files, 10.5 files/s, 31 min 4 s left",
        "predicting: 6030 of 20000 files, 6.7 files/s, 34 min 46 s left",
        "predicting: 20000 of 20000 files, 20.0 files/s",
    ]


def test_a_line_of_json_is_ascii_and_one_line(capsys):
    console.print_json_line({"path": "fil\udcff\n", "score": 0.5})
    assert capsys.readouterr().out == '{"path": "fil\\udcff\\n", "score": 0.5}\n'


def test_a_page_out_of_a_file_cannot_steer_the_terminal(capsys):
    console.print_page("# Kärtchen\n\n|\ta |\x1b]0;owned\x07\x9b2J\u202e\n")
    assert capsys.readouterr().out == "# Kärtchen\n\n|       a |�]0;owned��2J�\n\n"
