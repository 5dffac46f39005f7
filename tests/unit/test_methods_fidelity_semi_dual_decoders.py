"""DCPA and CC-Net: terms of their decoders against slow references, what they see, and what follows after a step."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from methods.base import MAIN, Clock, Method
from methods.semi.cc_net import without_every_other
from tests.reference import agreement
from tests.reference import losses as reference
from tests.unit.semi_toys import MIDDLE, assert_terms, logits_of, method, moved, reached, supervised, toy_batch


def seen_by(network: nn.Module) -> list[Tensor]:
    """The images that a network encodes from now on."""
    seen, encode = [], network.encode

    def noted(image: Tensor) -> list[Tensor]:
        seen.append(image.detach())
        return encode(image)

    network.encode = noted
    return seen


def both_logits(m: Method, image: Tensor, teacher: bool = False) -> list[np.ndarray]:
    network, (decode,) = (m.teacher, m.teacher_decoders) if teacher else (m.network, m.decoders)
    with torch.no_grad():
        return [network(image).numpy(), decode(network.encode(image)).numpy()]


def sum_of_differences(logits: list[np.ndarray], temperature: float) -> float:
    probs = [reference.softmax(one) for one in logits]
    sharp = [agreement.sharpened(p, temperature) for p in probs]
    pairs = [(i, j) for i in range(len(probs)) for j in range(len(probs)) if i != j]
    return sum(reference.squared_difference(probs[i], sharp[j]) for i, j in pairs)


# dual-decoder consistency via pseudo-labels guided augmentation ------------------------------------------------------
def test_dcpa_terms_are_those_of_the_mean_of_its_decoders_under_the_teachers_labels():
    m, batch = method("dcpa", weight=2.0, pseudo=3.0, temperature=0.5, ramp=1.0), toy_batch()
    moved(m.teacher, by=1.2)
    student, teacher = seen_by(m.network), seen_by(m.teacher)
    found = m.losses(batch, MIDDLE)
    (images,), (copies,) = list(student), list(teacher)
    taught = reference.softmax(sum(both_logits(m, copies, teacher=True)) / 2)
    pseudo = np.argmax((taught[:3] + taught[3:]) / 2, axis=1)
    logits = both_logits(m, images)
    mean = (logits[0] + logits[1]) / 2
    label = batch.labelled.label
    expected = supervised(mean[:4], torch.cat([label, label]))
    expected["pseudo"] = 3.0 * reference.dice_loss(reference.softmax(mean[4:]), np.concatenate([pseudo, pseudo]))
    expected["consistency"] = 2.0 * np.exp(-5 / 4) * sum_of_differences(logits, 0.5)
    assert_terms(found, expected)


def test_dcpa_mixes_noisy_copies_with_a_smaller_share_of_noisy_labelled_images():
    m, batch = method("dcpa", copies=4), toy_batch()
    student, teacher = seen_by(m.network), seen_by(m.teacher)
    m.losses(batch, MIDDLE)
    (images,), (copies,) = student, teacher
    known, noisy, mixed = images.tensor_split([2, 4])
    assert torch.equal(known, batch.labelled.image)
    shares, partners = [], []
    for was, now in ((known, noisy), (torch.cat([batch.unlabelled.image] * 4), copies)):
        noise = now - was
        assert noise.abs().max() <= 0.2 + 1e-6
        assert 0.08 < noise.std() < 0.11
    for copy, mixture in zip(copies, mixed, strict=True):
        fits = []
        for partner in noisy:
            kept = ((mixture - partner) * (copy - partner)).sum() / (copy - partner).square().sum()
            fits.append(((partner + kept * (copy - partner) - mixture).abs().max().item(), kept.item()))
        (error, share), partner = min(fits), int(np.argmin([fit[0] for fit in fits]))
        assert error < 1e-4
        shares.append(share)
        partners.append(partner)
    assert all(0.5 <= share <= 1 for share in shares)
    assert len({round(share, 4) for share in shares}) == len(shares) == 12
    assert sorted(partners) == [0] * 6 + [1] * 6


def test_dcpa_copies_have_noise_of_their_own():
    m, batch = method("dcpa", copies=3), toy_batch()
    seen = seen_by(m.teacher)
    m.losses(batch, MIDDLE)
    first, second, third = seen[0].unflatten(0, (3, -1)) - batch.unlabelled.image
    assert (first - second).abs().max() > 0.05
    assert (second - third).abs().max() > 0.05


def test_dcpa_second_decoder_interpolates():
    modes = {layer.mode for layer in method("dcpa").decoders[0].modules() if isinstance(layer, nn.Upsample)}
    assert modes == {"bilinear"}


def test_dcpa_both_decoders_learn_from_every_term_and_the_teacher_from_none():
    m, batch = method("dcpa"), toy_batch()
    moved(m.teacher, by=1.2)
    for name, term in m.losses(batch, MIDDLE).items():
        assert reached(term, m.network.decoder), name
        assert reached(term, m.decoders), name
        assert not reached(term, m.teacher), name
        assert not reached(term, m.teacher_decoders), name


def test_dcpa_predicts_by_the_mean_of_both_decoders_logits():
    m, image = method("dcpa"), torch.randn(1, 1, 16, 16)
    expected = reference.softmax(sum(both_logits(m, image)) / 2)
    np.testing.assert_allclose(m.predict(image).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    moved(m.teacher)
    expected = reference.softmax(sum(both_logits(m, image, teacher=True)) / 2)
    np.testing.assert_allclose(m.teach(image).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_dcpa_every_weight_shrinks_by_the_learning_rate_of_the_step():
    """Without gradients to speak of, what a step does to a weight is the decay alone."""
    m = method("dcpa", decay=0.5)
    (player,) = m.optimizers(partial(SGD, lr=0.1)).values()
    trained = {name: p for name, p in m.named_parameters() if p.requires_grad}
    was = {name: p.detach().clone() for name, p in m.named_parameters()}
    for p in trained.values():
        p.grad = torch.zeros_like(p)
    for group in player.param_groups:
        group["lr"] = 0.04  # as the plan's schedule sets it
    player.step()
    assert {name.split(".")[0] for name in trained} == {"network", "decoders"}
    for name, p in m.named_parameters():
        torch.testing.assert_close(p.detach(), was[name] * (1 - 0.5 * 0.04 if name in trained else 1))


def test_dcpa_teacher_follows_both_decoders_without_warm_up():
    m = method("dcpa", ema_limit=0.75)
    pairs = [(m.teacher, m.network), (m.teacher_decoders, m.decoders)]
    moved(m.network, by=2.0)
    moved(m.decoders, by=2.0)
    was = [[p.clone() for p in teacher.parameters()] for teacher, _ in pairs]
    assert list(m.optimizers(partial(SGD, lr=0.1))) == [MAIN]
    m.after_step(Clock(0, 101))
    for (teacher, student), before in zip(pairs, was, strict=True):
        for p, old, own in zip(teacher.parameters(), before, student.parameters(), strict=True):
            torch.testing.assert_close(p, 0.75 * old + 0.25 * own.detach())


# complementary consistency -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("network", "ndim"), [("unet", 2), ("vnet", 3)])
def test_cc_net_decoders_agree_with_the_sharpened_predictions_of_all_others(network: str, ndim: int, classes: int):
    m = method("cc_net", temperature=0.5, weight=2.0, ramp=0.5, classes=classes, network=network, ndim=ndim)
    batch = toy_batch(classes=classes, ndim=ndim)
    with torch.no_grad():
        shallow, middle, deep = m.network.encode(batch.images)
        first, second = m.decoders
        logits = [
            logits_of(m.network, batch.images),
            first([shallow, torch.zeros_like(middle), deep]).numpy(),
            second([torch.zeros_like(shallow), middle, deep]).numpy(),
        ]
    label = batch.labelled.label.numpy()
    probs = [reference.softmax(one)[:2] for one in logits]
    if classes == 2:  # linear, without the background
        dice = [reference.dice_losses(p, label, power=1)[1] for p in probs]
    else:
        dice = [reference.dice_loss(p, label) for p in probs]
    expected = {f"dice_{k}": loss / 2 for k, loss in enumerate(dice, start=1)}
    assert_terms(m.losses(batch, MIDDLE), expected | {"consistency": 2.0 * sum_of_differences(logits, 0.5)})


def test_cc_net_decoders_lack_what_the_other_has_and_share_the_deepest_map():
    maps = [torch.full((1, 1, 2), float(k)) for k in range(1, 6)]
    kept = [[int(one.max()) for one in without_every_other(maps, lacks)] for lacks in (0, 1)]
    assert kept == [[1, 0, 3, 0, 5], [0, 2, 0, 4, 5]]  # as the code's V-Net of five levels


def test_cc_net_consistency_teaches_all_decoders_and_the_whole_one_predicts():
    m, batch = method("cc_net"), toy_batch()
    term = m.losses(batch, MIDDLE)["consistency"]
    assert all(reached(term, part) for part in (m.network.encoder, m.network.decoder, *m.decoders))
    image = torch.randn(1, 1, 16, 16)
    expected = reference.softmax(logits_of(m.network, image))
    np.testing.assert_allclose(m.predict(image).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
