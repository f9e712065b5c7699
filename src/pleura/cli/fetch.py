"""`pleura fetch`: the public data set from kaggle.com, in the layout that pleura reads."""

from typing import Annotated

import typer

from pleura.cli import console, options
from pleura.processes.progress import OnProgress


def fetch(
    what: Annotated[str, typer.Argument(help="The data set: siim.")],
    out: Annotated[options.Out, typer.Option(help="The data folder.")],
    stage: Annotated[int, typer.Option(help="Of the challenge: 1 or 2.", min=1, max=2)] = 1,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="OWNER/SLUG",
            help="Another Kaggle data set that holds the DICOM files of stage 1.",
        ),
    ] = "",
    as_json: options.AsJson = False,
) -> int:
    """Bring the SIIM-ACR set from kaggle.com through kagglehub, and count what arrived.

    The DICOM files come from a copy that a user of Kaggle published, so what arrives is counted
    and compared with what the challenge published. What is there is not fetched again: a run that
    was cut off goes on where it was. kagglehub is an extra: `pip install 'pleura[kaggle]'`.
    """
    from contextlib import ExitStack

    from pleura.errors import UsageError
    from pleura.fetch.kaggle import DATASET, Stage, fetch_siim

    if what != "siim":
        raise UsageError(f"{what[:40]!r} is no data set that can be fetched; there is siim")
    chosen: Stage = 2 if stage == 2 else 1

    def begin(needs: tuple[str, ...]) -> None:
        for sentence in needs:
            console.say(sentence)

    with ExitStack() as stack:
        bars: list[OnProgress] = []  # opened late: kagglehub draws its own before

        def told(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(console.progress("placing")))
            bars[0](done, total)

        fetched = fetch_siim(
            out, stage=chosen, dataset=source or DATASET, on_begin=begin, on_progress=told
        )
    counts = fetched.counts
    console.say(
        f"{counts.train:,} training and {counts.test:,} test files, {counts.rows:,} rows for "
        f"{counts.images:,} images; {fetched.placed:,} files new, {fetched.kept:,} there already"
    )
    for warning in fetched.warnings:
        console.say(f"warning: {warning}")
    if as_json:
        console.print_json(fetched.as_json())
    else:
        console.show(str(out))
    return console.SOME_INPUTS_FAILED if fetched.warnings else console.DONE
