"""MaskMixAdv: every term against slow references, who teaches whom, the switches, and how it predicts."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.types import Batch, Task
from methods import networks
from methods.base import Clock, Method
from methods.perturb import checkerboard, visible_cells
from methods.scribble import mask_mix_adv
from tests.reference import losses as reference

from . import scribble_toys
from .scribble_toys import END, logits_of, require_equal_networks, trained

SIDE, WIDTH = 32, 4
NAME = "mask_mix_adv"
OFF = {"reconstruct": False, "pseudo": False, "adversary": False}
VARIANTS = ("intended", "released")


def method(**hyper) -> Method:
    return scribble_toys.method(NAME, side=SIDE, critic_width=WIDTH, **hyper)


def scribbled(n: int = 2) -> Batch:
    shapes = torch.zeros(n, SIDE, SIDE, dtype=torch.int64)
    shapes[:, 8:24, 8:24], shapes[:, 12:20, 12:20] = 1, 2
    return scribble_toys.scribbled(n, SIDE, shapes)


def observed(m: Method, batch: Batch, clock: Clock = END) -> dict[str, float]:
    """Terms of both players, none of which moves."""
    found: dict[str, float] = {}
    torch.manual_seed(7)
    m.step(batch, clock, lambda terms, player="main": found.update({k: v.item() for k, v in terms.items()}))
    return found


def masks(batch: Batch, *, shared: bool) -> Tensor:
    torch.manual_seed(7)  # the masks are the first draw of a step
    n = len(batch.labelled.image)
    return visible_cells(1 if shared else n, (SIDE, SIDE), cell=8, share=0.5, device=torch.device("cpu")).expand(
        n, -1, -1, -1
    )


def mean_squares(made: np.ndarray, image: np.ndarray, where: np.ndarray) -> float:
    """Over the pixels where it says so, one channel."""
    found = [(float(made[at]) - float(image[at])) ** 2 for at in np.ndindex(*image.shape) if where[at]]
    return sum(found) / len(found)


def softplus(values: np.ndarray) -> float:
    return float(np.mean([math.log1p(math.exp(v)) for v in values.astype(np.float64).ravel()]))


# terms ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_term_of_both_players_is_the_published_one(variant: str):
    released = variant == "released"
    m, batch = method(variant=variant), scribbled()
    image, label = batch.labelled.image, batch.labelled.label.numpy()
    seen = masks(batch, shared=released)
    with torch.no_grad():
        features = m.network.encode(image * seen), m.network.encode(image * ~seen)
        second = (lambda f: m.network.head(m.network.decode(f))) if released else m.second
        logits = m.network.head(m.network.decode(features[0])).numpy(), second(features[1]).numpy()
        remade = [m.reconstructor(f).numpy() for f in features]
    probs = [reference.softmax(z) for z in logits]
    mixed = np.where(seen.numpy(), *probs)
    pseudo = mixed.argmax(axis=1)
    errors = [mean_squares(remade[0], image.numpy(), ~seen.numpy())]
    if not released:
        errors.append(mean_squares(remade[1], image.numpy(), seen.numpy()))
    # the critic sees class indices in one channel as released, one-hot maps else
    one_hot = np.eye(3, dtype=np.float32)
    shown = pseudo[:, None].astype(np.float32) if released else np.moveaxis(one_hot[pseudo], -1, 1)
    shapes = batch.shapes.numpy()
    real = shapes[:, None].astype(np.float32) if released else np.moveaxis(one_hot[shapes], -1, 1)
    with torch.no_grad():
        of_made, of_real = (m.critic(torch.from_numpy(maps)).numpy() for maps in (shown, real))
    expected = {
        "partial_ce": 10 * (reference.cross_entropy(logits[0], label) + reference.cross_entropy(logits[1], label)) / 2,
        "reconstruction": 10 * sum(errors) / len(errors),
        "pseudo": 0.5 * sum(reference.dice_loss(p, pseudo) for p in probs) / 2,
        "adversarial": 0.1 * softplus(-of_made),
        "critic_real": 0.05 * softplus(-of_real),
        "critic_made": 0.05 * softplus(of_made),
    }
    assert observed(m, batch) == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_each_pixel_is_labelled_by_the_branch_that_saw_it(monkeypatch: pytest.MonkeyPatch):
    m, batch = method(), scribbled()
    left = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool)
    left[..., : SIDE // 2] = True
    monkeypatch.setattr(mask_mix_adv, "visible_cells", lambda *args, **_: left)
    with torch.no_grad():  # the first branch says wall everywhere, the second cavity
        for head, k in ((m.network.head, 1), (m.second[1], 2)):
            head.weight.zero_()
            head.bias.copy_(20 * torch.eye(3)[k])
    shown: list[Tensor] = []
    m.critic.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    terms = m.losses(batch, END)
    assert torch.equal(shown[0].argmax(dim=1), torch.where(left[:, 0], 1, 2))
    # Dice against it: background absent on both sides, hence 0. Wall: the first branch has all pixels, half of them
    # right: 1 - 2 (1/2) / (1 + 1/2) = 1/3; cavity: 1. The second branch likewise. So ½ (4/9 + 4/9), times .5
    assert terms["pseudo"].item() == pytest.approx(0.5 * 4 / 9, rel=1e-4)


def test_what_is_hidden_is_black_and_the_branches_see_complementary_parts():
    m, batch = method(), scribbled()
    seen: list[Tensor] = []
    m.network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    m.losses(batch, END)
    first, second = seen
    assert torch.equal(first + second, batch.labelled.image)
    assert torch.equal((first == 0) | (second == 0), torch.ones_like(first, dtype=torch.bool))
    assert (first == 0).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_masks_are_drawn_per_sample_and_shared_on_request_or_as_released():
    batch = scribbled(n=3)
    for hyper, different in (({}, True), ({"shared": True}, False), ({"variant": "released"}, False)):
        m, seen = method(**hyper), []
        m.network.encoder.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0] == 0))
        m.losses(batch, END)
        assert bool((seen[0][0] != seen[0][1]).any()) is different


def test_reconstruction_looks_at_hidden_pixels_only():
    m, batch = method(), scribbled()
    remade: list[Tensor] = []
    m.reconstructor.register_forward_hook(lambda *args: remade.append(args[2]))
    seen = masks(batch, shared=False)
    torch.manual_seed(7)
    term = m.losses(batch, END)["reconstruction"]
    first, second = torch.autograd.grad(term, remade)
    assert torch.equal(first != 0, ~seen)
    assert torch.equal(second != 0, seen)


# who teaches whom ----------------------------------------------------------------------------------------------------
def test_the_critic_teaches_encoder_and_both_decoders_as_intended():
    m = method()
    m.losses(scribbled(), END)["adversarial"].backward()
    for part in (m.network.encoder, m.network.decoder, m.second):
        assert max(p.grad.abs().max() for p in part.parameters()) > 0
    assert all(p.grad is None for p in m.critic.parameters())


def test_the_released_adversarial_term_has_no_gradient_at_all():
    assert not method(variant="released").losses(scribbled(), END)["adversarial"].requires_grad


def test_the_adversary_waits_for_the_warm_up_and_then_rises_and_not_as_released():
    m, batch = method(warm_up=0.1), scribbled()
    full = observed(m, batch, END)["adversarial"]
    for step, share in ((0, 0), (10, 0), (15, 0.5), (20, 1), (50, 1)):
        assert observed(m, batch, Clock(step, 101))["adversarial"] == pytest.approx(share * full, abs=1e-7)
    m = method(warm_up=0.1, variant="released")
    assert observed(m, batch, Clock(0, 101))["adversarial"] == observed(m, batch, END)["adversarial"] > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_adversary_of_weight_zero_is_no_adversary_bit_for_bit(variant: str):
    batch = scribbled()
    settings = {"side": SIDE, "variant": variant}
    without = trained(NAME, batch, adversary=False, **settings)
    with_it = trained(NAME, batch, adversary_weight=0.0, critic_width=WIDTH, **settings)
    for part in ("network.", "reconstructor.") + (("second.",) if variant == "intended" else ()):
        require_equal_networks(without, with_it, part)
    assert any(name.startswith("critic.") for name in with_it)


def test_an_adversary_of_some_weight_is_felt():
    batch = scribbled()
    without = trained(NAME, batch, adversary=False, side=SIDE)
    with_it = trained(NAME, batch, adversary_weight=1.0, critic_width=WIDTH, side=SIDE)
    assert any(not torch.equal(without[name], with_it[name]) for name in without if name.startswith("network."))


# switches ------------------------------------------------------------------------------------------------------------
def test_without_masks_it_is_plain_partial_cross_entropy_bit_for_bit():
    batch = scribbled()
    plain = trained(NAME, batch, side=SIDE, mask=False, ce_weight=1.0, **OFF)
    require_equal_networks(plain, trained("pce", batch, side=SIDE))
    assert all(name.startswith("network.") for name in plain)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_rows_of_the_ablation_have_their_terms_networks_and_players(variant: str):
    rows = [
        ({"mask": False} | OFF, ["partial_ce"]),
        (OFF, ["partial_ce"]),
        ({"pseudo": False, "adversary": False}, ["partial_ce", "reconstruction"]),
        ({"adversary": False}, ["partial_ce", "reconstruction", "pseudo"]),
        ({}, ["partial_ce", "reconstruction", "pseudo", "adversarial", "critic_real", "critic_made"]),
    ]
    for switches, terms in rows:
        m = method(variant=variant, **switches)
        assert list(observed(m, scribbled())) == terms
        players = m.optimizers(lambda parameters: torch.optim.SGD(list(parameters), lr=0.1))
        assert list(players) == (["main", "critic"] if "adversarial" in terms else ["main"])
        held = {id(p) for o in players.values() for group in o.param_groups for p in group["params"]}
        assert held == {id(p) for p in m.parameters()}


@pytest.mark.parametrize("left_on", ["reconstruct", "pseudo", "adversary"])
def test_switches_that_need_the_masks_are_refused_without_them(left_on: str):
    with pytest.raises(ValueError, match="mask=False"):
        method(mask=False, **(OFF | {left_on: True}))


def test_a_missing_bank_of_masks_is_named():
    batch = scribble_toys.scribbled(2, SIDE)
    with pytest.raises(ValueError, match="unpaired masks"):
        method().step(batch, END, lambda terms, player="main": None)
    method(adversary=False).step(batch, END, lambda terms, player="main": None)


# prediction ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_branch_predicts_the_whole_image(variant: str):
    m, image = method(variant=variant), torch.rand(2, 1, SIDE, SIDE)
    with torch.no_grad():
        np.testing.assert_allclose(m.predict(image), reference.softmax(logits_of(m.network, image).numpy()), atol=1e-6)


def test_a_masked_pair_is_predicted_by_both_branches_and_mixed():
    m, image = method(bn="pair", cell=4), torch.rand(2, 1, SIDE, SIDE)
    seen = checkerboard((SIDE, SIDE), cell=4, device=image.device)
    with torch.no_grad():
        first = m.network(image * seen).softmax(dim=1)
        second = m.second(m.network.encode(image * ~seen)).softmax(dim=1)
        torch.testing.assert_close(m.predict(image), torch.where(seen, first, second))


def test_statistics_of_whole_images_leave_training_as_it_is_and_forget_the_masks():
    batch = scribbled()
    states = {bn: trained(NAME, batch, side=SIDE, bn=bn, adversary=False) for bn in ("masked", "full")}
    running = [name for name in states["full"] if "running" in name and name.startswith("network.")]
    learnt = [name for name in states["full"] if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(states["full"][name], states["masked"][name]) for name in learnt)
    assert any(not torch.equal(states["full"][name], states["masked"][name]) for name in running)


def test_statistics_after_one_step_are_a_tenth_of_those_of_the_whole_images():
    m, batch = method(bn="full", adversary=False).train(), scribbled()
    m.losses(batch, END)
    conv, norm = m.network.encoder.levels[0][0], m.network.encoder.levels[0][1]
    expected = 0.1 * conv(batch.labelled.image).mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)


@pytest.mark.parametrize(("variant", "count"), [("released", 2_707_749), ("intended", 3_471_609)])
def test_its_networks_have_the_published_size(variant: str, count: int):
    task = Task("toy", 2, 1, ("background", "RV", "MYO", "LV"), (256, 256), "px", ("scribble",))
    build = partial(networks.make, "unet", ndim=2, channels=1, classes=4, width=16)
    m = mask_mix_adv.MaskMixAdv(task, mask_mix_adv.Hyper(variant=variant), build)
    assert sum(p.numel() for name, p in m.named_parameters() if not name.startswith("critic")) == count
