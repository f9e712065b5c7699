"""Ctrl-C and SIGTERM, from the first module that is read to the last line of work."""

import signal
import subprocess
import sys

import pytest

WHILE_READING = """
import os, sys, types
app = types.ModuleType("pleura.cli.app")
app.main = lambda: os.kill(os.getpid(), {number})
sys.modules["pleura.cli.app"] = app
from pleura.cli.entry import main
main()
"""
AT_WORK = """
import os
from pleura.cli import app, entry
app.app = lambda *_arguments, **_options: os.kill(os.getpid(), {number})
entry.main()
"""


@pytest.mark.parametrize(
    ("code", "number", "said"),
    [
        (WHILE_READING, signal.SIGINT, "pleura: interrupted; nothing was begun\n"),
        (WHILE_READING, signal.SIGTERM, "pleura: interrupted; nothing was begun\n"),
        (AT_WORK, signal.SIGINT, "pleura: interrupted; what was finished is kept\n"),
        (AT_WORK, signal.SIGTERM, "pleura: ended by SIGTERM; what was finished is kept\n"),
    ],
)
def test_a_signal_is_answered_in_one_line(code, number, said):
    ended = subprocess.run(
        [sys.executable, "-c", code.format(number=int(number))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 128 + number
    assert ended.stderr == said


def test_an_ignored_signal_stays_ignored():
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + AT_WORK
    ended = subprocess.run(
        [sys.executable, "-c", code.format(number=int(signal.SIGINT))],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
