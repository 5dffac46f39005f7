"""CrossMatch: terms by slow references, whose labels teach whom, thresholds, and who is shown what in which mode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.types import IGNORE
from methods.base import Clock
from methods.semi import crossmatch
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

KEPT = {"weak": 0.75, "strong": 0.25}  # of features, in place of dropping a quarter and three quarters of the channels
CONSTANT = {"threshold": 0.7, "threshold_end": 0.7}


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """As :func:`fix_views`, and features draw nothing; strong ones are not weak ones."""
    monkeypatch.setattr(crossmatch, "drop_channels", lambda features, p, training: [f * (1 - p) for f in features])
    return fix_views(monkeypatch, crossmatch)


def before_each(maps: Tensor) -> Tensor:
    return torch.stack([maps[k - 1] for k in range(len(maps))])


def decoded(m: crossmatch.CrossMatch, image: Tensor, kept: float) -> Tensor:
    return m.network.head(m.network.decode([kept * f for f in m.network.encode(image)]))


def labels(m: crossmatch.CrossMatch, image: Tensor, kept: float, box: Tensor | None = None) -> Tensor:
    """Sure classes of a decoding; with a box, those of the image before in it."""
    with torch.no_grad():
        own = sure(decoded(m, image, kept).numpy(), 0.7)
    return own if box is None else torch.where(box[:, 0], before_each(own), own)


def pairs(m: crossmatch.CrossMatch, image: Tensor) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Logits and what they learn, of each unsupervised term."""
    box, box_2 = fixed_boxes(len(image), tuple(image.shape[2:]))
    view, view_2 = (view for _, view in strong_views(image))
    clean, weak, strong = 1.0, KEPT["weak"], KEPT["strong"]
    return {
        "image": [
            (decoded(m, view, clean), labels(m, image, clean, box)),
            (decoded(m, view_2, clean), labels(m, image, clean, box_2)),
        ],
        "teacher": [
            (decoded(m, image, weak), labels(m, image, clean)),
            (decoded(m, image, strong), labels(m, image, clean)),
            (decoded(m, view_2, weak), labels(m, image, clean, box_2)),
            (decoded(m, view_2, strong), labels(m, image, clean, box_2)),
        ],
        "decoder": [
            (decoded(m, view_2, weak), labels(m, image, weak, box_2)),
            (decoded(m, view_2, strong), labels(m, image, strong, box_2)),
        ],
    }


WEIGHTS = {"image": 2.0, "teacher": 3.0 * 0.6, "decoder": 3.0 * 0.4}
WEIGHED = {"image_weight": 2.0, "distillation": 3.0, "eta": 0.4}


@pytest.mark.parametrize(("ndim", "classes"), [(2, 3), (3, 3), (2, 2)])
def test_terms_are_those_of_the_definition(ndim: int, classes: int, fixed: list[dict[str, object]]):
    side = 16 if ndim == 2 else 8
    m = method("crossmatch", ndim=ndim, side=side, classes=classes, **CONSTANT, **WEIGHED)
    batch = toy_batch(ndim=ndim, side=side, classes=classes)
    expected = supervised(logits_of(m.network, batch.labelled.image), batch.labelled.label)
    different = set()
    for term, taught in pairs(m, batch.unlabelled.image).items():
        losses = [dice(logits.detach().numpy(), label) for logits, label in taught]
        expected[term] = WEIGHTS[term] * float(np.mean(losses))
        assert all(0.05 < (label != IGNORE).float().mean() < 1 for _, label in taught)
        different.update(losses)
    assert len(different) == 8
    assert_terms(m.losses(batch, MIDDLE), expected)
    assert_terms(m.losses(batch, Clock(0, 101)), expected)  # no ramp of weights


@pytest.mark.parametrize("term", WEIGHTS)
def test_learns_through_strong_views_and_dropped_features_and_labels_are_fixed(
    term: str, fixed: list[dict[str, object]]
):
    m, batch = toys("crossmatch", 2, **CONSTANT, **WEIGHED)
    written = [written_out(*pair) for pair in pairs(m, batch.unlabelled.image)[term]]
    assert_same_gradients(m.losses(batch, END)[term], WEIGHTS[term] * torch.stack(written).mean(), m)


def written_out(logits: Tensor, label: Tensor) -> Tensor:
    """Squared Dice over the known pixels of a batch, the mean over classes."""
    probs, known = torch.softmax(logits, dim=1), label != IGNORE
    losses = []
    for k in range(probs.shape[1]):
        p, g = probs[:, k][known], (label[known] == k).float()
        losses.append(1 - (2 * (p * g).sum() + 1e-5) / ((p * p).sum() + g.sum() + 1e-5))
    return torch.stack(losses).mean()


def test_weights_are_the_released_ones_relative_to_the_supervised_loss():
    # ½ [L + ¼ D(s1) + ¼ D(s2) + 0.7 · mean of 4 + 0.3 · mean of 2]
    h = crossmatch.Hyper()
    assert (h.image_weight / 2, h.distillation * (1 - h.eta), h.distillation * h.eta) == (0.25, 0.7, 0.3)


@pytest.mark.parametrize(
    ("variant", "progress", "expected"),
    [
        ("intended", 0.0, 0.75 + 0.25 * np.exp(-5)),
        # half of 14 000 steps is 7 / 17 of the ramp: exp(-5 (10 / 17)²) = 0.1773
        ("intended", 0.5, 0.79432),
        # all of them are 14 / 17 of it: exp(-5 (3 / 17)²) = 0.8558
        ("intended", 1.0, 0.96395),
        ("released", 0.0, 0.52103),  # of UA-MT, semi §1.6
        ("released", 1.0, 0.66816),
    ],
)
def test_thresholds_rise_as_in_the_code_of_which_the_released_ones_are_of_an_entropy(
    variant: str, progress: float, expected: float, monkeypatch: pytest.MonkeyPatch
):
    m, batch = toys("crossmatch", 2, variant=variant)
    asked: list[float] = []
    known = crossmatch.confident_labels
    monkeypatch.setattr(crossmatch, "confident_labels", lambda z, t: (asked.append(float(t)), known(z, t))[1])
    m.losses(batch, Clock(round(100 * progress), 101))
    assert asked == pytest.approx([expected] * 6, rel=1e-4)  # three decodings, and those of what is pasted


def test_the_label_of_what_is_pasted_is_the_evaluated_networks_and_that_around_it_is_not(
    fixed: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
):
    m, batch = toys("crossmatch", 2)
    m.train()
    shown = watched(m.network)
    targets: list[Tensor] = []
    asked: list[int] = []

    def marked(logits: Tensor, threshold: float) -> Tensor:
        """0 to 2: the training network's clean, weak and strong decodings; 3 to 5: those of the evaluated one."""
        asked.append(len(asked))
        return torch.full_like(logits[:, 0], asked[-1], dtype=torch.int64)

    monkeypatch.setattr(crossmatch, "confident_labels", marked)
    monkeypatch.setattr(crossmatch, "_dice", lambda z, label: (targets.append(label), z.sum())[1])
    m.losses(batch, END)
    pasting, plain, strong = shown
    assert (torch.equal(pasting[0], batch.unlabelled.image), *pasting[1:]) == (True, False, False)
    assert (torch.equal(plain[0], batch.images), *plain[1:]) == (True, True, True)
    torch.testing.assert_close(
        strong[0], torch.cat([view for _, view in strong_views(batch.unlabelled.image)])
    )  # one batch of both
    assert strong[1:] == (True, True)
    assert all(layer.training for layer in m.network.modules())
    assert all(p.requires_grad for p in m.network.parameters())
    box, box_2 = (b[:, 0] for b in fixed_boxes(3, (16, 16)))
    boxed = [torch.where(box_2, 3 + k, k) for k in range(3)]
    none = torch.zeros_like(boxed[0])
    expected = [torch.where(box, 3, 0), boxed[0], none, none, boxed[0], boxed[0], boxed[1], boxed[2]]
    assert [t.tolist() for t in targets] == [e.tolist() for e in expected]


def test_channels_are_dropped_for_unlabelled_images_alone_by_a_quarter_and_by_three_quarters():
    m, batch = toys("crossmatch", 2)
    m.train()
    seen: list[list[Tensor]] = []
    m.network.decoder.register_forward_pre_hook(lambda _, given: seen.append([f.detach() for f in given[0]]))
    m.losses(batch, END)
    assert [len(maps[0]) for maps in seen] == [3 * 3, 2 + 3 * 3, 4 * 3]  # pasted; labelled and others; two views
    lost: dict[float, list[float]] = {0.25: [], 0.75: []}
    for maps, first in zip(seen, (0, 2, 3), strict=True):
        for of_level in maps:
            _, clean, *dropped = of_level.split([first, 3, 3, 3])
            for p, found in zip(lost, dropped, strict=True):
                gone = (found == 0).flatten(2).all(dim=2)
                kept = torch.where(gone.view(*gone.shape, 1, 1), 0, clean / (1 - p))
                torch.testing.assert_close(found, kept)
                lost[p].append(gone.float().mean().item())
    assert np.mean(lost[0.25]) == pytest.approx(0.25, abs=0.12)
    assert np.mean(lost[0.75]) == pytest.approx(0.75, abs=0.12)


def test_labels_concern_labelled_images_and_the_rest_the_others(fixed: list[dict[str, object]]):
    m, batch, other = method("crossmatch", **CONSTANT), toy_batch(), toy_batch()
    before = m.losses(batch, END)
    for part, expected in (("labelled", {"ce", "dice"}), ("unlabelled", {"image", "teacher", "decoder"})):
        fixed.clear()
        after = m.losses(replace(batch, **{part: getattr(other, part)}), END)
        assert {name for name in before if not torch.isclose(before[name], after[name], rtol=1e-4)} == expected


def test_strong_views_are_the_released_ones(fixed: list[dict[str, object]]):
    m, batch = toys("crossmatch", 2)
    m.losses(batch, END)
    view: list[dict[str, object]] = [
        {"p": 0.8, "brightness": 0.5, "contrast": 0.5},
        {"p": 0.5, "sigma": (0.1, 2.0)},
        {"p": 0.5, "device": torch.device("cpu")},
    ]
    assert fixed == view + view


def test_one_unlabelled_image_has_nothing_to_paste(fixed: list[dict[str, object]]):
    m, batch = method("crossmatch"), toy_batch(unlabelled=1)
    shown = watched(m.network)
    m.losses(batch, END)
    plain = [(strongly(batch.unlabelled.image) + plus).roll(1, -1) for plus in (0.2, 0.0)]
    torch.testing.assert_close(shown[2][0], torch.cat(plain))
