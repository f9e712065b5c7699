"""The `pleura` command: verbs, exit statuses, and the only place that prints an error."""

import os
import sys

import typer

from pleura.cli import console
from pleura.cli.audit import audit
from pleura.cli.card import card
from pleura.cli.ensemble import ensemble
from pleura.cli.evaluate import evaluate
from pleura.cli.export import export
from pleura.cli.fetch import fetch
from pleura.cli.folds import folds
from pleura.cli.gallery import gallery
from pleura.cli.info import info
from pleura.cli.inspect import inspect
from pleura.cli.phantom import phantom
from pleura.cli.predict import predict
from pleura.cli.prepare import prepare
from pleura.cli.run import demo, run
from pleura.cli.simulate import simulate
from pleura.cli.train import train
from pleura.cli.tune import tune
from pleura.errors import PleuraError, UsageError

app = typer.Typer(
    name="pleura",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
VERBS = (
    fetch,
    inspect,
    audit,
    folds,
    gallery,
    prepare,
    train,
    tune,
    ensemble,
    evaluate,
    card,
    export,
    predict,
    phantom,
    simulate,
    run,
    demo,
    info,
)
for verb in VERBS:
    app.command()(verb)


@app.callback()
def pleura() -> None:
    """Find pneumothorax in frontal chest radiographs.

    Not a medical device: for research and education, not for diagnosis.
    """


def main() -> None:
    """Run the command line and exit with 0 done, 1 error, 2 wrong usage, 3 some inputs failed."""
    raise SystemExit(execute(sys.argv[1:]))


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
    except (BrokenPipeError, SystemExit):
        # The reader of our output (head, less) went away, which typer and rich answer with an exit;
        # nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return console.DONE
    except OSError as error:
        what = error.strerror or str(error)
        console.say(f"pleura: error: {error.filename or 'the output'}: {what}")
        return console.FAILED
    except Exception as error:
        if _was_interrupted(error):  # while a compiled module was being imported
            return _interrupted()
        if os.environ.get("PLEURA_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}"
        console.say(f"pleura: internal error: {what}; PLEURA_DEBUG=1 shows where it happened")
        return console.FAILED


def _was_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is what led to an error."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _interrupted() -> int:
    console.say("pleura: interrupted; what was finished is kept")
    return console.INTERRUPTED


def _wrong_usage(error: typer.TyperException) -> int:
    """Say what is wrong with the command line; a missing verb has printed the help already."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if message:
        command = context.command_path if context else "pleura"
        console.say(f"pleura: {message} ({command} --help lists what there is)")
    return console.WRONG_USAGE
