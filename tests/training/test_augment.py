import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.training.augment import _grid, augment, draw

NOTHING = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0]])


def blob(images=2, size=48):
    y = torch.zeros(images, 1, size, size)
    y[:, :, 10:24, 14:20] = 1
    return y


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_mask_and_image_move_alike(seed):
    mask = blob()
    choices = draw(2, seed, 0)
    choices[:, 5:] = 0  # the exposure stays
    x, y = augment(mask, mask, choices, 1.0)
    # The picture of the mask is interpolated, the mask is not: they differ at most at the border.
    assert ((x > 0.99) <= (y == 1)).all()
    assert ((x > 0.01) >= (y == 1)).all()


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_a_mask_stays_a_mask_and_pixels_stay_in_range(seed):
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    moved_x, moved_y = augment(x, blob(size=32), draw(2, seed, 1), 2.0)
    assert set(moved_y.unique().tolist()) <= {0.0, 1.0}
    assert moved_x.min() >= 0
    assert moved_x.max() <= 1


def test_strength_zero_changes_nothing():
    x, y = torch.rand(2, 1, 16, 16), blob(size=16)
    same_x, same_y = augment(x, y, draw(2, 0, 0), 0)
    assert same_x is x
    assert same_y is y


def test_choices_of_zero_change_nothing():
    x, y = torch.rand(1, 1, 16, 16).clamp(1e-3, 1), blob(1, 16)
    same_x, same_y = augment(x, y, NOTHING, 1.0)
    assert torch.allclose(same_x, x, atol=1e-5)
    assert torch.equal(same_y, y)


def test_a_mirrored_image_is_mirrored():
    x, y = torch.rand(1, 1, 16, 16).clamp(1e-3, 1), blob(1, 16)
    flip = NOTHING.clone()
    flip[0, 0] = -1
    moved_x, moved_y = augment(x, y, flip, 1.0)
    assert torch.allclose(moved_x, x.flip(3), atol=1e-5)
    assert torch.equal(moved_y, y.flip(3))


def test_what_happens_to_an_image_does_not_depend_on_its_batch():
    x, y, choices = torch.rand(4, 1, 16, 16), blob(4, 16), draw(4, 5, 6)
    whole = augment(x, y, choices, 1.0)[0]
    alone = torch.cat(
        [augment(x[n : n + 1], y[n : n + 1], choices[n : n + 1], 1.0)[0] for n in range(4)]
    )
    assert torch.allclose(whole, alone, atol=1e-6)


def test_choices_follow_seed_and_epoch():
    assert torch.equal(draw(5, 1, 2), draw(5, 1, 2))
    assert not torch.equal(draw(5, 1, 2), draw(5, 1, 3))
    assert not torch.equal(draw(5, 1, 2), draw(5, 2, 2))
    assert draw(200, 0, 0).abs().max() == pytest.approx(1, abs=0.02)


def test_the_grid_is_that_of_torch():
    affine = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.affine_grid(affine, [3, 1, 20, 30], align_corners=False)
    assert torch.allclose(_grid(affine, 20, 30), expected, atol=1e-5)
