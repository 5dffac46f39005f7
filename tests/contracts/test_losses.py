"""Every loss whose arguments are known by name keeps the contract; planted faults are reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from datasets.types import IGNORE

from . import checks_losses as contract
from .checks_losses import Loss, checks_for, discovered

LOSSES = dict(discovered())


@pytest.mark.parametrize(
    ("name", "check"),
    [pytest.param(n, c, id=f"{n}-{c.__name__}") for n, loss in LOSSES.items() for c in checks_for(loss)],
)
def test_loss(name: str, check: Callable[[Loss], None]) -> None:
    check(LOSSES[name])


def test_the_losses_of_labels_are_found_by_their_arguments() -> None:
    assert {"cross_entropy.cross_entropy", "overlap.dice_loss"} <= set(LOSSES)


def _background_where_unknown(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), torch.where(label == IGNORE, 0, label))


def _mean_over_nothing(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), label, ignore_index=IGNORE)


def _sum(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="sum")


def _climbs(logits: Tensor, label: Tensor) -> Tensor:
    return -_mean_over_nothing(logits, label)


def _changes_its_input(logits: Tensor, label: Tensor) -> Tensor:
    return _mean_over_nothing(logits.sub_(logits.amax(1, keepdim=True)), label)


def _half_the_gradient(logits: Tensor, label: Tensor) -> Tensor:
    return _mean_over_nothing((logits + logits.detach()) / 2, label)


def _log_of_zero(probs: Tensor, label: Tensor) -> Tensor:
    return F.nll_loss(probs.float().log(), label, ignore_index=IGNORE)


@pytest.mark.parametrize(
    ("loss", "check", "sentence"),
    [
        (_background_where_unknown, contract.check_ignored_pixels_do_not_count, "not close|label is IGNORE"),
        (_mean_over_nothing, contract.check_nothing_annotated_costs_nothing, "costs nan"),
        (_sum, contract.check_a_doubled_batch_is_the_batch, "not close"),
        (_climbs, contract.check_better_costs_less, "perfect"),
        (_changes_its_input, contract.check_inputs_are_not_modified, "'logits'. changed in place"),
        (_half_the_gradient, contract.check_gradient_is_the_difference_quotient, "tensor"),
        (_log_of_zero, contract.check_value_is_a_finite_float32, "not finite"),
    ],
)
def test_a_planted_fault_is_reported(loss: Loss, check: Callable[[Loss], None], sentence: str) -> None:
    with torch.random.fork_rng(), pytest.raises(AssertionError, match=sentence):
        check(loss)
