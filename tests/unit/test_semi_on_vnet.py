"""Every method on the other networks, V-Net with volumes, as of the left atrium: most tests run them on U-Nets."""

from __future__ import annotations

import pytest

import methods
from datasets.types import Batch, Task
from methods.base import Method
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
    require_learning(method(name, network="vnet", ndim=3, **_SMALL.get(name, {})).train(), toy_batch(ndim=3))


@pytest.mark.parametrize("network", ["unet_plus_plus", "transunet"])
@pytest.mark.parametrize("name", [name for name, family in methods.families().items() if family == "semi"])
def test_every_parameter_of_other_networks_learns(name: str, network: str):
    hyper = _SMALL.get(name, {}) | ({"critic_width": 2} if name == "duo_segnet" else {})
    require_learning(method(name, network=network, **hyper).train(), toy_batch(labelled=4))


def require_learning(m: Method, batch: Batch) -> None:
    """Finite terms that send gradient into every weight of the network."""
    terms = m.losses(batch, END)
    assert all(term.isfinite() for term in terms.values())
    sum(terms.values()).backward()
    silent = [key for key, p in m.network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # a bias before batch normalisation has no effect, and rounding alone leaves it some gradient
    assert [key for key in silent if not key.endswith(".bias")] == []
