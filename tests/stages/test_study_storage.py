"""Databases that several processes share: what is said of those that cannot be used."""

from dataclasses import replace
from pathlib import Path

import pytest

from pleura.errors import DataError, OutputError, UsageError
from pleura.stages.study import Study
from tests.stages.test_study import WANTED


@pytest.fixture
def address(tmp_path):
    return f"sqlite:///{tmp_path / 'base.db'}"


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("hunter2", UsageError, "`study`: is no address of a database; write postgresql://user@"),
        ("postgresql://me:hunt@er2@host/base", UsageError, "holds an @, which an address writes"),
        ("nothing://me:hunter2@host/base", UsageError, "`study` nothing://host/base: no driver"),
        ("sqlite:////hunter2/no.db", OutputError, r"cannot be used \(.*unable to open.*\); what"),
    ],
)
def test_an_address_that_cannot_be_used(tmp_path, address, error, message):
    with pytest.raises(error, match=message) as caught:
        Study(tmp_path, WANTED, address)
    assert "me:" not in str(caught.value)
    assert "er2@" not in str(caught.value)


def test_each_folder_has_a_study_of_its_own(tmp_path, address):
    for name in ("a", "b"):
        study = Study(tmp_path / name, WANTED, address)
        with study.begin() as attempt:
            attempt.finish(1.0)
        assert [trial.number for trial in study.trials] == [0]
    with pytest.raises(UsageError, match=r"a: holds a study of another \[tune.space\]; choose an"):
        Study(tmp_path / "a", replace(WANTED, space={"train.loss": ["bce"]}), address)


def test_a_study_is_kept_in_one_place(tmp_path, address):
    Study(tmp_path / "file", WANTED)
    with pytest.raises(UsageError, match=r"its study is kept in study.db there; leave out `study`"):
        Study(tmp_path / "file", WANTED, address)
    Study(tmp_path / "shared", WANTED, address)
    with pytest.raises(UsageError, match="its study is kept in a database; name that as `study`"):
        Study(tmp_path / "shared", WANTED)


def test_a_name_that_is_none(tmp_path, address):
    Path(tmp_path, "study.id").write_text("mine", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"study.id: is no name of a study, which has 32 hex digits"
    ):
        Study(tmp_path, WANTED, address)
