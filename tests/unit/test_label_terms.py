"""Cross-entropy and Dice in one go: the numbers of PyTorch's own, and when those are taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from datasets.types import IGNORE
from methods import label_terms
from methods.compiled import channels_last
from methods.family import supervised_terms
from methods.losses.cross_entropy import cross_entropy
from methods.losses.overlap import SMOOTH, dice_loss

pytest.importorskip("numba")

SHAPES = [(3, 4, 8, 9), (2, 2, 5, 4, 3), (1, 9, 6, 6)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=channels_last(maps))


def sample(shape: tuple[int, ...], dtype: torch.dtype, known: float = 0.5, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    logits = last((scale * torch.randn(shape)).to(dtype)).requires_grad_()
    label = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    return logits, torch.where(torch.rand(label.shape) < known, label, IGNORE)


def cross_entropy_and_dice(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Both as methods take them, each with weight 1."""
    terms = supervised_terms(logits, label, 0.5)
    return 2 * terms["ce"], 2 * terms["dice"]


def in_double(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Double-precision logits with gradient, and PyTorch's own losses of them."""
    double = logits.detach().double().requires_grad_()
    log_probs = torch.log_softmax(double, dim=1)
    known = label != IGNORE
    target = torch.zeros_like(double).scatter_(
        1, torch.where(known, label, 0).unsqueeze(1), known.double().unsqueeze(1)
    )
    axes = [0, *range(2, logits.ndim)]
    entropy = -(log_probs * target).sum() / known.sum().clamp_min(1)
    probs = log_probs.exp() * known.unsqueeze(1)
    size = probs.square().sum(axes) + target.sum(axes) + SMOOTH
    return double, entropy, (1 - (2 * (probs * target).sum(axes) + SMOOTH) / size).mean()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("known", [1.0, 0.3])
def test_values_and_gradients_are_those_of_double_precision(
    shape: tuple[int, ...], known: float, dtype: torch.dtype, tolerance: float
):
    logits, label = sample(shape, dtype, known)
    assert label_terms.fits(logits, label)
    double, *expected = in_double(logits, label)
    found = cross_entropy_and_dice(logits, label)
    assert cross_entropy(logits, label).item() == found[0].item()
    for one, other in zip(found, expected, strict=True):
        assert one.item() == pytest.approx(other.item(), rel=2e-6, abs=1e-7)
    (0.7 * found[0] + 0.2 * found[1]).backward()
    (0.7 * expected[0] + 0.2 * expected[1]).backward()
    assert logits.grad is not None
    assert double.grad is not None
    assert logits.grad.dtype == dtype
    assert logits.grad.stride() == logits.stride()
    assert (logits.grad.double() - double.grad).abs().max() <= tolerance * double.grad.abs().max() + 1e-9


@pytest.mark.parametrize("which", [0, 1])
def test_each_of_the_two_teaches_on_its_own(which: int):
    logits, label = sample((2, 3, 6, 5), torch.float32)
    double, *expected = in_double(logits, label)
    cross_entropy_and_dice(logits, label)[which].backward()
    expected[which].backward()
    assert logits.grad is not None
    assert double.grad is not None
    assert (logits.grad - double.grad).abs().max() <= 2e-6 * double.grad.abs().max()


def test_where_nothing_is_known_losses_and_gradients_are_zero():
    logits, label = sample((2, 3, 4, 4), torch.float32, known=0.0)
    entropy, dice = cross_entropy_and_dice(logits, label)
    assert (entropy.item(), dice.item()) == (0, 0)
    (entropy + dice).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_extreme_logits_cost_what_they_should():
    logits = last(torch.tensor([1000.0, -1000.0, 0.0]).view(1, 3, 1, 1)).requires_grad_()
    label = torch.ones(1, 1, 1, dtype=torch.int64)
    entropy, _ = cross_entropy_and_dice(logits, label)
    assert entropy.item() == 2000
    entropy.backward()
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [1, -1, 0]


def test_what_is_not_finite_is_not_hidden():
    logits, label = sample((1, 3, 4, 4), torch.float32, known=1.0)
    with torch.no_grad():
        logits[0, 0, 0, 0] = torch.nan
    assert cross_entropy_and_dice(logits, label)[0].isnan()


@pytest.mark.parametrize("wrong", [-1, 3, 254])
def test_a_label_that_is_no_class_is_refused_as_pytorch_does(wrong: int):
    logits, label = sample((1, 3, 4, 4), torch.float32)
    label[0, 1, 1] = wrong
    with pytest.raises(IndexError, match=f"Target {wrong} is out of bounds"):
        cross_entropy(logits, label)
    with pytest.raises(IndexError, match=f"Target {wrong} is out of bounds"):
        cross_entropy(logits.contiguous(), label)


def test_pytorchs_own_serves_other_layouts_types_and_threads(monkeypatch: pytest.MonkeyPatch):
    logits, label = sample((2, 3, 4, 5), torch.float32)
    expected = [each.item() for each in cross_entropy_and_dice(logits, label)]
    others = [(logits.detach().contiguous(), label), (logits.detach().double(), label), (logits.detach()[:, :, 0, 0],)]
    assert not label_terms.fits(*others[0])
    assert not label_terms.fits(*others[1])
    assert not label_terms.fits(others[2][0], label[:, 0, 0])
    for given in others[:2]:
        assert [each.item() for each in cross_entropy_and_dice(*given)] == pytest.approx(expected, rel=1e-5)
    torch.set_num_threads(2)
    assert not label_terms.fits(logits, label)
    torch.set_num_threads(1)
    assert label_terms.fits(logits, label)
    monkeypatch.setattr(label_terms, "_compiled", lambda: None)  # numba is not installed
    assert not label_terms.fits(logits, label)
    found = cross_entropy(logits, label), dice_loss(torch.softmax(logits, dim=1), label)
    assert [each.item() for each in found] == pytest.approx(expected, rel=1e-5)
