import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pleura.metrics import dice_coeff
from pleura.training.losses import LOSSES, bce, bce_dice, image_bce, soft_dice


def batch(seed, images=3):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, 1, 8, 8, generator=generator) * 3
    truth = (torch.rand(images, 1, 8, 8, generator=generator) > 0.6).float()
    return logits, truth


@given(st.integers(0, 1000))
def test_bce_is_the_textbook_formula(seed):
    logits, truth = batch(seed)
    p = torch.sigmoid(logits.double())
    expected = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()
    assert bce(logits, truth).item() == pytest.approx(expected.item(), rel=1e-4)


@given(st.integers(0, 1000))
def test_soft_dice_is_the_metric_averaged_over_positives(seed):
    logits, truth = batch(seed)
    truth[1] = 0
    probability = torch.sigmoid(logits).numpy()
    expected = [1 - dice_coeff(truth[n].numpy(), probability[n], smooth=1) for n in (0, 2)]
    assert soft_dice(logits, truth).item() == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_soft_dice_of_an_empty_batch_is_zero_without_gradient():
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    loss = soft_dice(logits, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_right_answer_costs_nothing_and_a_wrong_one_much(name):
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., 2:5, 2:5] = 1
    sure = (truth * 2 - 1) * 30
    assert LOSSES[name](sure, truth).item() == pytest.approx(0, abs=1e-3)
    assert LOSSES[name](-sure, truth).item() > 10


def test_bce_dice_is_the_sum():
    logits, truth = batch(0)
    expected = bce(logits, truth) + 0.5 * soft_dice(logits, truth)
    assert bce_dice(logits, truth).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", list(LOSSES))
def test_extreme_logits_stay_finite(name):
    logits = torch.tensor([[[[1e4, -1e4]]]], requires_grad=True)
    loss = LOSSES[name](logits, torch.tensor([[[[0.0, 1.0]]]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_image_bce_asks_whether_the_mask_is_empty():
    truth = torch.zeros(3, 1, 4, 4)
    truth[1, 0, 2, 3] = 1
    score = torch.tensor([-2.0, 1.0, 0.5])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        score, torch.tensor([0.0, 1.0, 0.0])
    )
    assert image_bce(score, truth).item() == pytest.approx(expected.item())
