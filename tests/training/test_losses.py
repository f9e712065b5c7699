import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.choices import LossName
from pleura.metrics import dice_coeff
from pleura.training.losses import (
    LOSSES,
    Combination,
    bce,
    bce_dice,
    bce_lovasz,
    box_bce,
    deep_supervision,
    focal,
    has_mask,
    image_bce,
    soft_dice,
    symmetric_lovasz,
    winner,
)

SEEDS = st.integers(0, 1000)
EVERY = {**LOSSES, "soft_dice": soft_dice, "focal": focal}
FIXED_LOGITS = torch.tensor([-3, -1, -0.25, 0, 0.5, 2, -6, 4]).reshape(2, 1, 2, 2)
FIXED_TRUTH = torch.tensor([0.0, 1, 0, 1, 1, 1, 0, 0]).reshape(2, 1, 2, 2)


def batch(seed, images=3, size=8):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, 1, size, size, generator=generator) * 3
    truth = (torch.rand(images, 1, size, size, generator=generator) > 0.6).float()
    return logits, truth


def lovasz_by_definition(logits, truth):
    """Return the Lovasz hinge of one image, from the sets whose IoU the paper speaks of."""
    truth = truth.astype(bool)
    errors = 1 - logits * np.where(truth, 1, -1)
    total, before, wrong = 0.0, 0.0, np.zeros(truth.shape, dtype=bool)
    for pixel in np.argsort(-errors):
        wrong[pixel] = True
        found = truth ^ wrong
        union = (truth | found).sum()
        loss = 1 - (truth & found).sum() / union if union else 0.0
        total += max(errors[pixel], 0) * (loss - before)
        before = loss
    return total


def test_every_name_of_the_settings_is_a_loss():
    assert set(LOSSES) == set(LossName.__args__)


@given(SEEDS)
def test_bce_is_the_textbook_formula(seed):
    logits, truth = batch(seed)
    p = torch.sigmoid(logits.double())
    expected = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()
    assert bce(logits, truth).item() == pytest.approx(expected.item(), rel=1e-4)


@given(SEEDS)
def test_soft_dice_is_the_metric_averaged_over_positives(seed):
    logits, truth = batch(seed)
    truth[1] = 0
    probability = torch.sigmoid(logits).numpy()
    expected = [1 - dice_coeff(truth[n].numpy(), probability[n], smooth=1) for n in (0, 2)]
    assert soft_dice(logits, truth).item() == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_soft_dice_is_monais_where_every_image_has_a_mask():
    # MONAI 1.6.1: DiceLoss(sigmoid=True, smooth_nr=1, smooth_dr=1)
    assert soft_dice(FIXED_LOGITS, FIXED_TRUTH).item() == pytest.approx(0.3366777003)


def test_soft_dice_of_an_empty_batch_is_zero_without_gradient():
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    loss = soft_dice(logits, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize(
    ("gamma", "alpha", "expected"),
    [(2.0, None, 0.6162437201), (2.0, 0.25, 0.4031495750), (0.5, 0.75, 0.3193116784)],
)
def test_focal_is_monais(gamma, alpha, expected):
    # MONAI 1.6.1: FocalLoss(gamma=gamma, alpha=alpha)
    found = focal(FIXED_LOGITS, FIXED_TRUTH, gamma=gamma, alpha=alpha)
    assert found.item() == pytest.approx(expected, rel=1e-6)


@given(SEEDS, st.floats(0, 5))
def test_focal_is_the_papers_formula(seed, gamma):
    logits, truth = batch(seed)
    p = torch.sigmoid(logits.double())
    p_t = torch.where(truth == 1, p, 1 - p)
    expected = (-((1 - p_t) ** gamma) * p_t.log()).mean().item()
    assert focal(logits, truth, gamma=gamma).item() == pytest.approx(expected, rel=1e-4)


@given(SEEDS)
def test_focal_without_focus_is_cross_entropy_and_never_more(seed):
    logits, truth = batch(seed)
    assert focal(logits, truth, gamma=0).item() == pytest.approx(bce(logits, truth).item())
    assert focal(logits, truth) < bce(logits, truth)


def test_focal_of_empty_masks_counts_every_pixel():
    logits, _ = batch(1)
    p = torch.sigmoid(logits)
    expected = (-(p**2) * (1 - p).log()).mean().item()
    assert focal(logits, torch.zeros_like(logits)).item() == pytest.approx(expected, rel=1e-4)


@given(SEEDS, st.sampled_from([0.0, 0.1, 0.6, 1.0]))
@settings(max_examples=40)
def test_lovasz_is_the_hinge_over_the_steps_of_iou(seed, share):
    logits, _ = batch(seed, images=2, size=6)
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(2, 1, 6, 6, generator=generator) < share).float()
    expected = 0.0
    for z, t in zip(logits.flatten(1).double().numpy(), truth.flatten(1).numpy(), strict=True):
        expected += (lovasz_by_definition(z, t) + lovasz_by_definition(-z, 1 - t)) / 4
    assert symmetric_lovasz(logits, truth).item() == pytest.approx(expected, rel=1e-4)


@given(SEEDS)
def test_lovasz_of_sure_answers_is_what_iou_lacks(seed):
    """The surface goes through 1 - IoU where every hinge error is 0 or 2."""
    generator = torch.Generator().manual_seed(seed)
    found, truth = (torch.rand(2, 1, 1, 8, 8, generator=generator) > 0.5).unbind(0)
    inside, outside = found & truth, ~found & ~truth
    expected = (1 - inside.sum() / (found | truth).sum()) + (
        1 - outside.sum() / (~found | ~truth).sum()
    )
    loss = symmetric_lovasz(found.float() * 2 - 1, truth.float())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@given(SEEDS)
def test_lovasz_is_the_same_turned_round(seed):
    logits, truth = batch(seed)
    turned = symmetric_lovasz(-logits, 1 - truth)
    assert symmetric_lovasz(logits, truth).item() == pytest.approx(turned.item(), rel=1e-5)


@given(SEEDS)
def test_lovasz_of_an_empty_mask_is_half_the_worst_and_half_the_mean_error(seed):
    logits, _ = batch(seed, images=1)
    errors = (1 + logits).clamp(min=0)
    expected = (errors.max() + errors.mean()) / 2
    found = symmetric_lovasz(logits, torch.zeros_like(logits))
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_lovasz_of_an_empty_mask_stops_at_the_margin():
    logits = torch.full((1, 1, 8, 8), -1.001, requires_grad=True)
    loss = symmetric_lovasz(logits, torch.zeros(1, 1, 8, 8))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_lovasz_weights_keep_their_digits_on_large_images():
    """All background wrong alike: the loss is the hinge error times a sum that is exactly 1."""
    truth = torch.zeros(1, 1, 512, 512)
    truth[..., :3, :3] = 1
    logits = torch.ones_like(truth, requires_grad=True)
    symmetric_lovasz(logits, truth).backward()
    assert logits.grad is not None
    # With every background pixel wrong IoU is 9 / N, and IoU of the background 0.
    lost = (1 - 9 / 512**2 + 1) / 2
    assert logits.grad.sum().item() == pytest.approx(lost, rel=1e-5)


def test_lovasz_counts_half_a_pixel_as_foreground():
    logits, truth = batch(3)
    shares = torch.where(truth == 1, 0.5, 0.49)
    assert symmetric_lovasz(logits, shares) == symmetric_lovasz(logits, truth)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_right_answer_costs_nothing_and_a_wrong_one_much(name):
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., 2:5, 2:5] = 1
    sure = (truth * 2 - 1) * 30
    assert LOSSES[name](sure, truth).item() == pytest.approx(0, abs=1e-3)
    assert LOSSES[name](-sure, truth).item() > 10


@pytest.mark.parametrize("name", list(LOSSES))
def test_an_empty_mask_costs_nothing_where_the_answer_is_empty_and_much_where_it_is_not(name):
    empty = torch.zeros(2, 1, 8, 8)
    assert LOSSES[name](empty - 30, empty).item() == pytest.approx(0, abs=1e-6)
    assert LOSSES[name](empty + 30, empty).item() > 10


@pytest.mark.parametrize(
    ("combination", "parts"),
    [
        (bce_dice, [(1, bce), (0.5, soft_dice)]),
        (winner, [(0.375, bce), (0.125, soft_dice), (0.5, focal)]),
        (bce_lovasz, [(0.5, bce), (0.5, symmetric_lovasz)]),
    ],
)
def test_a_combination_is_the_weighted_sum(combination, parts):
    logits, truth = batch(0)
    expected = sum(weight * loss(logits, truth).item() for weight, loss in parts)
    assert combination(logits, truth).item() == pytest.approx(expected)


def test_combinations_are_made_of_any_losses():
    logits, truth = batch(0)
    own = Combination(((2.0, focal), (1.0, symmetric_lovasz)))
    expected = 2 * focal(logits, truth) + symmetric_lovasz(logits, truth)
    assert own(logits, truth).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", list(EVERY))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(name, dtype):
    extremes = [1e4, -1e4, 0, 1e4, -1e4, 0]
    logits = torch.tensor(extremes, dtype=dtype).reshape(1, 1, 2, 3).requires_grad_()
    truth = torch.tensor([0.0, 1, 0, 1, 0, 1]).reshape(1, 1, 2, 3)
    for target in (truth, torch.zeros_like(truth), torch.ones_like(truth)):
        logits.grad = None
        loss = EVERY[name](logits, target)
        loss.backward()
        assert torch.isfinite(loss)
        assert loss.dtype == torch.float32
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", list(EVERY))
def test_bfloat16_logits_cost_what_the_same_numbers_in_float32_cost(name):
    logits, truth = batch(2, size=64)
    rounded = logits.bfloat16()
    assert EVERY[name](rounded, truth) == EVERY[name](rounded.float(), truth)


@pytest.mark.parametrize("name", list(EVERY))
def test_the_loss_of_a_batch_is_the_mean_over_its_images(name):
    logits, truth = batch(4, images=3)
    alone = [EVERY[name](logits[n : n + 1], truth[n : n + 1]).item() for n in range(3)]
    assert EVERY[name](logits, truth).item() == pytest.approx(sum(alone) / 3, rel=1e-4)


@pytest.mark.parametrize("name", list(EVERY))
def test_the_gradient_is_that_of_the_loss(name):
    logits, truth = batch(5, images=1, size=5)
    logits = logits.double().requires_grad_()
    (gradient,) = torch.autograd.grad(EVERY[name](logits, truth), logits)
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        step = 1e-2
        ahead, behind = (EVERY[name](logits + s * direction, truth) for s in (step, -step))
    slope = ((ahead - behind) / (2 * step)).item()
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=0.02, abs=1e-4)


def test_image_bce_asks_whether_the_mask_is_empty():
    truth = torch.zeros(3, 1, 4, 4)
    truth[1, 0, 2, 3] = 1
    score = torch.tensor([-2.0, 1.0, 0.5])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        score, torch.tensor([0.0, 1.0, 0.0])
    )
    positive = has_mask(truth)
    assert image_bce(score, positive).item() == pytest.approx(expected.item())
    assert image_bce(score.bfloat16(), positive).dtype == torch.float32


@pytest.mark.parametrize("name", list(EVERY))
def test_deep_supervision_of_one_output_is_the_loss(name):
    logits, truth = batch(6)
    assert deep_supervision(EVERY[name], [logits], truth) == EVERY[name](logits, truth)


def test_deep_supervision_halves_the_weight_from_output_to_output():
    truth = torch.zeros(1, 1, 8, 8)
    outputs = [torch.zeros(1, 1, size, size) for size in (8, 4, 2)]
    values = iter([7.0, 14.0, 28.0])
    seen = []

    def counted(logits, target, weight):
        seen.append(target.shape == logits.shape)
        return torch.tensor(next(values))

    # (7 + 14 / 2 + 28 / 4) / (1 + 1 / 2 + 1 / 4)
    assert deep_supervision(counted, outputs, truth).item() == pytest.approx(12)
    assert seen == [True, True, True]


def test_deep_supervision_asks_coarse_outputs_for_the_share_of_foreground():
    """A band of one pixel in four, which the nearest pixel could miss, is a share of 1/4."""
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., 0::4] = 1
    share = torch.logit(torch.full((1, 1, 2, 2), 0.25))
    least = deep_supervision(bce, [share], truth)
    assert least < deep_supervision(bce, [share + 0.1], truth)
    assert least < deep_supervision(bce, [share - 0.1], truth)


@pytest.mark.parametrize("name", list(LOSSES))
def test_deep_supervision_reaches_every_output_and_empty_masks_stay_finite(name):
    outputs = [torch.randn(2, 1, size, size, requires_grad=True) for size in (16, 8, 4)]
    truth = torch.zeros(2, 1, 16, 16)
    truth[0, 0, 3:9, 3:9] = 1
    for target in (truth, torch.zeros_like(truth)):
        loss = deep_supervision(LOSSES[name], outputs, target)
        gradients = torch.autograd.grad(loss, outputs)
        assert torch.isfinite(loss)
        assert all(torch.isfinite(g).all() and g.any() for g in gradients)


def test_deep_supervision_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="0 outputs were given; hand over at least the finest"):
        deep_supervision(bce, [], torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("name", list(EVERY))
def test_to_believe_all_for_certain_changes_nothing(name):
    logits, truth = batch(7)
    truth[1] = 0
    plain = EVERY[name](logits, truth).item()
    for shape in ((3, 1, 1, 1), (3, 1, 8, 8)):
        assert EVERY[name](logits, truth, torch.ones(shape)).item() == pytest.approx(plain)
    maps = [logits, logits[..., ::2, ::2]]
    coarse = deep_supervision(EVERY[name], maps, truth, torch.ones(3, 1, 8, 8))
    assert coarse.item() == pytest.approx(deep_supervision(EVERY[name], maps, truth).item())


@pytest.mark.parametrize("name", list(EVERY))
def test_images_of_unknown_mask_count_nothing(name):
    logits, truth = batch(8, images=4)
    logits.requires_grad_()
    known = torch.tensor([1.0, 0, 1, 0])
    loss = EVERY[name](logits, truth, known[:, None, None, None])
    assert loss.item() == pytest.approx(EVERY[name](logits[::2], truth[::2]).item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[::2].flatten(1).any(1).all()
    assert not gradient[1::2].any()
    nothing = EVERY[name](logits, truth, torch.zeros(4, 1, 1, 1))
    assert nothing.item() == 0


@pytest.mark.parametrize("name", list(EVERY))
def test_what_is_half_believed_counts_half_beside_what_is_certain(name):
    logits, truth = batch(9, images=2, size=32)
    sure, doubtful = (EVERY[name](logits[n : n + 1], truth[n : n + 1]).item() for n in (0, 1))
    weight = torch.tensor([1.0, 0.5])[:, None, None, None]
    found = EVERY[name](logits, truth, weight).item()
    assert found == pytest.approx((sure + 0.5 * doubtful) / 1.5, rel=1e-4)
    alone = EVERY[name](logits[1:], truth[1:], weight[1:]).item()
    assert alone == pytest.approx(0.5 * doubtful, rel=1e-4)


@pytest.mark.parametrize("name", list(EVERY))
def test_the_inside_of_a_box_is_not_known(name):
    logits, _ = batch(10, images=2)
    logits.requires_grad_()
    weight = torch.ones(2, 1, 8, 8)
    weight[0, 0, 2:5, 1:7] = 0
    empty = torch.zeros(2, 1, 8, 8)
    changed = logits + 50 * (weight == 0)
    loss = EVERY[name](logits, empty, weight)
    assert EVERY[name](changed, empty, weight).item() == pytest.approx(loss.item())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[weight == 0].any()
    assert gradient[weight == 1].any() == (name != "soft_dice")  # which asks positives alone


@pytest.mark.parametrize("loss", [bce, soft_dice, bce_dice])
@pytest.mark.parametrize("share", [0.1, 0.45, 0.8])
def test_a_mask_of_shares_is_best_served_by_itself(loss, share):
    truth = torch.zeros(1, 1, 16, 16)
    truth[..., 4:12, 4:12] = share
    exact = torch.logit(truth.clamp(1e-4, 1 - 1e-4))
    least = loss(exact, truth)
    for other in (0.0, 0.02, share - 0.05, share + 0.05, 1.0):
        answer = torch.logit((truth > 0) * torch.tensor(other).clamp(1e-4, 1 - 1e-4) + 1e-4)
        assert loss(answer, truth) > least


def test_image_bce_weighs_images_and_takes_probabilities():
    score = torch.tensor([-2.0, 1.0, 0.5], requires_grad=True)
    likely, weight = torch.tensor([0.0, 0.9, 0.3]), torch.tensor([1.0, 0.5, 0.0])
    each = torch.nn.functional.binary_cross_entropy_with_logits(score, likely, reduction="none")
    loss = image_bce(score, likely, weight)
    assert loss.item() == pytest.approx((each[0] + 0.5 * each[1]).item() / 1.5)
    assert torch.autograd.grad(loss, score)[0][2] == 0
    assert image_bce(score, likely, 0.1 * weight).item() == pytest.approx(0.15 * loss.item())


def boxed():
    """Return the numbers of two boxes in the first of two images, and none in the second."""
    numbers = torch.zeros(2, 1, 32, 32)
    numbers[0, 0, 4:24, 4:24] = 1
    numbers[0, 0, 8:12, 8:12] = 2
    return numbers


def test_a_box_is_content_with_a_few_pixels_inside_and_asks_nothing_of_the_others():
    numbers = boxed()
    logits = torch.full((2, 1, 32, 32), -8.0, requires_grad=True)
    loss = box_bce(logits, numbers, 2)
    assert loss.item() == pytest.approx(8, abs=0.01)  # no pixel of either box
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[numbers > 0] < 0).all()
    assert not gradient[numbers == 0].any()
    found = torch.full((2, 1, 32, 32), -8.0)
    found[0, 0, 20, 20] = found[0, 0, 9, 9] = 6.0
    assert box_bce(found, numbers, 2).item() < 0.02
    outside = torch.full((2, 1, 32, 32), -8.0)
    outside[numbers == 0] = 6.0
    assert box_bce(outside, numbers, 2).item() == pytest.approx(8, abs=0.01)


def test_boxes_count_as_they_are_believed_and_those_out_of_sight_not_at_all():
    logits, numbers = torch.zeros(2, 1, 32, 32, requires_grad=True), boxed()
    whole = box_bce(logits, numbers, 2).item()
    assert box_bce(logits, numbers, 5).item() == pytest.approx(whole)
    assert box_bce(logits, numbers, 2, torch.tensor([0.25, 1])).item() == pytest.approx(whole / 2)
    nothing = box_bce(logits, torch.zeros_like(numbers), 2)
    nothing.backward()
    assert nothing.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_in_a_box_stay_finite(dtype):
    for value in (1e4, -1e4):
        logits = torch.full((2, 1, 32, 32), value, dtype=dtype, requires_grad=True)
        loss = box_bce(logits, boxed(), 2)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()
