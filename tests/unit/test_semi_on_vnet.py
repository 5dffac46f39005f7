"""Every method of volumes on V-Net, the network of the left atrium: the other tests run them on U-Nets."""

from __future__ import annotations

import pytest

import methods
from datasets.types import Task
from tests.unit.semi_toys import END, method, toy_batch

_VOLUMES = Task("toy", 3, 1, ("background", "wall", "cavity"), (16, 16, 16), "mm")
_SMALL = {"sassnet": {"critic_width": 2}, "dan": {"critic_width": 2}}
NAMES = [
    name
    for name, family in methods.families().items()
    if family == "semi" and methods.get(name).unsupported(_VOLUMES) is None
]


def test_there_are_such_methods():
    assert {"supervised", "ua_mt", "cvcl", "mc_net", "urpc", "ict", "dan", "cct", "r_drop", "bcp"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_vnet_learns(name: str):
    m = method(name, network="vnet", ndim=3, **_SMALL.get(name, {})).train()
    terms = m.losses(toy_batch(ndim=3), END)
    assert all(term.isfinite() for term in terms.values())
    sum(terms.values()).backward()
    silent = [key for key, p in m.network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # a bias before batch normalisation has no effect, and rounding alone leaves it some gradient
    assert [key for key in silent if not key.endswith(".bias")] == []
