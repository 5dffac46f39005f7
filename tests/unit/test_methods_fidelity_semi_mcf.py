"""MCF: terms by hand, who corrects whom, what is reviewed, who predicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from datasets.types import IGNORE, Labelled
from methods import networks
from methods.networks import unet, vnet
from tests.reference import losses as reference
from tests.unit.semi_toys import (
    END,
    MIDDLE,
    assert_terms,
    logits_of,
    method,
    moved,
    ramp,
    reached,
    supervised,
    toy_batch,
)


def reviewed(logits: np.ndarray, other: np.ndarray, label: np.ndarray) -> float:
    """Mean over classes and the known pixels where the most probable classes differ, one by one."""
    probs, total, count = reference.softmax(logits), 0.0, 0
    for n, place, own in reference.pixels(label):
        here = (n, slice(None), *place)
        if logits[here].argmax() != other[here].argmax():
            wanted = np.eye(logits.shape[1])[own]
            total, count = total + ((probs[here] - wanted) ** 2).mean(), count + 1
    assert count, "the two nowhere differ"
    return total / count


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("classes", [2, 3])
def test_terms_are_those_of_the_definition_and_the_better_network_on_labels_teaches(ndim: int, classes: int):
    teachers = set()
    for seed in range(6):
        torch.manual_seed(seed)
        m, batch = (
            method("mcf", ndim=ndim, classes=classes, weight=3.0, review=0.7),
            toy_batch(ndim=ndim, classes=classes),
        )
        batch.labelled.label[0, 0] = IGNORE
        first, second = logits_of(m.network, batch.images), logits_of(m.network2, batch.images)
        label, expected, dice = batch.labelled.label, {}, []
        for k, mine, other in ((1, first, second), (2, second, first)):
            of_labels = supervised(mine[:2], label)
            expected |= {f"{name}_{k}": 2 * value for name, value in of_labels.items()}
            expected[f"review_{k}"] = 0.7 * reviewed(mine[:2], other[:2], label.numpy())
            dice.append(of_labels["dice"])
        teacher, pupil = (first, second) if dice[0] < dice[1] else (second, first)
        teachers.add(dice[0] < dice[1])
        sharp = reference.softmax(teacher[2:] / 0.1)
        expected["correction"] = 3.0 * ramp() * reference.squared_difference(reference.softmax(pupil[2:]), sharp)
        assert_terms(m.losses(batch, MIDDLE), expected)
    assert teachers == {True, False}, "one network taught in all draws"


def test_only_the_worse_network_is_corrected_and_what_it_is_taught_is_no_way_back():
    for seed in range(4):
        torch.manual_seed(seed)
        m = method("mcf")
        terms = m.losses(toy_batch(), END)
        first_is_better = bool(terms["dice_1"] < terms["dice_2"])
        correction = terms.pop("correction")
        taught = {name: (reached(term, m.network), reached(term, m.network2)) for name, term in terms.items()}
        assert taught == {name: (name.endswith("1"), name.endswith("2")) for name in terms}
        # a zero gradient of the other one is none
        correction.backward()
        moved_by = [max(float(p.grad.abs().max()) for p in part.parameters() if p.grad is not None)
                    for part in (m.network, m.network2)]  # fmt: skip
        assert [size > 0 for size in moved_by] == [not first_is_better, first_is_better]


def test_networks_that_agree_review_nothing():
    m, batch = method("mcf"), toy_batch()
    m.network2 = m.network
    terms = m.losses(batch, END)
    assert terms["review_1"] == terms["review_2"] == 0


def test_without_dice_the_cross_entropy_says_who_is_better():
    batch = toy_batch()
    m = method("mcf", dice_share=0.0)
    moved(m.network2, by=3.0)
    terms = m.losses(batch, END)
    assert terms["dice_1"] == terms["dice_2"] == 0
    pupil, teacher = (m.network2, m.network) if terms["ce_1"] < terms["ce_2"] else (m.network, m.network2)
    unlabelled = batch.images[2:]
    sharp = reference.softmax(logits_of(teacher, unlabelled) / 0.1)
    found = reference.squared_difference(reference.softmax(logits_of(pupil, unlabelled)), sharp)
    assert terms["correction"].item() == pytest.approx(0.1 * found, rel=1e-4)


def test_labels_concern_labelled_images_and_the_correction_the_others():
    m, batch, other = method("mcf"), toy_batch(), toy_batch()
    before = m.losses(batch, END)
    of_unlabelled = m.losses(replace(batch, unlabelled=other.unlabelled), END)
    changed = {name for name in before if not torch.isclose(before[name], of_unlabelled[name], rtol=1e-4)}
    assert changed == {"correction"}
    nothing = torch.full_like(batch.labelled.label, IGNORE)
    unknown = m.losses(replace(batch, labelled=Labelled(batch.labelled.image, nothing)), END)
    assert all(unknown[name] == 0 for name in unknown if name != "correction")


def test_the_partner_is_another_network_and_both_predict():
    m = method("mcf", network="vnet")
    assert isinstance(m.network, vnet.Network)
    assert isinstance(m.network2, unet.Network)
    image = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        first, second = (torch.softmax(part(image), dim=1) for part in (m.network, m.network2))
        torch.testing.assert_close(m.predict(image), (first + second) / 2)
        others = m.other_predictions()
        torch.testing.assert_close(others["first"](image), first)
        torch.testing.assert_close(others["second"](image), second)
    assert set(others) == {"first", "second"}
    assert isinstance(method("mcf", partner="vnet").network2, vnet.Network)
    assert set(networks.names()) >= {"unet", "vnet"}
