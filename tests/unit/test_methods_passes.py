"""In which passes batches go through networks and teachers, and in which mode: batch normalisation counts them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods.base import Clock, Method
from tests.unit import scribble_toys
from tests.unit.semi_toys import END, method, toy_batch

SMALL = {"dan": {"critic_width": 4}, "sassnet": {"critic_width": 4}, "duo_segnet": {"critic_width": 4}}
PASSES = {  # of the networks in one step, each normalised by itself, as released
    "supervised": [1],
    "entropy_minimisation": [1],
    "mean_teacher": [1],
    "ua_mt": [1],
    "ac_mt": [1],
    "ad_mt": [1],
    "ict": [1],
    "cpcl": [1],
    "cvcl": [1],
    "mc_net": [1],
    "cc_net": [1],
    "dcpa": [1],
    "urpc": [1],
    "cct": [1],
    "dtc": [1],
    "sassnet": [1],
    "dan": [1],
    "r_drop": [2],
    "bcp": [2],
    "fixmatch": [2],
    "unimatch": [2],
    "cps": [1, 1],
    "cross_teaching": [1, 1],
    "mcf": [1, 1],
    "ss_net": [3],
    "min_max_similarity": [2, 2],
    "duo_segnet": [2, 2],
    "deep_co_training": [4, 4],
}
TAUGHT = {  # of the teachers
    "mean_teacher": 1,
    "ua_mt": 1 + 4,
    "ac_mt": 1,
    "ad_mt": 1,
    "ict": 2,
    "bcp": 2,
    "cpcl": 2,
    "cvcl": 2,
    "dcpa": 1,
}


def counted(network: nn.Module) -> int:
    """Training passes that the first batch normalisation has seen."""
    return next(int(layer.num_batches_tracked) for layer in network.modules() if isinstance(layer, _BatchNorm))


@pytest.mark.parametrize("name", PASSES)
def test_images_of_one_kind_go_through_a_network_together_and_others_apart(name: str):
    m = method(name, **SMALL.get(name, {})).train()
    m.step(toy_batch(labelled=4, unlabelled=4), END, lambda terms, player="main": None)
    found = [counted(getattr(m, part)) for part in ("network", "network2") if hasattr(m, part)]
    assert found == PASSES[name]


def test_bcp_mixes_labelled_images_in_one_pass_first():
    m = method("bcp", pretrain=0.5).train()
    m.losses(toy_batch(labelled=4, unlabelled=4), Clock(0, 101))
    assert (counted(m.network), counted(m.teacher)) == (1, 0)


@pytest.mark.parametrize("name", TAUGHT)
def test_a_teacher_is_in_training_mode_while_its_student_is(name: str):
    """As released: it draws dropout of its own, and normalises by the batch that it sees."""
    m, batch = method(name).train(), toy_batch(labelled=4, unlabelled=4)
    m.losses(batch, END)
    assert all(layer.training for layer in m.teacher.modules())
    assert counted(m.teacher) == TAUGHT[name]
    assert not torch.equal(m.teach(batch.unlabelled.image), m.teach(batch.unlabelled.image))  # dropout
    seen = counted(m.teacher)
    m.eval().losses(batch, END)
    assert counted(m.teacher) == seen


def test_the_teacher_of_ustm_is_in_training_mode_in_all_of_its_passes():
    m = scribble_toys.method("ustm").train()
    m.losses(scribble_toys.scribbled(), scribble_toys.END)
    assert counted(m.teacher) == 1 + 4


def followed(m: Method) -> Method:
    """Every parameter and buffer of the student is somewhere else."""
    with torch.no_grad():
        for tensor in [*m.network.parameters(), *m.network.buffers()]:
            tensor.add_(1)
    return m


@pytest.mark.parametrize("step", [0, 60])
@pytest.mark.parametrize("name", [*TAUGHT, "ustm"])
def test_a_teacher_follows_the_parameters_and_keeps_the_statistics_of_its_own_passes(name: str, step: int):
    m = followed(scribble_toys.method(name) if name == "ustm" else method(name))
    parameters = [p.clone() for p in m.teacher.parameters()]
    buffers = [b.clone() for b in m.teacher.buffers()]
    m.after_step(Clock(step, 101))
    assert buffers
    assert all(torch.equal(was, now) for was, now in zip(buffers, m.teacher.buffers(), strict=True))
    assert not any(torch.equal(was, now) for was, now in zip(parameters, m.teacher.parameters(), strict=True))
