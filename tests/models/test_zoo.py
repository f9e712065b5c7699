import re
from dataclasses import replace

import pytest
import torch

from pleura.config import Network
from pleura.errors import ConfigError
from pleura.models import zoo
from pleura.models.blocks import Head, top_logit
from pleura.models.bundle import Bundle, Preprocessing, read_bundle, write_bundle
from pleura.models.loading import load_network
from pleura.training.checkpoint import network_arrays, restore_network
from pleura.training.losses import bce, has_mask, image_bce


def total(outputs):
    return outputs.mask.square().mean() + outputs.score.square().mean()


def same(outputs, others):
    pairs = zip(outputs[:2], others[:2], strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def shifts_all_keys(name):
    # The same number on every key leaves a softmax as it is: no gradient but rounding's.
    return name.endswith("k_proj.bias")


def test_the_outputs_are_a_map_of_the_inputs_size_and_a_score(case, small):
    network = zoo.build(small(case)).eval()
    for size in (64, 96):
        outputs = network(torch.randn(2, 1, size, size))
        assert outputs.mask.shape == (2, 1, size, size)
        assert outputs.score.shape == (2,)


def test_gradients_reach_every_parameter(case, small):
    torch.manual_seed(0)
    # Not too narrow: of a gate with two units, both can be silent everywhere.
    network = zoo.build(small(case, width=12))
    # In evaluation mode, because batch statistics take away what a bias before them adds.
    total(network.eval()(torch.randn(2, 1, 64, 64))).backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and not shifts_all_keys(name):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_every_parameter_is_trained(case, small):
    # Several processes wait for the gradient of each parameter that requires one.
    network = zoo.build(small(case)).train()
    total(network(torch.randn(2, 1, 64, 64))).backward()
    trainable = [p for p in network.parameters() if p.requires_grad]
    assert all(parameter.grad is not None for parameter in trainable)
    assert zoo.count_parameters(small(case)) == sum(p.numel() for p in trainable)


def test_a_batch_equals_one_by_one(case, small):
    torch.manual_seed(0)
    network = zoo.build(small(case)).eval()
    x = torch.randn(3, 1, 64, 64)
    with torch.no_grad():
        together, alone = network(x), [network(one[None]) for one in x]
    for name in ("mask", "score"):
        expected = torch.cat([getattr(one, name) for one in alone])
        assert torch.allclose(getattr(together, name), expected, atol=1e-5)


@pytest.mark.slow
def test_one_batch_is_learnt_by_heart(case, small):
    torch.manual_seed(0)
    network = zoo.build(small(case, width=8)).train()
    x = torch.randn(2, 1, 64, 64)
    y = torch.zeros_like(x)
    y[0, 0, 8:40, 8:40] = 1
    x += 2 * y
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    first = None
    for _ in range(300):
        outputs = network(x)
        loss = bce(outputs.mask, y) + 0.1 * image_bce(outputs.score, has_mask(y))
        first = first or loss.item()
        if loss.item() < 0.1 * first:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first
    assert (outputs.score > 0).tolist() == [True, False]


def test_the_first_answer_is_the_share_of_positive_pixels(case, small):
    torch.manual_seed(0)
    network = zoo.build(small(case)).eval()
    with torch.no_grad():
        outputs = network(torch.randn(1, 1, 64, 64))
    assert 0.005 < torch.sigmoid(outputs.mask).mean().item() < 0.04
    assert outputs.score.item() == pytest.approx(top_logit(outputs.mask).item(), abs=0.5)


def test_the_score_does_not_pull_at_the_mask(case, small):
    network = zoo.build(small(case))
    network(torch.randn(2, 1, 64, 64)).score.sum().backward()
    (head,) = [module for module in network.modules() if isinstance(module, Head)]
    assert head.weight.grad is None


@pytest.mark.parametrize("name", [n for n, one in zoo.NETWORKS.items() if one.coarser is not None])
def test_coarser_outputs_are_for_training_alone(name, small):
    torch.manual_seed(0)
    settings = small(name)
    most = settings.depth - zoo.NETWORKS[name].coarser
    network = zoo.build(replace(settings, deep_supervision=most)).train()
    outputs = network(torch.randn(2, 1, 64, 64))
    sides = [one.shape[2] for one in outputs.coarser]
    assert len(sides) == most
    assert sides == sorted(set(sides), reverse=True)
    assert all(one.shape[:2] == (2, 1) for one in outputs.coarser)
    assert network.eval()(torch.randn(2, 1, 64, 64)).coarser == ()

    network.train()
    outputs = network(torch.randn(2, 1, 64, 64))
    loss = total(outputs) + sum(one.square().mean() for one in outputs.coarser)
    loss.backward()
    assert all(p.grad is not None for p in network.parameters())


def test_width_and_depth_change_the_size(case, small):
    steps = [(12, 3), (24, 3)] if case.startswith("backbone") else [(12, 3), (24, 3), (24, 4)]
    counts = [zoo.count_parameters(small(case, *step)) for step in steps]
    assert counts == sorted(set(counts))


def test_a_seed_decides_the_weights(case, small):
    arrays = []
    for _ in range(2):
        torch.manual_seed(5)
        arrays.append(network_arrays(zoo.build(small(case))))
    first, second = arrays
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    torch.manual_seed(6)
    other = network_arrays(zoo.build(small(case)))
    assert any(first[name].tobytes() != other[name].tobytes() for name in first)


def test_it_is_written_read_and_built_from_the_file_alone(case, small, tmp_path):
    settings = small(case)
    torch.manual_seed(0)
    network = zoo.build(settings)
    network.train()(torch.randn(2, 1, 64, 64))  # so that running statistics are not the first ones
    weights = network_arrays(network)
    write_bundle(Bundle(settings, weights, Preprocessing(64, "x")), tmp_path / "model.h5")
    bundle = read_bundle(tmp_path / "model.h5")
    assert bundle.network == settings
    assert bundle.weights.keys() == weights.keys()
    assert all(bundle.weights[name].tobytes() == weights[name].tobytes() for name in weights)
    write_bundle(bundle, tmp_path / "again.h5")
    assert read_bundle(tmp_path / "again.h5").digest == bundle.digest

    gone = replace(bundle, network=replace(settings, backbone="")) if settings.backbone else bundle
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert same(load_network(gone)(x), network.eval()(x))


def test_a_network_is_restored_from_its_arrays(case, small):
    torch.manual_seed(0)
    network, other = zoo.build(small(case)), zoo.build(small(case))
    x = torch.randn(2, 1, 64, 64)
    network.train()(x)
    restore_network(other, network_arrays(network))
    with torch.no_grad():
        assert same(other.eval()(x), network.eval()(x))


def test_it_is_exported_to_a_graph_that_answers_the_same(case, small):
    torch.manual_seed(0)
    network = zoo.build(small(case)).eval()
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        exported = torch.export.export(network, (x,)).module()
        answer, expected = exported(x), network(x)
        assert torch.allclose(answer.mask, expected.mask, atol=1e-5)
        assert torch.allclose(answer.score, expected.score, atol=1e-5)


def test_the_encoders_parameters_are_told_by_depth(case, small):
    network = zoo.build(small(case))
    depths = zoo.encoder_parameters(network)
    if not case.startswith(("efficientnet", "backbone")):
        assert depths == []
        return
    listed = [id(parameter) for depth in depths for parameter in depth]
    trainable = [p for p in network.encoder.parameters() if p.requires_grad]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(parameter) for parameter in trainable}
    assert len(depths) > 3
    assert all(depths)
    # The stem sees the radiograph and its ones; nothing else has two channels coming in.
    seeing = [p.ndim == 4 and p.shape[1] == 2 and p.shape[2] > 1 for p in depths[0]]
    assert any(seeing)


def test_a_frozen_encoder_stays_and_its_heads_learn(small):
    network = zoo.build(small("efficientnet"))
    for depth in zoo.encoder_parameters(network):
        for parameter in depth:
            parameter.requires_grad_(False)
    before = network_arrays(network)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    total(network(torch.randn(2, 1, 64, 64))).backward()
    optimizer.step()
    changed = {
        name for name, array in network_arrays(network).items() if (array != before[name]).any()
    }
    learnt = {name for name, parameter in network.named_parameters() if name in changed}
    assert learnt
    assert not any(name.startswith("encoder.") for name in learnt)


def test_the_top_logit_is_the_mean_of_the_most_likely_four_hundredth():
    mask = torch.full((2, 1, 80, 80), -3.0)
    mask[0, 0, 4:8, 40:44] = 2.0  # one block of 4 x 4; 400 blocks, so one counts
    assert top_logit(mask).tolist() == pytest.approx([2.0, -3.0])


def test_cost_grows_with_the_area(small):
    at_64, at_128 = (zoo.count_gflop(small("cnn"), size) for size in (64, 128))
    assert at_128 == pytest.approx(4 * at_64, rel=0.01)


def test_the_unets_differ_in_size():
    sizes = [zoo.count_parameters(Network(name=n)) for n in ("unet_small", "unet", "unet_large")]
    assert sizes[0] * 2 < sizes[1]
    assert sizes[1] * 2 < sizes[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(zoo.NETWORKS) - {"backbone"}))
def test_what_is_kept_of_the_default_sizes_is_counted_again(name):
    network = Network(name=name)
    gflop = round(zoo.count_gflop(network, 512), 1)
    assert zoo.known_counts(network) == (zoo.count_parameters(network), gflop)


def test_of_other_settings_nothing_is_kept():
    assert zoo.known_counts(Network(name="cnn", width=4)) is None
    assert zoo.known_counts(Network(name="cnn", width=16)) == zoo.known_counts(Network(name="cnn"))


def test_zeros_become_the_networks_own_defaults():
    entry = zoo.NETWORKS["unet"]
    assert zoo.complete(Network()) == Network(name="unet", width=entry.width, depth=entry.depth)


def test_complete_settings_stay_as_they_are(case, small):
    assert zoo.complete(small(case)) == small(case)


@pytest.mark.parametrize(
    ("network", "size", "message"),
    [
        (Network(name="unet"), 100, "unet of depth 5 needs a size divisible by 32, not 100; take "),
        (Network(name="unet"), 100, "; take 96 or 128"),
        (Network(name="cnn", depth=3), 100, "divisible by 8, not 100; take 96 or 128"),
        (Network(name="unet_large"), 96, "divisible by 64, not 96; take 64 or 128"),
        (Network(name="dynunet"), 32, "divisible by 32 from 64 on, not 32; take 64 or 96"),
        (Network(name="segresnet"), 40, "divisible by 16, not 40; take 32 or 64"),
        (Network(name="attention_unet"), 48, "divisible by 32, not 48; take 32 or 64"),
        (Network(name="swin_unetr"), 32, "divisible by 32 from 64 on, not 32; take 64 or 96"),
        (Network(name="efficientnet"), 300, "divisible by 32, not 300; take 288 or 320"),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_the_right_ones(network, size, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        zoo.check_size(network, size)
    good = int(re.search(r"take (\d+)", message + "take 96")[1])
    zoo.check_size(network, good)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Network(name="unet", depth=1), "network.depth is 1; unet needs 2 or more"),
        (Network(name="efficientnet", depth=6), "network.depth is 6; efficientnet needs 5 or less"),
        (
            Network(name="backbone", backbone="x", depth=3),
            "network.depth is 3; backbone has its own depth, leave it out",
        ),
        (
            Network(name="swin_unetr", width=20),
            "network.width is 20; swin_unetr needs a multiple of 12",
        ),
        (
            Network(name="cnn", pretrained=True),
            "network.pretrained is true, but there are no trained weights for cnn; leave it out, "
            "or take one of efficientnet, efficientnet_lite2, backbone",
        ),
        (
            Network(name="segresnet", deep_supervision=1),
            "network.deep_supervision is 1, but segresnet has no coarser outputs to supervise; "
            "leave it out, or take one of unet_small, unet, unet_large, dynunet, attention_unet",
        ),
        (
            Network(name="unet", depth=4, deep_supervision=3),
            "network.deep_supervision is 3; unet of depth 4 has 2 coarser outputs",
        ),
        (Network(name="backbone"), "network.backbone is empty; give a name of the Hugging Face"),
        (
            Network(name="unet", backbone="x"),
            "network.backbone is 'x', but unet has no backbone; leave it out, or set network.name",
        ),
    ],
)
def test_settings_that_do_not_suit_a_network_are_refused(network, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        zoo.build(network)


def test_without_its_extra_a_network_says_what_to_install(monkeypatch):
    assert zoo.missing("backbone") == ""
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert zoo.missing("backbone") == "needs pip install 'pleura[hub]'"
    with pytest.raises(ConfigError, match=re.escape("'backbone': it needs pip install 'pleura[")):
        zoo.build(Network(name="backbone", backbone="x"))
