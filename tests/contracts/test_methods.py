"""Every registered method keeps the contract: one test per method and check, ``cps-check_resume_is_exact``.

Methods that take images and volumes are checked on images, and, slowly, once more on volumes: ``cps-3d-check_...``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import methods

from .checks_methods import OF_TRAINING, SLOW, checks_for, checks_in_3d_for, run_check
from .rig import Check, at_home_in, home_task

FURTHER: dict[str, dict[str, Any]] = {"mc_net": {"decoders": 3}}
"""Settings under which a method is another published one, and is checked once more."""


def _pairs() -> Iterator[Any]:
    for name in methods.names():
        try:
            flat, deep = (list(of(methods.get(name))) for of in (checks_for, checks_in_3d_for))
        except Exception:  # one broken file must not hide the other methods; the test below shows its error
            continue
        for settings in filter(None, [FURTHER.get(name)]):
            flat += [(check, settings) for check, given in flat if check in OF_TRAINING and not given]
            deep += [(check, settings | given) for check, given in deep]
        for ndim, found in ((2, flat), (3, deep)):
            for check, settings in found:
                tags = [name, *(["3d"] if ndim == 3 else [])]
                tags += [value if key == "variant" else f"{key}={value}" for key, value in settings.items()]
                marks = (pytest.mark.slow,) if check in SLOW or ndim == 3 else ()
                yield pytest.param(name, check, settings, ndim, id="-".join([*tags, check.__name__]), marks=marks)


@pytest.mark.parametrize("name", [pytest.param(name, id=f"{name}-import") for name in methods.names()])
def test_the_file_defines_one_method(name: str) -> None:
    assert methods.get(name).name() == name


@pytest.mark.parametrize(("name", "check", "settings", "ndim"), list(_pairs()))
def test_method(name: str, check: Check, settings: dict[str, Any], ndim: int) -> None:
    run_check(check, methods.get(name), settings, ndim=ndim)


def test_the_home_of_a_method_is_in_the_dimension_asked_for() -> None:
    assert home_task(methods.get("cps")).ndim == 2
    with at_home_in(3):
        assert home_task(methods.get("cps")).ndim == 3
        assert home_task(methods.get("pce_random_walker")).ndim == 2
    assert home_task(methods.get("cps")).ndim == 2
