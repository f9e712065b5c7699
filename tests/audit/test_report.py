import json
from dataclasses import replace

import numpy as np
import pytest

from pleura import config
from pleura.audit.balance import age_band, balance_findings, balance_of
from pleura.audit.compare import compare
from pleura.audit.findings import SCHEMA, Change, FindingChange, Item, found, in_order
from pleura.audit.orientation import lying_otherwise, orientation_evidence
from pleura.audit.report import audit_folder, audit_table, read_findings, write_findings
from pleura.config import Data
from pleura.data.sources import find_sources
from pleura.errors import DataError
from pleura.formats.annotation_table import read_annotations
from pleura.formats.rle import union
from pleura.pictures.measures import mask_cells
from pleura.printable import rounded
from tests.records import make_record


@pytest.fixture(scope="module")
def audit(cohort):
    return audit_folder(find_sources(config.Data(path=str(cohort))), workers=1)[0]


def test_errors_come_first_and_what_concerns_nothing_is_left_out():
    ordered = in_order(
        found(code, [Item("x")] * (code != "blank"))
        for code in ("no-header", "blank", "shortcut", "unreadable", "odd-size")
    )
    assert [f.code for f in ordered] == ["unreadable", "odd-size", "shortcut", "no-header"]


# ------------------------------------------------------------------------- findings.json


def test_findings_come_back(audit, tmp_path):
    write_findings(audit, tmp_path / "findings.json")
    again = read_findings(tmp_path / "findings.json").as_json()
    assert rounded(again) == rounded(audit.as_json())
    values = json.loads((tmp_path / "findings.json").read_text())
    assert next(iter(values)) == "schema"
    assert values["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as a findings.json"),
        ("[]", "its schema is None, this pleura reads 'pleura.findings/1'"),
        ('{"schema": "pleura.findings/9"}', "its schema is 'pleura.findings/9'"),
        ('{"schema": "pleura.findings/1"}', "is damaged at source: Field required"),
    ],
)
def test_something_else_is_refused(content, message, tmp_path):
    path = tmp_path / "findings.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_findings(path)
    with pytest.raises(DataError, match=r"gone\.json: could not be read \(No such file"):
        read_findings(tmp_path / "gone.json")


def test_no_patient_is_named(cohort, audit):
    import pydicom

    text = json.dumps(audit.as_json())
    for path in sorted(cohort.rglob("*.dcm"))[:10]:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        assert str(header.PatientID) not in text


# ------------------------------------------------------------------------------- compare


def test_nothing_changed(audit):
    same = compare(audit, audit)
    assert same.same
    assert same.added == ()


def test_what_changed_is_said(audit):
    first, second, third, *rest = audit.images
    ill = next(image for image in rest if image.label == "positive")
    images = [
        replace(second, pixel_hash="0" * 32),
        replace(third, label="unlabelled", area_px=None),
        *(replace(i, area_px=(i.area_px or 0) + 5) if i is ill else i for i in rest),
        replace(first, id="new"),
    ]
    other = replace(
        audit,
        counts=replace(audit.counts, rows=99),
        findings=audit.findings[1:],
        images=tuple(images),
    )
    changes = compare(audit, other)
    assert not changes.same
    assert changes.counts == (Change("rows", audit.counts.rows, 99),)
    gone = audit.findings[0]
    went = tuple(item.id for item in gone.items)
    assert changes.findings == (FindingChange(gone.code, gone.count, None, (), went),)
    assert changes.added == ("new",)
    assert changes.removed == (first.id,)
    assert changes.other_pixels == (second.id,)
    assert changes.other_label == ((third.id, third.label, "unlabelled"),)
    assert changes.other_mask == ((ill.id, ill.area_px, (ill.area_px or 0) + 5),)


def test_a_mask_that_moved_a_case_that_moved_and_other_facts_are_said(audit):
    ill = next(image for image in audit.images if image.label == "positive")
    moved = [
        replace(i, mask_hash="moved", sex="X", view="Y") if i is ill else i for i in audit.images
    ]
    finding = audit.findings[0]
    items = (replace(finding.items[0], id="another"), *finding.items[1:])
    other = replace(
        audit, images=tuple(moved), findings=(replace(finding, items=items), *audit.findings[1:])
    )
    changes = compare(audit, other, "old.json")
    assert changes.since == "old.json"
    assert changes.other_mask == ((ill.id, ill.area_px, ill.area_px),)
    assert changes.other_facts == ((ill.id, ("sex", "view")),)
    (change,) = changes.findings
    assert (change.came, change.went) == (("another",), (finding.items[0].id,))
    assert [what for what, _ in changes.images()] == ["with another mask", "with other facts"]


def test_an_image_in_both_parts_is_two(audit):
    first = next(image for image in audit.images if image.label == "positive")
    twin = replace(first, part="test", label="test")
    before = replace(audit, images=(first, twin))
    after = replace(audit, images=(replace(first, label="negative", area_px=None), twin))
    assert compare(before, after).other_label == ((first.id, "positive", "negative"),)


def test_a_nested_bomb_is_no_audit(tmp_path):
    (tmp_path / "old.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"old.json: cannot be read as a findings.json"):
        read_findings(tmp_path / "old.json")


# ------------------------------------------------------------------------------- balance


def test_the_balance_counts_every_labelled_image_once(audit):
    balance = audit.balance
    assert (balance.images, balance.positive) == (35, 17)
    assert balance.prevalence == 17 / 35
    assert sum(balance.area_counts) == 17
    assert len(balance.area_edges_percent) == len(balance.area_counts) + 1
    for attribute in ("sex", "age", "view"):
        strata = [s for s in balance.strata if s.attribute == attribute]
        assert sum(s.images for s in strata) == 35
        assert sum(s.positive for s in strata) == 17
    areas = [quantile.area_px for quantile in balance.area_quantiles]
    assert areas == sorted(areas)


def test_an_association_is_measured():
    records = [
        replace(make_record(f"i{n}", positive=n % 2 == 0), view="AP" if n % 10 < 6 else "PA")
        for n in range(100)
    ]
    (view,) = [a for a in balance_of(records).associations if a.attribute == "view"]
    # AP: 30 of 60 positive, PA: 20 of 40: nothing in it.
    assert (view.chi2, view.p, view.images) == (0.0, 1.0, 100)
    tied = [replace(r, view="AP" if r.positive else "PA") for r in records]
    (view,) = [a for a in balance_of(tied).associations if a.attribute == "view"]
    assert (view.chi2, view.degrees) == (100.0, 1)
    assert view.cramers_v == pytest.approx(1.0)
    (finding,) = [f for f in balance_findings(balance_of(tied)) if f.count]
    assert finding.items[0].id == "view"
    assert finding.items[0].note.startswith("Cramér's V 1.00, p = ")


def test_the_images_of_a_patient_share_one_vote():
    tied = [make_record(f"i{n}", positive=n < 60, patient="one") for n in range(60)]
    rest = [make_record(f"j{n}", positive=n % 2 == 0, patient=f"p{n}") for n in range(60)]
    records = [replace(r, view="AP") for r in tied] + [
        replace(r, view="AP" if n % 4 < 2 else "PA") for n, r in enumerate(rest)
    ]
    balance = balance_of(records)
    (view,) = [a for a in balance.associations if a.attribute == "view"]
    assert (view.images, view.patients, balance.patients) == (120, 61, 61)
    assert view.p > 0.5  # by image it would be far below 0.001
    (ap,) = [s for s in balance.strata if (s.attribute, s.value) == ("view", "AP")]
    assert (ap.images, ap.patients) == (90, 31)


def test_rare_values_are_taken_together_not_left_out():
    records = [
        replace(make_record(f"i{n}", positive=n >= 30), view="PA" if n < 30 else f"rare {n}")
        for n in range(42)
    ]
    (view,) = [a for a in balance_of(records).associations if a.attribute == "view"]
    assert (view.degrees, view.images) == (1, 42)
    assert view.cramers_v == pytest.approx(1.0)


def test_nothing_labelled_has_no_balance():
    assert balance_of([make_record("a", labelled=False)]) is None
    assert list(balance_findings(None)) == []


@pytest.mark.parametrize(
    ("years", "band"), [(0, "0-9"), (38, "38"), (90, "90+"), (120, "90+"), (148, ""), (None, "")]
)
def test_age_bands(years, band):
    assert age_band(years) == band.replace("38", "30-39")


# ------------------------------------------------------------------------ the real tables


@pytest.fixture(scope="module")
def real_masks(real_data):
    """The run lengths of 400 images with a mask."""
    path = real_data / "annotations" / "train-rle-stage2.csv.gz"
    masks = read_annotations(path, shape=(1024, 1024)).masks.values()
    return [texts for texts in masks if texts][:400]


@pytest.mark.parametrize(
    ("turned", "told"),
    [
        (np.asarray, None),
        (np.fliplr, None),
        (np.transpose, "missing-transpose"),
        (np.rot90, "missing-transpose"),
        (np.flipud, "upside-down-masks"),
        (lambda mask: np.rot90(mask, 2), "upside-down-masks"),
        (lambda mask: np.rot90(mask, 3), "turned-masks"),
        (lambda mask: np.rot90(mask, 2).T, "turned-masks"),
    ],
    ids=["as it is", "mirrored", "transposed", "left", "on its head", "half", "right", "across"],
)
def test_how_the_masks_of_the_real_table_lie_is_told_but_for_the_sides(real_masks, turned, told):
    masks = (union(texts, (1024, 1024)) for texts in real_masks)
    evidence = [orientation_evidence(mask_cells(np.asarray(turned(mask)))) for mask in masks]
    found = lying_otherwise(evidence)
    if told is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == told
        assert len(found[1]) > 300
    few = lying_otherwise(evidence[:25])  # a small set of somebody's own
    assert told == (few and few[0])


def test_how_no_masks_and_empty_ones_lie_is_not_told():
    assert lying_otherwise([]) is None
    assert lying_otherwise([orientation_evidence(np.zeros((64, 64), np.float32))] * 50) is None


@pytest.mark.slow
def test_findings_of_the_whole_stage_2_table(real_data):
    audit = audit_table(
        Data(annotations=str(real_data / "annotations" / "train-rle-stage2.csv.gz"))
    )
    assert {f.code: f.count for f in audit.findings} == {
        "huge-mask": 8,
        "tiny-mask": 10,
        "several-rows": 624,
        "several-readers": 48,
        "header-variant": 1,
        "empty-mark-variant": 9378,
    }
    (several,) = [f for f in audit.findings if f.code == "several-rows"]
    assert several.figures["images with rows that overlap"] == 183
    lost = several.figures["share of their pixels lost by keeping the last row alone"]
    assert lost == pytest.approx(0.53, abs=0.01)
    assert audit.counts.patients == 6171
    assert audit.balance.area_quantiles[4].area_px == 8630


def test_a_table_with_columns_of_its_own_is_seen_to_be_in_the_other_form(tmp_path):
    table = tmp_path / "t.csv"
    runs = " ".join(f"{start} 9" for start in range(400_001, 450_001, 1024))
    table.write_text(f"file,mask,class\na,{runs},lesion\nb,{runs},lesion\n")
    audit = audit_table(Data(annotations=str(table), image_column="file", mask_column="mask"))
    assert [(one.code, one.count) for one in audit.findings][:1] == [("absolute-form", 2)]


def test_masks_of_several_readers_are_a_finding(tmp_path):
    path = tmp_path / "masks.csv"
    rows = ["a,0 900,A", "a,9000 9,B", "b,0 900,A", "b,10 900,A", "c,0 900,A", "c,9000 900,A"]
    path.write_text("\n".join(["ImageId,EncodedPixels,reader", *rows]) + "\n")
    found = {one.code: one for one in audit_table(Data(annotations=str(path))).findings}
    assert [(item.id, item.note) for item in found["several-readers"].items] == [
        ("a", "2 readers"),
        ("b", "2 rows, 98 % of the pixels are in several"),
    ]
    audit = audit_table(Data(annotations=str(path), readers="majority"))
    (item,) = next(one for one in audit.findings if one.code == "readers-disagree").items
    assert item.note.startswith("line 3: 2 of its 2 readers drew a mask, but no pixel is in")
