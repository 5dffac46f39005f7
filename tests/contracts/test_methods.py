"""Every registered method keeps the contract: one test per method and check, ``cps-check_resume_is_exact``.

Methods that take images and volumes are checked on images, and, slowly, once more on volumes: ``cps-3d-check_...``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import methods
from datasets.types import Task

from .checks_methods import OF_TRAINING, SLOW, checks_for, checks_in_3d_for, run_check
from .rig import Check, at_home_in, home_task

FURTHER: dict[str, dict[str, Any]] = {"mc_net": {"decoders": 3}}
"""Settings under which a method is another published one, and is checked once more."""


def _pairs() -> Iterator[Any]:
    for name in methods.names():
        try:
            method_class = methods.get(name)
        except Exception:  # one broken file must not hide the other methods; the test below shows its error
            continue
        try:
            flat, deep = (list(of(method_class)) for of in (checks_for, checks_in_3d_for))
        except Exception as error:
            yield pytest.param(name, unlisted(name, error), {}, 2, id=f"{name}-checks")
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


def unlisted(name: str, error: Exception) -> Check:
    """In place of the checks of a method of which nobody can say which apply: raises what came instead."""

    def check_can_be_checked(method_class: type[methods.Method], **settings: Any) -> None:
        said = f"{error}" if isinstance(error, AssertionError) else f"{name}: {type(error).__name__}: {error}"
        raise AssertionError(f"{said}; no check of the contract was run") from error

    return check_can_be_checked


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


def test_a_method_whose_checks_cannot_be_listed_fails_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(task: Task) -> str | None:
        raise TypeError("'int' object is not iterable")

    cps = methods.get("cps")
    monkeypatch.setattr(cps, "unsupported", raises)
    monkeypatch.setattr(methods, "names", lambda: ("cps", "pce"))
    found = list(_pairs())
    (stand_in,) = (param for param in found if param.values[0] == "cps")
    assert stand_in.id == "cps-checks", "`make contract METHOD=cps` selects it"
    assert len(found) > 20
    with pytest.raises(AssertionError, match="cps: TypeError: 'int' object is not iterable; no check of the contract"):
        run_check(stand_in.values[1], cps, {})
