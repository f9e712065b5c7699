from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.data.fold_table import read_folds
from pleura.data.folds import (
    assign_folds,
    fold_records,
    group_numbers,
    one_sided,
    report_folds,
    require_sound_folds,
    write_fold_table,
)
from pleura.data.image_masks import records_of_table
from pleura.errors import DataError
from pleura.formats.annotation_table import read_annotations
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
    with pytest.raises(DataError, match=r"1 patients cannot make 5 folds; ask for fewer folds"):
        assign_folds(records, 5)


def test_an_unlabelled_image_is_refused():
    record = make_record("i0", labelled=False)
    with pytest.raises(DataError, match="i0: an unlabelled image cannot be put into a fold"):
        assign_folds([record], 2)


def test_a_cluster_stays_together_over_patients():
    people = [("a", 1), ("b", 1), ("b", None), (None, 2), (None, 2), (None, None), (None, None)]
    records = [
        replace(make_record(f"i{n}", patient=patient), cluster=cluster)
        for n, (patient, cluster) in enumerate(people)
    ]
    assert group_numbers(records).tolist() == [0, 0, 0, 1, 1, 2, 3]
    assigned = assign_folds(records, 3)
    assert len(set(assigned[:3])) == 1
    assert assigned[3] == assigned[4]


def test_what_is_set_aside_links_those_that_are_left():
    records = [
        replace(make_record(f"i{n}", patient=f"p{n}"), group=group)
        for n, group in enumerate([7, 8, 7, 9, 10])
    ]
    assert group_numbers(records).tolist() == [0, 1, 0, 2, 3]
    assigned = assign_folds(records, 2)
    assert assigned[0] == assigned[2]


def test_nothing_to_split_is_said_so():
    with pytest.raises(DataError, match="no image is labelled, so there is nothing to split"):
        assign_folds([], 5)


def test_masks_of_one_size_are_no_strata_of_their_own():
    records = [make_record(f"i{n}", positive=n % 2 == 0, patient=f"p{n}") for n in range(60)]
    report = report_folds(records, assign_folds(records, 5))
    assert report.largest_deviation < 0.01
    assert report.largest_group == (1, 1)


def test_areas_are_spread_over_the_folds():
    records = [
        replace(make_record(f"i{n}", positive=n % 2 == 0), area_px=n if n % 2 == 0 else 0)
        for n in range(240)
    ]
    report = report_folds(records, assign_folds(records, 4))
    assert [fold.images for fold in report.folds] == [60] * 4
    assert report.largest_deviation < 0.01
    assert all(80 < (fold.median_area_px or 0) < 160 for fold in report.folds)


def test_a_table_is_obeyed_and_comes_back(tmp_path):
    records = [make_record(f"i{n}", patient=str(n // 2), positive=n % 3 == 0) for n in range(40)]
    assigned = assign_folds(records, 4, seed=3)
    write_fold_table(records, assigned, tmp_path / "folds.csv")
    folds = read_folds(tmp_path / "folds.csv")
    given = fold_records(records, folds, "folds.csv")
    assert np.array_equal(assign_folds(given, 4, seed=0), assigned)
    with pytest.raises(DataError, match=r"the fold table has 4 folds, train.folds is 5; set train"):
        assign_folds(given, 5)
    assert report_folds(records, assigned).split_patients == ()
    assert "1" not in (tmp_path / "folds.csv").read_text().splitlines()[0]


def test_a_table_must_know_every_labelled_image():
    records = [make_record("a"), make_record("b"), make_record("c", labelled=False)]
    with pytest.raises(DataError, match=r"t.csv: 1 labelled images have no fold .* the first is b"):
        fold_records(records, {"a": 0}, "t.csv")
    assert fold_records(records, {"a": 0, "b": 1}, "t.csv")[2].fold is None


def test_a_table_that_splits_a_patient_is_refused():
    records = [replace(make_record(f"i{n}", patient="7"), fold=n % 2) for n in range(4)]
    with pytest.raises(DataError, match="puts images of 1 patients into more than one fold"):
        require_sound_folds(records)
    with pytest.raises(DataError, match="make it with pleura folds"):
        assign_folds(records, 2)
    assert report_folds(records, np.array([0, 1, 0, 1])).split_patients == ("7",)


@pytest.mark.slow
def test_the_whole_stage_1_table_splits_cleanly(real_data):
    table = real_data / "annotations" / "train-rle-stage1.csv.gz"
    records = records_of_table(read_annotations(table, shape=(1024, 1024)))
    report = report_folds(records, assign_folds(records, 5))
    assert report.without_patient == 0
    assert report.split_patients == report.split_clusters == ()
    assert report.largest_deviation < 0.005
    assert sum(fold.images for fold in report.folds) == 10_675


def test_positives_of_one_patient_are_told():
    def made(*patients):
        positives = [
            make_record(f"p{n}", patient=one, positive=True) for n, one in enumerate(patients)
        ]
        return [*positives, *(make_record(f"n{n}", patient="z", positive=False) for n in range(9))]

    assert one_sided(made("a", "a", "a", "b")) == (
        "3 of the 4 positive images that validate are of one patient, or nearly the same: what is "
        "measured on them says little of others; take another fold, or more data"
    )
    assert one_sided(made("a", "a", "b", "b")) == ""
    assert one_sided(made("a")) == ""
    assert one_sided([]) == ""
