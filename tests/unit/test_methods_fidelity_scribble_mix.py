"""Mixtures of scribbled images: what is shown, and every pixel's cost against a slow reference."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Beta

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Method
from methods.co_mixup import co_mix
from methods.perturb import cut_boxes
from methods.puzzle import puzzle, saliency
from methods.scribble import pce_mix
from tests.reference import losses as reference

from .scribble_toys import MIDDLE, logits_of, method, scribbled


def shown(m: Method, batch: Batch) -> tuple[Tensor, float]:
    """What the network is given last, after any saliency, and the loss."""
    given: list[Tensor] = []
    handle = m.network.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    torch.manual_seed(3)
    (loss,) = m.losses(batch, MIDDLE).values()
    handle.remove()
    return given[-1].detach(), loss.item()


def drawn(batch: Batch, alpha: float) -> tuple[Tensor, Tensor]:
    """The order of the others and the share, as the method draws them."""
    torch.manual_seed(3)
    other = torch.rand(len(batch.labelled.image)).argsort()
    concentration = torch.full((), alpha)
    return other, torch.distributions.Beta(concentration, concentration).sample()


def cost(m: Method, mixture: Tensor, first: Tensor, second: Tensor, share: Tensor) -> float:
    """Pixel by pixel: what either is annotated as costs its share; the mean over all shares that are annotated."""
    probs, total, known = reference.softmax(logits_of(m.network, mixture).numpy()), 0.0, 0.0
    for labels, weights in ((first, share), (second, 1 - share)):
        for n, at, k in reference.pixels(labels.numpy()):
            weight = float(weights[(n, *at)])
            total, known = total - weight * math.log(probs[(n, k, *at)]), known + weight
    return total / known


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    made = scribbled(4)
    for n in range(4):
        made.labelled.label[n] = made.labelled.label[n].roll(3 * n, dims=0)  # so that the two of a pair differ
    return made


def test_mixup_adds_images_and_costs_by_one_share_for_the_batch(batch: Batch):
    m = method("pce_mix", mixing="mixup", alpha=0.7)
    mixture, loss = shown(m, batch)
    other, share = drawn(batch, 0.7)
    image, label = batch.labelled.image, batch.labelled.label
    torch.testing.assert_close(mixture, share * image + (1 - share) * image[other])
    assert loss == pytest.approx(cost(m, mixture, label, label[other], share.expand(label.shape)), rel=1e-4)


def test_cutmix_puts_the_other_image_and_its_labels_into_one_box_for_the_batch(batch: Batch):
    m = method("pce_mix", mixing="cutmix")
    mixture, loss = shown(m, batch)
    other, share = drawn(batch, 1.0)
    (box,) = cut_boxes(1, (16, 16), (1 - share).sqrt(), torch.device("cpu"))
    assert 0 < box.float().mean() <= 1 - share + 1 / 8, (
        "the box has the area of the other's share, less what is cut off"
    )
    image, label = batch.labelled.image, batch.labelled.label
    torch.testing.assert_close(mixture, torch.where(box, image[other], image))
    assert loss == pytest.approx(cost(m, mixture, label, label[other], (~box).float().expand(label.shape)), rel=1e-4)


def test_the_box_of_cutmix_has_the_share_of_a_volume(monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []

    def whole(n: int, space: tuple[int, ...], share: Tensor, device: torch.device) -> Tensor:
        asked.append(float(share))
        return torch.ones(n, *space, dtype=torch.bool)

    monkeypatch.setattr(pce_mix, "cut_boxes", whole)
    m, image = method("pce_mix", mixing="cutmix"), torch.zeros(2, 1, 4, 4, 4)
    samples = Labelled(image, torch.zeros(2, 4, 4, 4, dtype=torch.int64))
    torch.manual_seed(0)
    m._share(samples, torch.tensor([1, 0]))
    torch.manual_seed(0)
    drawn = Beta(torch.ones(()), torch.ones(())).sample()
    assert asked == pytest.approx([float(1 - drawn) ** (1 / 3)])


def test_puzzle_mix_takes_cells_by_the_saliency_of_the_scribbles(batch: Batch):
    m = method("pce_mix", mixing="puzzle", smooth=0.6, prior=0.3)
    mixture, loss = shown(m, batch)
    other, share = drawn(batch, 1.0)
    salient = saliency(m.network, batch.labelled)
    cells = puzzle(salient, salient[other], share, smooth=0.6, prior=0.3)
    assert set(cells.unique().tolist()) <= {0, 0.5, 1}
    assert 0 < cells.mean() < 1
    image, label = batch.labelled.image, batch.labelled.label
    torch.testing.assert_close(mixture, cells * image + (1 - cells) * image[other])
    assert loss == pytest.approx(cost(m, mixture, label, label[other], cells.squeeze(1)), rel=1e-4)


def test_cutout_blackens_a_box_of_each_image_that_costs_nothing(batch: Batch):
    m = method("pce_mix", mixing="cutout", hole=0.5)
    mixture, loss = shown(m, batch)
    torch.manual_seed(3)
    hole = cut_boxes(4, (16, 16), 0.5, torch.device("cpu"))
    image, label = batch.labelled.image, batch.labelled.label
    assert (label[hole] != IGNORE).any(), "no scribble is in a hole"
    torch.testing.assert_close(mixture, image.masked_fill(hole.unsqueeze(1), 0))
    kept = label.masked_fill(hole, IGNORE)
    expected = reference.cross_entropy(logits_of(m.network, mixture).numpy(), kept.numpy())
    assert loss == pytest.approx(expected, rel=1e-4)


def test_boxes_are_cut_at_the_borders_and_reach_every_pixel_about_alike():
    torch.manual_seed(0)
    inside = cut_boxes(4000, (12, 8), 0.5, torch.device("cpu"))
    rows, columns = inside.any(dim=2).sum(dim=1), inside.any(dim=1).sum(dim=1)
    assert (rows.max(), columns.max()) == (6, 4)
    assert rows.min() >= 3, "half of it lies within"
    area = rows * columns
    torch.testing.assert_close(inside.flatten(1).sum(dim=1), area)  # a box
    often = inside.float().mean(dim=0)
    assert often[6, 4] == pytest.approx(0.25, abs=0.03)  # a centre within a quarter of the image
    assert often[0, 0] == pytest.approx((0.25 + 1 / 24) * (0.25 + 1 / 16), abs=0.02), (
        "a corner is in boxes on one side of it"
    )
    assert len({tuple(one.flatten().tolist()) for one in inside[:50]}) > 25


def test_images_that_are_mixed_with_themselves_are_learnt_as_they_are(batch: Batch):
    one = Batch(Labelled(batch.labelled.image[:1], batch.labelled.label[:1]))
    for mixing in ("mixup", "cutmix", "puzzle"):
        m = method("pce_mix", mixing=mixing)
        mixture, loss = shown(m, one)
        torch.testing.assert_close(mixture, one.labelled.image)
        expected = reference.cross_entropy(logits_of(m.network, mixture).numpy(), one.labelled.label.numpy())
        assert loss == pytest.approx(expected, rel=1e-4)


def test_co_mixup_learns_from_the_images_and_from_mixtures_of_them_by_their_saliency(batch: Batch):
    m = method("pce_co_mixup", clean=0.4, cells=8, rounds=3, diversity=0.5, threshold=0.83)
    given: list[Tensor] = []
    handle = m.network.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    torch.manual_seed(3)
    terms = m.losses(batch, MIDDLE)
    handle.remove()
    image, label = batch.labelled.image, batch.labelled.label
    torch.manual_seed(3)
    first, second, share = co_mix(
        saliency(m.network, batch.labelled), cells=8, smooth=0.32, diversity=0.5, threshold=0.83, distance=0.001,
        prior=0.05, alpha=2.0, rounds=3,
    )  # fmt: skip
    assert set(share.unique().tolist()) == {0.5, 1}
    expected, of_first, of_second = image.clone(), label.clone(), label.clone()
    for n, row, column in itertools.product(range(4), range(16), range(16)):
        a, b, part = (parts[n, 0, row, column].item() for parts in (first, second, share))
        expected[n, :, row, column] = part * image[a, :, row, column] + (1 - part) * image[b, :, row, column]
        of_first[n, row, column], of_second[n, row, column] = label[a, row, column], label[b, row, column]
    shown_images, mixtures = torch.cat(given[1:]).detach().split(4)
    assert torch.equal(shown_images, image)
    torch.testing.assert_close(mixtures, expected)
    clean = reference.cross_entropy(logits_of(m.network, image).numpy(), label.numpy())
    assert terms["partial_ce"].item() == pytest.approx(0.4 * clean, rel=1e-4)
    assert terms["mixed_ce"].item() == pytest.approx(cost(m, expected, of_first, of_second, share.squeeze(1)), rel=1e-4)
