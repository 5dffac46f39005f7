"""A weight of 0 leaves the labels alone to teach, bit for bit: no unlabelled term acts behind its weight."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from methods.base import Terms
from methods.family import supervised_terms
from methods.losses.overlap import foreground_dice_loss
from tests.unit.semi_toys import method, require_equal_networks, toy_batch, trained, trained_on_labels

pytestmark = pytest.mark.parametrize("ndim", [2, 3])
OFF = {"weight": 0.0}
ALONE = {
    "mean_teacher": OFF,
    "entropy_minimisation": OFF,
    "ua_mt": OFF,
    "ac_mt": OFF,
    "cps": OFF,
    "cross_teaching": OFF,
    "dan": OFF | {"critic_width": 2},
    "r_drop": OFF | {"variant": "released"},
    "cct": OFF,
    "cpcl": OFF,
    "cvcl": OFF | {"class_weight": 0.0, "voxel_weight": 0.0},
}


@pytest.mark.parametrize("name", ALONE)
def test_without_weight_the_network_learns_as_supervised_on_the_same_batch(name: str, ndim: int):
    """Supervised on the labelled half, with batch normalisation over the whole batch."""
    batch, ends = toy_batch(ndim=ndim), []
    for train in (trained, partial(trained_on_labels, terms=partial(supervised_terms, dice_share=0.5))):
        torch.manual_seed(1)
        ends.append(train(method(name, ndim=ndim, **ALONE[name]), batch))
    require_equal_networks(*ends)


def foreground_dice(logits: Tensor, label: Tensor) -> Terms:
    """The supervised loss of the shape-aware methods."""
    return {"dice": foreground_dice_loss(torch.softmax(logits.float(), dim=1), label)}


@pytest.mark.parametrize("name", ["sassnet", "dtc"])
def test_without_weights_the_shape_aware_methods_learn_by_dice_on_the_same_batch(name: str, ndim: int):
    hyper = OFF | {"distance": 0.0} | ({"critic_width": 2} if name == "sassnet" else {})
    batch, ends = toy_batch(ndim=ndim), []
    for train in (trained, partial(trained_on_labels, terms=foreground_dice)):
        torch.manual_seed(1)
        ends.append(train(method(name, ndim=ndim, **hyper), batch))
    require_equal_networks(*ends, within=1e-7)  # a part of a softmax rounds otherwise than the softmax of a part


def test_without_contrasts_bhpc_is_supervised_learning_on_the_labelled_images(ndim: int):
    batch, ends = toy_batch(ndim=ndim), []
    for m in (partial(method, "bhpc", ndim=ndim, pretrain=0.0), partial(method, "supervised", ndim=ndim)):
        torch.manual_seed(1)
        ends.append(trained(m(), batch))
    require_equal_networks(*ends)


def test_without_weight_bcp_learns_from_the_labelled_regions_alone(ndim: int):
    batch, ends = toy_batch(ndim=ndim), []
    for leave_out in ((), ("pseudo_ce", "pseudo_dice")):
        torch.manual_seed(1)
        ends.append(trained(method("bcp", ndim=ndim, pretrain=0.0, **OFF), batch, leave_out=leave_out))
    require_equal_networks(*ends, prefix="")


OWN_LOSS = {
    "ict": "consistency",
    "urpc": "consistency",
    "ad_mt": "pseudo",
    "cct": "consistency",
    "mc_net": "consistency",
    "cc_net": "consistency",
    "dcpa": "consistency",
    "dtc": "consistency",
    "r_drop": "divergence",
    "sassnet": "adversarial",
}


@pytest.mark.parametrize("name", OWN_LOSS)
def test_a_term_without_weight_is_as_if_it_were_not_there(name: str, ndim: int):
    """For methods whose supervised terms are of several outputs, or of other images than the batch's."""
    hyper = OFF | ({"critic_width": 2} if name == "sassnet" else {})
    batch, ends = toy_batch(ndim=ndim), []
    for leave_out in ((), (OWN_LOSS[name],)):
        torch.manual_seed(1)
        ends.append(trained(method(name, ndim=ndim, **hyper), batch, leave_out=leave_out))
    require_equal_networks(*ends, prefix="")


def test_with_weight_the_unlabelled_images_do_teach(ndim: int):
    """The tests above could not fail otherwise."""
    batch, ends = toy_batch(ndim=ndim), []
    for weight in (0.0, 1.0):
        torch.manual_seed(1)
        ends.append(trained(method("entropy_minimisation", ndim=ndim, weight=weight), batch))
    with pytest.raises(AssertionError):
        require_equal_networks(*ends)
