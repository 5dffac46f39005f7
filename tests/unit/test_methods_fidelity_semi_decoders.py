"""MC-Net, URPC, CCT and R-Drop: terms of several outputs against slow references, and who learns from whom."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import methods
from datasets.types import Task
from methods import networks
from methods.perturb import drop_attended, scale_values
from tests.reference import agreement
from tests.reference import losses as reference
from tests.unit.semi_toys import MIDDLE, assert_terms, logits_of, method, ramp, reached, supervised, toy_batch


# mutual consistency --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("decoders", [2, 3])
def test_mc_net_decoders_agree_with_the_sharpened_predictions_of_all_others(decoders: int, classes: int):
    # a temperature of ½, where the printed power form does not underflow
    m = method("mc_net", decoders=decoders, temperature=0.5, weight=2.0, classes=classes)
    batch = toy_batch(classes=classes)
    with torch.no_grad():
        features = m.network.encode(batch.images)
        logits = [m.network(batch.images), *(decode(features) for decode in m.decoders)]
    probs = [reference.softmax(one.numpy()) for one in logits]
    assert len(probs) == decoders
    sharp = [agreement.sharpened(p, 0.5) for p in probs]
    differences = [
        reference.squared_difference(probs[i], sharp[j]) for i in range(decoders) for j in range(decoders) if i != j
    ]
    label = batch.labelled.label.numpy()
    if classes == 2:  # linear, without the background
        dice = [reference.dice_losses(p[:2], label, power=1)[1] for p in probs]
    else:
        dice = [reference.dice_loss(p[:2], label) for p in probs]
    expected = {f"dice_{k}": loss / 2 for k, loss in enumerate(dice, start=1)}
    assert_terms(m.losses(batch, MIDDLE), expected | {"consistency": 2.0 * np.exp(0) * sum(differences)})


def test_mc_net_sharpening_of_impossible_classes_has_a_finite_gradient():
    m, batch = method("mc_net", temperature=0.01), toy_batch()
    with torch.no_grad():
        m.network.head.weight.mul_(1000)  # probabilities of exactly 0 and 1: the power form's gradient is NaN there
    m.losses(batch, MIDDLE)["consistency"].backward()
    assert all(p.grad.isfinite().all() for p in m.parameters() if p.grad is not None)


def test_mc_net_consistency_has_gradient_on_both_of_its_sides():
    m, batch = method("mc_net"), toy_batch()
    term = m.losses(batch, MIDDLE)["consistency"]
    assert reached(term, m.network.decoder)
    assert reached(term, m.decoders[0])
    assert reached(term, m.network.encoder)


@pytest.mark.parametrize(
    ("network", "recipe", "ndim", "expected"),
    # an empty set is a decoder of transposed convolutions
    [
        ("unet", "wsl4mis", 2, [set(), {("bilinear", True)}, {("nearest", None)}]),
        ("unet", "ssl4mis", 2, [{("bilinear", True)}, set(), {("nearest", None)}]),
        ("unet", "ssl4mis", 3, [{("trilinear", False)}, set(), {("nearest", None)}]),
        ("vnet", None, 3, [set(), {("trilinear", True)}, {("nearest", None)}]),
    ],
)
def test_mc_net_decoders_up_sample_differently(network: str, recipe: str | None, ndim: int, expected: list[set[Any]]):
    options: Any = {} if recipe is None else {"recipe": recipe}
    task = Task("toy", ndim, 1, ("background", "organ"), (16,) * ndim, "px")
    build: Any = partial(networks.make, network, ndim=ndim, channels=1, classes=2, width=4, levels=3, **options)
    cls = methods.get("mc_net")
    m = cls(task, cls.Hyper(decoders=3), build)
    decoders = [m.network.decoder, *m.decoders]
    layers = [[layer for layer in d.modules() if isinstance(layer, nn.Upsample)] for d in decoders]
    assert [{(layer.mode, layer.align_corners) for layer in found} for found in layers] == expected
    kinds = nn.ConvTranspose2d | nn.ConvTranspose3d
    transposed = [any(isinstance(layer, kinds) for layer in d.modules()) for d in decoders]
    assert transposed == [not modes for modes in expected]
    features = m.network.encode(torch.randn(2, 1, *(16,) * ndim))
    shapes = {tuple(decode(features).shape) for decode in m.decoders}
    assert shapes == {(2, 2, *(16,) * ndim)}


def test_mc_net_the_first_decoder_predicts():
    m, image = method("mc_net"), torch.randn(1, 1, 16, 16)
    expected = reference.softmax(logits_of(m.network, image))
    np.testing.assert_allclose(m.predict(image).detach().numpy(), expected, rtol=1e-4, atol=1e-6)


# uncertainty-rectified pyramid consistency ---------------------------------------------------------------------------
@pytest.mark.parametrize(("ndim", "mode"), [(2, "nearest"), (3, "trilinear")])
def test_urpc_scales_learn_the_labels_and_agree_on_unlabelled_images(ndim: int, mode: str):
    m, batch = method("urpc", weight=2.0, ndim=ndim), toy_batch(ndim=ndim)
    with torch.no_grad():
        maps = m.network.decoder.pyramid(m.network.encode(batch.images))
        coarse = F.interpolate(m.heads[0](maps[0]), size=(16,) * ndim, mode=mode)  # three levels: two decoder maps
        scales = [coarse.numpy(), m.network.head(maps[1]).numpy()]
    assert len(maps) == 2
    each = [supervised(scale[:2], batch.labelled.label) for scale in scales]
    expected = {name: (each[0][name] + each[1][name]) / 2 for name in ("ce", "dice")}
    expected["consistency"] = 2.0 * ramp() * agreement.rectified_consistency([scale[2:] for scale in scales])
    assert_terms(m.losses(batch, MIDDLE), expected)


def test_urpc_drops_channels_of_the_coarser_maps_more_often():
    m, dropped = method("urpc").train(), []
    for layer in m.modules():
        if isinstance(layer, nn.Dropout2d):
            layer.register_forward_hook(
                lambda layer, given, _: dropped.append((tuple(given[0].shape[2:]), layer.p, layer.training))
            )
    m.losses(toy_batch(), MIDDLE)
    # five published levels have 0.5, 0.3, 0.2 from deep to shallow, and nothing at full resolution; three keep the last
    assert dropped == [((8, 8), 0.2, True), ((16, 16), 0.0, True)]
    volumes = method("urpc", ndim=3)
    assert [layer.p for layer in volumes.dropouts] == [0.2, 0.1]


@pytest.mark.parametrize(("ndim", "kernel"), [(2, 3), (3, 1)])
def test_urpc_heads_are_built_and_initialised_like_the_networks_own(ndim: int, kernel: int):
    m = method("urpc", ndim=ndim)
    (head,) = m.heads
    assert head.kernel_size == m.network.head.kernel_size == (kernel,) * ndim
    assert head.in_channels == 8  # of the coarser of two decoder maps, at width 4
    if ndim == 3:  # Kaiming: a deviation of the root of 2 / 8; the default has that of 1 / 24
        assert head.weight.std().item() == pytest.approx(0.5, rel=0.35)


def test_urpc_refuses_a_network_of_one_scale_and_takes_deeper_ones():
    build = partial(networks.make, "unet", ndim=2, channels=1, classes=3, width=4)
    cls, task = methods.get("urpc"), Task("toy", 2, 1, ("a", "b", "c"), (32, 32), "px")
    with pytest.raises(ValueError, match="set its levels to 3 or more"):
        cls(task, cls.Hyper(), partial(build, levels=2))
    network = build(levels=3)
    network.decoder.channels = (64, 32, 16, 8, 4)  # as of an encoder with six resolutions
    m = cls(task, cls.Hyper(), lambda: network)
    assert [layer.p for layer in m.dropouts] == [0.5, 0.5, 0.3, 0.2, 0.0]


@pytest.mark.parametrize("network", ["unet", "vnet"])
def test_urpc_drops_nothing_at_the_centre_and_at_the_end_of_the_network(network: str):
    """Its own dropout before the heads stands there instead; both would be one too many."""
    m, image = method("urpc", ndim=3, network=network).train(), torch.randn(2, 1, 16, 16, 16)
    for layer in m.modules():
        assert type(layer).__name__ not in ("Dropout3d", "FeatureAlphaDropout")
        assert not isinstance(layer, nn.Dropout) or layer.p == 0
    with torch.no_grad():
        first, second = (m.network.decode(m.network.encode(image)) for _ in range(2))
    assert torch.equal(first, second)


# cross-consistency ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", ["intended", "released"])
def test_cct_auxiliary_decoders_agree_with_the_main_one_on_unlabelled_images(variant: str):
    m, batch = method("cct", variant=variant, weight=2.0), toy_batch()
    with torch.no_grad():  # in evaluation mode nothing is perturbed
        features = m.network.encode(batch.images)
        main = m.network(batch.images).numpy()
        auxiliary = [decode(features).numpy() for decode in m.auxiliaries]
    probs = [reference.softmax(logits[2:]) for logits in (main, *auxiliary)]
    differences = [reference.squared_difference(p, probs[0]) for p in probs[1:]]
    learners = [main] if variant == "intended" else [main, *auxiliary]
    each = [supervised(logits[:2], batch.labelled.label) for logits in learners]
    expected = {name: sum(part[name] for part in each) / len(each) for name in ("ce", "dice")}
    expected["consistency"] = 2.0 * ramp() * sum(differences) / 3
    assert_terms(m.losses(batch, MIDDLE), expected)


def test_cct_main_decoder_learns_from_labels_only_unless_released():
    batch = toy_batch()
    for variant, also_main in (("intended", False), ("released", True)):
        m = method("cct", variant=variant).train()
        terms = m.losses(batch, MIDDLE)
        assert reached(terms["consistency"], m.network.encoder)
        assert all(reached(terms["consistency"], decoder) for decoder in m.auxiliaries)
        assert reached(terms["consistency"], m.network.decoder) is also_main
        assert all(reached(terms["ce"], decoder) is also_main for decoder in m.auxiliaries)


def test_cct_decoders_see_noise_dropout_and_dropped_attention_in_this_order():
    m = method("cct").train()
    features = [torch.rand(2, 3, 8, 8) + 0.1 for _ in range(2)]
    torch.manual_seed(4)
    found = m._perturbed(features)
    torch.manual_seed(4)
    expected = scale_values(features, 0.3, True), [F.dropout(f, 0.3) for f in features]
    expected = (*expected, drop_attended(features, 0.7, 0.9, True))
    for some, others in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


# regularised dropout -------------------------------------------------------------------------------------------------
def test_r_drop_intended_compares_two_dropouts_of_one_network_over_classes():
    m, batch = method("r_drop", weight=3.0), toy_batch()
    outputs: list[torch.Tensor] = []
    m.network.register_forward_hook(lambda *given: outputs.append(given[2].detach()))
    found = m.train().losses(batch, MIDDLE)
    assert not hasattr(m, "network2")
    first, second = (output.numpy() for output in outputs)
    assert np.abs(first - second).max() > 1e-3  # dropout
    each = [supervised(logits[:2], batch.labelled.label) for logits in (first, second)]
    expected = {name: (each[0][name] + each[1][name]) / 2 for name in ("ce", "dice")}
    expected["divergence"] = 3.0 * ramp() * agreement.symmetric_divergence(first[2:], second[2:], axis=1)
    assert_terms(found, expected)


def test_r_drop_intended_refuses_a_network_without_dropout():
    build = partial(networks.make, "vnet", ndim=2, channels=1, classes=3, width=4, levels=3, dropout=0.0)
    cls, task = methods.get("r_drop"), Task("toy", 2, 1, ("a", "b", "c"), (16, 16), "px")
    with pytest.raises(ValueError, match="this network has none: give it some"):
        cls(task, cls.Hyper(), build)
    assert cls(task, cls.Hyper(variant="released"), build).network2 is not None


def test_r_drop_released_compares_two_networks_over_the_last_axis():
    m, batch = method("r_drop", variant="released", weight=3.0), toy_batch()
    first, second = (logits_of(network, batch.images) for network in (m.network, m.network2))
    each = [supervised(logits[:2], batch.labelled.label) for logits in (first, second)]
    expected = {name: each[0][name] + each[1][name] for name in ("ce", "dice")}
    expected["divergence"] = 3.0 * ramp() * agreement.symmetric_divergence(first[2:], second[2:], axis=-1)
    assert_terms(m.losses(batch, MIDDLE), expected)
