"""What each network and each critic is shown: clean or noisy images, which half first, which views."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from datasets.types import Batch, Labelled
from methods.base import Clock
from methods.networks.discriminators import Critic
from tests.unit.semi_toys import END, method, reached, toy_batch

START = Clock(0, 101)


def watched(network: nn.Module) -> list[Tensor]:
    """The images that its encoder is given, call by call from now on."""
    shown: list[Tensor] = []
    network.encoder.register_forward_pre_hook(lambda _, given: shown.append(given[0].detach().clone()))
    return shown


@pytest.mark.parametrize("name", ["cpcl", "cvcl"])
def test_noise_is_for_the_teachers_look_at_all_images_and_nothing_else(name: str):
    m, batch = method(name, noise=0.5, noise_clip=0.1), toy_batch()
    student, teacher = watched(m.network), watched(m.teacher)
    m.losses(batch, END)
    assert len(student) == 1
    assert torch.equal(student[0], batch.images)
    noised, clean = torch.cat(teacher).split([len(batch.images), len(batch.unlabelled.image)])
    assert torch.equal(clean, batch.unlabelled.image)
    for image, seen in zip(batch.images, noised, strict=True):
        noise = seen - image
        assert noise.abs().max().item() == pytest.approx(0.1, abs=1e-6)
        assert noise.std() > 0.05


@pytest.mark.parametrize("name", ["min_max_similarity", "duo_segnet", "deep_co_training"])
def test_who_shares_labels_sees_both_halves_and_who_contrasts_them_place_by_place_different_ones(name: str):
    hyper = {"duo_segnet": {"critic_width": 4}}.get(name, {})
    m, batch = method(name, share_labels=True, **hyper), toy_batch(labelled=4)
    first, second = watched(m.network), watched(m.network2)
    terms = m.losses(batch, END)
    first_half, second_half = batch.labelled.image.chunk(2)
    swapped = [second_half, first_half] if name == "min_max_similarity" else [first_half, second_half]
    own = slice(1, 2) if name == "deep_co_training" else slice(None)  # after the attack
    assert torch.equal(torch.cat(first[own])[:4], batch.labelled.image)
    assert torch.equal(torch.cat(second[own])[:4], torch.cat(swapped))
    assert all(reached(terms[k], m.network2) for k in terms if k in ("ce_2", "structure_2"))


def test_swapped_halves_keep_their_labels():
    m, batch = method("min_max_similarity", share_labels=True, grid=0.0), toy_batch(labelled=4)
    turned = Batch(Labelled(batch.labelled.image.roll(2, 0), batch.labelled.label.roll(2, 0)), batch.unlabelled)
    m.network2.load_state_dict(m.network.state_dict())
    found, other = m.losses(batch, END), m.losses(turned, END)
    assert found["structure_2"].item() == pytest.approx(found["structure_1"].item(), rel=1e-5)
    assert found["structure_2"].item() == pytest.approx(other["structure_1"].item(), rel=1e-5)


def test_bhpc_contrasts_two_views_that_differ_by_one_gain_per_image():
    m, batch = method("bhpc", noise=0.0, gain=0.2), toy_batch()
    shown = watched(m.network)
    m.losses(batch, START)
    first, second = shown[0].chunk(2)  # the regions are of the labelled images, in a later pass
    gains = [(view / batch.images).flatten(1) for view in (first, second)]
    for gain in gains:
        torch.testing.assert_close(gain, gain[:, :1].expand_as(gain), rtol=1e-4, atol=1e-5)
        assert ((gain - 1).abs() <= 0.2 + 1e-4).all()
    each = torch.cat(gains)[:, 0]
    assert len({round(gain, 4) for gain in each.tolist()}) == 10  # of five images twice
    assert torch.equal(shown[1], batch.labelled.image)


def test_bhpc_noise_is_each_views_own():
    m, batch = method("bhpc", gain=0.0, noise=0.5, noise_clip=0.1), toy_batch()
    shown = watched(m.network)
    m.losses(batch, START)
    first, second = (view - batch.images for view in shown[0].chunk(2))
    assert not torch.equal(first, second)
    for noise in (first, second):
        assert noise.abs().max().item() == pytest.approx(0.1, abs=1e-6)
        assert (noise.flatten(1).std(dim=1) > 0.05).all()


def test_entropy_is_lowered_on_labelled_and_on_unlabelled_images():
    m, batch = method("entropy_minimisation"), toy_batch()
    logits: list[Tensor] = []
    m.network.register_forward_hook(lambda *given: logits.append(given[2]))
    (gradient,) = torch.autograd.grad(m.losses(batch, END)["entropy"], logits)
    assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_critic_drops_half_of_the_channels_three_times(ndim: int):
    critic = Critic(ndim=ndim, classes=2, channels=1, width=2)
    kind = (nn.Dropout2d, nn.Dropout3d)[ndim - 2]
    dropped = [layer for layer in critic.modules() if isinstance(layer, _DropoutNd)]
    assert all(isinstance(layer, kind) for layer in dropped)
    assert [layer.p for layer in dropped] == [0.5] * 3
