"""Several trained models written as one, which answers with the mean of their probabilities."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pleura.config import MAX_SIZE, SIZE_STEP, Network
from pleura.data.arrays import Prepared
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import BundleError, DataError, UsageError
from pleura.evaluation.decision import fit_decision
from pleura.models import zoo
from pleura.models.bundle import Bundle
from pleura.models.card import write_card
from pleura.stages.evaluate import counted_on, unseen_rows
from pleura.stages.train import measured

CLOSER = 1.6
"""How many times as large the picture is that a closer look is cut out of."""


def combine(
    bundles: Sequence[Bundle],
    *,
    tta: bool = False,
    sizes: Sequence[int] = (),
    closer: int = 0,
    prepared: Prepared | None = None,
) -> Bundle:
    """Return one model of several.

    Where members differ in size, the picture is prepared at the largest and made smaller for the
    others. Calibration and thresholds are chosen on the images of `prepared` that trained no
    member. Without such images those of the members are taken, where they all have the same, as
    the models of ``pleura train --folds`` do: chosen on out-of-fold predictions of single members,
    they are a little off for their mean.

    Args:
        bundles: The members; one is enough where `tta` or `closer` is set, or `sizes` are several.
        tta: Whether each sees the picture mirrored left to right too.
        sizes: The sides in pixels at which each sees the picture; empty: its own.
        closer: The side in pixels of a square in each upper corner that each sees too, cut out of a
            picture that is 1.6 times as large, to the next size that prepared images have; 0: none.
        prepared: A folder with images that trained no member.

    Returns:
        A bundle without a path, not yet written.

    Raises:
        ConfigError: A member cannot work at one of `sizes`, or at `closer`.
        UsageError: There is nothing to combine, a size is none that prepared images have, or the
            members' thresholds differ and there are no images to choose others on.
        BundleError: The members differ in how they prepare images by more than the size, or one is
            an ensemble itself.
        DataError: All images of `prepared` trained a member, or are of another size.
    """
    _check(bundles, tta or bool(closer) or len(set(sizes)) > 1)
    _check_sizes([*sizes, *([closer] if closer else [])])
    members = [bundle.network for bundle in bundles]
    seen = [sorted(set(sizes)) or [bundle.preprocessing.size] for bundle in bundles]
    cut_from = round(CLOSER * closer / SIZE_STEP) * SIZE_STEP
    largest = max(cut_from, *map(max, seen))
    own = seen if seen != [[largest]] * len(seen) else []
    whole = Bundle(
        network=zoo.complete(
            Network(name=zoo.ENSEMBLE, members=members, sizes=own, closer=closer, tta=tta)
        ),
        weights={
            f"members.{number}.{name}": array
            for number, bundle in enumerate(bundles)
            for name, array in bundle.weights.items()
        },
        preprocessing=replace(bundles[0].preprocessing, size=largest),
        training=_training(bundles),
        trained_on=np.unique(np.concatenate([bundle.trained_on for bundle in bundles])),
        versions=bundles[0].versions,
    )
    zoo.check_size(whole.network, largest)
    if prepared is not None:
        whole = _decided_on(whole, prepared)
    else:
        whole = _as_the_members(whole, bundles)
    return replace(whole, card=write_card(whole))


def _check(bundles: Sequence[Bundle], one_is_enough: bool) -> None:
    if not bundles or (len(bundles) == 1 and not one_is_enough):
        raise UsageError(
            f"{len(bundles)} models make no ensemble; name two or more, or one with `tta`, "
            "`closer` or `size` for several"
        )
    for bundle in bundles:
        if bundle.network.members:
            raise BundleError(f"{bundle.path or 'model'}: is an ensemble; name its members instead")
        alike = replace(bundle.preprocessing, size=bundles[0].preprocessing.size)
        if alike != bundles[0].preprocessing:
            raise BundleError(
                f"{bundle.path or 'model'}: prepares images as {bundle.preprocessing}, "
                f"{bundles[0].path or 'the first model'} as {bundles[0].preprocessing}; but for "
                "the size, members must prepare them alike"
            )


def _check_sizes(sizes: Sequence[int]) -> None:
    for size in sizes:
        if size % SIZE_STEP or not 0 < size <= MAX_SIZE:
            raise UsageError(
                f"a size of {size} pixels; name multiples of {SIZE_STEP} up to {MAX_SIZE:,}"
            )


def _decided_on(whole: Bundle, prepared: Prepared) -> Bundle:
    rows = unseen_rows(whole, prepared)
    if not rows.size:
        raise DataError(
            f"{prepared.path}: all of its {len(prepared.train)} labelled images trained a member; "
            "choose on others, or leave `on` out"
        )
    decision = fit_decision(counted_on(TorchEngine(whole), prepared, rows))
    whole = decision.applied(whole)
    figures = measured(whole, prepared)
    told = f"{len(rows)} images of {prepared.path} that trained none of its members"
    return replace(whole, evaluation={**figures, "measured_on": told})


def _as_the_members(whole: Bundle, bundles: Sequence[Bundle]) -> Bundle:
    first = bundles[0]
    for bundle in bundles[1:]:
        if (bundle.points, bundle.calibration) != (first.points, first.calibration):
            raise UsageError(
                f"{bundle.path or 'model'} and {first.path or 'the first model'} have different "
                "thresholds or calibrations; name images to choose those of the ensemble on "
                "(`on` PREPARED)"
            )
    return replace(
        whole,
        operating_point=first.operating_point,
        presets=first.presets,
        calibration=first.calibration,
    )


def _training(bundles: Sequence[Bundle]) -> dict[str, Any]:
    """Return what is recorded of each member's training, and how many images trained any."""
    images = len(np.unique(np.concatenate([bundle.trained_on for bundle in bundles])))
    members = [
        {
            "training": dict(bundle.training),
            "epochs": bundle.history.get("epoch", []),
            "digest": bundle.digest,
        }
        for bundle in bundles
    ]
    return {"images": images, "members": members}
