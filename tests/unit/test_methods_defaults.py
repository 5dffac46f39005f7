"""Defaults are the published numbers, copied from the specifications by hand: the code is not what they are read from.

A section is of semi_supervised.md, scribble.md or surgical_and_datasets.md. Ramps are shares of training: R units of
150 steps over the steps of the published run. Where no number is published, or this project departs from it on purpose,
as the method's "Differences" say, a comment says so.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, RMSprop

import methods
from methods.banks import PrototypeGuide
from methods.semi import cvcl
from tests.unit import scribble_toys, semi_toys

HALF_AND_HALF = {"dice_share": 0.5}  # semi §1.7: ½ (cross-entropy + Dice)
TEACHER = HALF_AND_HALF | {"ema_limit": 0.99}  # semi §1.5
NOISE = {"noise": 0.1, "noise_clip": 0.2}  # semi §3.2: clamp(0.1 N(0, 1), ±0.2)
SSL4MIS = {"weight": 0.1, "ramp": 200 * 150 / 30_000}  # semi §2
INTENDED = {"variant": "intended"}

PUBLISHED: dict[str, dict[str, Any]] = {
    # semi-supervised
    "supervised": HALF_AND_HALF,
    "supervised_pair": HALF_AND_HALF | {"partner": "same"},
    "mean_teacher": TEACHER | SSL4MIS | NOISE | {"evaluate": "student"},  # §3.2, §5
    "entropy_minimisation": HALF_AND_HALF | SSL4MIS,  # §3.3
    "ua_mt": TEACHER | NOISE | INTENDED | {"weight": 0.1, "ramp": 40 * 150 / 6000, "passes": 8},  # §3.4
    "sassnet": INTENDED  # §3.5; the weight for 16 labelled scans
    | {"weight": 0.01, "ramp": 40 * 150 / 6000, "distance": 0.3, "critic_lr": 1e-4, "critic_width": 64},
    "dtc": INTENDED | {"weight": 1.0, "ramp": 40 * 150 / 6000, "distance": 0.3, "steepness": 1500.0},  # §3.6
    "cpcl": TEACHER  # §3.7; gradient through prototypes is this project's
    | NOISE
    | INTENDED
    | {"weight": 0.1, "ramp": 40 * 150 / 10_000, "u2l": 10.0, "sharpness": 20.0, "prototype_gradient": True},
    "cvcl": TEACHER  # §3.8, "as described": 100 positives for each of two samples
    | NOISE
    | INTENDED
    | {"weight": 0.1, "ramp": 40 * 150 / 10_000, "pcl": True, "vcl_labelled": True, "vcl_unlabelled": True}
    | {"mining": "mined", "class_weight": 0.2, "voxel_weight": 0.6, "voxels": 2 * 100, "hardness": 0.0}
    | {"temperature": 0.1, "confidence": 0.8, "margin": 0.1, "width": 32},
    "bhpc": HALF_AND_HALF  # §3.9; phases, regions, gain and noise are this project's
    | NOISE
    | {"hardness": 0.1, "image_temperature": 0.5, "region_temperature": 0.1}
    | {"pretrain": 0.4, "regions": 8, "gain": 0.2},
    "ict": TEACHER | SSL4MIS | {"alpha": 0.2},  # §3.10
    "dan": HALF_AND_HALF | SSL4MIS | {"critic_lr": 1e-4, "critic_width": 64},  # §3.10
    "cps": HALF_AND_HALF | SSL4MIS | INTENDED | {"evaluate": "first"},  # §3.10
    "cross_teaching": HALF_AND_HALF | SSL4MIS | {"partner": "transunet"},  # §3.10; the paper's is a Swin-UNet
    "ss_net": HALF_AND_HALF  # §3.11; voxels are this project's
    | INTENDED
    | {"weight": 1.0, "ramp": 40 * 150 / 15_000, "epsilon": 10.0, "probe": 10.0, "separation": 0.1}
    | {"slots": 32, "voxels": 256, "width": 32},
    "mcf": HALF_AND_HALF  # §3.11; the partner is this project's
    | {"weight": 0.1, "ramp": 40 * 150 / 6000, "review": 0.5, "temperature": 0.1, "partner": "unet"},
    "cct": HALF_AND_HALF  # §3.10, §1.3
    | SSL4MIS
    | INTENDED
    | {"feature_noise": 0.3, "feature_dropout": 0.3, "attended_from": 0.7, "attended_to": 0.9},
    "urpc": HALF_AND_HALF | SSL4MIS,  # §3.10
    "r_drop": HALF_AND_HALF | INTENDED | {"weight": 4.0, "ramp": 200 * 150 / 30_000},  # §3.10
    "mc_net": {  # §3.11
        "weight": 1.0,
        "ramp": 40 * 150 / 15_000,
        "decoders": 2,
        "supervised": 0.5,
        "temperature": 0.1,
    },
    "cc_net": {  # §3.11, and its code: the ramp of 40 units over 10 000 steps
        "weight": 1.0,
        "ramp": 40 * 150 / 10_000,
        "supervised": 0.5,
        "temperature": 0.1,
    },
    "dcpa": TEACHER  # §3.11, and its code on the left atrium
    | {"weight": 1.0, "ramp": 40 * 150 / 15_000, "pseudo": 1.0, "temperature": 0.1, "copies": 2, "alpha": 0.75}
    | {"decay": 0.02},
    "caml": INTENDED  # §3.11 and its code on the left atrium; fresh is this project's, 12 800 of 2 crops are rounded
    | {"weight": 1.0, "correlation": 0.05, "ramp": 40 * 150 / 15_000, "supervised": 0.5, "temperature": 0.1}
    | {"nearness": 0.1, "slots": 256, "fresh": 16, "share": 0.0064, "width": 64, "dropout": 0.5},
    # its code on Pancreas-CT, of 5000 steps
    "caussl": HALF_AND_HALF
    | {"weight": 0.1 * 0.3, "ramp": 40 * 150 / 5000, "dependence": 3.0, "start": 500 / 5000, "mixing_lr": 2e-2},
    "fixmatch": HALF_AND_HALF  # §3.10; intended threshold: google-research/fixmatch@3ae6800
    | SSL4MIS
    | INTENDED
    | {"threshold": 0.95, "released_threshold": 0.8, "jitter": 0.8},
    "unimatch": HALF_AND_HALF  # §3.11
    | {"threshold": 0.95, "image_weight": 2 * 0.25, "feature_weight": 0.5}
    | {"jitter": 0.5, "mixed": 0.5, "feature_dropout": 0.5},
    "crossmatch": HALF_AND_HALF  # §3.11; 17 000 of 14 000 steps; strong views of its code for ACDC
    | INTENDED
    | {"image_weight": 2 * 0.25, "distillation": 1.0, "eta": 0.3, "threshold": 0.75, "threshold_end": 1.0}
    | {"ramp": 17 / 14, "weak": 0.25, "strong": 0.75, "jitter": 0.5, "mixed": 0.5},
    "tracoco": HALF_AND_HALF  # §3.11; 40 epochs of 8 steps, for 16 labelled scans; the shift is this project's
    | INTENDED
    | {"weight": 1.0, "ramp": 40 * 8 / 9000, "translation": 0.3, "entropy": 0.1, "shift": 0.25}
    | {"threshold": 0.65, "ruled_out": 0.1, "noise": 0.2},
    "bcp": TEACHER | {"weight": 0.5, "pretrain": 0.12, "box": 2 / 3},  # §3.11; 2000 of 17 000 steps, rounded
    "ac_mt": TEACHER  # §3.11; the code's threshold for two classes
    | NOISE
    | {"weight": 0.1, "ramp": 40 * 150 / 8000, "rule": "entropy", "start": 0.75, "end": 0.95, "passes": 8},
    "ad_mt": TEACHER  # §3.11; of the left atrium
    | INTENDED
    | {"weight": 2.0, "ramp": 40 * 150 / 15_000, "period": 19, "threshold": 0.8, "loss": "ce", "alpha": 4.0},
    # of two views; surgical §1.3, §1.7 and §2
    "min_max_similarity": INTENDED
    | {"supervised": 0.25, "agreement": 0.25, "contrast": 0.25, "repulsion": 0.25, "temperature": 0.07}
    | {"positions": 2304, "grid": 0.8, "share_labels": False, "evaluate": "mean"},
    "duo_segnet": HALF_AND_HALF
    | INTENDED
    | {"agreement": 0.4, "adversarial": 0.2, "critic": "pixel", "critic_width": 64, "critic_lr": 5e-5}
    | {"share_labels": False, "evaluate": "mean"},
    "deep_co_training": HALF_AND_HALF  # its code's configuration for ACDC: epochs 20 and 50 of 120
    | {"agreement": 0.5, "resistance": 0.05, "start": 20 / 120, "ramp": 50 / 120, "epsilon": 0.03}
    | {"share_labels": False, "evaluate": "mean"},
    # scribbles
    "pce": {},  # §3
    "pce_tv": INTENDED | {"weight": 0.01, "length": "contour"},  # §4
    "pce_entropy": {"weight": 0.1, "ramp": 0.0},  # §5: constant
    "pce_gated_crf": INTENDED | {"weight": 0.1, "radius": 5, "sigma_xy": 6.0, "sigma_intensity": 0.1},  # §6
    # the paper's released script: 2e-9 per pair of the 128 x 128 pixels of reduced images of 256 x 256, 15 of 255
    "pce_dense_crf": {"weight": 2e-9 * 16384**2, "sigma_xy": 100.0, "sigma_intensity": 15 / 255, "reduction": 2},
    "pce_intensity_variance": INTENDED  # §7: a ramp over 30 000 of the common 60 000 steps
    | {"weight": 0.1, "between": 0.0, "floor": 1e-3, "ramp": 200 * 150 / 60_000},
    "pce_random_walker": HALF_AND_HALF | INTENDED | {"beta": 100.0, "scribble_weight": 0.0},  # §8
    "pce_mumford_shah": INTENDED | {"weight": 0.8, "smoothness": 1.0, "released_weight": 1e-6},  # §9
    "scribble2label": INTENDED  # §10
    | {"weight": 0.5, "threshold": 0.8, "momentum": 0.2, "period": 100, "warm_up": 6000 / 60_000},
    "ustm": NOISE | INTENDED | {"weight": 1.0, "ramp": 1.0, "passes": 8, "ema_limit": 0.99},  # §11
    "wsl4mis": {"weight": 0.5, "channel_dropout": 0.5},  # §12a, §2
    # its code: 30 000 steps in each stage, uncertainty as for ACDC
    "dmsps": INTENDED | {"weight": 8.0, "channel_dropout": 0.5, "second_stage": 30_000 / 60_000, "uncertainty": 0.1},
    # its code: a ramp over 40 units of 300 of 60 000 steps
    "scribblevs": INTENDED
    | {"weight": 1.0, "ramp": 40 * 300 / 60_000, "threshold": 0.5, "dice_share": 0.5, "ema_limit": 0.99},
    "shape_pu": INTENDED  # its code: 100 of 4000 epochs, holes of 32 of 212 pixels; whose shares: see its Differences
    | {"exclusion": 1.0, "consistency": 0.05, "warm_up": 100 / 4000, "hole": 32 / 212, "shares": "annotated"}
    | {"rounds": 20},
    "cycle_mix": INTENDED  # its code and the command in its README
    | {"invariance": 0.1, "integrity": 0.1, "alpha": 0.5, "smooth": 1.2, "prior": 0.2, "hole": 32 / 212},
    "zscribbleseg": INTENDED  # as its second author restates it, 1000 epochs; its code, 6000; mixture as in CycleMix
    | {"consistency": 0.05, "spatial": 1.0, "shape": 1.0, "warm_up": 100 / 1000, "released_warm_up": 60 / 6000}
    | {"radius": 5, "released_radius": 8, "sigma_xy": 6.0, "sigma_intensity": 0.1, "rounds": 20}
    | {"alpha": 0.5, "smooth": 1.2, "prior": 0.2, "hole": 32 / 212},
    # the codes' own defaults; hole and the two of the puzzle as in CycleMix
    "pce_mix": {"mixing": "mixup", "alpha": 1.0, "hole": 32 / 212, "smooth": 1.2, "prior": 0.2},
    # the code's own defaults
    "pce_co_mixup": {"clean": 1.0, "cells": 4, "smooth": 0.32, "diversity": 1.0, "threshold": 0.83}
    | {"distance": 0.001, "prior": 0.05, "alpha": 2.0, "rounds": 4},
    "mask_mix_adv": INTENDED  # §12.3 to §12.6
    | {"mask": True, "reconstruct": True, "pseudo": True, "adversary": True}
    | {"ce_weight": 10.0, "reconstruct_weight": 10.0, "pseudo_weight": 0.5, "adversary_weight": 0.1}
    | {"warm_up": 0.1, "cell": 8, "visible": 0.5, "shared": False, "bn": "masked"}
    | {"critic_lr": 1e-4, "critic_width": 64},
}


def test_every_method_has_a_row():
    assert set(PUBLISHED) == set(methods.families())


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_are_the_published_numbers(name: str):
    assert dataclasses.asdict(methods.get(name).Hyper()) == PUBLISHED[name]


def test_cvcl_remembers_as_published_and_mines_the_codes_shares():
    """§3.8: momentum 0.99, 64 prototypes of images per class; 40 of 100 positives and 70 of 100 negatives are hard."""
    guide = PrototypeGuide(2, 32, confidence=0.8, margin=0.1)
    assert guide.prototypes.momentum == 0.99
    assert guide.bank.vectors.shape == (2, 64, 32)
    assert (cvcl._HARD.positives, cvcl._HARD.negatives) == (40 / 100, 70 / 100)


CRITICS = {
    "dan": (Adam, {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0}),  # semi §3.10
    "sassnet": (Adam, {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0}),  # semi §3.5
    "duo_segnet": (RMSprop, {"lr": 5e-5, "weight_decay": 0}),  # surgical §2
    "mask_mix_adv": (Adam, {"lr": 1e-4, "betas": (0.9, 0.999), "weight_decay": 0}),  # scribble §12.4
}


@pytest.mark.parametrize("name", CRITICS)
def test_critics_learn_by_the_published_optimizers(name: str):
    made = scribble_toys.method if name == "mask_mix_adv" else semi_toys.method
    critic = made(name, critic_width=2).optimizers(partial(SGD, lr=0.1))["critic"]
    kind, options = CRITICS[name]
    assert type(critic) is kind
    assert {option: critic.defaults[option] for option in options} == options


def test_cct_has_three_auxiliary_decoders_and_the_head_of_bhpc_is_as_wide_as_released():
    assert len(semi_toys.method("cct").auxiliaries) == 3  # semi §1.3
    shapes = [tuple(p.shape) for p in semi_toys.method("bhpc").image_head.parameters() if p.ndim == 2]
    assert shapes == [torch.Size((512, 16)), torch.Size((256, 512))]  # semi §3.9
