"""A shell for the blocks of pages: bash, with `pleura` answered by the process of the tests.

So quotes, globs, comments and redirections mean what they mean to a reader, and no command waits
until torch is imported once more.
"""

import contextlib
import io
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pleura.cli.app import execute

_PLEURA = r"""
set -eu
pleura() {
    printf '%s\0' "$#" "$PWD" "$@" >&"$ASK"
    local status
    read -r status <&"$ANSWER"
    cat "$SAID"
    return "$status"
}
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """One command of pleura that a script called: its words, and how it ended."""

    words: tuple[str, ...]
    status: int


def run_script(
    script: str, folder: Path, said: Path, change: Callable[[list[str]], list[str]]
) -> list[Ran]:
    """Run a script in a folder; return the commands of pleura that it called.

    It ends with the first command that does not end with 0 or, done but for some inputs, with 3.

    Args:
        script: For bash.
        folder: Where it runs.
        said: A file for what commands print to stdout.
        change: Takes the words after `pleura` and returns those to run.

    Raises:
        AssertionError: Something else than pleura failed.
    """
    ask, asked = os.pipe()
    answered, answer = os.pipe()
    environment = {**os.environ, "ASK": str(asked), "ANSWER": str(answered), "SAID": str(said)}
    with subprocess.Popen(
        ["bash", "-c", _PLEURA + script], cwd=folder, env=environment, pass_fds=(asked, answered)
    ) as shell:
        os.close(asked)  # so that the end of the shell is the end of its questions
        os.close(answered)
        ran = []
        with os.fdopen(ask, "rb") as questions, os.fdopen(answer, "wb", buffering=0) as answers:
            while words := _question(questions):
                ran.append(_answer(words, said, change))
                answers.write(b"%d\n" % (0 if ran[-1].status == 3 else ran[-1].status))
    assert shell.returncode == 0 or (ran and ran[-1].status not in (0, 3)), script
    return ran


def _question(questions: BinaryIO) -> list[str]:
    """Return the folder and the words of the next command; nothing where the shell has ended."""
    count = _word(questions)
    return [_word(questions) for _ in range(int(count) + 1)] if count else []


def _word(questions: BinaryIO) -> str:
    letters = iter(lambda: questions.read(1), b"\0")
    word = b""
    for letter in letters:
        if not letter:
            return ""
        word += letter
    return word.decode()


def _answer(words: list[str], said: Path, change: Callable[[list[str]], list[str]]) -> Ran:
    folder, *rest = words
    changed = change(rest)
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        status = execute(changed)
    said.write_text(printed.getvalue(), encoding="utf-8")
    return Ran(tuple(changed), status)
