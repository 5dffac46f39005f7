"""Scribble methods: each term against a slow reference of its formula, and how pseudo labels come about.

In eval mode the networks have neither dropout nor batch statistics, so a loss can be recomputed from their outputs.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled, Task
from methods import get, networks
from methods.base import Clock, Method
from tests.reference import losses as reference

from .scribble_toys import assert_drops_channels_of_the_auxiliary_branch_in_training

TASK = Task("toy", 2, 1, ("background", "wall", "cavity"), (16, 16), "px", annotations=("scribble",))
MIDDLE = Clock(step=50, total=101)


def method(name: str, **hyper) -> Method:
    cls = get(name)
    build = partial(networks.make, "unet", ndim=2, channels=1, classes=3, width=4, levels=3)
    return cls(TASK, cls.Hyper(**hyper), build).eval()


def scribbled(n: int = 2, pseudo: Tensor | None = None) -> Batch:
    label = torch.full((n, 16, 16), IGNORE)
    label[:, 2:4], label[:, 8:9], label[:, 12:14, :5] = 0, 1, 2
    return Batch(Labelled(torch.randn(n, 1, 16, 16), label, pseudo))


def logits_of(network: nn.Module, image: Tensor) -> np.ndarray:
    with torch.no_grad():
        return network(image).numpy()


# partial cross-entropy -----------------------------------------------------------------------------------------------
def test_pce_is_the_cross_entropy_of_the_scribbled_pixels():
    m, batch = method("pce"), scribbled()
    terms = m.losses(batch, MIDDLE)
    expected = reference.cross_entropy(logits_of(m.network, batch.labelled.image), batch.labelled.label.numpy())
    assert {k: v.item() for k, v in terms.items()} == {"partial_ce": pytest.approx(expected, rel=1e-4)}


def test_pce_entropy_adds_a_tenth_of_the_entropy_of_all_pixels_at_any_progress():
    m, batch = method("pce_entropy"), scribbled()
    logits = logits_of(m.network, batch.labelled.image)
    for step in (0, 50, 100):
        terms = m.losses(batch, Clock(step, 101))
        assert terms["partial_ce"].item() == pytest.approx(
            reference.cross_entropy(logits, batch.labelled.label.numpy()), rel=1e-4
        )
        assert terms["entropy"].item() == pytest.approx(0.1 * reference.entropy(logits), rel=1e-4)


def test_pce_entropy_ramps_up_where_asked():
    m, batch = method("pce_entropy", ramp=1.0), scribbled()
    constant = 0.1 * reference.entropy(logits_of(m.network, batch.labelled.image))
    assert m.losses(batch, MIDDLE)["entropy"].item() == pytest.approx(constant * math.exp(-5 / 4), rel=1e-4)


# WSL4MIS -------------------------------------------------------------------------------------------------------------
def test_wsl4mis_teaches_both_branches_with_scribbles_and_their_mixture():
    m, batch = method("wsl4mis"), scribbled()
    image, label = batch.labelled.image, batch.labelled.label.numpy()
    with torch.no_grad():
        main, auxiliary = m.network(image).numpy(), m.auxiliary(m.network.encode(image)).numpy()
    torch.manual_seed(7)
    mixture = torch.rand(()).item()
    torch.manual_seed(7)
    terms = m.losses(batch, MIDDLE)
    probs = reference.softmax(main), reference.softmax(auxiliary)
    pseudo = (mixture * probs[0] + (1 - mixture) * probs[1]).argmax(axis=1)
    partial_ce = (reference.cross_entropy(main, label) + reference.cross_entropy(auxiliary, label)) / 2
    dice = (reference.dice_loss(probs[0], pseudo) + reference.dice_loss(probs[1], pseudo)) / 2
    assert terms["partial_ce"].item() == pytest.approx(partial_ce, rel=1e-4)
    assert terms["pseudo"].item() == pytest.approx(0.5 * dice, rel=1e-4)


@pytest.mark.parametrize("share_of_main", [0.0, 1.0])
def test_wsl4mis_branch_with_all_the_weight_labels_for_both(share_of_main: float, monkeypatch: pytest.MonkeyPatch):
    m, batch = method("wsl4mis"), scribbled()
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, share_of_main))
    with torch.no_grad():
        main = m.network(batch.labelled.image).numpy()
        auxiliary = m.auxiliary(m.network.encode(batch.labelled.image)).numpy()
    pseudo = (main if share_of_main else auxiliary).argmax(axis=1)
    dice = [reference.dice_loss(reference.softmax(logits), pseudo) for logits in (main, auxiliary)]
    assert m.losses(batch, MIDDLE)["pseudo"].item() == pytest.approx(0.25 * sum(dice), rel=1e-4)


def test_wsl4mis_drops_channels_of_the_auxiliary_branch_only_and_in_training_only():
    assert_drops_channels_of_the_auxiliary_branch_in_training("wsl4mis")


def test_wsl4mis_pseudo_labels_reach_encoder_and_both_decoders():
    m = method("wsl4mis")
    m.losses(scribbled(), MIDDLE)["pseudo"].backward()
    for part in (m.network.encoder, m.network.decoder, m.auxiliary):
        assert max(p.grad.abs().max() for p in part.parameters()) > 0


def test_wsl4mis_predicts_with_the_main_branch():
    m, image = method("wsl4mis"), torch.randn(1, 1, 16, 16)
    expected = reference.softmax(logits_of(m.network, image))
    np.testing.assert_allclose(m.predict(image).detach().numpy(), expected, rtol=1e-4, atol=1e-6)


# Scribble2Label ------------------------------------------------------------------------------------------------------
def test_scribble2label_adds_half_the_cross_entropy_on_pseudo_labels_outside_the_scribbles():
    pseudo = torch.full((2, 16, 16), IGNORE)
    pseudo[:, 0:6] = 1  # rows 2 and 3 are scribbled as background: there, the scribble alone counts
    m, batch = method("scribble2label"), scribbled(pseudo=pseudo)
    logits, label = logits_of(m.network, batch.labelled.image), batch.labelled.label.numpy()
    beyond = np.where(label == IGNORE, pseudo.numpy(), IGNORE)
    terms = m.losses(batch, MIDDLE)
    assert terms["partial_ce"].item() == pytest.approx(reference.cross_entropy(logits, label), rel=1e-4)
    assert terms["pseudo"].item() == pytest.approx(0.5 * reference.cross_entropy(logits, beyond), rel=1e-4)


def test_scribble2label_uses_no_pseudo_labels_before_its_warm_up_ends_or_before_there_are_any():
    m = method("scribble2label", warm_up=0.25)
    batch = scribbled(pseudo=torch.zeros(2, 16, 16, dtype=torch.int64))
    assert m.losses(batch, Clock(24, 101))["pseudo"].item() == 0
    assert m.losses(batch, Clock(25, 101))["pseudo"].item() > 0
    assert m.losses(scribbled(), Clock(100, 101))["pseudo"].item() == 0


class Fixed(nn.Module):
    """Predicts the given probabilities, whatever the image."""

    def __init__(self, probs: Tensor) -> None:
        super().__init__()
        self.probs = probs

    def forward(self, image: Tensor) -> Tensor:
        return self.probs.log().expand(len(image), -1, *image.shape[2:])


def relabel(m: Method, probs: list[float], memory: Tensor | None) -> tuple[Tensor, Tensor]:
    m.network = Fixed(torch.tensor(probs).view(1, 3, 1, 1))
    found = m.relabel(scribbled(n=1).labelled, memory)
    return found.label, found.memory


def test_scribble2label_averages_predictions_and_labels_where_the_average_is_sure():
    m = method("scribble2label", momentum=0.2, threshold=0.8)
    scribble = scribbled(n=1).labelled.label
    # 1st: average .2 (.9 .05 .05) = (.18 .01 .01), of mass .2: background at .9 > .8
    label, memory = relabel(m, [0.9, 0.05, 0.05], None)
    assert torch.equal(label, torch.where(scribble == IGNORE, 0, scribble))
    assert memory[0, :, 0, 0].tolist() == pytest.approx([0.18, 0.01, 0.01], abs=1e-3)
    # 2nd: .8 (.18 .01 .01) + .2 (.1 .8 .1) = (.164 .168 .028), of mass .36: at most .467, nothing is sure
    label, memory = relabel(m, [0.1, 0.8, 0.1], memory)
    assert torch.equal(label, scribble)
    assert memory[0, :, 0, 0].tolist() == pytest.approx([0.164, 0.168, 0.028], abs=1e-3)
    # twelve more of (.01 .98 .01): the mass is 1 - .8^14 = .956 and the shares of the first two are .8^12 = .069 of
    # (.164 .168 .028), so wall has (.069 * .168 + (1 - .069) * .98) / .956 = .97 > .8
    for _ in range(12):
        label, memory = relabel(m, [0.01, 0.98, 0.01], memory)
    assert torch.equal(label, torch.where(scribble == IGNORE, 1, scribble))


def test_scribble2label_remembers_in_half_precision_one_map_per_class():
    _, memory = relabel(method("scribble2label"), [0.2, 0.3, 0.5], None)
    assert memory.dtype == torch.float16
    assert memory.shape == (1, 3, 16, 16)


def test_scribble2label_refreshes_every_period_and_earlier_only_within_the_first():
    m = method("scribble2label", period=100)
    assert [step for step in range(401) if m.relabel_at(step)] == [12, 25, 50, 100, 200, 300, 400]
    assert [step for step in range(4) if method("scribble2label", period=1).relabel_at(step)] == [1, 2, 3]


def test_scribble2label_as_released_divides_by_nothing_and_refreshes_every_period_only():
    m = method("scribble2label", variant="released", period=100)
    scribble = scribbled(n=1).labelled.label
    # .2 (.9 .05 .05) is .18 at most: nothing is sure before 1 - .8^k reaches .8 / .9, that is k = 10 (.893)
    memory = None
    for _ in range(9):
        label, memory = relabel(m, [0.9, 0.05, 0.05], memory)
        assert torch.equal(label, scribble)
    label, _ = relabel(m, [0.9, 0.05, 0.05], memory)
    assert torch.equal(label, torch.where(scribble == IGNORE, 0, scribble))
    assert [step for step in range(301) if m.relabel_at(step)] == [100, 200, 300]


def test_scribble2label_predicts_in_eval_mode_and_as_released_slice_by_slice_in_training_mode():
    modes: list[tuple[bool, int]] = []
    for variant in ("intended", "released"):
        m = method("scribble2label", variant=variant)
        m.network.register_forward_pre_hook(lambda net, args: modes.append((net.training, len(args[0]))))
        before = m.network.encoder.levels[0][1].running_mean.clone()
        m.relabel(scribbled(n=2).labelled, None)
        assert not m.network.training
        assert torch.equal(m.network.encoder.levels[0][1].running_mean, before) is (variant == "intended")
    assert modes == [(False, 2), (True, 1), (True, 1)]


# all of them ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["pce", "pce_entropy", "scribble2label", "wsl4mis"])
def test_partial_cross_entropy_is_finite_and_teaches_nothing_without_scribbles(name: str):
    m = method(name)
    image = torch.randn(1, 1, 16, 16)
    term = m.losses(Batch(Labelled(image, torch.full((1, 16, 16), IGNORE))), MIDDLE)["partial_ce"]
    term.backward()
    assert term.item() == 0
    assert all(p.grad.abs().max() == 0 for p in m.parameters() if p.grad is not None)
