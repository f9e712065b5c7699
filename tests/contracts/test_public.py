"""What people import: the names, their signatures, and what comes back."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pleura
from pleura import errors


def parameters(function) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def test_the_names():
    assert sorted(pleura.__all__) == [
        "Dataset",
        "PleuraError",
        "Prediction",
        "Predictor",
        "Radiograph",
        "dice_coeff",
        "load",
        "mask2rle",
        "read_annotations",
        "read_radiograph",
        "rle2mask",
    ]


@pytest.mark.parametrize("name", pleura.__all__)
def test_each_name_is_there_and_says_what_it_is(name):
    found = getattr(pleura, name)
    assert found.__doc__
    assert found.__name__ == name
    assert getattr(importlib.import_module(found.__module__), name) is found
    assert name in dir(pleura)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'pleura' has no attribute 'nonsense'"):
        pleura.nonsense  # noqa: B018
    with pytest.raises(ImportError):
        from pleura import nonsense  # noqa: F401


def test_a_star_import_brings_exactly_these_names():
    code = "before = set(globals()); from pleura import *; print(sorted(set(globals()) - before))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == str(sorted([*pleura.__all__, "before"]))


def test_the_signatures_that_the_field_knows():
    names = list(parameters(pleura.rle2mask))
    assert names[:2] == ["text", "shape"]
    names = list(parameters(pleura.mask2rle))
    assert names[0] == "mask"
    names = list(parameters(pleura.dice_coeff))
    assert names == ["truth", "prediction", "smooth"]
    assert parameters(pleura.dice_coeff)["smooth"].default == 1.0
    for function in (pleura.rle2mask, pleura.mask2rle):
        form = parameters(function)["form"]
        assert (form.kind, form.default) == (inspect.Parameter.KEYWORD_ONLY, "relative")
    assert next(iter(parameters(pleura.load))) == "path"
    assert list(parameters(pleura.Predictor.predict)) == ["self", "radiograph"]
    assert list(parameters(pleura.Predictor.predict_pixels)) == ["self", "pixels", "image_id"]
    for function in (pleura.read_radiograph, pleura.read_annotations):
        assert next(iter(parameters(function))) == "path"


def test_a_mask_and_its_text():
    mask = pleura.rle2mask("1 2 2 1", (3, 3))
    assert mask.astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert np.array_equal(pleura.rle2mask(pleura.mask2rle(mask), (3, 3)), mask)
    assert pleura.dice_coeff(mask, mask) == 1.0


def test_the_example_of_the_package(tiny_model, cohort):
    path = sorted(cohort.rglob("*.dcm"))[0]
    prediction = pleura.load(tiny_model).predict(path)
    assert isinstance(prediction, pleura.Prediction)
    assert 0 <= prediction.score <= 1
    radiograph = pleura.read_radiograph(path)
    assert prediction.image_id == radiograph.id
    assert prediction.probability.shape == prediction.mask.shape == radiograph.pixels.shape
    assert np.array_equal(pleura.rle2mask(prediction.rle, prediction.mask.shape), prediction.mask)


def test_every_error_is_one_of_ours():
    found = [item for item in vars(errors).values() if inspect.isclass(item)]
    assert len(found) > 8
    assert all(issubclass(item, pleura.PleuraError) for item in found)
    tree = errors.__doc__ or ""
    assert all(item.__name__ in tree for item in found), "the docstring draws the whole tree"


def test_types_are_promised_and_complete():
    for name in pleura.__all__:
        found = getattr(pleura, name)
        own = vars(found).items() if inspect.isclass(found) else ()
        members = [found, *(item for key, item in own if not key.startswith("_"))]
        for function in filter(inspect.isfunction, members):
            hints = dict(inspect.get_annotations(function))
            wanted = {*parameters(function)} - {"self", "cls"}
            assert wanted <= hints.keys(), function.__qualname__
            assert "return" in hints, function.__qualname__
    assert (Path(pleura.__file__).parent / "py.typed").is_file()
