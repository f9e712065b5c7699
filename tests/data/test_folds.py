import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.data.folds import assign_folds
from pleura.errors import DataError
from tests.records import make_record

PEOPLE = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=30, max_size=60)


@given(PEOPLE, st.integers(2, 5), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_no_patient_is_on_both_sides_and_every_image_has_a_fold(people, folds, seed):
    records = [
        make_record(f"i{n}", patient=str(patient), positive=positive)
        for n, (patient, positive) in enumerate(people)
    ]
    if len({record.patient for record in records}) < folds:
        return
    assigned = assign_folds(records, folds, seed)
    assert set(assigned) <= set(range(folds))
    for patient in {record.patient for record in records}:
        members = [f for f, r in zip(assigned, records, strict=True) if r.patient == patient]
        assert len(set(members)) == 1
    assert np.array_equal(assigned, assign_folds(records, folds, seed))


def test_folds_have_alike_prevalence():
    records = [make_record(f"i{n}", positive=n % 4 == 0) for n in range(200)]
    assigned = assign_folds(records, 5)
    labels = np.array([record.positive for record in records])
    for fold in range(5):
        assert labels[assigned == fold].mean() == pytest.approx(0.25, abs=0.02)


def test_an_unknown_patient_is_a_patient_of_its_own():
    records = [make_record(f"i{n}", patient=None) for n in range(10)]
    assert np.bincount(assign_folds(records, 5)).tolist() == [2, 2, 2, 2, 2]


def test_too_few_patients_are_refused():
    records = [make_record(f"i{n}", patient="7") for n in range(10)]
    with pytest.raises(DataError, match=r"1 patients cannot make 5 folds; set train.folds lower"):
        assign_folds(records, 5)


def test_an_unlabelled_image_is_refused():
    record = make_record("i0", labelled=False)
    with pytest.raises(DataError, match="i0: an unlabelled image cannot be put into a fold"):
        assign_folds([record], 2)
