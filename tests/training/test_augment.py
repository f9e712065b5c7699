from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.training.augment import (
    _CONTROL,
    _CUTOUT,
    _DISPLACEMENT,
    _ELASTIC,
    _NOISE,
    Augmentation,
    _affine,
    _field,
    _grid,
    _points,
    augment,
    draw,
)

NONE = Augmentation(**{field.name: 0.0 for field in fields(Augmentation)})
GEOMETRY = replace(Augmentation(), gamma=0, contrast=0, noise=0, cutout=0, elastic_probability=1)
ALWAYS = Augmentation(elastic_probability=1, noise_probability=1, cutout_probability=1)
SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=30)


def zeros(images=1):
    """Return choices in the middle of every range."""
    return torch.zeros_like(draw(images, 0, 0))


def blob(images=2, size=48):
    y = torch.zeros(images, 1, size, size)
    y[:, :, 10:24, 14:20] = 1
    return y


def radiograph(images=2, size=48, seed=0):
    return torch.rand(images, 1, size, size, generator=torch.Generator().manual_seed(seed))


def grid_of(choices, limits, height=32, width=32, strength=1.0):
    affine = _affine(choices, strength, limits)
    return _grid(affine, _points(choices, strength, limits), height, width)


@given(SEEDS, st.sampled_from([0.5, 1.0, 2.0]))
@FEW
def test_mask_and_image_move_alike(seed, strength):
    mask = blob()
    x, y = augment(mask, mask, draw(2, seed, 0), strength, GEOMETRY)
    # The picture of the mask is interpolated, the mask is not: they differ at most at the border.
    assert ((x > 0.99) <= (y == 1)).all()
    assert ((x > 0.01) >= (y == 1)).all()


@given(SEEDS)
@FEW
def test_a_mask_moved_as_an_image_and_cut_at_one_half_is_the_mask_moved(seed):
    mask = torch.zeros(2, 1, 96, 96)
    mask[:, :, 20:70, 30:60] = 1
    x, y = augment(mask, mask, draw(2, seed, 0), 1.0, GEOMETRY)
    # Both ask which pixel is nearest; in a corner bilinear weights may say another than distance.
    differ = ((x > 0.5) != (y == 1)).sum(dim=(1, 2, 3))
    assert (differ <= 8).all()


@given(SEEDS)
@FEW
def test_a_mask_stays_a_mask_and_pixels_stay_in_range(seed):
    moved_x, moved_y = augment(radiograph(seed=seed), blob(), draw(2, seed, 1), 2.0, ALWAYS)
    assert set(moved_y.unique().tolist()) <= {0.0, 1.0}
    assert moved_x.min() >= 0
    assert moved_x.max() <= 1


@given(SEEDS)
@FEW
def test_the_mask_does_not_depend_on_exposure_noise_and_cutout(seed):
    choices = draw(2, seed, 0)
    plain = replace(ALWAYS, gamma=0, contrast=0, noise=0, cutout=0)
    assert torch.equal(
        augment(radiograph(), blob(), choices, 1.0, ALWAYS)[1],
        augment(radiograph(), blob(), choices, 1.0, plain)[1],
    )


def test_strength_zero_changes_nothing():
    x, y = radiograph(), blob()
    same_x, same_y = augment(x, y, draw(2, 0, 0), 0, ALWAYS)
    assert same_x is x
    assert same_y is y


@given(SEEDS)
@FEW
def test_limits_of_zero_change_nothing(seed):
    x, y = radiograph().clamp(1e-3, 1), blob()
    same_x, same_y = augment(x, y, draw(2, seed, 0), 1.0, NONE)
    assert torch.allclose(same_x, x, atol=1e-4)
    assert torch.equal(same_y, y)


def test_the_batch_handed_over_is_left_as_it_is():
    x, y = radiograph(), blob()
    before = x.clone(), y.clone()
    augment(x, y, draw(2, 3, 0), 1.0, ALWAYS)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def test_a_mirrored_image_is_mirrored():
    x, y = radiograph(1, 16).clamp(1e-3, 1), blob(1, 16)
    moved_x, moved_y = augment(x, y, zeros(), 1.0, replace(NONE, mirror=1))
    assert torch.allclose(moved_x, x.flip(3), atol=1e-4)
    assert torch.equal(moved_y, y.flip(3))


def test_half_of_the_images_are_mirrored_and_half_deformed():
    choices = draw(4000, 0, 0)
    mirrored = _affine(choices, 1.0, NONE)[:, 0, 0] < 0
    assert not mirrored.any()
    limits = Augmentation()
    mirrored = _affine(choices, 1.0, limits)[:, 0, 0] < 0
    deformed = _points(choices, 1.0, limits).flatten(1).any(1)
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.03)
    assert deformed.float().mean() == pytest.approx(0.5, abs=0.03)


@given(SEEDS, st.integers(1, 4))
@FEW
def test_what_happens_to_an_image_does_not_depend_on_its_batch(seed, size):
    x, y, choices = radiograph(4), blob(4), draw(4, seed, 6)
    whole = augment(x, y, choices, 1.0, ALWAYS)
    parts = [
        augment(x[n : n + size], y[n : n + size], choices[n : n + size], 1.0, ALWAYS)
        for n in range(0, 4, size)
    ]
    assert torch.allclose(whole[0], torch.cat([part[0] for part in parts]), atol=1e-5)
    assert torch.equal(whole[1], torch.cat([part[1] for part in parts]))


def test_choices_follow_seed_and_epoch():
    assert torch.equal(draw(5, 1, 2), draw(5, 1, 2))
    assert not torch.equal(draw(5, 1, 2), draw(5, 1, 3))
    assert not torch.equal(draw(5, 1, 2), draw(5, 2, 2))
    assert draw(200, 0, 0).abs().max() == pytest.approx(1, abs=0.02)


@given(st.integers(1, 200), st.integers(1, 200))
@FEW
def test_the_choices_of_an_image_do_not_depend_on_how_many_there_are(few, many):
    few, many = sorted((few, many))
    assert torch.equal(draw(many, 1, 2)[:few], draw(few, 1, 2))


def test_the_grid_is_that_of_torch():
    affine = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.affine_grid(affine, [3, 1, 20, 30], align_corners=False)
    still = torch.zeros(3, 2, _CONTROL, _CONTROL)
    assert torch.allclose(_grid(affine, still, 20, 30), expected, atol=1e-5)


def test_equal_displacements_of_all_control_points_are_a_shift():
    points = torch.zeros(1, 2, _CONTROL, _CONTROL)
    points[0, 0], points[0, 1] = 0.2, -0.1
    identity = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    shifted = torch.tensor([[[1.0, 0, 0.2], [0, 1, -0.1]]])
    still = torch.zeros_like(points)
    assert torch.allclose(_grid(identity, points, 20, 30), _grid(shifted, still, 20, 30), atol=1e-6)


def test_control_points_on_a_slope_are_an_affine_map():
    """Splines reproduce straight lines; that places the control points."""
    place = (torch.arange(_CONTROL) - 1) / 3 * 2 - 1  # grid coordinate of each control point
    points = torch.zeros(1, 2, _CONTROL, _CONTROL)
    points[0, 0], points[0, 1] = 0.3 * place[None, :], -0.2 * place[:, None]
    identity = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    scaled = torch.tensor([[[1.3, 0, 0], [0, 0.8, 0]]])
    still = torch.zeros_like(points)
    assert torch.allclose(_grid(identity, points, 20, 30), _grid(scaled, still, 20, 30), atol=1e-5)


@given(SEEDS)
@FEW
def test_a_deformation_never_folds(seed):
    limits = replace(GEOMETRY, mirror=0)
    corners = draw(4, seed, 0)
    corners[:2, _DISPLACEMENT] = corners[:2, _DISPLACEMENT].sign()  # the furthest there are
    grid = grid_of(corners, limits, strength=2.0)
    along, across = grid[:, 1:, :-1] - grid[:, :-1, :-1], grid[:, :-1, 1:] - grid[:, :-1, :-1]
    area = across[..., 0] * along[..., 1] - across[..., 1] * along[..., 0]
    assert (area > 0).all()


def test_a_deformation_is_as_large_as_the_settings_say():
    choices = draw(500, 0, 0)
    limits = replace(NONE, elastic=0.03, elastic_probability=1)
    moved = (grid_of(choices, limits) - grid_of(choices, NONE)) / 2  # shares of the side
    assert moved.abs().max() <= 0.03
    assert moved.std().item() == pytest.approx(0.008, abs=0.001)
    still = choices.clone()
    still[:, _ELASTIC] = 1
    assert torch.equal(grid_of(still, Augmentation(elastic=9)), grid_of(still, Augmentation()))


def test_positions_keep_their_digits_where_matrices_are_multiplied_roughly():
    choices, limits = draw(4, 0, 0), ALWAYS
    exact = grid_of(choices, limits, 512, 512)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        rough = grid_of(choices, limits, 512, 512)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rougher = grid_of(choices, limits, 512, 512)
    finally:
        torch.set_float32_matmul_precision(before)
    for found in (rough, rougher):
        assert found.dtype == torch.float32
        # In pixels. The affine part in bfloat16 would be wrong by one, the displacements are not.
        assert (found - exact).abs().max() * 256 < 0.2


def test_contrast_and_gamma_are_what_they_say():
    x = radiograph(1).clamp(0.3, 0.7)
    choices = zeros()
    choices[0, 5], choices[0, 6] = 1, -1
    found = augment(x, blob(1), choices, 0.5, Augmentation(gamma=0.4, contrast=0.2))[0]
    bright = x ** torch.tensor(0.2).exp()
    expected = (bright - bright.mean()) * torch.tensor(-0.1).exp() + bright.mean()
    assert torch.allclose(found, expected, atol=1e-4)


def test_noise_has_the_deviation_drawn_and_no_other_change():
    x = torch.full((2, 1, 128, 128), 0.5)
    choices = zeros(2)
    choices[:, _NOISE.start] = torch.tensor([-1.0, 1.0])  # the second has none
    choices[:, _NOISE.start + 1] = -0.5
    found = augment(x, torch.zeros_like(x), choices, 1.0, replace(Augmentation(), noise=0.04))[0]
    assert (found[0] - 0.5).std().item() == pytest.approx(0.02, rel=0.05)
    assert (found[0] - 0.5).mean().item() == pytest.approx(0, abs=1e-3)
    assert torch.allclose(found[1], x[1], atol=1e-5)


def test_noise_is_white_and_each_image_has_its_own():
    x = torch.full((2, 1, 128, 128), 0.5)
    limits = replace(NONE, noise=0.04, noise_probability=1)
    noise = augment(x, torch.zeros_like(x), draw(2, 0, 0), 1.0, limits)[0][:, 0] - 0.5
    first, second = noise
    pairs = {
        "images": (first, second),
        "rows": (first[1:], first[:-1]),
        "columns": (first[:, 1:], first[:, :-1]),
    }
    for name, pair in pairs.items():
        together = torch.corrcoef(torch.stack([part.flatten() for part in pair]))[0, 1]
        assert abs(together) < 0.05, name


@given(SEEDS)
@FEW
def test_the_windows_of_noise_lie_in_the_field(seed):
    x = torch.full((3, 1, 8, 24), 0.5)
    choices = draw(3, seed, 0)
    choices[1:, _NOISE] = torch.tensor([[1.0], [-1.0]])
    limits = replace(NONE, noise=0.1, noise_probability=1.1)
    found = augment(x, torch.zeros_like(x), choices, 1.0, limits)[0]
    assert found.std(dim=(1, 2, 3)).min() > 0
    assert _field(8 + 256, 24 + 256, x.device).std().item() == pytest.approx(1, abs=0.02)


def test_cutout_sets_a_rectangle_to_the_mean_and_leaves_the_mask():
    x, y = radiograph(1, 100).clamp(1e-3, 1), blob(1, 100)
    choices = zeros()
    rectangle = torch.tensor([-1.0, -0.5, 0.2, 1.0, 0.0])  # there, center 25 and 60, sides 20, 10
    choices[0, _CUTOUT] = torch.tensor([1.0, 0, 0, 0, 0] * 3)
    choices[0, _CUTOUT.start : _CUTOUT.start + 5] = rectangle
    limits = replace(NONE, cutout=0.2, cutout_probability=0.5)
    found, mask = augment(x, y, choices, 1.0, limits)
    changed = (found - x).abs() > 1e-4
    assert torch.allclose(found[0, 0, 15:35, 55:65], x.mean(), atol=1e-4)
    changed[0, 0, 15:35, 55:65] = False
    assert not changed.any()
    assert torch.equal(mask, y)


@given(SEEDS)
@FEW
def test_cutout_covers_no_more_than_the_settings_say(seed):
    x = radiograph(2, 64)
    limits = replace(NONE, cutout=0.25, cutout_probability=1)
    plain = augment(x, x.round(), draw(2, seed, 0), 1.0, NONE)[0]
    found = augment(x, x.round(), draw(2, seed, 0), 1.0, limits)[0]
    for image, before in zip(found, plain, strict=True):
        filled = image[image != before]
        assert len(filled) <= 3 * (64 * 0.25 + 1) ** 2  # edges fall on whole pixels
        assert torch.allclose(filled, before.mean(), atol=1e-4)


def test_nothing_waits_for_the_device():
    """Tensors on the meta device have no values, so asking for one is an error."""
    x, y = (torch.empty(2, 1, 32, 40, device="meta") for _ in range(2))
    moved_x, moved_y = augment(x, y, draw(2, 0, 0), 1.0, ALWAYS)
    assert moved_x.shape == moved_y.shape == x.shape
    with pytest.raises(RuntimeError, match="meta"):
        moved_x.sum().item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_does_what_the_processor_does():
    x, y, choices = radiograph(), blob(), draw(2, 0, 0)
    expected = augment(x, y, choices, 1.0, ALWAYS)
    on_gpu = x.cuda(), y.cuda()
    augment(*on_gpu, choices, 1.0, ALWAYS)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = augment(*on_gpu, choices, 1.0, ALWAYS)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.allclose(found[0].cpu(), expected[0], atol=1e-3)
    assert (found[1].cpu() != expected[1]).float().mean() < 1e-3
