"""Every ramped term ramps over the share of training that it is told, not over another one."""

from __future__ import annotations

import math

import pytest
import torch

from tests.unit.semi_toys import MIDDLE, blobs, method, moved

RAMPED = {
    "mean_teacher": ["consistency"],
    "ua_mt": ["consistency"],
    "ac_mt": ["consistency"],
    "ad_mt": ["pseudo"],
    "ict": ["consistency"],
    "cps": ["pseudo_1", "pseudo_2"],
    "cross_teaching": ["pseudo_1", "pseudo_2"],
    "mcf": ["correction"],
    "ss_net": ["smoothness", "separation_labelled", "separation_unlabelled"],
    "dan": ["adversarial"],
    "urpc": ["consistency"],
    "r_drop": ["divergence"],
    "entropy_minimisation": ["entropy"],
    "cct": ["consistency"],
    "dtc": ["consistency"],
    "sassnet": ["adversarial"],
    "cpcl": ["stability", "l2u", "u2l"],
    "cvcl": ["stability", "pcl", "vcl_unlabelled"],
    "mc_net": ["consistency"],
    "cc_net": ["consistency"],
    "dcpa": ["consistency"],
    "fixmatch": ["pseudo_ce", "pseudo_dice"],
}
SMALL = {
    "dan": {"critic_width": 4},
    "sassnet": {"critic_width": 4},
    "cvcl": {"confidence": 0.0},
    "fixmatch": {"threshold": 0.0},
}


def ramped(name: str, ramp: float) -> dict[str, float]:
    """What the ramped terms are worth at half of training, everything but the ramp alike."""
    torch.manual_seed(1)
    m, batch = method(name, ramp=ramp, **SMALL.get(name, {})), blobs()
    if hasattr(m, "teacher"):
        moved(m.teacher, by=1.2)
    if name == "r_drop":
        m.train()  # two passes differ by dropout alone
    terms = m.losses(batch, MIDDLE)
    return {term: terms[term].item() for term in RAMPED[name]}


@pytest.mark.parametrize("name", RAMPED)
def test_a_ramp_over_half_of_training_is_full_at_half_of_it_where_one_over_all_is_not(name: str):
    full, partial = ramped(name, 0.5), ramped(name, 1.0)
    assert all(value > 0 for value in full.values())
    assert full == pytest.approx({term: value * math.exp(5 / 4) for term, value in partial.items()}, rel=1e-5)
