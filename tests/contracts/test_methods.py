"""Every registered method keeps the contract: one test per method and check, ``cps-check_resume_is_exact``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import methods

from .checks_methods import SLOW, checks_for, run_check
from .rig import Check


def _pairs() -> Iterator[Any]:
    for name in methods.names():
        try:
            found = list(checks_for(methods.get(name)))
        except Exception:  # one broken file must not hide the other methods; the test below shows its error
            continue
        for check, settings in found:
            tag = f"{name}-{settings['variant']}" if settings else name
            marks = (pytest.mark.slow,) if check in SLOW else ()
            yield pytest.param(name, check, settings, id=f"{tag}-{check.__name__}", marks=marks)


@pytest.mark.parametrize("name", [pytest.param(name, id=f"{name}-import") for name in methods.names()])
def test_the_file_defines_one_method(name: str) -> None:
    assert methods.get(name).name() == name


@pytest.mark.parametrize(("name", "check", "settings"), list(_pairs()))
def test_method(name: str, check: Check, settings: dict[str, Any]) -> None:
    run_check(check, methods.get(name), settings)
