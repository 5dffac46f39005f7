"""UniMatch: each term against a slow reference, and who is shown what, in which mode and for whom."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from datasets.types import IGNORE
from methods.base import Clock
from methods.semi import unimatch
from tests.unit.semi_toys import END, MIDDLE, assert_terms, logits_of, method, supervised, toy_batch
from tests.unit.strong_toys import (
    assert_same_gradients,
    dice,
    fix_views,
    fixed_boxes,
    strong_views,
    strongly,
    sure,
    toys,
    watched,
)

NDIMS = pytest.mark.parametrize("ndim", [2, 3])


# UniMatch -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def fixed_views(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    return fix_views(monkeypatch, unimatch)


@NDIMS
def test_unimatch_learns_sure_predictions_on_two_strong_views_and_on_perturbed_features(
    ndim: int, fixed_views: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
):
    m, batch = toys("unimatch", ndim, threshold=0.8, image_weight=2.0, feature_weight=3.0)
    monkeypatch.setattr(unimatch, "drop_channels", lambda features, p, training: [f * 0.7 for f in features])
    pseudo = sure(logits_of(m.network, batch.unlabelled.image), 0.8)
    assert 0.2 < (pseudo != IGNORE).float().mean() < 0.8
    before = torch.stack([pseudo[k - 1] for k in range(3)])
    differences = [
        dice(logits_of(m.network, view), torch.where(box[:, 0], before, pseudo))
        for box, view in strong_views(batch.unlabelled.image)
    ]
    assert differences[0] != differences[1]
    with torch.no_grad():
        features = [0.7 * f for f in m.network.encode(batch.unlabelled.image)]
        perturbed = m.network.head(m.network.decode(features)).numpy()
    expected = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    expected["image"] = 2.0 * (differences[0] + differences[1]) / 2
    expected["feature"] = 3.0 * dice(perturbed, pseudo)
    assert_terms(m.losses(batch, MIDDLE), expected)
    assert_terms(m.losses(batch, Clock(0, 101)), expected)  # no ramp


def test_the_weights_of_unimatch_are_the_released_ones_relative_to_the_supervised_loss():
    # ½ [L + ¼ D(s1) + ¼ D(s2) + ½ D(fp)]: relative to L, the mean of both views counts a half, and features another
    h = unimatch.Hyper()
    assert (h.image_weight / 2, h.image_weight / 2, h.feature_weight) == (0.25, 0.25, 0.5)


def test_unimatch_asks_for_strong_views_as_released(fixed_views: list[dict[str, object]]):
    m, batch = toys("unimatch", 2)
    m.losses(batch, END)
    view: list[dict[str, object]] = [
        {"p": 0.8, "brightness": 0.5, "contrast": 0.5},
        {"p": 0.5, "sigma": (0.1, 2.0)},
        {"p": 0.5, "device": torch.device("cpu")},  # shares and aspects are the defaults
    ]
    assert fixed_views == view + view


def test_unimatch_labels_what_it_pastes_in_evaluation_mode_and_the_rest_as_it_trains(
    fixed_views: list[dict[str, object]],
):
    m, batch = toys("unimatch", 2)
    m.train()
    shown = watched(m.network)
    m.losses(batch, END)
    pasting, weak, strong = shown
    assert (torch.equal(pasting[0], batch.unlabelled.image), *pasting[1:]) == (True, False, False)
    assert (torch.equal(weak[0], batch.images), *weak[1:]) == (True, True, True)
    views = torch.cat([view for _, view in strong_views(batch.unlabelled.image)])
    torch.testing.assert_close(strong[0], views)  # one batch of both
    assert strong[1:] == (True, True)
    assert all(layer.training for layer in m.network.modules())
    assert all(p.requires_grad for p in m.network.parameters())


def test_the_label_of_what_is_pasted_is_the_evaluated_networks_and_that_around_it_is_not(
    fixed_views: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
):
    m, batch = toys("unimatch", 2, threshold=0.0)
    m.train()
    mode: list[bool] = []
    m.network.encoder.register_forward_pre_hook(lambda part, _: mode.append(part.training))
    targets: list[Tensor] = []
    known = unimatch.confident_labels
    # 1 where the evaluated network labels, 2 where the training one does
    monkeypatch.setattr(unimatch, "confident_labels", lambda z, t: torch.full_like(known(z, t), 2 if mode[-1] else 1))
    monkeypatch.setattr(unimatch, "_dice", lambda z, label: (targets.append(label), z.sum())[1])
    m.losses(batch, END)
    for target, box in zip(targets, fixed_boxes(3, (16, 16)), strict=False):
        assert torch.equal(target, torch.where(box[:, 0], 1, 2))
    assert (targets[2] == 2).all()


def test_unimatch_drops_whole_channels_of_every_feature_map_for_the_perturbed_view_alone():
    m, batch = toys("unimatch", 2, feature_dropout=0.5)
    m.train()
    seen: list[list[Tensor]] = []
    m.network.decoder.register_forward_pre_hook(lambda _, given: seen.append([f.detach() for f in given[0]]))
    m.losses(batch, END)
    _, features, _ = seen  # those of pasted images and of strong views are decoded by themselves
    dropped = []
    for maps in features:
        clean, perturbed = maps.chunk(2)
        assert len(clean) == 5  # labelled ones too, as released
        gone = (perturbed == 0).flatten(2).all(dim=2)
        twice = torch.where(gone.view(*gone.shape, 1, 1), 0, 2 * clean)
        torch.testing.assert_close(perturbed, twice)
        dropped.append(gone.float().mean().item())
    assert all(0.2 < share < 0.8 for share in dropped)


@pytest.mark.parametrize("term", ["image", "feature"])
def test_unimatch_learns_through_strong_views_and_perturbed_features_alone(
    term: str, fixed_views: list[dict[str, object]]
):
    """Gradients of the written-out terms, whose pseudo labels are fixed."""
    m, batch = toys("unimatch", 2, threshold=0.6)
    u = batch.unlabelled.image
    pseudo = sure(logits_of(m.network, u), 0.6)
    before = torch.stack([pseudo[k - 1] for k in range(3)])
    if term == "feature":
        expected = 0.5 * written_out(m.network(u), pseudo)
    else:
        views = [written_out(m.network(view), torch.where(box[:, 0], before, pseudo)) for box, view in strong_views(u)]
        expected = 0.5 * torch.stack(views).mean()
    assert_same_gradients(m.losses(batch, END)[term], expected, m)


def written_out(logits: Tensor, label: Tensor) -> Tensor:
    """Squared Dice over the known pixels of a batch, the mean over classes."""
    probs, known = torch.softmax(logits, dim=1), label != IGNORE
    losses = []
    for k in range(probs.shape[1]):
        p, g = probs[:, k][known], (label[known] == k).float()
        losses.append(1 - (2 * (p * g).sum() + 1e-5) / ((p * p).sum() + g.sum() + 1e-5))
    return torch.stack(losses).mean()


def test_one_unlabelled_image_has_nothing_to_paste(fixed_views: list[dict[str, object]]):
    m, batch = method("unimatch"), toy_batch(unlabelled=1)
    shown = watched(m.network)
    m.losses(batch, END)
    plain = [(strongly(batch.unlabelled.image) + plus).roll(1, -1) for plus in (0.2, 0.0)]
    torch.testing.assert_close(shown[2][0], torch.cat(plain))
