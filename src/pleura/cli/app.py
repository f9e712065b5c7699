"""The `pleura` command: verbs, exit statuses, and the only place that prints an error."""

import io
import itertools
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from pleura.cli import console
from pleura.cli.audit import audit
from pleura.cli.convert import convert
from pleura.cli.ensemble import ensemble
from pleura.cli.evaluate import evaluate
from pleura.cli.export import export
from pleura.cli.fetch import fetch
from pleura.cli.folds import folds
from pleura.cli.gallery import gallery
from pleura.cli.info import info
from pleura.cli.inspect import inspect
from pleura.cli.options import expand_groups, stays_here
from pleura.cli.phantom import phantom
from pleura.cli.plan import plan
from pleura.cli.predict import predict
from pleura.cli.prepare import prepare
from pleura.cli.run import demo, run
from pleura.cli.simulate import simulate
from pleura.cli.train import train
from pleura.cli.tune import tune
from pleura.errors import PleuraError, UsageError, first_line, is_about_memory

app = typer.Typer(
    name="pleura",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
_PANELS = {
    "Ask a model": (predict, info),
    "Look at data, and make it ready": (
        fetch,
        inspect,
        audit,
        gallery,
        folds,
        convert,
        prepare,
        phantom,
        simulate,
    ),
    "Train": (train, tune, ensemble, export),
    "Judge": (plan, evaluate),
    "All at once": (run, demo),
}
VERBS = tuple(itertools.chain.from_iterable(_PANELS.values()))
for panel, verbs in _PANELS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(stays_here(expand_groups(verb)))


def _show_version(wanted: bool) -> None:
    if wanted:
        console.show(f"pleura {version('pleura')}")
        raise typer.Exit


@app.callback()
def pleura(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Find pneumothorax in frontal chest radiographs.

    Not a medical device: for research and education, not for diagnosis.

    Begin with: pleura predict radiograph.dcm --out answer --worklist

    Exit status: 0 done, 1 an error, 2 wrong usage, 3 done, but some inputs failed or were not
    assessed. Results go to stdout or --out, and all other words to stderr.
    """


def main() -> None:
    """Run the command line and exit with 0 done, 1 error, 2 wrong usage, 3 some inputs failed."""
    # Threads that wait for one another sleep: spinning, they take the cores of whoever works. It is
    # read once, when torch's OpenMP is loaded, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _speak_utf8()
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):  # a name that a terminal has no letters for is no error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _stop_in_order()
    raise SystemExit(execute(sys.argv[1:]))


def _stop_in_order() -> None:
    """Let Ctrl-C and SIGTERM, unless they are ignored, end the work in order."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, _again)
    raise KeyboardInterrupt


def _again(number: int, _frame: FrameType | None) -> None:
    """End at once at a second SIGTERM."""
    os._exit(128 + number)


def _speak_utf8() -> None:
    """Begin anew in UTF-8 where the locale has another encoding: file names and texts are UTF-8.

    In such a locale Python takes a name for other letters, or for none, and tables name no file.
    """
    if sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _open_what_is_closed() -> None:
    """Let a program that was started with a closed stream read nothing there, and write nowhere.

    Else the first file that it opens would get that stream's number, and lines meant for people.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        stream = Path(os.devnull).open("w" if number else "r", encoding="utf-8")  # noqa: SIM115
        setattr(sys, name, stream)


def execute(arguments: list[str]) -> int:
    """Run one command line and return its exit status; no exception leaves it as a traceback."""
    try:
        status = app(arguments, prog_name="pleura", standalone_mode=False)
        sys.stdout.flush()  # a reader who went away is noticed here, not when Python ends
        if status == console.INTERRUPTED:  # typer's answer to Ctrl-C
            return _interrupted()
        return status if isinstance(status, int) else console.DONE
    except typer.TyperException as error:
        return _wrong_usage(error)
    except UsageError as error:
        console.say(f"pleura: {error}")
        return console.WRONG_USAGE
    except PleuraError as error:
        console.say(f"pleura: error: {error}")
        return console.FAILED
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except (BrokenPipeError, SystemExit) as error:
        if not _came_of(error, BrokenPipeError):
            console.say(f"pleura: internal error: a library ended the program ({error})")
            return console.FAILED
        # The reader of our output (head, less) went away, which typer and rich answer with an exit;
        # nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return console.DONE
    except OSError as error:
        what = error.strerror or str(error)
        console.say(f"pleura: error: {error.filename or 'the output'}: {what}")
        return console.FAILED
    except Exception as error:
        return _unforeseen(error)
    finally:
        console.let_go()


def _unforeseen(error: Exception) -> int:
    if _came_of(error, KeyboardInterrupt):  # while a compiled module was being imported
        return _interrupted()
    if os.environ.get("PLEURA_DEBUG"):
        raise error
    if is_about_memory(error):
        console.say(
            f"pleura: error: there is not enough memory ({first_line(error)}); end other programs,"
            " or raise the limit that this one was started with (ulimit -v)"
        )
        return console.FAILED
    what = " ".join(f"{type(error).__name__}: {error}".split())
    console.say(f"pleura: internal error: {what}; PLEURA_DEBUG=1 shows where it happened")
    return console.FAILED


def _came_of(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Return whether an error of some kind, such as Ctrl-C, is what led to another."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


def _interrupted() -> int:
    terminated = signal.getsignal(signal.SIGTERM) == _again
    what = "ended by SIGTERM" if terminated else "interrupted"
    console.say(f"pleura: {what}; what was finished is kept")
    return console.TERMINATED if terminated else console.INTERRUPTED


def _wrong_usage(error: typer.TyperException) -> int:
    """Say what is wrong with the command line; a missing verb has printed the help already."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    message = message.replace("Value error, ", "")  # what pydantic says before a choice
    if message:
        command = context.command_path if context else "pleura"
        console.say(f"pleura: {message} ({command} --help lists what there is)")
    return console.WRONG_USAGE
