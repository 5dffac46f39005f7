"""Every registered network keeps the contract in two and three dimensions; planted faults are reported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from methods import networks
from methods.networks.base import SegmentationNetwork

from . import checks_networks as contract
from .checks_networks import EVERY, Make

Check = Callable[[Make, int], None]


@pytest.mark.parametrize(
    ("name", "ndim", "check"),
    [
        pytest.param(name, ndim, check, id=f"{name}-{ndim}d-{check.__name__}")
        for name in networks.names()
        for ndim in (2, 3)
        for check in EVERY
    ],
)
def test_network(name: str, ndim: int, check: Check) -> None:
    check(partial(networks.make, name), ndim)


def _broken(break_it: Callable[[SegmentationNetwork], Any]) -> Make:
    def make(**fields: Any) -> SegmentationNetwork:
        network = networks.make("unet", **fields)
        break_it(network)
        return network

    return make


def _understate_channels(network: SegmentationNetwork) -> None:
    network.channels = (*network.channels[:-1], 5)


def _understate_divisor(network: SegmentationNetwork) -> None:
    network.divisor //= 2


def _forget_a_layer(network: SegmentationNetwork) -> None:
    network.unused = nn.Linear(2, 2)


def _share_the_head(network: SegmentationNetwork) -> None:
    network.new_head = lambda outputs=None: network.head  # type: ignore[method-assign]


def _ignore_the_seed(network: SegmentationNetwork) -> None:
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(0.1)


@pytest.mark.parametrize(
    ("break_it", "check", "sentence"),
    [
        (_understate_channels, contract.check_channels_and_sizes_are_as_stated, "channels says"),
        (_understate_divisor, contract.check_divisor_is_true, "are multiples of divisor 2, but"),
        (_forget_a_layer, contract.check_gradients_reach_every_parameter, "no gradient reaches .*unused"),
        (_share_the_head, contract.check_new_parts_are_independent, "shares .* with the network"),
        (_ignore_the_seed, contract.check_seed_decides_initialisation, "different seeds make the same network"),
    ],
)
def test_a_planted_fault_is_reported(break_it: Callable[..., Any], check: Check, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check(_broken(break_it), 2)
