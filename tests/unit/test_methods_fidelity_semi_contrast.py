"""CVCL and BHPC: their contrasts against slow references, the ablation switches, and what is a gradient."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.types import IGNORE, Batch, Labelled, Task, Unlabelled
from methods import get, networks
from methods.base import MAIN, Clock, Method
from methods.features import with_last_map
from methods.losses import cvcl_released
from methods.losses.mining import Voxels, released_voxels
from methods.semi import cvcl
from tests.reference import contrast as reference
from tests.reference import losses, oracles
from tests.unit.semi_toys import (
    END,
    MIDDLE,
    blobs,
    logits_of,
    method,
    moved,
    ramp,
    reached,
    supervised,
    toy_batch,
    trained,
)

START = Clock(step=0, total=101)
CONTRASTS = ("pcl", "vcl_labelled", "vcl_unlabelled")


def prepared(**hyper) -> tuple[Method, Batch]:
    m = method("cvcl", noise=0.0, ramp=0.5, confidence=0.0, **hyper)  # every unlabelled voxel has a label
    moved(m.teacher, by=1.2)
    return m, blobs()


def vectors_of(projection: nn.Module, network: nn.Module, image: Tensor) -> np.ndarray:
    """Unit vectors ``(n, d, v)``."""
    with torch.no_grad():
        return F.normalize(projection(with_last_map(network, image)[1]), dim=2).transpose(1, 2).double().numpy()


def weights(logits: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
    """Probability of the label, or of the most probable class, in its channel: ``(n, c, v)``."""
    probs = losses.softmax(logits)
    label = probs.argmax(axis=1) if label is None else label
    return np.stack([probs[:, k] * (label == k) for k in range(3)], axis=1).reshape(len(probs), 3, -1)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


# voxel contrast, intended --------------------------------------------------------------------------------------------
def test_cvcl_trains_the_network_by_each_contrast_from_labelled_and_from_unlabelled_images():
    m, batch = prepared()
    trained(m, batch, steps=8)  # an untrained network may see one class only
    terms = m.losses(batch, END)
    for name in CONTRASTS:
        assert reached(terms[name], m.network.encoder), name
        assert reached(terms[name], m.network.decoder), name
        assert reached(terms[name], m.projection), name
        assert not reached(terms[name], m.network.head), name
    assert all(not p.requires_grad for p in [*m.teacher.parameters(), *m.teacher_projection.parameters()])


def test_cvcl_class_contrast_equals_the_slow_reference():
    m, batch = prepared(class_weight=3.0, temperature=0.5)
    image, label = batch.unlabelled.image, batch.labelled.label.numpy()
    keys = weights(logits_of(m.teacher, image)) @ vectors_of(m.teacher_projection, m.teacher, image).swapaxes(1, 2)
    own = weights(logits_of(m.network, image))
    queries = own @ vectors_of(m.projection, m.network, image).swapaxes(1, 2)
    found = m.losses(batch, MIDDLE)["pcl"].item()
    costs = []
    for b in range(2):
        for k in range(3):
            if np.any(keys[b, k]) and np.any(queries[b, k]):
                positive = math.exp(reference.cosine(queries[b, k], keys[b, k]) / 0.5)
                others = [keys[n, c] for n in range(2) for c in range(3) if c != k and np.any(keys[n, c])]
                negatives = sum(math.exp(reference.cosine(queries[b, k], other) / 0.5) for other in others)
                costs.append(-math.log(positive / (positive + negatives)))
    assert found == pytest.approx(3.0 * ramp(0.5) * sum(costs) / len(costs), rel=1e-4)
    # the class prototypes: of annotated and of pseudo-labelled voxels, by the teacher
    known = vectors_of(m.teacher_projection, m.teacher, batch.labelled.image)
    annotated = weights(logits_of(m.teacher, batch.labelled.image), label)
    sums = (annotated @ known.swapaxes(1, 2)).sum(axis=0) + keys.sum(axis=0)
    np.testing.assert_allclose(m.guide.prototypes.vectors.numpy(), unit(sums), rtol=1e-4, atol=1e-5)


def test_cvcl_voxel_contrast_equals_the_slow_reference(monkeypatch: pytest.MonkeyPatch):
    m, batch = prepared(voxel_weight=3.0, temperature=0.5, hardness=1.5, voxels=40)
    asked: list[tuple] = []
    index = torch.tensor([[3, 50, 90, 119, 7, 120], [3, 60, 61, 102, 135, 200]])

    def choose(
        label: Tensor, predicted: Tensor, similarity: Tensor, count: int, shares: object, hard: Tensor
    ) -> Voxels:
        asked.append((label, predicted, similarity, count, hard))
        return Voxels(index, label.flatten(1).gather(1, index))

    monkeypatch.setattr(cvcl, "key_voxels", choose)
    terms = m.losses(batch, MIDDLE)
    pseudo = asked[1][0]
    assert not (pseudo == IGNORE).any()
    for part, label, name, weight in (
        (batch.labelled.image, batch.labelled.label, "vcl_labelled", 3.0),
        (batch.unlabelled.image, pseudo, "vcl_unlabelled", 3.0 * ramp(0.5)),
    ):
        found = asked.pop(0)
        assert torch.equal(found[0], label)
        assert np.array_equal(found[1].numpy(), logits_of(m.network, part).argmax(axis=1))
        every = vectors_of(m.projection, m.network, part)
        near = np.einsum("kd,ndv->nkv", unit(m.guide.prototypes.vectors.double().numpy()), every)
        hard = found[4].flatten(1).numpy()
        assert np.array_equal(hard, reference.difference_part(label.numpy(), found[1].numpy()).reshape(2, -1))
        assert hard.any()
        both = np.broadcast_to(hard[:, None], near.shape)
        np.testing.assert_allclose(found[2].flatten(2).numpy()[both], near[both], rtol=1e-3, atol=1e-4)
        assert found[3] == 20  # of 40 voxels of each kind, for two samples
        vectors = np.concatenate([every[n][:, index[n].numpy()].T for n in range(2)])
        labels = label.flatten(1).gather(1, index).flatten().numpy()
        expected = reference.supervised_contrast(vectors, labels, 0.5, hardness=1.5)
        assert terms[name].item() == pytest.approx(weight * expected / 20, rel=1e-4, abs=1e-7)


def test_cvcl_unlabelled_voxels_carry_the_label_of_the_nearest_prototype(monkeypatch: pytest.MonkeyPatch):
    m, batch = prepared()
    seen: list[Tensor] = []
    original = cvcl.key_voxels
    monkeypatch.setattr(cvcl, "key_voxels", lambda label, *rest: (seen.append(label), original(label, *rest))[1])
    m.losses(batch, END)
    every = vectors_of(m.teacher_projection, m.teacher, batch.unlabelled.image)
    near = np.einsum("kd,ndv->nkv", unit(m.guide.prototypes.vectors.double().numpy()), every)
    near[:, m.guide.prototypes.batches.numpy() == 0] = -2
    assert np.array_equal(seen[1].flatten(1).numpy(), near.argmax(axis=1))


def test_cvcl_unsure_voxels_are_left_out(monkeypatch: pytest.MonkeyPatch):
    m = method("cvcl", confidence=1.0, margin=2.0)  # nobody is that sure
    terms = m.losses(blobs(), END)
    assert terms["vcl_unlabelled"].item() == 0
    assert terms["vcl_labelled"].item() > 0


@pytest.mark.parametrize("off", CONTRASTS)
def test_cvcl_a_switch_takes_its_term_away_and_nothing_else(off: str):
    found = []
    for hyper in ({}, {off: False}):
        torch.manual_seed(1)
        m, batch = prepared(**hyper)
        torch.manual_seed(2)
        found.append({name: term.item() for name, term in m.losses(batch, END).items()})
    whole, less = found
    assert set(whole) - set(less) == {off}
    # the last contrast's random voxels differ where the one before it drew none
    same = set(less) - ({"vcl_unlabelled"} if off == "vcl_labelled" else set())
    assert {name: whole[name] for name in same} == {name: less[name] for name in same}


def test_cvcl_without_any_contrast_remembers_nothing_and_draws_the_same_numbers():
    found, drawn = [], []
    for contrasts in (True, False):
        torch.manual_seed(1)
        m, batch = prepared(**dict.fromkeys(CONTRASTS, contrasts), mining="mined")
        m.train()
        torch.manual_seed(2)
        found.append({name: term.item() for name, term in m.losses(batch, END).items()})
        drawn.append(m.teacher.state_dict())
        assert (m.guide.prototypes.batches.sum() > 0) == contrasts
    assert found[1] == {name: term for name, term in found[0].items() if name not in CONTRASTS}
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in drawn), strict=True))


def test_cvcl_mines_unless_asked_for_random_voxels(monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    for name in ("key_voxels", "random_voxels"):
        original = getattr(cvcl, name)
        monkeypatch.setattr(cvcl, name, lambda *given, n=name, f=original: (calls.append(n), f(*given))[1])
    for mining in ("mined", "random"):
        m, batch = prepared(mining=mining)
        m.losses(batch, END)
    assert calls == ["key_voxels"] * 2 + ["random_voxels"] * 2


def test_cvcl_projections_teacher_follows_the_student():
    m, _ = prepared()
    with torch.no_grad():
        for p in m.projection.parameters():
            p.add_(1.0)
    before = [p.clone() for p in m.teacher_projection.parameters()]
    m.after_step(Clock(3, 10))  # decay 1 - 1/4
    for was, now, goal in zip(before, m.teacher_projection.parameters(), m.projection.parameters(), strict=True):
        torch.testing.assert_close(now, was + 0.25 * (goal - was))


# voxel contrast, released --------------------------------------------------------------------------------------------
def test_cvcl_released_learns_from_labels_only():
    m, batch = method("cvcl", variant="released", ramp=0.5), blobs()
    trained(m, batch, steps=8)  # an untrained network may see one class only
    m.eval()
    terms = m.losses(batch, END)
    assert list(terms) == ["ce", "dice", "vcl_labelled", "vcl_unlabelled"]
    assert reached(terms["vcl_labelled"], m.network.encoder)
    assert not terms["vcl_unlabelled"].requires_grad
    other = Batch(batch.labelled, Unlabelled(torch.randn_like(batch.unlabelled.image)))
    torch.manual_seed(5)
    first = m.losses(batch, END)
    torch.manual_seed(5)
    second = m.losses(other, END)
    for name in ("ce", "dice", "vcl_labelled"):
        assert first[name].item() == pytest.approx(second[name].item(), rel=1e-6)


def test_cvcl_released_weighs_the_contrasts_as_the_code_does():
    m, batch = method("cvcl", variant="released", weight=0.1, ramp=0.5), blobs()
    with torch.no_grad():
        maps = m.network.decode(m.network.encode(batch.images))
        predicted = m.network.head(maps)[:2].argmax(dim=1)
    torch.manual_seed(5)
    found = m.losses(batch, MIDDLE)
    torch.manual_seed(5)
    taught = m.teacher.encode(batch.unlabelled.image)
    last = m.teacher.decode(taught)
    probs = torch.softmax(m.teacher.head(last), dim=1)
    trained_term = cvcl_released.labelled_contrast(maps[:2], batch.labelled.label, predicted)
    inert = cvcl_released.unlabelled_contrast(taught[-1], last, probs, m.network.head(maps)[2:].argmax(dim=1))
    assert found["vcl_labelled"].item() == pytest.approx(0.6 * trained_term.item(), rel=1e-5)
    assert found["vcl_unlabelled"].item() == pytest.approx(0.6 * 0.1 * ramp(0.5) * inert.item(), rel=1e-5)


def test_cvcl_released_contrast_is_the_codes_number():
    anchors, value, gradient = oracles.load("cvcl_anchors", "cvcl_contrast_released", "grad_cvcl_contrast_released")
    label = torch.tensor([1] * 50 + [0] * 50).expand(2, -1)
    anchors.requires_grad_()
    loss = cvcl_released.voxel_contrast(anchors, Voxels(torch.zeros_like(label), label))
    oracles.close_with_gradient(loss, anchors, value, gradient)


def test_cvcl_released_contrast_of_equal_vectors_by_hand():
    # ln(101) / 20 for rows of 50 + 50 positives against 100 negatives
    label = torch.tensor([1] * 50 + [0] * 50).expand(2, -1)
    loss = cvcl_released.voxel_contrast(torch.ones(2, 100, 16), Voxels(torch.zeros_like(label), label))
    assert loss.item() == pytest.approx(math.log(101) / 20, rel=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_cvcl_released_unlabelled_term_equals_that_of_full_resolution_features(ndim: int):
    space = (8,) * ndim
    coarse, fine = torch.rand(2, 6, *(3,) * ndim), torch.rand(2, 4, *space)
    probs = torch.softmax(3 * torch.randn(2, 2, *space), dim=1)
    predicted = torch.randint(0, 2, (2, *space))
    torch.manual_seed(9)
    found = cvcl_released.unlabelled_contrast(coarse, fine, probs, predicted)
    torch.manual_seed(9)
    mix = nn.Conv1d(4, 6, 1)
    mode = ("bilinear", "trilinear")[ndim - 2]
    upper = F.interpolate(coarse, size=space, mode=mode, align_corners=True)  # the code's prototypes: of the other kind
    pooled = F.interpolate(coarse, size=space, mode=mode, align_corners=False)
    with torch.no_grad():
        every = (upper.flatten(2) + mix(fine.flatten(2))).double()
    chosen = probs.argmax(dim=1)
    weight = np.stack([(probs[:, k] * (chosen == k)).numpy() for k in (0, 1)], axis=1)
    prototypes = reference.prototypes(pooled.double().numpy(), weight)
    cosine = F.cosine_similarity(every[:, None], torch.from_numpy(prototypes)[..., None], dim=2)
    pseudo = cosine.argmax(dim=1).view(2, *space)
    voxels = released_voxels(pseudo, predicted, 50)
    vectors = np.concatenate([every[n][:, voxels.position[n]].T.numpy() for n in range(2)])
    label = voxels.label.flatten().numpy()
    expected = reference.supervised_contrast(vectors, label, 0.1, narcissists=label == 0) / 20
    assert found.item() == pytest.approx(expected, rel=1e-3)


# hard positives in two phases ----------------------------------------------------------------------------------------
def test_bhpc_first_contrasts_images_labelled_and_unlabelled_by_their_views():
    m, batch = method("bhpc", noise=0.0, gain=0.0), toy_batch()
    found = m.losses(batch, START)
    assert {name: term.item() for name, term in found.items() if name in ("ce", "dice")} == {"ce": 0, "dice": 0}
    with torch.no_grad():
        deep = m.network.encode(batch.images)[-1].mean(dim=(2, 3))
        vectors = m.image_head(deep).double().numpy()
    twice = np.concatenate([vectors, vectors])  # without noise both views are the image
    expected = reference.supervised_contrast(twice, np.arange(5).repeat(2).reshape(5, 2).T.flatten(), 0.5)
    assert found["image_contrast"].item() == pytest.approx(expected, rel=1e-4)


def test_bhpc_views_differ_from_each_other_and_little_from_the_image():
    m, image = method("bhpc"), torch.randn(3, 1, 16, 16)
    first, second = m._view(image), m._view(image)
    assert not torch.equal(first, second)
    # gain of ±20 % and noise of 0.2 at most
    assert ((first - image).abs() <= 0.2 * image.abs() + 0.2 + 1e-5).all()


def test_bhpc_first_contrasts_labelled_regions_of_foreground_with_weight_on_hard_positives():
    m, batch = method("bhpc", regions=4, hardness=2.0), blobs()
    batch.labelled.label[:, 4:8, 4:8] = 2  # one region of its own
    found = m.losses(batch, START)["region_contrast"].item()
    with torch.no_grad():
        features = m.network.decode(m.network.encode(batch.labelled.image)).double().numpy()
    vectors, labels, shares = [], [], []
    for n, y, x in np.ndindex(2, 4, 4):
        at = (slice(4 * y, 4 * y + 4), slice(4 * x, 4 * x + 4))
        counts = [(batch.labelled.label[n][at] == k).sum().item() / 16 for k in range(3)]
        vectors.append(features[(n, slice(None), *at)].mean(axis=(1, 2)))
        labels.append(int(np.argmax(counts)))
        shares.append(max(counts))
    labels = np.array(labels)
    assert set(labels.tolist()) == {0, 1, 2}
    expected = reference.supervised_contrast(
        np.array(vectors), labels, 0.1, hardness=2.0, importance=np.array(shares), anchors=labels > 0
    )
    assert found == pytest.approx(expected, rel=1e-4)


def test_bhpc_then_learns_the_labels_and_leaves_unlabelled_images_alone():
    m, batch = method("bhpc"), toy_batch()
    expected = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    for unlabelled in (batch.unlabelled, None):
        found = m.losses(Batch(batch.labelled, unlabelled), END)
        assert {name: found[name].item() for name in expected} == pytest.approx(expected, rel=1e-4)
        assert found["image_contrast"].item() == found["region_contrast"].item() == 0


def test_bhpc_learns_the_labels_with_moments_of_their_own():
    # Adam remembers squared gradients for a thousand steps, and those of the contrasts are far larger
    m, batch, total = method("bhpc", pretrain=0.5), toy_batch(), 5
    (optimizer,) = m.optimizers(lambda parameters: torch.optim.Adam(list(parameters), lr=0.1)).values()
    weight = m.network.head.weight

    def descend(terms, player=MAIN):
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()

    ages = []
    for step in range(total):
        m.step(batch, Clock(step, total), descend)
        ages.append({int(state["step"]) for state in optimizer.state.values()})
    assert ages == [{1}, {2}, {1}, {2}, {3}]  # the third of five steps is the first at half of the training
    assert weight in optimizer.state


def test_bhpc_regions_without_any_label_do_not_count():
    m, batch = method("bhpc"), blobs()
    label = torch.full_like(batch.labelled.label, IGNORE)
    terms = m.losses(Batch(Labelled(batch.labelled.image, label), batch.unlabelled), START)
    assert terms["region_contrast"].item() == 0


def test_bhpc_compares_regions_before_the_last_dropout():
    """Dropout of whole channels there leaves the contrast as it is; the head's input is zero in every channel."""
    task = Task("toy", 3, 1, ("background", "wall", "cavity"), (16, 16, 16), "px")
    build = partial(networks.make, "vnet", ndim=3, channels=1, classes=3, width=4, levels=3)
    batch, found = toy_batch(ndim=3), []
    for dropped in (0.0, 1.0):
        torch.manual_seed(0)
        m = get("bhpc")(task, get("bhpc").Hyper(regions=2), build).train()
        m.network.encoder.dropout.p, m.network.decoder.dropout.p = 0.0, dropped
        found.append(m._region_contrast(batch.labelled))
    assert found[0] > 0
    assert torch.equal(*found)
