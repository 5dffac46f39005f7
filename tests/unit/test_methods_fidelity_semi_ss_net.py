"""SS-Net: its noise against difference quotients, its memory and both separations against a slow reference in loops."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Method
from methods.features import with_last_map
from methods.losses.virtual_adversarial import adversarial_noise, dice_distance, joint_dice_distance
from tests.reference import losses as reference
from tests.unit.semi_toys import (
    END,
    MIDDLE,
    assert_ramps_up_until_two_fifths,
    assert_terms,
    logits_of,
    method,
    ramp,
    reached,
    supervised,
    toy_batch,
)

SEPARATIONS = ["separation_labelled", "separation_unlabelled"]


def prepared(*, ndim: int = 2, classes: int = 3, labelled: int = 2, **hyper) -> tuple[Method, Batch]:
    """On 256 or 64 voxels per image, all of which are drawn unless ``voxels`` says otherwise; some have no label.

    Labels follow the network's opinion at two of three voxels, so that each class has right and wrong ones.
    """
    side = (16, 8)[ndim - 2]
    m = method("ss_net", ndim=ndim, side=side, classes=classes, **{"voxels": 10**6} | hyper)
    batch = toy_batch(labelled, ndim=ndim, side=side, classes=classes)
    opinion = torch.from_numpy(logits_of(m.network, batch.labelled.image)).argmax(dim=1)
    label = torch.where(torch.rand(opinion.shape) < 2 / 3, opinion, batch.labelled.label)
    label[:, 2:5] = IGNORE
    return m, Batch(Labelled(batch.labelled.image, label), batch.unlabelled)


def with_label(batch: Batch, label: Tensor) -> Batch:
    return Batch(Labelled(batch.labelled.image, label), batch.unlabelled)


# The slow reference -------------------------------------------------------------------------------------------------
def voxels_of(m: Method, image: Tensor, label: Tensor | None = None) -> list[tuple[np.ndarray, int, int]]:
    """(feature, label, prediction) of every voxel that has a label; without labels, the prediction is the label."""
    with torch.no_grad():
        logits, maps = with_last_map(m.network, image)
    predicted = logits.argmax(dim=1).numpy()
    label = predicted if label is None else label.numpy()
    maps = maps.double().numpy()
    return [(maps[(n, slice(None), *at)], k, int(predicted[(n, *at)])) for n, at, k in reference.pixels(label)]


def layers(module: nn.Module, group: int, rows: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Linear, normalised by the statistics of ``seen``, (leaky) ReLU, linear."""
    first, scale, shift, second, bias = (
        getattr(module, name).detach().double().numpy()[group] for name in ("first", "scale", "shift", "second", "bias")
    )
    hidden, of_seen = rows @ first, seen @ first
    hidden = (hidden - of_seen.mean(axis=0)) / np.sqrt(of_seen.var(axis=0) + 1e-5) * scale + shift
    return np.where(hidden > 0, hidden, module.slope * hidden) @ second + bias


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def remembered(m: Method, voxels: list, *, lowest: bool = False, first: int = 0) -> dict[int, np.ndarray]:
    """Class -> projected vectors of right voxels, those of the highest attention first."""
    features = np.stack([feature for feature, _, _ in voxels])
    found = {}
    for c in range(first, m.task.n_classes):
        right = [feature for feature, k, predicted in voxels if k == predicted == c]
        if right:
            rows = layers(m.projection, 0, np.stack(right), features)
            scores = layers(m.attention, c, rows, rows)[:, 0]
            found[c] = rows[np.argsort(scores if lowest else -scores)][: m.hyper.slots]
    return found


def separation(m: Method, voxels: list, memory: dict[int, np.ndarray]) -> float:
    """Pair by pair."""
    features = np.stack([feature for feature, _, _ in voxels])
    labels = [k for _, k, _ in voxels]
    projected = layers(m.projection, 0, features, features)
    predicted = layers(m.prediction, 0, projected, projected)
    total = 0.0
    for c, kept in memory.items():
        rows = predicted[[i for i, k in enumerate(labels) if k == c]]
        if len(rows):
            directions = np.stack([unit(row) for row in kept])
            own = [sigmoid(x) for x in layers(m.attention, c, rows, rows)[:, 0]]
            others = [sigmoid(x) for x in layers(m.memory_attention, c, directions, directions)[:, 0]]
            pairs = [
                (1 - unit(row) @ other) * (a / np.mean(own)) * (b / np.mean(others))
                for row, a in zip(rows, own, strict=True)
                for other, b in zip(directions, others, strict=True)
            ]
            total += sum(pairs) / len(pairs)
    return total / m.task.n_classes


def dice(p: np.ndarray, q: np.ndarray) -> float:
    """Soft Dice distance, class by class."""
    found = []
    for c in range(p.shape[1]):
        a, b = p[:, c].astype(float), q[:, c].astype(float)
        found.append(1 - (2 * (a * b).sum() + 1e-5) / ((a * a).sum() + (b * b).sum() + 1e-5))
    return sum(found) / len(found)


def joint(p: np.ndarray, q: np.ndarray) -> float:
    """As the code writes it, all classes in one."""
    return 1 - 2 * (p.astype(float) * q).sum() / (p.astype(float).sum() + q.astype(float).sum())


def watched(m: Method) -> list[Tensor]:
    """The images that the network is shown from now on."""
    seen: list[Tensor] = []
    m.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    return seen


def expected_separations(m: Method, batch: Batch, memory: dict[int, np.ndarray]) -> list[float]:
    known = voxels_of(m, batch.labelled.image, batch.labelled.label)
    return [separation(m, known, memory), separation(m, voxels_of(m, batch.unlabelled.image), memory)]


# All terms ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", ["intended", "released"])
@pytest.mark.parametrize(("ndim", "classes"), [(2, 2), (2, 3), (3, 2), (3, 3)])
def test_ss_net_terms_equal_the_slow_reference(ndim: int, classes: int, variant: str):
    m, batch = prepared(ndim=ndim, classes=classes, slots=7, weight=3.0, separation=0.2, ramp=1.0, variant=variant)
    released = variant == "released"
    known = voxels_of(m, batch.labelled.image, batch.labelled.label)
    memory = remembered(m, known, lowest=released, first=1 if released else 0)
    assert set(memory) == set(range(1 if released else 0, classes))
    of_labelled, of_unlabelled = expected_separations(m, batch, memory)
    seen = watched(m)
    found = m.losses(batch, MIDDLE)
    target, moved = (reference.softmax(logits_of(m.network, image)) for image in (batch.images, seen[2]))
    distance = joint if released and ndim == 3 else dice
    weight = 3.0 * ramp()
    assert_terms(
        found,
        supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
        | {"smoothness": weight * distance(moved, target)}
        | {"separation_labelled": weight * 0.2 * of_labelled, "separation_unlabelled": weight * 0.2 * of_unlabelled},
    )


@pytest.mark.parametrize("name", ["smoothness", *SEPARATIONS])
def test_ss_net_ramps_up_what_needs_no_label(name: str):
    assert_ramps_up_until_two_fifths(prepared, name)


def test_ss_net_weights_are_those_of_the_left_atrium():
    h = method("ss_net").hyper
    assert (h.weight, h.ramp, h.separation, h.slots, h.width) == (1.0, 0.4, 0.1, 32, 32)
    assert (h.probe, h.epsilon) == (10.0, 10.0)


# Smoothness ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_noise_of_ss_net_has_its_length_in_every_image_and_is_found_at_random_noise_of_length_ten(ndim: int):
    m, batch = prepared(ndim=ndim, epsilon=3.0)
    seen = watched(m)
    m.losses(batch, END)
    first, second = (image - batch.images for image in seen[1:])
    assert torch.equal(seen[0], batch.images)
    assert len(seen) == 3
    for noise, length in ((first, 10.0), (second, 3.0)):
        lengths = noise.flatten(1).norm(dim=1)
        assert lengths.tolist() == pytest.approx([length] * 5, rel=1e-4)
    # uniform in [-a, a], centred, each image its own: the mean of 64 or more numbers has a standard error of a / 13.8
    assert first.flatten(1).mean(dim=1).abs().max() < first.abs().max() / 3
    assert first.flatten(1).abs().amax(dim=1).max() < 1.8 * first.flatten(1).std(dim=1).min() * 1.2  # √3 if uniform
    assert (first[0] - first[1]).abs().max() > 0.1


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_the_noise_of_ss_net_follows_the_gradient_of_the_distance_at_the_random_noise(variant: str):
    m, batch = prepared(ndim=3, epsilon=3.0, variant=variant)
    seen = watched(m)
    m.losses(batch, END)
    network = copy.deepcopy(m.network).double()
    target = reference.softmax(logits_of(network, batch.images.double()))
    distance = joint if variant == "released" else dice
    noise = (seen[2] - batch.images).double()

    def at(image: Tensor) -> float:
        return distance(reference.softmax(logits_of(network, image)), target)

    for n in range(len(noise)):
        quotients, values = [], []
        for index in noise[n].abs().flatten().topk(12).indices[::3].tolist():
            step = torch.zeros_like(noise)
            step[n].view(-1)[index] = 1e-5
            quotients.append((at(seen[1].double() + step) - at(seen[1].double() - step)) / 2e-5)
            values.append(noise[n].flatten()[index].item())
        ratios = np.array(quotients) / np.array(values)
        assert ratios[0] > 0  # up, not down
        assert ratios == pytest.approx(ratios[0], rel=0.02)


def test_adversarial_noise_of_a_linear_prediction_by_hand():
    # distance = Σ of 3 a + 4 b: its gradient is (3, 4) anywhere, of length 5; scaled to 10: (6, 8)
    weight = torch.tensor([3.0, 4.0]).view(1, 1, 2)
    noise = adversarial_noise(
        lambda image: image * weight,
        torch.randn(3, 1, 2),
        torch.zeros(()),
        lambda p, _: p.sum(),
        probe=1.0,
        length=10.0,
    )
    torch.testing.assert_close(noise, torch.tensor([6.0, 8.0]).expand(3, 1, 2))
    assert not noise.requires_grad


def test_where_nothing_changes_the_prediction_there_is_no_noise():
    image = torch.randn(2, 1, 4)
    noise = adversarial_noise(lambda x: 0 * x, image, image, lambda p, _: p.sum(), probe=1.0, length=10.0)
    assert torch.equal(noise, torch.zeros(2, 1, 4))


def test_adversarial_noise_moves_the_prediction_more_than_random_noise_of_its_length():
    m, batch = prepared(epsilon=2.0)
    found = m.losses(batch, END)["smoothness"].item()
    target = reference.softmax(logits_of(m.network, batch.images))
    noises = torch.randn(20, *batch.images.shape)
    noises *= 2.0 / noises.flatten(2).norm(dim=2).view(20, -1, 1, 1, 1)
    random = [dice(reference.softmax(logits_of(m.network, batch.images + noise)), target) for noise in noises]
    assert found > 1.5 * max(random)


def test_dice_distance_by_hand():
    # one pixel, p = (1/2, 1/2), q = (1, 0): 1 - 2 · ½ / (¼ + 1) = 1/5, and 1 - 0 / ¼ = 1; mean 3/5
    p, q = torch.tensor([[[0.5], [0.5]]]), torch.tensor([[[1.0], [0.0]]])
    assert dice_distance(p, q).item() == pytest.approx(3 / 5, abs=1e-4)
    assert joint_dice_distance(p, q).item() == pytest.approx(1 / 2)
    # equal but unsure: no distance, and 1 - (¼ + ¼)
    assert dice_distance(p, p).item() == pytest.approx(0, abs=1e-6)
    assert joint_dice_distance(p, p).item() == pytest.approx(1 / 2)


def test_distances_equal_the_slow_references():
    p, q = (torch.softmax(torch.randn(2, 3, 4, 5), dim=1) for _ in range(2))
    assert dice_distance(p, q).item() == pytest.approx(dice(p.numpy(), q.numpy()), rel=1e-5)
    assert joint_dice_distance(p, q).item() == pytest.approx(joint(p.numpy(), q.numpy()), rel=1e-5)


def test_smoothness_sends_gradient_through_the_perturbed_pass_alone():
    m, batch = prepared()
    logits: list[Tensor] = []
    m.network.register_forward_hook(lambda *given: logits.append(given[2]))
    term = m.losses(batch, END)["smoothness"]
    gradients = torch.autograd.grad(term, logits, allow_unused=True)
    assert gradients[0] is None
    assert gradients[1] is None
    assert gradients[2].abs().sum(dim=(1, 2, 3)).min() > 0  # of all images
    assert all(p.grad is None for p in m.parameters())  # the search for the noise leaves none behind


def test_ss_net_moves_running_statistics_by_the_clean_pass_alone_and_draws_dropout_in_each():
    m, batch = prepared()
    alone = copy.deepcopy(m.network).train()
    m.train().losses(batch, END)
    torch.manual_seed(0)
    alone(batch.images)
    norms = [[x for x in each.modules() if isinstance(x, nn.BatchNorm2d)] for each in (m.network, alone)]
    torch.testing.assert_close(norms[0][0].running_mean, norms[1][0].running_mean)  # the first sees no dropout
    assert norms[0][0].num_batches_tracked == 3
    assert norms[0][0].momentum == 0.1
    assert all(layer.training for layer in m.network.modules())


# The memory ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", ["intended", "released"])
def test_the_memory_holds_right_vectors_of_the_highest_attention_and_as_released_of_the_lowest(variant: str):
    m, batch = prepared(slots=7, variant=variant)
    released = variant == "released"
    known = voxels_of(m, batch.labelled.image, batch.labelled.label)
    expected = remembered(m, known, lowest=released, first=1 if released else 0)
    m.losses(batch, END)
    for c in range(3):
        assert m.filled[c].tolist() == [c in expected] * 7
        np.testing.assert_allclose(m.memory[c].numpy(), expected.get(c, np.zeros((7, 32))), rtol=1e-3, atol=1e-4)


def test_voxels_predicted_wrong_never_reach_the_memory():
    m, batch = prepared()
    opinion = torch.from_numpy(logits_of(m.network, batch.labelled.image)).argmax(dim=1)
    m.losses(with_label(batch, (opinion + 1) % 3), END)
    assert not m.filled.any()
    assert not m.memory.any()


def test_without_a_memory_there_is_no_separation_but_a_gradient_of_zero():
    m, batch = prepared()
    opinion = torch.from_numpy(logits_of(m.network, batch.labelled.image)).argmax(dim=1)
    terms = m.losses(with_label(batch, (opinion + 1) % 3), END)
    for name in SEPARATIONS:
        assert terms[name].item() == 0
        assert terms[name].requires_grad
        assert not reached(terms[name], m)


def test_a_class_that_a_batch_does_not_hold_keeps_its_memory_and_the_others_forget_theirs():
    m, batch = prepared(slots=7)
    m.losses(batch, END)
    before = m.memory.clone()
    fewer = torch.where(batch.labelled.label == 2, IGNORE, batch.labelled.label)
    fewer[:, 5:7] = IGNORE  # other voxels of the other classes, or other statistics
    m.losses(with_label(batch, fewer), END)
    assert torch.equal(m.memory[2], before[2])
    assert m.filled.all()
    for c in (0, 1):
        assert not any(torch.equal(new, old) for new in m.memory[c] for old in before[c])


def test_a_class_of_few_right_voxels_fills_few_slots():
    m, batch = prepared(slots=1000)  # more than the 512 voxels
    label = batch.labelled.label
    right = torch.from_numpy(logits_of(m.network, batch.labelled.image)).argmax(dim=1) == label
    m.losses(batch, END)
    counts = [int((right & (label == c)).sum()) for c in range(3)]
    assert all(counts)
    assert m.filled.sum(dim=1).tolist() == counts
    assert m.filled.tolist() == [[i < n for i in range(1000)] for n in counts]
    assert not m.memory[~m.filled].any()
    known = voxels_of(m, batch.labelled.image, label)
    expected = [separation(m, known, remembered(m, known)), 0.0]
    assert m.losses(batch, END)["separation_labelled"].item() == pytest.approx(0.1 * expected[0], rel=1e-4)


def test_the_memory_is_renewed_before_it_is_compared_with():
    m, batch = prepared()
    terms = m.losses(batch, END)
    assert all(terms[name] > 0 for name in SEPARATIONS)
    assert {"memory", "filled"} <= set(m.state_dict())


def test_as_released_two_classes_have_half_of_the_foregrounds_separation():
    m, batch = prepared(classes=2, variant="released")
    known = voxels_of(m, batch.labelled.image, batch.labelled.label)
    memory = remembered(m, known, lowest=True)
    of_both, of_foreground = separation(m, known, memory), separation(m, known, {1: memory[1]})
    assert 0 < of_foreground < of_both
    assert m.losses(batch, END)["separation_labelled"].item() == pytest.approx(0.1 * of_foreground, rel=1e-4)


# Which voxels, and where gradient goes ------------------------------------------------------------------------------
def test_separation_sends_gradient_to_voxels_with_a_label_alone_and_to_unlabelled_ones():
    for k, name in enumerate(SEPARATIONS):
        m, batch = prepared()
        maps: list[Tensor] = []
        m.network.head.register_forward_pre_hook(lambda _, given, maps=maps: maps.append(given[0]))
        (gradient,) = torch.autograd.grad(m.losses(batch, END)[name], maps[:1])
        parts = [part.abs().sum(dim=1) > 0 for part in batch.split(gradient)]
        assert not parts[1 - k].any()
        known = batch.labelled.label != IGNORE if k == 0 else torch.ones_like(parts[1])
        assert torch.equal(parts[k], known)


def test_attention_weighs_features_and_does_not_train_them():
    m, batch = prepared()
    given: list[Tensor] = []
    for part in (m.attention, m.memory_attention):
        part.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    terms = m.losses(batch, END)
    assert given
    assert not any(each.requires_grad for each in given)
    for name in SEPARATIONS:
        for part in (m.network, m.projection, m.prediction, m.attention, m.memory_attention):
            assert reached(terms[name], part)


@pytest.mark.parametrize("ndim", [2, 3])
def test_at_most_so_many_voxels_of_a_class_are_drawn_from_every_image_each_once_and_at_random(ndim: int):
    m = method("ss_net", ndim=ndim, side=8, voxels=12)
    label = torch.randint(0, 2, (2, *(8,) * ndim))
    label[0, 0] = IGNORE
    label[1, 1, 1] = 2  # 8 voxels in 3-D, one in 2-D, and none in the first image
    place = torch.arange(label.numel()).view(label.shape)
    maps = torch.stack([place, label], dim=1).float()  # a voxel's vector is its place and its label
    vectors, exist = m._drawn(maps, label)
    again, _ = m._drawn(maps, label)
    assert vectors.shape == (3, 24, 2)
    for c in range(3):
        drawn = vectors[c][exist[c]]
        assert (drawn[:, 1] == c).all()
        places = [int(x) for x in drawn[:, 0]]
        assert len(set(places)) == len(places)
        per_image = [sum(place // label[0].numel() == n for place in places) for n in (0, 1)]
        assert per_image == [min(12, int((label[n] == c).sum())) for n in (0, 1)]
    assert not torch.equal(vectors[:2], again[:2])


def test_ss_net_draws_other_voxels_for_the_memory_and_for_the_contrast():
    m, batch = prepared(voxels=4)
    drawn: list[tuple[Tensor, Tensor]] = []
    original = m._drawn
    m._drawn = lambda maps, label: (drawn.append((maps, label)), original(maps, label))[1]
    m.losses(batch, END)
    assert [maps.requires_grad for maps, _ in drawn] == [True, False, True]
    opinion = torch.from_numpy(logits_of(m.network, batch.images)).argmax(dim=1)
    known, guessed = batch.split(opinion)
    label = batch.labelled.label
    for (_, found), expected in zip(drawn, (label, torch.where(label == known, label, IGNORE), guessed), strict=True):
        assert torch.equal(found, expected)


def test_layers_normalise_by_the_vectors_that_count_alone():
    m = method("ss_net")
    vectors, counts = torch.randn(3, 6, 32), torch.rand(3, 6) < 0.6
    counts[:, :2] = True
    found = m.attention(vectors, counts)
    other = m.attention(torch.where(counts.unsqueeze(2), vectors, 100.0), counts)
    torch.testing.assert_close(found[counts], other[counts])
    for c in range(3):
        rows = vectors[c].double().numpy()
        expected = layers(m.attention, c, rows, rows[counts[c].numpy()])
        np.testing.assert_allclose(found[c].detach().numpy(), expected, rtol=1e-3, atol=1e-4)


def test_features_of_voxels_without_a_label_leave_separation_and_memory_as_they_are():
    m, batch = prepared()
    maps, label = torch.randn(2, 4, 16, 16), batch.labelled.label
    predicted = torch.where(torch.rand(label.shape) < 0.5, label, 0).clamp_max(2)
    other = torch.where((label == IGNORE).unsqueeze(1), 50.0, maps)
    found = []
    for each in (maps, other):
        term = m._remembered(each, label, predicted)
        found.append((term, m.memory.clone(), m.filled.clone()))
    torch.testing.assert_close(*found)
