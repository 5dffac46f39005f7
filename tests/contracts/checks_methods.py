"""The contract of a method: every check, which of them apply, and what an exception means.

A check is ``check_xxx(method_class, **settings)``, where settings are hyper-parameters; it raises AssertionError with
one sentence that names the method and the term, parameter or file. To check a method of your own:

    make contract METHOD=my_method                        # a file in methods/semi or methods/scribble
    certify(MyMethod)                                     # a class from anywhere; the checks of files are left out

Which checks apply follows from facts (supervision, dimensions, hooks), never from names. A method that cannot keep one
says so in its own file, ``contract_exceptions = {"check_xxx": "why"}``, and the suite then asserts that the check
fails, so that no exception outlives its reason. The key ``released:check_xxx`` is for ``variant: released`` only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from methods.base import Method

from .checks_hyper import check_no_idle_hyper
from .checks_identity import (
    check_builds_where_it_says,
    check_hyper,
    check_identity,
    check_unsupported_gives_reasons,
)
from .checks_state import (
    check_evaluated_weights_are_saved_weights,
    check_learns,
    check_no_side_effects,
    check_offline_labels_ignore_the_weights,
    check_predict,
    check_relabel,
    check_relabels_when_it_says,
    check_resume_is_exact,
    check_same_seed_same_result,
)
from .checks_terms import (
    check_batches_of_any_size,
    check_degenerate_labels,
    check_each_descent_moves_its_own_player,
    check_no_inert_term,
    check_no_orphan_parameter,
    check_schedules_follow_progress,
    check_supervised_target_ignores_unlabelled_images,
    check_teachers_are_frozen_and_follow,
    check_terms_are_finite_scalars,
    check_unannotated_pixels_get_no_gradient_from_labels,
    check_uses_labels,
    check_uses_unlabelled_images,
)
from .rig import Check, at_home_in, home_task, task_in, title

OF_THE_FILE: tuple[Check, ...] = (check_identity,)
OF_THE_CLASS: tuple[Check, ...] = (check_hyper, check_unsupported_gives_reasons)
OF_TRAINING: tuple[Check, ...] = (
    check_builds_where_it_says,
    check_terms_are_finite_scalars,
    check_no_inert_term,
    check_no_orphan_parameter,
    check_each_descent_moves_its_own_player,
    check_teachers_are_frozen_and_follow,
    check_uses_labels,
    check_uses_unlabelled_images,
    check_supervised_target_ignores_unlabelled_images,
    check_unannotated_pixels_get_no_gradient_from_labels,
    check_schedules_follow_progress,
    check_batches_of_any_size,
    check_degenerate_labels,
    check_no_side_effects,
    check_same_seed_same_result,
    check_resume_is_exact,
    check_evaluated_weights_are_saved_weights,
    check_predict,
    check_relabel,
    check_relabels_when_it_says,
    check_offline_labels_ignore_the_weights,
)
OF_TUNING: tuple[Check, ...] = (check_no_idle_hyper,)
SLOW: tuple[Check, ...] = (check_learns,)
EVERY: tuple[Check, ...] = OF_THE_FILE + OF_THE_CLASS + OF_TRAINING + OF_TUNING + SLOW

RELEASED = {"variant": "released"}
IN_3D = "3d:"
"""Of exceptions that hold for volumes alone."""
SMALL = {"critic_width": 2}
"""Settings of checks in 3-D, where a method has them: a critic as wide as published takes minutes there."""


def checks_for(method_class: type[Method]) -> Iterator[tuple[Check, dict[str, Any]]]:
    """Every check that applies, with its settings: those of training once more for ``variant: released``."""
    for check in EVERY:
        if _applies(check, method_class):
            yield check, {}
    for settings in _variants(method_class)[1:]:
        for check in OF_TRAINING + SLOW:
            if _applies(check, method_class):
                yield check, settings


def checks_in_3d_for(method_class: type[Method]) -> Iterator[tuple[Check, dict[str, Any]]]:
    """The checks of training with their settings, of methods whose home task is 2-D and that take volumes too.

    They are to be run within ``at_home_in(3)``; each variant is checked.
    """
    home = home_task(method_class)
    if not {2, 3} <= set(method_class.ndims) or task_in(method_class, 3, classes=home.n_classes) is None:
        return
    small = {f.name: SMALL[f.name] for f in dataclasses.fields(method_class.Hyper) if f.name in SMALL}
    for settings in _variants(method_class):
        for check in OF_TRAINING:
            if _applies(check, method_class):
                yield check, settings | small


def run_check(check: Check, method_class: type[Method], settings: Mapping[str, Any], *, ndim: int = 2) -> None:
    """Run one check, on the home task in ``ndim`` dimensions, or hold the method to the exception that it states.

    Raises:
        AssertionError: the check fails; or it passes, in the method's first dimension, although it says it cannot.
    """
    reason = excepted(check, method_class, settings, ndim=ndim)
    with at_home_in(ndim):
        if reason is None:
            check(method_class, **settings)
            return
        try:
            check(method_class, **settings)
        except AssertionError:
            return
    if ndim != min(method_class.ndims) and reason == excepted(check, method_class, settings):
        return  # a reason may hold for the networks of one dimension only, such as those with running statistics
    raise AssertionError(
        f"{title(method_class)}: {check.__name__} passes, so its exception ({reason!r}) is out of date: delete it"
    )


def excepted(check: Check, method_class: type[Method], settings: Mapping[str, Any], *, ndim: int = 2) -> str | None:
    """The reason why the method is excepted from a check, or None; in 3-D perhaps one for volumes alone.

    Raises:
        AssertionError: an exception names no check, or gives no reason.
    """
    known = {c.__name__ for c in EVERY}
    for key, reason in method_class.contract_exceptions.items():
        if key.removeprefix(IN_3D).removeprefix("released:") not in known:
            raise AssertionError(f"{title(method_class)}: contract_exceptions names {key!r}, which is no check")
        if not reason.strip():
            raise AssertionError(f"{title(method_class)}: contract_exceptions gives no reason for {key!r}")
    key = ("released:" if settings.get("variant") == "released" else "") + check.__name__
    for_all = method_class.contract_exceptions.get(key)
    return method_class.contract_exceptions.get(IN_3D + key, for_all) if ndim == 3 else for_all


def certify(method_class: type[Method], *, slow: bool = False) -> None:
    """Run every check on a class that need not lie in ``methods/``; ``slow`` adds the one that trains."""
    for check, settings in checks_for(method_class):
        if check not in OF_THE_FILE and (slow or check not in SLOW):
            run_check(check, method_class, settings)


def _variants(method_class: type[Method]) -> list[dict[str, Any]]:
    """Settings of each variant, the default first."""
    has_released = any(f.name == "variant" for f in dataclasses.fields(method_class.Hyper))
    return [{}, dict(RELEASED)] if has_released else [{}]


def _applies(check: Check, method_class: type[Method]) -> bool:
    return getattr(check, "applies", lambda _: True)(method_class)
