"""Partial cross-entropy with a dense CRF: against the double loop over all pairs, and what it teaches."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from datasets.types import IGNORE, Batch, Labelled
from tests.reference import losses
from tests.reference import regularisers as reference

from .scribble_toys import END, MIDDLE, logits_of, method, require_equal_networks, scribbled, trained


@pytest.mark.parametrize("hyper", [{}, {"sigma_xy": 5.0, "sigma_intensity": 0.2, "reduction": 1, "weight": 2.0}])
def test_it_adds_the_mean_disagreement_of_all_pairs_of_second_pixels_as_the_released_sum_weighs_it_at_256_pixels(
    hyper: dict,
):
    m, batch = method("pce_dense_crf", **hyper), scribbled(n=1)
    terms = m.losses(batch, MIDDLE)
    assert set(terms) == {"partial_ce", "crf"}
    logits = logits_of(m.network, batch.labelled.image).numpy()
    assert terms["partial_ce"].item() == pytest.approx(
        losses.cross_entropy(logits, batch.labelled.label.numpy()), rel=1e-4
    )
    given = {"sigma_xy": 100.0, "sigma_intensity": 15 / 255, "reduction": 2} | hyper
    weight = given.pop("weight", 2e-9 * 16384**2)  # of 256 x 256 pixels, every second along each axis
    expected = weight * reference.dense_crf(losses.softmax(logits), batch.labelled.image.numpy(), **given)
    assert terms["crf"].item() == pytest.approx(expected, rel=3e-4)


def test_the_term_is_the_same_from_first_to_last_step_and_asks_for_no_label():
    m, batch = method("pce_dense_crf"), scribbled()
    other = Batch(Labelled(batch.labelled.image, batch.labelled.label.roll(3, 1)))
    assert torch.equal(m.losses(batch, MIDDLE)["crf"], m.losses(other, END)["crf"])


def test_weight_zero_trains_the_network_of_plain_partial_cross_entropy_bit_for_bit():
    batch = scribbled()
    require_equal_networks(trained("pce_dense_crf", batch, weight=0.0), trained("pce", batch))


def test_an_image_without_contrast_leaves_everything_finite():
    m = method("pce_dense_crf")
    flat = Batch(Labelled(torch.zeros(2, 1, 16, 16), scribbled().labelled.label))
    sum(m.losses(flat, MIDDLE).values()).backward()
    assert all(p.grad.isfinite().all() for p in m.parameters() if p.grad is not None)


def islands_like(name: str, **hyper) -> tuple[torch.Tensor, torch.Tensor]:
    """What free logits come to say of two bright islands of which one is scribbled, and the truth."""
    truth = torch.zeros(1, 32, 32, dtype=torch.long)
    truth[:, 4:12, 4:12] = truth[:, 20:28, 20:28] = 1
    image = 0.2 + 0.6 * truth[:, None].float() + 0.02 * torch.rand(1, 1, 32, 32)
    label = torch.full_like(truth, IGNORE)
    label[:, 8, 5:11], label[:, 16, 2:30] = 1, 0  # the second island, 11 rows further down, has no scribble
    m, logits = method(name, side=32, **hyper), torch.zeros(1, 3, 32, 32, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        further = m.regularise(logits, Labelled(image, label), MIDDLE)
        (F.cross_entropy(logits, label, ignore_index=IGNORE) + sum(further.values())).backward()
        optimizer.step()
    return logits.detach().argmax(dim=1), truth


def test_a_scribble_reaches_pixels_alike_however_far_which_a_window_does_not():
    said, truth = islands_like("pce_dense_crf")
    assert (said == truth).float().mean() > 0.99
    said, truth = islands_like("pce_gated_crf")
    assert (said == truth)[:, 21:27, 21:27].float().mean() < 0.01
