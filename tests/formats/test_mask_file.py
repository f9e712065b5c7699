"""A file with masks is opened by a process that may die."""

import os

import numpy as np
import pytest

from pleura.errors import AnnotationError
from pleura.formats import mask_file
from pleura.formats.mask_file import FoundMask, is_mask_file, read_mask_files
from pleura.formats.mask_picture import write_mask_picture
from pleura.formats.nifti import write_nifti_mask
from pleura.processes import guarded
from pleura.processes.isolation import Limits
from pleura.storage import elsewhere
from tests.processes import isolated_work

MASK = np.arange(12).reshape(3, 4) == 5
FOUND = [FoundMask("", (3, 4), "4 1")]


def masks_in(path):
    (found,) = read_mask_files([path])
    if isinstance(found, AnnotationError):
        raise found
    return found


@pytest.fixture(params=["a.png", "a.nii.gz"])
def path(request, tmp_path):
    path = tmp_path / request.param
    (write_mask_picture if path.suffix == ".png" else write_nifti_mask)(path, MASK)
    return path


def test_nothing_of_it_is_opened_in_this_process(path, monkeypatch):
    monkeypatch.setattr(mask_file, "_masks", lambda *_: pytest.fail("opened here"))
    assert is_mask_file(path)
    assert [found._replace(value=0) for found in masks_in(path)] == FOUND


def test_the_process_may_die_and_the_next_file_has_another(path):
    masks_in(path)
    kept = guarded._kept(os.getpid(), guarded.LIMITS)
    assert kept._children[0]._process.poll() is None
    kept._children[0].kill()
    assert [found._replace(value=0) for found in masks_in(path)] == FOUND


def test_what_cannot_be_read_is_refused_in_the_words_of_its_reader(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"nothing")
    with pytest.raises(AnnotationError, match=rf"^{path}: cannot be read as a mask .PNG, TIFF"):
        masks_in(path)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (None, "cannot be read as a mask .no answer."),
        (5, "cannot be read as a mask"),
        ([["", [3, 4], 7, 0]], "cannot be read as a mask"),
        ([["", [1 << 20, 1 << 20], "-1", 0]], "cannot be read as a mask"),
        ([["", [0, 4], "-1", 0]], "cannot be read as a mask"),
    ],
)
def test_nothing_that_the_process_answers_is_believed_unseen(tmp_path, monkeypatch, reply, message):
    monkeypatch.setattr(mask_file, "guarded_list", lambda *_, **__: [reply])
    with pytest.raises(AnnotationError, match=rf"a.png: {message}.*; save it again"):
        masks_in(tmp_path / "a.png")


def test_a_few_files_are_brought_at_once(tmp_path):
    """From a store several are on their way together; a bad one costs none of the others."""
    write_mask_picture(tmp_path / "a.png", MASK)
    contents = {"s3://masks/a.png": (tmp_path / "a.png").read_bytes(), "s3://masks/b.png": b"no"}
    asked = []

    def bring(names):
        asked.append(list(names))
        return {name: contents[name] for name in names}

    with elsewhere.at_hand(elsewhere.Elsewhere(dict.fromkeys(contents), bring)):
        good, bad = read_mask_files([elsewhere.path_at(name) for name in contents])
    assert asked == [list(contents)]
    assert [found._replace(value=0) for found in good] == FOUND
    assert str(bad).startswith("s3://masks/b.png: cannot be read as a mask (PNG, TIFF")


def test_a_file_that_takes_too_long_is_given_up(path, monkeypatch):
    monkeypatch.setattr(guarded, "LIMITS", Limits(seconds=0.2))
    monkeypatch.setattr(mask_file, "_found", isolated_work.sleeps)
    with pytest.raises(AnnotationError, match=r"took more than 0.2 seconds .* export it again"):
        masks_in(path)
