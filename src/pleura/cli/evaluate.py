"""`pleura evaluate`: how good a model is on images that did not train it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pleura.cli import console, options
from pleura.cli.stores import open_arrays, open_model, open_paths
from pleura.remote.address import STORES, path_of, scheme_in, url_of

if TYPE_CHECKING:
    from pleura.data.arrays import Prepared
    from pleura.data.table_use import TableUse
    from pleura.evaluation.comparison import Comparison
    from pleura.evaluation.mix import Mix
    from pleura.models.bundle import Bundle
    from pleura.stages.evaluate import Opens, Validation
    from pleura.stages.judge import Judgement
    from pleura.stages.judge_sides import Judging


_JUDGED = "Anybody's predictions, in place of a model"
_WRITTEN = "What is written"


def evaluate(
    model: Annotated[
        options.AnywhereOrNone, typer.Argument(help="A model.h5, or its address.")
    ] = None,
    prepared: Annotated[
        options.ArraysOrNone,
        typer.Argument(help="A folder that pleura prepare wrote, or its address in a store."),
    ] = None,
    against: Annotated[
        options.AnywhereOrNone,
        typer.Option(
            help="Another model.h5 to compare with; beside --predictions, other predictions."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="By how much a figure may be below that of --against and still count as no worse: "
            "the margin of non-inferiority, such as 0.05."
        ),
    ] = None,
    report: Annotated[
        options.OutOrNone,
        typer.Option(
            rich_help_panel=_WRITTEN, help="Write an HTML page here, such as evaluation.html."
        ),
    ] = None,
    mix: options.MixNames = None,
    negatives: Annotated[
        options.AnywhereOrNone,
        typer.Option(
            help="A CSV with the columns ImageId and kind: what kind of negative an image is, "
            "such as what its report says. Each kind gets figures of its own."
        ),
    ] = None,
    predictions: Annotated[
        options.AnywhereOrNone,
        typer.Option(
            rich_help_panel=_JUDGED,
            help="Anybody's predictions in place of a model: a table of scores, masks (run "
            "lengths, COCO, a folder such as nnU-Net's), or the folder of pleura predict. Wants "
            "--truth.",
        ),
    ] = None,
    truth: Annotated[
        options.AnywhereOrNone,
        typer.Option(
            rich_help_panel=_JUDGED, help="Their truth: masks, or a table of image labels."
        ),
    ] = None,
    scores: Annotated[
        options.AnywhereOrNone,
        typer.Option(rich_help_panel=_JUDGED, help="A table of scores beside predicted masks."),
    ] = None,
    against_scores: Annotated[
        options.AnywhereOrNone,
        typer.Option(
            rich_help_panel=_JUDGED, help="A table of scores beside the masks of --against."
        ),
    ] = None,
    score_column: Annotated[
        str,
        typer.Option(
            rich_help_panel=_JUDGED,
            help="The column of scores in these tables.",
            show_default="score, Pneumothorax",
        ),
    ] = "",
    threshold: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_JUDGED,
            help="The score from which on an image without a mask is called positive. Name it "
            "where scores are no probabilities.",
            show_default="0.5",
        ),
    ] = None,
    image_size: options.ImageSize = "",
    images: Annotated[
        options.AnywhereOrNone,
        typer.Option(
            rich_help_panel=_JUDGED,
            help="Folder of the radiographs. It tells sizes, patients, age, sex and view, and "
            "distances in mm where a spacing is known.",
        ),
    ] = None,
    patients: options.Patients = None,
    masks: options.MaskOptions = options.MASKS,
    columns: options.LabelColumns = options.LABEL_COLUMNS,
    per_image: Annotated[
        options.OutOrNone,
        typer.Option(
            rich_help_panel=_WRITTEN,
            help="Write a row for each image here, as .csv and as .parquet.",
        ),
    ] = None,
    figures: Annotated[
        options.OutOrNone,
        typer.Option(
            rich_help_panel=_WRITTEN,
            help="Write figures for a paper into this folder: PNG, SVG, PDF, CSV.",
        ),
    ] = None,
    checklist: Annotated[
        options.OutOrNone,
        typer.Option(
            rich_help_panel=_WRITTEN,
            help="Write the checklists CLAIM 2024 and TRIPOD+AI here, filled from what pleura "
            "knows and open for the rest: .md, .csv or .html.",
        ),
    ] = None,
    device: options.Device = "cpu",
    on: options.On = "local",
    cpus: options.Cpus = 0,
    gpus: options.Gpus = 0.0,
    as_json: options.AsJson = False,
) -> int:
    """Score a model, or anybody's predictions: figures with 95 % intervals over patients.

    MODEL PREPARED scores a model on the labelled images of a prepared folder that did not train it.
    On the folder that it was trained on these are the patients who validated. They also chose its
    calibration and thresholds. So there each part of these patients is judged by what the other
    parts choose. Masks are compared at the files' own size, and patients count the same.

    --predictions and --truth score anybody's predictions, with the same figures, and ask no model.
    Ids that only one side has are named, and the exit status is then 3.

    --against compares with another model, on the images that trained neither, or with other
    predictions. Each difference has an interval of its own, over the same draws of patients, and
    DeLong's and McNemar's tests stand beside it. pleura plan tells how many patients that takes.

    With --on a Ray cluster runs the model on the prepared folder, which all its machines see, or
    which lies in a store.
    """
    from pleura.errors import UsageError

    if margin is not None and (against is None or not 0 < margin < 1):
        raise UsageError(
            f"--margin {margin:g}: is by how much the figures may be below those of --against, "
            "above 0 and below 1, such as 0.05"
        )
    against_model = None
    if predictions is None and against is not None:
        against_model = open_model(against)
        against = None
    images, predictions, truth, scores, against, against_scores, negatives, patients = open_paths(
        images, predictions, truth, scores, against, against_scores, negatives, patients
    )
    wanted = _Wanted(report, mix, negatives, per_image, figures, checklist, as_json, margin)
    if checklist is not None:
        from pleura.evaluation.checklist import checked_suffix

        checked_suffix(checklist)
    if predictions is not None or truth is not None:
        if predictions is None or truth is None or model is not None:
            raise UsageError("--predictions needs --truth, and takes no model")
        if on != "local":
            raise UsageError(
                f"--on {on}: a cluster runs a model, and with --predictions none is asked; leave "
                "out one of the two"
            )
        from pleura.stages.judge_sides import Judging

        how = Judging(
            masks=masks.reading(),
            labels=columns.of(truth, masks.image_column),
            score_column=score_column,
            threshold=threshold,
            size=options.image_size(image_size),
            images=images,
            patients=patients,
            match=masks.match or "",
        )
        return _judge(
            (predictions, scores),
            None if against is None else (against, against_scores),
            truth,
            how,
            wanted,
        )
    if model is None or prepared is None:
        raise UsageError("name a model and a prepared folder, or --predictions and --truth")
    where = _Where(device, on, cpus, gpus)
    return _validate(open_model(model), prepared, against_model, where, wanted)


class _Where(NamedTuple):
    """What runs the models."""

    device: str
    on: str
    cpus: int
    gpus: float

    def opens(self, place: Path, arrays: "Prepared") -> "Opens":
        """Return what opens models until the command ends, to be asked of a prepared folder.

        Args:
            place: Where it is, as it was given.
            arrays: The folder, opened.
        """
        cluster = options.cluster_of(self.on, self.cpus, self.gpus)
        if cluster is None:
            from pleura.stages.evaluate import opened_here

            return opened_here(self.device)
        from pleura.stages.evaluate_on_ray import PreparedPlace, opened_on
        from pleura.storage.own_file import cache_folder

        stored = scheme_in(str(place)) in STORES
        where = url_of(str(place)) if stored else str(Path(path_of(str(place))).absolute())
        work = cache_folder("arrays") if stored else None
        return console.hold(
            opened_on(cluster, PreparedPlace(where, work, arrays.fingerprint), self.device)
        )


def _validate(
    model: Path, prepared: Path, against: Path | None, where: _Where, wanted: "_Wanted"
) -> int:
    from pleura.data.arrays import open_prepared
    from pleura.data.stores import stores_of_paths
    from pleura.engines.threads import share_cores
    from pleura.models.bundle import read_bundle
    from pleura.stages.evaluate import compare_models, evaluate_model, write_validation_report
    from pleura.storage.lock import locked_file

    report = wanted.report
    if report is not None:
        console.hold(locked_file(report, "evaluate"))
    mixes, kinds = wanted.read()
    share_cores()
    bundle = read_bundle(model)
    other = None if against is None else read_bundle(against)
    arrays = open_prepared(open_arrays(prepared))
    opened = where.opens(prepared, arrays)
    if report is not None:
        console.hold(stores_of_paths(record.path for record in arrays.train))
    comparison = None
    with console.progress("evaluating", "images") as told:
        if other is None:
            with opened(bundle) as ask:
                validation = evaluate_model(
                    bundle, arrays, ask=ask, mixes=mixes, negatives=kinds, on_progress=told
                )
        else:
            both = compare_models(
                bundle,
                other,
                arrays,
                opened=opened,
                mixes=mixes,
                negatives=kinds,
                margin=wanted.margin,
                on_progress=told,
            )
            validation, comparison = both.ours, both.comparison
    if report is not None:
        write_validation_report(bundle, arrays, validation, report, comparison)
        console.say(f"wrote {report}")
    folds = {r.image_id: r.fold for r in arrays.train if r.fold is not None}
    _write_more(validation, wanted, folds, comparison, bundle)
    told_figures = {**validation.evaluation.as_json(), "notes": list(validation.notes)}
    if wanted.negatives is not None:
        uses = _unused(wanted.negatives, kinds, validation)
        told_figures["tables"] = [use.as_json() for use in uses]
        what = "of the negatives that were scored"
        told_figures["notes"] += [f"{use}.".replace("of the images", what) for use in uses]
    if comparison is not None:
        told_figures["against"] = {"model": str(against), **comparison.as_json()}
    _tell("Validation", told_figures, comparison, wanted)
    return console.DONE


def _unused(
    negatives: Path, kinds: Mapping[str, str], validation: "Validation"
) -> tuple["TableUse", ...]:
    """Return what of the table of negatives was not used."""
    from pleura.data.table_use import table_use, unused_columns

    scored = {item.image_id for item in validation.outcomes if not item.positive}
    columns = unused_columns(negatives, {"ImageId", "kind"})
    return table_use(negatives, ids=kinds, known=scored, columns=columns)


def _tell(
    title: str, told: Mapping[str, Any], comparison: "Comparison | None", wanted: "_Wanted"
) -> None:
    """Print an evaluation as JSON or for people."""
    if wanted.as_json:
        console.print_json(told)
        return
    print_figures(title, told)
    console.show()
    _print_parts(told)
    if comparison is not None:
        console.show()
        _print_comparison(comparison)


class _Wanted(NamedTuple):
    """What is asked of an evaluation."""

    report: Path | None
    mix: list[str] | None
    negatives: Path | None
    per_image: Path | None
    figures: Path | None
    checklist: Path | None
    as_json: bool
    margin: float | None

    def read(self) -> tuple[tuple["Mix", ...], dict[str, str]]:
        """Return the mixes, and what kind of negative an image is, by its id."""
        from pleura.evaluation.mix import find_mixes
        from pleura.formats.image_table import read_image_table

        kinds = {} if self.negatives is None else read_image_table(self.negatives, "kind")
        return find_mixes(self.mix or ()), kinds


def _judge(
    ours: tuple[Path, Path | None],
    theirs: tuple[Path, Path | None] | None,
    truth: Path,
    how: "Judging",
    wanted: _Wanted,
) -> int:
    from pleura.stages.judge import compare_judged, judge, write_judgement

    mixes, negatives = wanted.read()
    judgement = judge(ours[0], truth, how, scores=ours[1], mixes=mixes, negatives=negatives)
    failures, comparison = [*judgement.failures], None
    if theirs is not None:
        other = judge(theirs[0], truth, how, scores=theirs[1])
        comparison = compare_judged(judgement, other, margin=wanted.margin)
        failures += [(name, f"{theirs[0].name}: {why}") for name, why in other.failures]
    if wanted.report is not None:
        write_judgement(judgement, wanted.report, ours[0].name, truth.name, comparison)
        console.say(f"wrote {wanted.report}")
    _write_more(judgement, wanted, {}, comparison)
    told = {**judgement.evaluation.as_json(), "notes": list(judgement.notes), "failures": failures}
    if comparison is not None and theirs is not None:
        told["against"] = {"predictions": str(theirs[0]), **comparison.as_json()}
    console.print_failures(failures)
    _tell("Predictions", told, comparison, wanted)
    return console.SOME_INPUTS_FAILED if failures else console.DONE


def _write_more(
    found: "Validation | Judgement",
    wanted: _Wanted,
    folds: Mapping[str, int],
    comparison: "Comparison | None",
    bundle: "Bundle | None" = None,
) -> None:
    """Write rows, figures and checklists of an evaluation, where they are asked for."""
    if wanted.per_image is not None:
        from pleura.evaluation.per_image import write_per_image

        paths = write_per_image(found.outcomes, wanted.per_image, folds)
        console.say("wrote " + ", ".join(map(str, paths)))
    if wanted.figures is not None:
        from pleura.evaluation.paper import write_figures

        written = write_figures(found.outcomes, found.evaluation, wanted.figures)
        console.say(f"wrote {len(written)} files into {wanted.figures}")
    if wanted.checklist is not None:
        from pleura.evaluation.checklist import checklist, write_checklist
        from pleura.stages.evaluate import is_own

        own = is_own(found.notes)
        items = checklist(found.evaluation, found.notes, bundle, comparison, own=own)
        write_checklist(items, wanted.checklist)
        console.say(f"wrote {wanted.checklist}")


def print_figures(title: str, figures: Mapping[str, Any]) -> None:
    """Print the figures of an evaluation, as in its JSON form, to stdout."""
    rows = {"images": _counted(figures)}
    if figures["annotated"]:
        rows["mean Dice"] = figure(figures, "mean_dice")
        if figures["all_empty_dice"] is not None:
            rows["mean Dice"] += f"; answering none to all: {figures['all_empty_dice']:.3f}"
        rows["positive Dice"] = figure(figures, "positive_dice")
        rows["mean IoU"] = figure(figures, "mean_iou")
    rows |= {
        "AUROC": figure(figures, "auroc"),
        "average precision": figure(figures, "average_precision"),
        "sensitivity": figure(figures, "sensitivity"),
        "specificity": figure(figures, "specificity"),
        "accuracy": figure(figures, "accuracy"),
        "predictive values": f"positive {figure(figures, 'ppv')}, negative "
        f"{figure(figures, 'npv')}; with the share of positives of these images",
    }
    if figures["annotated"]:
        rows["lesions found"] = (
            f"{figure(figures, 'lesion_sensitivity')} of {figures['lesions']}; false ones per "
            f"image: {figure(figures, 'false_lesions')}"
        )
    for item in figures.get("distances", []):
        rows[f"outlines, {item['unit']}"] = _outlines(item)
    rows["calibration error"] = (
        f"{figure(figures, 'calibration_error')}; Brier score: {figure(figures, 'brier')}"
    )
    for item in figures["points"][1:]:
        rows[f"at {item['name']}"] = (
            f"score from {item['point']['score']:.3f}: sensitivity {figure(item, 'sensitivity')}, "
            f"specificity {figure(item, 'specificity')}"
        )
    for item in figures.get("mixes", []):
        rows[f"at the mix {item['name']}"] = (
            f"{_defined(item, _OF_A_PART)}; answering none to all: mean Dice "
            f"{item['all_empty_dice']:.3f}"
        )
    if usual := _usual(figures):
        rows["as usually computed"] = usual
    console.print_table(title, rows)
    for note in figures.get("notes", []):
        console.say(f"note: {note}")


def _counted(figures: Mapping[str, Any]) -> str:
    without = figures["images"] - figures["annotated"]
    every = "all" if not figures["annotated"] else f"{without} of them"
    return (
        f"{figures['images']} ({figures['positives']} with a pneumothorax, {figures['patients']} "
        "patients)" + (f", {every} with a label and no mask" if without else "")
    )


def _outlines(item: Mapping[str, Any]) -> str:
    empty = (
        f"not in it: {item['missed']} missed, {item['false_alarms']} false alarms, "
        f"{item['both_empty']} rightly empty"
    )
    if not item["images"]:
        return f"no image has both a true and an answered outline ({empty})"
    return (
        f"Hausdorff distance (95 %) {figure(item, 'hausdorff95', 1)}, mean distance "
        f"{figure(item, 'surface_distance', 1)}, over {item['images']} images with both ({empty})"
    )


_OF_A_PART = ("mean_dice", "positive_dice", "auroc", "sensitivity", "specificity")


def _defined(figures: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return those figures that are defined, each with its name."""
    from pleura.evaluation.figures import FIGURES

    told = [f"{FIGURES[n]} {figure(figures, n)}" for n in names if figures[n] is not None]
    return ", ".join(told) or "no figure is defined"


def _usual(figures: Mapping[str, Any]) -> str:
    """Return the naive figures beside by how much they are above the others, if any differs."""
    from pleura.evaluation.figures import FIGURES

    told = {}
    for name, value in (figures.get("naive") or {}).items():
        if value is not None and figures[name] is not None:
            told[f"{FIGURES[name]} {value:.3f}"] = f"{value - figures[name]:+z.3f}"
    if set(told.values()) <= {"+0.000"}:
        return ""  # each patient has one image, and nothing was chosen on these
    shown = ", ".join(f"{name} ({apart})" for name, apart in told.items())
    return f"{shown}; images counting alike, thresholds judged on what chose them"


def _print_parts(figures: Mapping[str, Any]) -> None:
    from pleura.evaluation.figures import FIGURES

    rows = {}
    for item in figures["predictive_values"]:
        rows[f"at {100 * item['prevalence']:.3g} % prevalence"] = (
            f"positive predictive value {figure(item, 'positive')}, negative "
            f"{figure(item, 'negative')}"
        )
    console.print_table("By prevalence", rows)
    parts = [part for part in figures["strata"] if part["images"]]
    names = [n for n in _OF_A_PART[1:] if any(part[n] is not None for part in parts)]
    if not parts:
        return
    console.show()
    console.print_grid(
        ("", "positive", *(FIGURES[name] for name in names)),
        [
            (
                f"{part['by']} {part['name']}",
                f"{part['positives']} of {part['images']}",
                *("" if part[name] is None else _short(part, name) for name in names),
            )
            for part in parts
        ],
        title="By part of the images",
        left=("",),
    )


def _short(figures: Mapping[str, Any], name: str) -> str:
    return figure(figures, name, 2).replace(" to ", "-")


def _print_comparison(comparison: "Comparison") -> None:
    from pleura.evaluation.comparison import CALLS_ABOUT, METHODS, p_value
    from pleura.evaluation.figures import FIGURES

    rows = {
        "images": f"{comparison.images} ({comparison.positives} with a pneumothorax, "
        f"{comparison.patients} patients)"
    }
    for item in comparison.differences:
        if item.difference.value != item.difference.value:  # undefined
            rows[FIGURES[item.name]] = "undefined"
            continue
        rows[FIGURES[item.name]] = (
            f"{item.ours:.3f} against {item.theirs:.3f}, difference {item.difference}; above 0 in "
            f"{100 * item.above:.1f} % of the resamples"
            + (f"; {item.verdict} at {comparison.margin:g}" if item.verdict else "")
        )
    console.print_table("Against the other", rows)
    console.show()
    tests = {}
    if comparison.auroc is not None:
        found = comparison.auroc
        tests["AUROC"] = f"DeLong: difference {found.difference}, p {p_value(found.p)}"
        if found.p != found.p:  # undefined
            tests["AUROC"] = f"DeLong: difference {found.difference.value:.3f}, which has no error"
    for calls in comparison.calls:
        tests[CALLS_ABOUT[calls.among]] = (
            f"{METHODS[calls.method]}: of {calls.images} images {calls.ours} are called correctly "
            f"by this one alone, {calls.theirs} by the other alone, p {p_value(calls.p)}"
            + ("; by patient, as some have several images" if calls.clustered else "")
        )
    console.print_table("Tests of the difference", tests)


def figure(figures: Mapping[str, Any], name: str, digits: int = 3) -> str:
    """Return a figure of an evaluation's JSON form with its interval, as a person reads it."""
    value = figures[name]
    if value is None:
        return "undefined"
    low, high = figures[f"{name}_interval"]
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
