"""Masks from each form to each other one are the same masks, and what is lost is said."""

import zipfile
from pathlib import Path
from unittest.mock import patch

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pleura.dicom.own_result import is_own_result
from pleura.errors import DataError, UsageError
from pleura.formats.annotation_table import read_annotations
from pleura.formats.coco import read_coco
from pleura.formats.coco_writer import CocoMask, coco_text
from pleura.formats.mask_picture import write_mask_picture
from pleura.formats.masks import MaskReading, read_masks
from pleura.formats.nifti import write_nifti_mask
from pleura.formats.rle import mask2rle, union, united
from pleura.formats.submission import write_mask_table
from pleura.inference.row import Row
from pleura.inference.tables import Provenance, write_tables
from pleura.models.bundle import OperatingPoint
from pleura.stages.convert import Conversion, convert
from tests.dicom.test_segmentation import write as write_segmentation
from tests.results.made import source_file

SHAPE = (7, 9)
NO_MISFITS = patch("pleura.formats.mask_fit.find_misfits", lambda *given: {})
"""Drawn masks are noise, whose runs touch by chance as in a picture of some other size."""

TARGETS = ("siim", "absolute", "coco", "png", "tiff", "nifti")
ENDS = {"siim": ".csv", "absolute": ".csv", "coco": ".json"}
OTHER = "1.2.840.10008.5.1.4.1.1.1.2"  # mammography
NAMES = st.text("abAB019._-", min_size=1, max_size=12).filter(lambda name: name[0] not in "._-")


@st.composite
def sets_of_masks(draw):
    """Return name -> masks of an image, of which some overlap and some images have none."""

    def mask():
        drawn = draw(arrays(np.bool_, SHAPE))
        drawn[0, 0] = False  # a picture of a mask has a background
        return drawn

    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=lambda name: name.lower()))
    return {name: [mask() for _ in range(draw(st.integers(0, 3)))] for name in names}


def square(top, left=1):
    mask = np.zeros(SHAPE, np.bool_)
    mask[top : top + 2, left : left + 3] = True
    return mask


def table_of(path, images):
    texts = {n: tuple(t for t in map(mask2rle, masks) if t != "-1") for n, masks in images.items()}
    write_mask_table(path, texts.items())
    return path


def target(folder, to):
    return folder / f"{to}{ENDS.get(to, '')}"


def reading(to):
    return MaskReading("absolute" if to == "absolute" else "relative")


def unions(path, to):
    table = read_masks(path, reading(to))
    assert not table.problems
    return {name: united(texts, form=table.form) for name, texts in table.masks.items()}


def converted(source, came, out, to, **more):
    more = {"size": SHAPE, "reading": reading(came), **more}
    return convert(source, out, Conversion(to, **more), workers=1)


@NO_MISFITS
@given(images=sets_of_masks(), ways=st.tuples(*[st.sampled_from(TARGETS)] * 2))
@settings(max_examples=8, deadline=None, phases=[Phase.generate])
def test_form_to_form_gives_the_same_masks(images, ways, tmp_path_factory):
    folder, (first, second) = tmp_path_factory.mktemp("c"), ways
    source = table_of(folder / "s.csv", {f"i.{name}": own for name, own in images.items()})
    one, two = target(folder, first), folder / f"two{ENDS.get(second, '')}"
    wanted = {name: united(texts) for name, texts in read_annotations(source).masks.items()}
    steps = ((source, "siim", one, first), (one, first, two, second))
    for start, came, out, to in steps:
        done = converted(start, came, out, to)
        for name, _ in done.failures:  # files that a suffix alone tells apart
            assert to not in ("siim", "absolute")
            del wanted[name]
        wanted = {_read_as(name, to): text for name, text in wanted.items()}
        assert unions(out, to) == wanted


def _read_as(name, to):
    """Return the name that is read where `name` was written: files have theirs without suffix."""
    from pleura.data.matching import without_suffix

    return name if to in ("siim", "absolute") else without_suffix(name)


@NO_MISFITS
@given(images=sets_of_masks())
@settings(max_examples=6, deadline=None, phases=[Phase.generate])
def test_lesions_and_their_overlaps_are_kept_by_tables_and_coco(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    images = {f"i{n}": masks for n, masks in enumerate(images.values())}
    source = table_of(folder / "s.csv", images)
    converted(source, "siim", folder / "c.json", "coco")
    converted(folder / "c.json", "coco", folder / "a.csv", "absolute")
    converted(folder / "a.csv", "absolute", folder / "b.csv", "siim")
    before, after = read_annotations(source), read_annotations(folder / "b.csv")
    for name, texts in before.masks.items():
        if len(texts) > 1:
            assert after.masks[name] == texts
        assert united(after.masks[name]) == united(texts)


def test_runs_become_runs_without_a_size(tmp_path):
    source = table_of(tmp_path / "s.csv", {"a": [square(1)], "b": []})
    convert(source, tmp_path / "a.csv", Conversion("absolute"))
    assert (tmp_path / "a.csv").read_text() == (
        f"ImageId,EncodedPixels\na,{mask2rle(square(1), form='absolute')}\nb,-1\n"
    )


@pytest.mark.parametrize("to", ["coco", "png", "tiff", "nifti"])
def test_a_missing_size_is_one_sentence(to, tmp_path):
    source = table_of(tmp_path / "s.csv", {"a": [square(1)]})
    with pytest.raises(UsageError, match=r"`images`, or their size with `size` ROWSxCOLUMNS"):
        convert(source, target(tmp_path, to), Conversion(to))
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("to", ["png", "tiff", "nifti"])
def test_merged_lesions_and_overlaps_are_told_before_they_are_lost(to, tmp_path):
    images = {"a": [square(1), square(2)], "b": [square(0), square(4)], "c": [square(0)]}
    source, told = table_of(tmp_path / "s.csv", images), []
    out = tmp_path / "out"

    def listen(loss):
        told.append(loss)
        assert not out.exists()

    done = convert(source, out, Conversion(to, size=SHAPE), on_loss=listen)
    assert [(loss.kind, loss.number) for loss in told] == [("lesions", 2), ("overlaps", 1)]
    assert tuple(told) == done.losses
    assert unions(out, to)["a"] == mask2rle(square(1) | square(2))


def test_holes_are_lost_to_polygons_alone(tmp_path):
    ring = np.zeros(SHAPE, np.bool_)
    ring[1:6, 1:6] = True
    ring[3, 3] = False
    source = table_of(tmp_path / "s.csv", {"a": [ring], "b": [square(1)]})
    done = converted(source, "siim", tmp_path / "c.json", "coco", polygons=True)
    assert [(loss.kind, loss.number) for loss in done.losses] == [("polygons", 1)]
    assert "cover 1 pixels otherwise" in done.losses[0].says
    assert not converted(source, "siim", tmp_path / "d.json", "coco").losses


@pytest.mark.parametrize("to", ["siim", "png", "nifti"])
def test_scores_are_kept_by_coco_alone(to, tmp_path):
    source = tmp_path / "s.json"
    source.write_text(coco_text([CocoMask("a.png", square(1), 0.25)], polygons=False)[0])
    done = convert(source, target(tmp_path, to), Conversion(to))
    assert [(loss.kind, loss.number) for loss in done.losses] == [("scores", 1)]
    assert not convert(source, tmp_path / "c.json", Conversion("coco")).losses
    assert next(read_coco(tmp_path / "c.json")).score == 0.25


@pytest.mark.parametrize("to", TARGETS)
def test_a_loss_is_an_error_where_it_was_asked_for(to, tmp_path):
    source = tmp_path / "s.csv"
    source.write_text("ImageId,EncodedPixels,side\na,1 2,L\n")
    with pytest.raises(DataError, match=r"columns that are not masks: side; nothing is written"):
        convert(source, target(tmp_path, to), Conversion(to, size=SHAPE, strict=True))
    assert list(tmp_path.iterdir()) == [source]
    assert convert(source, target(tmp_path, to), Conversion(to, size=SHAPE)).losses


def test_an_image_that_is_left_out_is_an_error_where_it_was_asked_for(tmp_path):
    source = tmp_path / "s.csv"
    source.write_text("ImageId,EncodedPixels\na,1 2\nb,1\n")
    with pytest.raises(DataError, match=r"1 images are left out; line 3, image b: .*odd count"):
        convert(source, tmp_path / "a.csv", Conversion("absolute", strict=True))
    done = convert(source, tmp_path / "a.csv", Conversion("absolute"))
    assert (done.images, [name for name, _ in done.failures]) == (1, ["b"])


@pytest.mark.parametrize("to", ["png", "tiff", "nifti"])
def test_a_mask_without_background_is_left_out(to, tmp_path):
    images = {"a": [square(1)], "b": [np.ones(SHAPE, np.bool_)]}
    source = table_of(tmp_path / "s.csv", images)
    done = converted(source, "siim", tmp_path / "out", to)
    ((name, why),) = done.failures
    assert name == "b"
    assert why.startswith(f"b: as {to} it would not be read again: its mask holds 100% of the pict")
    assert list(unions(tmp_path / "out", to)) == ["a"]


@pytest.mark.parametrize("name", ["../a", "/tmp/a", "a/../../b", "x/.a", "n" * 300])
def test_no_name_leads_out_of_the_folder(name, tmp_path):
    source = tmp_path / "s.json"
    items = [CocoMask(f"{name}.png", square(1)), CocoMask("good.png", square(1))]
    source.write_text(coco_text(items, polygons=False)[0])
    done = convert(source, tmp_path / "deep" / "out", Conversion("png"))
    assert [reason for _, reason in done.failures] == [
        f"{name}: no file can have this name; name the images' folder with `images`"
    ]
    found = list(tmp_path.rglob("*.png"))
    assert found == [tmp_path / "deep" / "out" / "good.png"]


@pytest.mark.parametrize("name", ["=1+1.png", " a", "a\\b"])
def test_a_name_that_a_table_would_change_is_left_out(name, tmp_path):
    source = tmp_path / "s.csv"
    source.write_text(f'file,EncodedPixels\n"{name}",1 2\ngood,1 2\n')
    how = Conversion("absolute", reading=MaskReading(image_column="file"))
    done = convert(source, tmp_path / "a.csv", how)
    left = [reason for _, reason in done.failures]
    assert left == (
        [f"{name}: a table cannot hold this name; rename the image, or give ids with `images`"]
        if name != " a"
        else []
    )


def test_two_names_of_one_file_are_not_mixed(tmp_path):
    source = table_of(tmp_path / "s.csv", {"a": [square(1)], "a.png": [square(3)]})
    for to in ("png", "coco"):
        done = converted(source, "siim", target(tmp_path, to), to)
        assert done.failures == (("a.png", "a.png: is written as a is; rename one of them"),)
        assert unions(target(tmp_path, to), to) == {"a": mask2rle(square(1))}


def test_endings_of_masks_are_part_of_a_name(tmp_path):
    source = table_of(tmp_path / "s.csv", {"a": [square(1)], "a_mask": [square(3)]})
    converted(source, "siim", tmp_path / "out", "png")
    assert unions(tmp_path / "out", "png") == {
        "a": mask2rle(square(1)),
        "a_mask": mask2rle(square(3)),
    }


def test_a_size_that_is_not_the_masks_own_is_refused(tmp_path):
    write_mask_picture(tmp_path / "m" / "a.png", square(1))
    with pytest.raises(DataError, match=r"holds no mask that can be converted; .* 7 x 9 pixels"):
        convert(tmp_path / "m", tmp_path / "a.csv", Conversion("siim", size=(9, 7)))


def test_nothing_that_is_there_is_overwritten(tmp_path):
    source = table_of(tmp_path / "s.csv", {"a": [square(1)]})
    with pytest.raises(UsageError, match=r"s\.csv: is there already; name another place"):
        convert(source, source, Conversion("absolute"))
    (tmp_path / "out").mkdir()
    convert(source, tmp_path / "out", Conversion("png", size=SHAPE))
    with pytest.raises(UsageError, match=r"out: holds files already; name a new or empty folder"):
        convert(source, tmp_path / "out", Conversion("png", size=SHAPE))
    with pytest.raises(UsageError, match=r"lies in .*, which is read"):
        convert(tmp_path / "out", tmp_path / "out" / "x", Conversion("tiff"))
    with pytest.raises(UsageError, match=r"read by its suffix; end it in \.json"):
        convert(source, tmp_path / "x.csv", Conversion("coco"))


def test_a_folder_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    source = table_of(tmp_path / "s.csv", {"a": [square(1)], "b": [square(2)]})

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "o", Conversion("png", size=SHAPE), on_progress=stop)
    assert list(tmp_path.iterdir()) == [source]
    (tmp_path / ".o.partial").mkdir()  # as a killed process leaves it
    (tmp_path / ".o.partial" / "half.png").write_bytes(b"")
    convert(source, tmp_path / "o", Conversion("png", size=SHAPE))
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["a.png", "b.png"]
    assert not (tmp_path / ".o.partial").exists()


@pytest.mark.parametrize("to", TARGETS)
def test_a_segmentation_is_read(to, tmp_path):
    mask = np.zeros((40, 50), np.bool_)
    mask[3:9, 4:30] = True
    (tmp_path / "seg").mkdir()
    write_segmentation(tmp_path / "seg" / "s.dcm", [mask], ["Pneumothorax"])
    (tmp_path / "seg" / "source.dcm").unlink()
    out = target(tmp_path, to)
    convert(tmp_path / "seg", out, Conversion(to))
    assert unions(out, to) == {"1.2.3.4.5": mask2rle(mask)}


@pytest.fixture
def films(tmp_path):
    """Two radiographs of 40 x 50 pixels, of which the second lies in a folder of its own."""
    folder = tmp_path / "films"
    (folder / "deep").mkdir(parents=True)
    source_file(folder / "a.dcm")
    source_file(folder / "deep" / "b.dcm", SOPInstanceUID="1.2.3.4.6")
    return folder


@pytest.mark.parametrize("came", TARGETS)
def test_a_segmentation_is_written_of_each_form_and_read_again(came, films, tmp_path):
    masks = {"1.2.3.4.5": [np.zeros((40, 50), np.bool_)], "1.2.3.4.6": []}
    masks["1.2.3.4.5"][0][3:9, 4:30] = True
    start = table_of(tmp_path / "start.csv", masks)
    source, back = target(tmp_path, came), tmp_path / "back.csv"
    convert(start, source, Conversion(came, images=films), workers=1)
    out = tmp_path / "seg"
    how = Conversion("seg", reading=reading(came), images=films)
    done = convert(source, out, how, workers=1)
    assert (done.images, done.positive, done.losses, done.failures) == (2, 1, (), ())
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.dcm"))
    assert written == ["a.dcm", "deep/b.dcm"]
    assert all(is_own_result(path) for path in out.rglob("*.dcm")), "they are never inputs"
    convert(out, back, Conversion("siim"), workers=1)
    assert back.read_text() == start.read_text()


@pytest.mark.parametrize(
    ("made", "name"), [("AUTOMATIC", "nnU-Net"), ("SEMIAUTOMATIC", "not named"), ("MANUAL", None)]
)
def test_how_a_segmentation_was_made_is_passed_on(made, name, films, tmp_path):
    mask = np.zeros((40, 50), np.bool_)
    mask[3:9, 4:30] = True
    first, again = tmp_path / "first", tmp_path / "again"
    start = table_of(tmp_path / "start.csv", {"1.2.3.4.5": [mask]})
    convert(start, first, Conversion("seg", images=films), workers=1)
    dataset = pydicom.dcmread(first / "a.dcm")
    dataset.SegmentSequence[0].SegmentAlgorithmType = made
    if name == "nnU-Net":
        dataset.SegmentSequence[0].SegmentAlgorithmName = name
    dataset.save_as(first / "a.dcm")
    done = convert(first, again, Conversion("seg", images=films), workers=1)
    (segment,) = pydicom.dcmread(again / "a.dcm").SegmentSequence
    assert (segment.SegmentAlgorithmType, segment.get("SegmentAlgorithmName")) == (made, name)
    assert done.losses == ()
    lost = convert(first, tmp_path / "t.csv", Conversion("siim")).losses
    says = "1 image has an algorithm that made them, which the form does not hold"
    assert [one.says for one in lost] == ([] if name is None else [says])


def test_a_spacing_goes_from_a_mask_and_its_radiograph_into_nifti(films, tmp_path):
    start = table_of(tmp_path / "start.csv", {"1.2.3.4.5": []})
    convert(start, tmp_path / "n", Conversion("nifti", images=films), workers=1)
    assert nibabel.load(tmp_path / "n" / "a.nii.gz").header.get_zooms()[:2] == (7.5, 6.0)
    write_nifti_mask(tmp_path / "n" / "a.nii.gz", np.zeros((40, 50), np.bool_), (6.5, 6.0))
    convert(tmp_path / "n", tmp_path / "o", Conversion("nifti"))
    assert nibabel.load(tmp_path / "o" / "a.nii.gz").header.get_zooms()[:2] == (6.0, 6.5)


def test_radiographs_may_be_a_glob_or_packed(films, tmp_path):
    start = table_of(tmp_path / "start.csv", {"1.2.3.4.5": [], "1.2.3.4.6": []})
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        for path in films.rglob("*.dcm"):
            archive.write(path, path.relative_to(films))
    for number, images in enumerate((f"{films}/*", tmp_path / "films.zip")):
        out = tmp_path / f"o{number}"
        convert(start, out, Conversion("png", images=Path(images)), workers=1)
        assert sorted(out.rglob("*.png")) == [out / "a.png", out / "deep" / "b.png"]


def test_what_no_segmentation_can_refer_to_is_left_out(films, tmp_path):
    masks = {"1.2.3.4.5": [], "1.2.3.4.6": []}
    source_file(films / "deep" / "b.dcm", SOPInstanceUID="1.2.3.4.6", SOPClassUID=OTHER)
    start = table_of(tmp_path / "start.csv", masks)
    done = convert(start, tmp_path / "seg", Conversion("seg", images=films), workers=1)
    (failure,) = done.failures
    assert failure[0] == "1.2.3.4.6"
    assert "(0008,0016) SOP Class UID is" in failure[1]
    with pytest.raises(UsageError, match="name the folder of these with `images`"):
        convert(start, tmp_path / "other", Conversion("seg"))
    pictures = tmp_path / "pictures"
    write_mask_picture(pictures / "a.png", square(1))
    start = table_of(tmp_path / "other.csv", {"a": [square(1)]})
    with pytest.raises(DataError, match="is a picture without a header, and DICOM results refer"):
        convert(start, tmp_path / "other", Conversion("seg", images=pictures), workers=1)


def prediction(folder: Path) -> Path:
    folder.mkdir()
    table_of(folder / "submission.csv", {"a": [square(1)], "b": [], "c": []})
    (folder / "predictions.csv").write_text(
        "image_id,path,called,score\na,a.dcm,positive,0.9\nb,b.dcm,negative,0.1\n"
        "c,c.dcm,positive,0.7\nd,d.dcm,not assessed,\n,e.dcm,,\n"
    )
    return folder


def segment_of(path: Path) -> pydicom.Dataset:
    (segment,) = pydicom.dcmread(path).SegmentSequence
    return segment


@pytest.mark.parametrize("told", [True, False])
def test_the_segmentation_of_a_prediction_names_the_algorithm(told, films, tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    rows = [Row("a.dcm", "1.2.3.4.5", 0.9, 4, rle="0 4"), Row("b", "1.2.3.4.6", 0.1, 0, rle="-1")]
    write_tables(rows, folder, Provenance("digest", "torch", OperatingPoint(0.25), "0.9"))
    if not told:
        (folder / "predictions.parquet").unlink()
    convert(folder, tmp_path / "seg", Conversion("seg", images=films), workers=1)
    segment = segment_of(tmp_path / "seg" / "a.dcm")
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("AUTOMATIC", "pleura")
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmVersion == "0.9") == told
    assert ("model digest=digest" in algorithm.get("AlgorithmParameters", "")) == told
    drawn = convert(folder / "submission.csv", tmp_path / "d", Conversion("seg", images=films))
    assert drawn.images == 2
    assert segment_of(tmp_path / "d" / "a.dcm").SegmentAlgorithmType == "MANUAL"


@pytest.mark.parametrize("named", ["", "predictions.csv"])
def test_a_prediction_brings_its_scores(named, tmp_path):
    folder = prediction(tmp_path / "p")
    done = convert(folder / named, tmp_path / "c.json", Conversion("coco", size=SHAPE))
    assert [(loss.kind, loss.number) for loss in done.losses] == [("labels", 1), ("scores", 2)]
    assert [name for name, _ in done.failures] == ["d", "e.dcm"]
    assert [(i.name, i.score) for i in read_coco(tmp_path / "c.json")] == [
        ("a", 0.9),
        ("b", None),
        ("c", None),
    ]
    done = convert(folder / "submission.csv", tmp_path / "a.csv", Conversion("absolute"))
    assert (done.losses, done.failures) == ((), ())
    (folder / "predictions.csv").write_text("image_id,called,score\na,positive,high\n")
    with pytest.raises(DataError, match="'high' is no score"):
        convert(folder, tmp_path / "d.json", Conversion("coco", size=SHAPE))
    (folder / "predictions.csv").write_text("image_id,score\na,1\n")
    with pytest.raises(DataError, match="columns image_id, score, but a prediction's has"):
        convert(folder, tmp_path / "d.json", Conversion("coco", size=SHAPE))


def test_the_form_of_united_runs_may_change():
    texts = [mask2rle(square(1)), mask2rle(square(2))]
    whole = mask2rle(union(texts, SHAPE), form="absolute")
    assert united(texts, to="absolute") == whole
    assert united([whole], form="absolute") == united(texts)
