import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pleura.errors import AnnotationError
from pleura.formats.coco import _unpacked, drawn_pixels, read_coco
from pleura.formats.coco_writer import CocoMask, coco_text, lesions_of, outlines, packed
from pleura.formats.mask_picture import labelled_pixels, picture_values, write_mask_picture
from pleura.formats.masks import MaskReading, names_in, read_masks
from pleura.formats.nifti import read_nifti, write_nifti_mask
from pleura.formats.rle import mask2rle

SHAPE = (6, 9)
MASKS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def made(*pixels: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, np.bool_)
    for row, column in pixels:
        mask[row, column] = True
    return mask


MASK = made((1, 2), (2, 2), (2, 3))


def read_mask_picture(path, label=""):
    return labelled_pixels(picture_values(path), path, label)


def read_nifti_mask(path):
    return labelled_pixels(read_nifti(path)[0], path, "")


def write_json(path: Path, **content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def coco(path: Path, *segmentations: object, **more: object) -> Path:
    image = {"id": 1, "file_name": "a.png", "height": SHAPE[0], "width": SHAPE[1]}
    other = {"id": 2, "file_name": "sub/b.png", "height": SHAPE[0], "width": SHAPE[1]}
    return write_json(
        path,
        **{
            "images": [image, other],
            "annotations": [
                {"id": n, "image_id": 1, "category_id": 7, "segmentation": drawn}
                for n, drawn in enumerate(segmentations)
            ],
            "categories": [{"id": 7, "name": "Pneumothorax"}],
            **more,
        },
    )


class TestPictures:
    @pytest.mark.parametrize("suffix", ["png", "tif"])
    @given(mask=MASKS)
    @settings(max_examples=20, deadline=None)
    def test_a_mask_that_is_written_is_read(self, suffix, mask, tmp_path_factory):
        path = tmp_path_factory.mktemp("p") / f"m.{suffix}"
        mask[0, 0] = False  # a picture without background is no mask
        write_mask_picture(path, mask)
        np.testing.assert_array_equal(read_mask_picture(path), mask)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB", "F"])
    def test_every_kind_of_grey_is_a_mask(self, mode, tmp_path):
        path = tmp_path / "m.tif"
        picture = Image.fromarray(np.where(MASK, 255, 0).astype(np.uint8))
        if mode == "I;16":
            picture = Image.fromarray(np.where(MASK, 65535, 0).astype(np.uint16))
        elif mode == "P":
            picture = Image.fromarray(MASK.astype(np.uint8), "L").convert("P")
        elif mode != "L":
            picture = picture.convert(mode)
        picture.save(path)
        np.testing.assert_array_equal(read_mask_picture(path), MASK)

    def test_a_label_map_needs_the_name_of_its_value(self, tmp_path):
        values = MASK.astype(np.uint8)
        values[5, 5] = 2
        path = tmp_path / "m.png"
        Image.fromarray(values).save(path)
        with pytest.raises(AnnotationError, match=r"3 values \(0, 1, 2\).*`mask_label`"):
            read_mask_picture(path)
        np.testing.assert_array_equal(read_mask_picture(path, "1"), MASK)
        with pytest.raises(AnnotationError, match="'lung' is no number"):
            read_mask_picture(path, "lung")

    def test_what_is_no_mask_is_refused(self, tmp_path):
        path = tmp_path / "m.png"
        Image.fromarray(np.full(SHAPE, 255, np.uint8)).save(path)
        with pytest.raises(AnnotationError, match="background of a mask is 0; is it inverted"):
            read_mask_picture(path)
        colour = np.zeros((*SHAPE, 3), np.uint8)
        colour[..., 0] = 255 * MASK
        Image.fromarray(colour).save(path)
        with pytest.raises(AnnotationError, match="in colour"):
            read_mask_picture(path)
        path.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        with pytest.raises(AnnotationError, match="cannot be read as a mask"):
            read_mask_picture(path)
        Image.fromarray(255 * MASK.astype(np.uint8)).save(tmp_path / "m.jpg")
        with pytest.raises(AnnotationError, match="is a JPEG, whose edges are blurred"):
            read_mask_picture(tmp_path / "m.jpg")

    @pytest.mark.parametrize("grey", [0, 255])
    @pytest.mark.parametrize("colours", [1, 3])
    def test_a_mask_that_may_lie_in_the_opacity_is_refused(self, grey, colours, tmp_path):
        path = tmp_path / "m.png"
        drawn = 255 * MASK.astype(np.uint8)
        planes = [np.full(SHAPE, grey, np.uint8)] * colours
        Image.fromarray(np.dstack([*planes, drawn])).save(path)
        with pytest.raises(AnnotationError, match=r"opacity differs .* save it in grey without"):
            read_mask_picture(path)
        Image.fromarray(np.dstack([*[drawn] * colours, np.full(SHAPE, 200, np.uint8)])).save(path)
        np.testing.assert_array_equal(read_mask_picture(path), MASK)

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_a_mask_that_is_to_be_turned_is_refused(self, suffix, tmp_path):
        path = tmp_path / f"m.{suffix}"
        exif = Image.Exif()
        exif[0x112] = 3
        Image.fromarray(255 * MASK.astype(np.uint8)).save(path, exif=exif)
        with pytest.raises(AnnotationError, match=r"to be turned .*\(orientation 3\).*save it as"):
            read_mask_picture(path)

    @pytest.mark.parametrize(
        ("values", "label", "message"),
        [
            (np.linspace(0, 255, 54).reshape(SHAPE), "", "54 values from 0 to 255.*radiograph"),
            (np.linspace(0, 0.9, 54).reshape(SHAPE), "", "as a map of probabilities does; thresh"),
            (np.linspace(0, 0.9, 54).reshape(SHAPE), "1", "as a map of probabilities does; thresh"),
            (255.0 * MASK, "1", "holds 255 inside, and not the 1 of `mask_label`; leave"),
            (255.0 * MASK, "2", "holds 255 inside, and not the 2"),
            (1.0 * MASK, "255", "holds 1 inside, and not the 255"),
        ],
    )
    def test_why_values_are_no_mask(self, values, label, message, tmp_path):
        Image.fromarray(values.astype(np.float32)).save(tmp_path / "m.tif")
        with pytest.raises(AnnotationError, match=message):
            read_mask_picture(tmp_path / "m.tif", label)

    @pytest.mark.parametrize("label", ["", "255"])
    def test_blurred_edges_are_no_labels(self, label, tmp_path):
        values = np.zeros((64, 64), np.uint8)
        values[20:40, 20:40] = 255
        values[20, :40] = np.arange(0, 240, 6)
        Image.fromarray(values).save(tmp_path / "m.png")
        with pytest.raises(AnnotationError, match="as blurred edges do, which JPEG and resizing"):
            read_mask_picture(tmp_path / "m.png", label)

    def test_black_is_outside_wherever_it_stands_in_a_palette(self, tmp_path):
        path = tmp_path / "m.png"
        picture = Image.fromarray((~MASK).astype(np.uint8))
        for inside, message in (((255, 255, 255), ""), ((255, 0, 0), "is in colour")):
            picture.putpalette([*inside, 0, 0, 0])
            picture.save(path)
            if message:
                with pytest.raises(AnnotationError, match=message):
                    read_mask_picture(path)
            else:
                np.testing.assert_array_equal(read_mask_picture(path), MASK)
        picture.putpalette([255, 255, 255, 255, 0, 0])  # no black at all: numbers are labels
        picture.save(path)
        np.testing.assert_array_equal(read_mask_picture(path), ~MASK)

    def test_a_file_of_pages_is_refused(self, tmp_path):
        page = Image.fromarray(255 * MASK.astype(np.uint8))
        page.save(tmp_path / "m.tif", save_all=True, append_images=[page])
        with pytest.raises(AnnotationError, match="holds 2 pages"):
            read_mask_picture(tmp_path / "m.tif")

    def test_numbers_that_are_none_are_refused(self, tmp_path):
        values = np.zeros(SHAPE, np.float32)
        values[0, 0] = np.nan
        Image.fromarray(values).save(tmp_path / "m.tif")
        with pytest.raises(AnnotationError, match="no numbers"):
            read_mask_picture(tmp_path / "m.tif")


class TestNifti:
    @pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
    @given(mask=MASKS)
    @settings(max_examples=20, deadline=None)
    def test_a_mask_that_is_written_is_read(self, suffix, mask, tmp_path_factory):
        path = tmp_path_factory.mktemp("n") / f"m.{suffix}"
        mask[0, 0] = False
        write_nifti_mask(path, mask)
        assert [item.name for item in path.parent.iterdir()] == [path.name]
        np.testing.assert_array_equal(read_nifti_mask(path), mask)

    def test_the_first_axis_runs_along_the_columns(self, tmp_path):
        path = tmp_path / "m.nii.gz"
        nibabel.save(nibabel.Nifti1Image(MASK.T.astype(np.uint8), np.eye(4)), path)
        np.testing.assert_array_equal(read_nifti_mask(path), MASK)

    def test_what_has_other_axes_is_refused(self, tmp_path):
        path = tmp_path / "m.nii"
        values = MASK.T.astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, 1, 1, 1])), path)
        with pytest.raises(AnnotationError, match="turned or mirrored"):
            read_nifti_mask(path)
        nibabel.save(nibabel.Nifti1Image(np.stack([values] * 3, 2), np.eye(4)), path)
        with pytest.raises(AnnotationError, match=r"the shape 9 x 6 x 3"):
            read_nifti_mask(path)
        path.write_bytes(b"nothing")
        with pytest.raises(AnnotationError, match="cannot be read as NIfTI"):
            read_nifti_mask(path)


class TestCoco:
    @given(mask=MASKS)
    @settings(max_examples=60, deadline=None)
    def test_packed_run_lengths_lose_nothing(self, mask, tmp_path_factory):
        path = tmp_path_factory.mktemp("c") / "c.json"
        text, lost = coco_text([CocoMask("a.png", mask)], polygons=False)
        assert lost == []
        path.write_text(text)
        (image,) = read_coco(path)
        union = np.zeros(mask.shape, np.bool_)
        for one in image.masks:
            union |= one
        np.testing.assert_array_equal(union, mask)
        assert len(image.masks) == len(lesions_of(mask))

    @given(mask=MASKS)
    @settings(max_examples=60, deadline=None)
    def test_what_polygons_lose_is_said(self, mask, tmp_path_factory):
        path = tmp_path_factory.mktemp("c") / "c.json"
        text, lost = coco_text([CocoMask("a.png", mask)], polygons=True)
        path.write_text(text)
        (image,) = read_coco(path)
        union = np.zeros(mask.shape, np.bool_)
        for one in image.masks:
            union |= one
        other = int(np.count_nonzero(union != mask))
        assert lost == (
            [f"a.png: its polygons cover {other} pixels otherwise than its mask"] * bool(other)
        )

    def test_the_outline_of_a_rectangle_is_its_border(self):
        mask = np.zeros((6, 8), np.bool_)
        mask[1:3, 2:5] = True
        (line,) = outlines(mask)
        assert {(x, y) for x, y in zip(line[::2], line[1::2], strict=True)} <= {
            (x, y) for x in (2, 3, 4, 5) for y in (1, 2, 3)
        }
        np.testing.assert_array_equal(drawn_pixels([line], (6, 8)), mask)

    @given(mask=MASKS)
    @settings(max_examples=60, deadline=None)
    def test_packed_numbers_are_those_of_pycocotools(self, mask):
        text = packed(mask)["counts"]
        flat = np.concatenate([[False], mask.T.ravel()])
        places = np.flatnonzero(flat[1:] != flat[:-1])
        edges = np.concatenate([[0], places, [mask.size]])
        assert _unpacked(text) == np.diff(edges).tolist()

    def test_each_way_to_write_a_mask(self, tmp_path):
        polygon = [[2, 1, 3, 1, 3, 2, 4, 2, 4, 3, 2, 3]]
        counts = {"size": list(SHAPE), "counts": [13, 2, 5, 1, 33]}
        for drawn in (polygon, counts, packed(MASK)):
            found = read_masks(coco(tmp_path / "c.json", drawn))
            assert found.masks == {"a": (mask2rle(MASK),), "sub/b": ()}
            assert found.sizes == {"a": SHAPE, "sub/b": SHAPE}

    def test_several_lesions_are_united_and_an_image_without_one_is_negative(self, tmp_path):
        other = made((5, 8))
        found = read_masks(coco(tmp_path / "c.json", packed(MASK), packed(other)))
        np.testing.assert_array_equal(found.mask("a", SHAPE), MASK | other)
        assert found.empty == 1

    @pytest.mark.parametrize(
        ("drawn", "message"),
        [
            ({"size": [9, 6], "counts": [54]}, "has the size [9, 6], but its image has 6 x 9"),
            ({"size": [9, 6], "counts": [54]}, "so rows and columns are exchanged: mend"),
            ({"size": [6, 9], "counts": [53]}, "add up to 53 pixels, but its image has 54"),
            ({"size": [6, 9], "counts": [-1, 55]}, "neither whole numbers nor packed"),
            (
                {"size": [6, 9], "counts": "~~~~~~~~~~"},
                "hold a character that packed counts never have",
            ),
            (
                {"size": [6, 9], "counts": "MDYyMDRNMg=="},
                "they are packed a second time: undo that",
            ),
            ({"size": [6, 9], "counts": "b'=25'"}, "they are packed a second time: undo that"),
            ({"size": [6, 9], "counts": "Pa"}, "break off"),
            ({"size": [6, 9], "counts": "11"}, "add up to 2 pixels"),
            ([[1, 1, 2, 2]], "no list of x and y in turn"),
            ([[0.1, 0.1, 0.3, 0.1, 0.3, 0.3]], "numbers of a polygon lie between 0 and 1; they"),
            ([[0, 0, 0.9, 0, 0.9, 0.9, 0, 0.9]], "multiply x by the width"),  # covers a pixel
            ([[1, 1, 200, 2, 3, 4]], "outside its image of 6 x 9"),
            ([], "no segmentation"),
            (None, "a box alone is no mask"),
        ],
    )
    def test_a_segmentation_that_cannot_be_is_a_problem_of_its_image(
        self, drawn, message, tmp_path
    ):
        found = read_masks(coco(tmp_path / "c.json", drawn))
        assert list(found.masks) == ["sub/b"]
        (problem,) = found.problems
        assert (problem.image_id, problem.where) == ("a", "a")
        assert message in problem.reason

    @pytest.mark.parametrize(
        ("inner", "area", "hole"),
        [
            ([2, 2, 4, 2, 4, 4, 2, 4], None, True),
            ([2, 2, 4, 2, 4, 4, 2, 4], 31, True),  # 35 pixels without the 4
            ([2, 2, 4, 2, 4, 4, 2, 4], 35, False),
            ([1, 0, 8, 0, 8, 5, 1, 5], None, False),  # the same once more
            ([7, 4, 9, 4, 9, 6, 7, 6], None, False),  # beyond it in part
        ],
    )
    def test_a_polygon_within_another_one_is_a_hole(self, inner, area, hole, tmp_path):
        outer = [1, 0, 8, 0, 8, 5, 1, 5]
        annotation = {"image_id": 1, "category_id": 7, "segmentation": [outer, inner], "area": area}
        found = read_masks(coco(tmp_path / "c.json", annotations=[annotation]))
        assert ["within another one of its annotation" in one.reason for one in found.problems] == [
            True
        ] * hole
        assert ("a" in found.masks) != hole

    @pytest.mark.parametrize("sides", [(6.0, 9.0), ("6", "9")])
    def test_sides_that_a_table_made_fractions_or_text_of_are_whole(self, sides, tmp_path):
        image = {"id": 1, "file_name": "a.png", "height": sides[0], "width": sides[1]}
        found = read_masks(coco(tmp_path / "c.json", packed(MASK), images=[image]))
        assert found.sizes == {"a": SHAPE}

    def test_ids_that_are_text_in_one_place_are_the_same(self, tmp_path):
        annotation = {"image_id": "1", "category_id": "7", "segmentation": packed(MASK)}
        found = read_masks(coco(tmp_path / "c.json", annotations=[annotation]))
        assert found.masks == {"a": (mask2rle(MASK),), "sub/b": ()}

    @pytest.mark.parametrize(
        ("box", "right"),
        [
            ([2, 1, 2, 2], True),
            ([2, 1, 4, 3], True),  # two corners, as some write it
            ([0, 0, 0, 0], True),
            ([], True),
            ([3, 1, 3, 3], True),  # about
            ([0, 0, 9, 6], False),
        ],
    )
    def test_a_box_that_says_something_else(self, box, right, tmp_path):
        annotation = {"image_id": 1, "category_id": 7, "segmentation": packed(MASK), "bbox": box}
        found = read_masks(coco(tmp_path / "c.json", annotations=[annotation]))
        assert ("a" in found.masks) == right
        assert all(
            "its bbox is [0, 0, 9, 6], but its segmentation lies in [2, 1, 2, 2]" in p.reason
            for p in found.problems
        )

    @pytest.mark.parametrize(("count", "share"), [(3, 0.2), (5, 0.3), (9, 0.4)])
    def test_polygons_in_another_scale(self, count, share, tmp_path):
        end = 100 * share
        drawn = [[[1, 1, end, 1, end, 12 + n / 2, 2, 19]] for n in range(count)]
        image = {"id": 1, "file_name": "a.png", "height": 100, "width": 100}
        path = coco(tmp_path / "c.json", *drawn, images=[image])
        with pytest.raises(AnnotationError, match=f"all of its {count} segm.*may be per cent, or"):
            read_masks(path)
        assert read_masks(coco(path, *drawn[1:], images=[image])).positives == 1

    def test_outlines_that_leave_many_images_are_of_another_size(self, tmp_path):
        path = tmp_path / "c.json"
        images = [
            {"id": n, "file_name": f"{n}.png", "height": 20, "width": 20} for n in range(1, 10)
        ]
        for wide in (2, 3):
            drawn = [[1, 1, 30 if n <= wide else 19, 1, 9, 19] for n in range(1, 10)]
            made = {
                "images": images,
                "annotations": [
                    {"id": n, "image_id": n, "category_id": 1, "segmentation": [polygon]}
                    for n, polygon in enumerate(drawn, 1)
                ],
            }
            path.write_text(json.dumps(made))
            if wide < 3:
                assert len(read_masks(path).problems) == wide
                continue
            with pytest.raises(AnnotationError, match="the outlines of 3 of its images leave them"):
                read_masks(path)

    def test_a_name_that_is_listed_twice_is_no_image(self, tmp_path):
        path = coco(
            tmp_path / "c.json",
            packed(MASK),
            images=[
                {"id": 1, "file_name": "a.png", "height": 6, "width": 9},
                {"id": 2, "file_name": "a.jpg", "height": 6, "width": 9},
                {"id": 3, "file_name": "b/a.png", "height": 6, "width": 9},
            ],
        )
        found = read_masks(path)
        assert list(found.masks) == ["b/a"]
        assert found.problems[0].reason.startswith("the file lists 2 images of this name; keep one")

    def test_categories_that_may_be_a_pneumothorax_too(self, tmp_path):
        names = ("pneumothorax", "hydropneumothorax", "effusion")
        path = tmp_path / "c.json"
        made = {
            "images": [
                {"id": n, "file_name": f"{n}.png", "height": 6, "width": 9} for n in (1, 2, 3)
            ],
            "annotations": [
                {"id": n, "image_id": n, "category_id": n, "segmentation": packed(MASK)}
                for n in (1, 2, 3)
            ],
            "categories": [{"id": n, "name": name} for n, name in enumerate(names, 1)],
        }
        path.write_text(json.dumps(made))
        found = read_masks(path)
        assert (list(found.masks), found.positives) == (["1", "3"], 1)
        assert "is of the category 'hydropneumothorax', which may be a pneu" in str(found.problems)
        path.write_text(json.dumps({**made, "categories": []}))
        with pytest.raises(AnnotationError, match=r"lists no categories, .* of 3 \(1, 2, 3\)"):
            read_masks(path)
        assert read_masks(path, MaskReading(label="2")).positives == 1
        path.write_text(json.dumps({**made, "categories": [{"id": 1, "name": n} for n in names]}))
        with pytest.raises(AnnotationError, match="two of its categories have the id '1'"):
            read_masks(path)

    def test_boxes_that_are_written_as_polygons_are_no_masks(self, tmp_path):
        box = [[1, 1, 4, 1, 4, 3, 1, 3]]
        with pytest.raises(AnnotationError, match="all of its 10 segmentations are upright rect"):
            read_masks(coco(tmp_path / "c.json", *[box] * 10))
        for others in ([packed(MASK)], [[[1, 1, 4, 1, 4, 3]]]):
            assert read_masks(coco(tmp_path / "c.json", *[box] * 10, *others)).masks["a"]

    @pytest.mark.parametrize(
        ("counts", "message"),
        [
            (
                [0, 13, 2, 5, 1, 33],
                "its mask holds 94% of the picture, and a pneumothorax never more",
            ),
            ([1, 1, 8, 1, 8, 1, 8, 1, 8, 1, 8, 1, 7], "a whole mask if they run along the rows"),
        ],
    )
    def test_counts_in_another_order(self, counts, message, tmp_path):
        found = read_masks(coco(tmp_path / "c.json", {"size": list(SHAPE), "counts": counts}))
        assert message in found.problems[0].reason

    @pytest.mark.parametrize("drawn", [[[1, 1, 1, 1, 1, 1]], {"size": list(SHAPE), "counts": [54]}])
    def test_an_annotation_without_a_pixel_is_no_negative(self, drawn, tmp_path):
        found = read_masks(coco(tmp_path / "c.json", packed(MASK), drawn))
        assert list(found.masks) == ["sub/b"]
        assert "an annotation covers no pixel; its numbers are" in found.problems[0].reason

    def test_a_score_is_a_number(self, tmp_path):
        annotation = {"image_id": 1, "category_id": 7, "segmentation": packed(MASK)}
        annotations = [annotation | {"score": math.nan}]
        found = read_masks(coco(tmp_path / "c.json", annotations=annotations))
        assert "a score is no finite number" in found.problems[0].reason

    def test_which_category_is_meant(self, tmp_path):
        path = tmp_path / "c.json"
        several = [{"id": 7, "name": "pneumothorax"}, {"id": 8, "name": "lung"}]
        coco(path, packed(MASK), categories=several)
        assert read_masks(path).masks["a"]
        coco(path, packed(MASK), categories=[{"id": 7, "name": "ptx"}, {"id": 8, "name": "lung"}])
        with pytest.raises(AnnotationError, match=r"categories are 7 ptx, 8 lung.*`mask_label`"):
            read_masks(path)
        assert read_masks(path, MaskReading(label="ptx")).masks["a"]
        assert not read_masks(path, MaskReading(label="8")).masks["a"]
        with pytest.raises(AnnotationError, match="'heart' is none of them"):
            read_masks(path, MaskReading(label="heart"))

    def test_a_category_alone_that_is_something_else_has_to_be_named(self, tmp_path):
        path = coco(tmp_path / "c.json", packed(MASK), categories=[{"id": 7, "name": "Left_Lung"}])
        with pytest.raises(AnnotationError, match="categories are 7 Left_Lung; name the one"):
            read_masks(path)
        assert read_masks(path, MaskReading(label="7")).masks["a"]

    @pytest.mark.parametrize("own", [0, 8, "8", None, [7]])
    def test_an_annotation_of_no_category_is_no_negative(self, own, tmp_path):
        annotation = {"image_id": 1, "category_id": own, "segmentation": packed(MASK)}
        path = coco(tmp_path / "c.json", annotations=[annotation])
        with pytest.raises(AnnotationError, match="which is none of the file's categories; give"):
            read_masks(path)
        coco(path, annotations=[annotation], categories=[])
        assert read_masks(path).masks["a"]

    def test_two_categories_of_one_name_are_not_one(self, tmp_path):
        several = [{"id": 7, "name": "pneumothorax"}, {"id": 8, "name": "Pneumothorax"}]
        path = coco(tmp_path / "c.json", packed(MASK), categories=several)
        with pytest.raises(AnnotationError, match="7 pneumothorax, 8 Pneumothorax; name the one"):
            read_masks(path)
        coco(path, packed(MASK), categories=[{"id": 7, "name": "ptx"}, {"id": 8, "name": "ptx"}])
        with pytest.raises(AnnotationError, match="'ptx' is 2 of them; name the one"):
            read_masks(path, MaskReading(label="ptx"))
        assert read_masks(path, MaskReading(label="7")).masks["a"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "is no JSON"),
            ("[]", "no COCO file with its images"),
            ('{"images": [], "annotations": null}', "lists images and no annotations, as COCO"),
            ('{"images": [{"id": 1, "file_name": "a.png"}]}', "lists images and no annotations"),
            ('{"images": ' + "[" * 99_999 + "}", "or lists in lists without end"),
            ('{"images": ' + "9" * 9_999 + "}", "holds a number of too many digits"),
            ("\udcff", "byte 1 is no UTF-8, which JSON is written in; save it as UTF-8"),
            ('{"images": [{"id": 1}], "annotations": []}', "lacks its file_name, height or width"),
            (
                '{"images": [{"id": 1, "file_name": "a", "height": 20000, "width": "20000.0"}],'
                ' "annotations": []}',
                "lacks its file_name, height or width",
            ),
            (
                '{"images": [{"id": 1, "file_name": "a", "height": 20000, "width": "20000"}],'
                ' "annotations": []}',
                "has 20,000 x 20,000 pixels; at most 100,000,000 are read",
            ),
            ('{"images": [{"id": []}], "annotations": []}', "have an id each"),
            ('{"images": [1], "annotations": []}', "no list of objects"),
            *(
                (
                    f'{{"images": [{{"id": 7, "file_name": "{name}", "height": 2, "width": 2}}], '
                    '"annotations": []}',
                    f"image '7' has the file_name '{name}', which names no file",
                )
                for name in (".", "..", "a/..", "/", "./.")
            ),
            (
                '{"images": [], "annotations": [{"image_id": 3}]}',
                "image '3', which the file does not list",
            ),
        ],
    )
    def test_what_is_no_such_file_is_refused(self, content, message, tmp_path):
        path = tmp_path / "c.json"
        path.write_text(content, errors="surrogateescape")
        with pytest.raises(AnnotationError, match=message):
            read_masks(path)

    def test_one_of_a_million_parts_is_refused_before_it_is_parsed(self, tmp_path, monkeypatch):
        path = tmp_path / "c.json"
        path.write_text('{"images": [' + "[]," * 20 + "[]]}")
        monkeypatch.setattr("pleura.formats.coco.MAX_PARTS", 20)
        with pytest.raises(AnnotationError, match="holds 23 lists and objects; at most 20 are"):
            read_masks(path)


class TestFolders:
    def test_each_file_is_the_mask_of_its_name(self, tmp_path):
        write_mask_picture(tmp_path / "a.png", MASK)
        write_mask_picture(tmp_path / "b_mask.tif", made())
        write_nifti_mask(tmp_path / "sub" / "c_seg.nii.gz", made((0, 1)))
        (tmp_path / "readme.txt").write_text("no mask")
        found = read_masks(tmp_path)
        assert found.masks == {"a": (mask2rle(MASK),), "b": (), "sub/c": ("6 1",)}
        assert found.sizes == dict.fromkeys(("a", "b", "sub/c"), SHAPE)
        assert names_in(tmp_path, MaskReading()) == {"a", "b", "sub/c"}
        assert read_masks(tmp_path / "a.png").masks == {"a": (mask2rle(MASK),)}

    def test_a_bad_file_is_a_problem_of_its_image_alone(self, tmp_path):
        write_mask_picture(tmp_path / "a.png", MASK)
        (tmp_path / "b.png").write_bytes(b"nothing")
        found = read_masks(tmp_path)
        assert list(found.masks) == ["a"]
        assert str(found.problems[0]).startswith("b.png, image b: ")

    def test_two_masks_of_one_image_are_united_if_they_are_of_one_size(self, tmp_path):
        write_mask_picture(tmp_path / "a.png", MASK)
        write_nifti_mask(tmp_path / "a.nii", made((5, 5)))
        np.testing.assert_array_equal(read_masks(tmp_path).mask("a", SHAPE), MASK | made((5, 5)))
        write_nifti_mask(tmp_path / "a.nii", np.zeros((3, 3), np.bool_))
        assert "but another one of this image has 3 x 3" in read_masks(tmp_path).problems[0].reason

    def test_a_mask_whose_background_is_white_is_refused(self, tmp_path):
        for name, mask in (("a", ~MASK), ("b", MASK)):
            write_mask_picture(tmp_path / f"{name}.png", mask)
            write_nifti_mask(tmp_path / "n" / f"{name}.nii.gz", mask)
        found = read_masks(tmp_path)
        assert list(found.masks) == ["b", "n/b"]
        assert all(
            "of the picture, and a pneumothorax never more than half; is it inverted" in p.reason
            for p in found.problems
        )

    @pytest.mark.parametrize("values", [(2, 1), (1, (1, 2)), (255, 128)])
    def test_a_value_alone_beside_other_labels_is_not_guessed(self, values, tmp_path):
        for name, own in zip("ab", values, strict=True):
            picture = np.zeros((8, 8), np.uint8)
            picture[2, 2:4] = own
            Image.fromarray(picture).save(tmp_path / f"{name}.png")
        write_mask_picture(tmp_path / "c.png", np.zeros((8, 8), np.bool_))
        Image.fromarray(picture).save(tmp_path / "d.png")
        found = read_masks(tmp_path)
        assert list(found.masks) == ["c"]
        assert "which may be another structure" in found.problems[0].reason
        value = str(np.max(values[1]))
        assert read_masks(tmp_path, MaskReading(label=value)).masks["d"]

    def test_values_that_say_no_more_than_inside_are_alike(self, tmp_path):
        write_mask_picture(tmp_path / "a.png", MASK)
        Image.fromarray(MASK.astype(np.uint8)).save(tmp_path / "b.png")
        assert len(read_masks(tmp_path).masks) == 2

    def test_a_folder_without_a_mask_is_refused(self, tmp_path):
        (tmp_path / "a.txt").write_text("nothing")
        with pytest.raises(AnnotationError, match="holds no mask"):
            read_masks(tmp_path)
        (tmp_path / "a.png").write_bytes(b"nothing")
        with pytest.raises(AnnotationError, match=r"a\.png: cannot be read as a mask"):
            read_masks(tmp_path)


class TestTables:
    def test_columns_may_have_other_names(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("file,side,runs\nimages/a b.png,L,1 2\nimages/c.png,R,-1\n")
        found = read_masks(path, MaskReading("absolute", "file", "runs"))
        assert found.masks == {"images/a b.png": ("1 2",), "images/c.png": ()}
        with pytest.raises(AnnotationError, match=r"columns file and EncodedPixels.*`mask_column`"):
            read_masks(path, MaskReading("absolute", "file"))


def test_masks_in_an_archive_that_is_not_looked_into(tmp_path):
    (tmp_path / "masks.7z").write_bytes(b"")
    with pytest.raises(AnnotationError, match=r"masks.7z: is an archive .* unpack it \(7z x masks"):
        read_masks(tmp_path / "masks.7z")
