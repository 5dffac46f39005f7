"""The contract lets correct methods pass and reports each planted fault by name, in the sentence stated here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from methods.base import Method

from . import broken_methods as broken
from . import checks_methods as contract
from .checks_methods import RELEASED, SLOW, checks_for, run_check
from .rig import Check
from .toy_methods import CORRECT, MeanTeacher

FAULTS: tuple[tuple[type[Method], Check, str], ...] = (
    # published code bases have these four: USB (Mean Teacher), CPCL, MaskMixAdv, Min-Max Similarity
    (broken.InertConsistency, contract.check_no_inert_term, "loss term 'consistency' sends no gradient to the network"),
    (broken.DetachedContrast, contract.check_no_inert_term, "loss term 'contrast' sends no gradient to the network"),
    (broken.ArgmaxAdversary, contract.check_no_inert_term, "loss term 'adversarial' sends no gradient to the network"),
    (broken.UntrainedHeads, contract.check_no_orphan_parameter, "trainable but in no optimizer: projector.weight"),
    # what gradients reach and move
    (broken.UnusedDecoder, contract.check_no_orphan_parameter, "no loss term reaches what it trains: auxiliary.0"),
    (broken.SharedParameters, contract.check_no_orphan_parameter, "in the optimizers of two players: network."),
    (
        broken.SharedParameters,
        contract.check_each_descent_moves_its_own_player,
        "the descent of player 'critic' moves 'network.",
    ),
    (
        broken.ClippedInStep,
        contract.check_each_descent_moves_its_own_player,
        "step() moves parameters outside descend: critic.0",
    ),
    (
        broken.TrainableTeacher,
        contract.check_teachers_are_frozen_and_follow,
        "after_step() writes parameters that gradients train too",
    ),
    (broken.TrainableTeacher, contract.check_no_orphan_parameter, "no loss term reaches what it trains: teacher."),
    (
        broken.ForgottenTeacher,
        contract.check_teachers_are_frozen_and_follow,
        "frozen, and moved by nothing during training: teacher.",
    ),
    (
        broken.IdleThreshold,
        contract.check_no_idle_hyper,
        "hyper-parameter 'threshold' is searched, and 0.1 and 0.9 train alike",
    ),
    # what a checkpoint must hold
    (broken.TeacherOutsideCheckpoint, contract.check_resume_is_exact, "not in the checkpoint: attribute held"),
    (broken.TeacherOutsideCheckpoint, contract.check_no_side_effects, "no checkpoint holds: attribute held"),
    (
        broken.EvaluatesUnsavedTeacher,
        contract.check_evaluated_weights_are_saved_weights,
        "what it predicts with is not saved",
    ),
    (broken.ForgetfulBank, contract.check_resume_is_exact, "not in the checkpoint: buffer bank (persistent=False)"),
    (broken.ForgetfulBank, contract.check_no_side_effects, "no checkpoint holds: buffer bank (persistent=False)"),
    (broken.CountsSteps, contract.check_resume_is_exact, "not in the checkpoint: attribute seen"),
    (broken.WritesEveryFifthStep, contract.check_resume_is_exact, "not in the checkpoint: attribute threshold"),
    (broken.WritesEveryFifthStep, contract.check_no_side_effects, "no checkpoint holds: attribute threshold"),
    (broken.SchedulesByItself, contract.check_no_side_effects, "no checkpoint holds: attribute schedule"),
    # methods of which no smallest task is one
    (broken.InColour, contract.check_no_inert_term, "loss term 'consistency' sends no gradient to the network"),
    (broken.OnLargePatches, contract.check_no_inert_term, "loss term 'consistency' sends no gradient to the network"),
    (broken.RefusesAll, contract.check_predict, "so that nothing can be checked; of one it says 'it rains'"),
    # which data a term looks at
    (broken.LabelLeak, contract.check_terms_are_finite_scalars, "only labelled ones have, such as their label"),
    (
        broken.IgnoresUnlabelled,
        contract.check_uses_unlabelled_images,
        "no loss term changes when the unlabelled images change",
    ),
    (broken.IgnoresLabels, contract.check_uses_labels, "no loss term changes when the labels change"),
    (
        broken.TargetFromUnlabelled,
        contract.check_supervised_target_ignores_unlabelled_images,
        "every term that uses the labels changes with the unlabelled images too: supervised",
    ),
    (
        broken.UnknownIsBackground,
        contract.check_unannotated_pixels_get_no_gradient_from_labels,
        "loss term 'scribble' follows the labels and sends gradient to logits where the label is IGNORE",
    ),
    # values, schedules, batches
    (broken.NotANumber, contract.check_degenerate_labels, "loss term 'supervised' is nan with nothing annotated"),
    (
        broken.NotAScalar,
        contract.check_terms_are_finite_scalars,
        "loss term 'consistency' must be a floating-point tensor without dimensions",
    ),
    (
        broken.ReturnsTheSum,
        contract.check_terms_are_finite_scalars,
        "losses must return named scalar terms, such as {'ce': loss}, got Tensor",
    ),
    (broken.ComesAndGoes, contract.check_terms_are_finite_scalars, "consistency is not always there"),
    (
        broken.RampByStep,
        contract.check_schedules_follow_progress,
        "loss term 'consistency' depends on the number of steps too",
    ),
    (broken.EqualHalves, contract.check_batches_of_any_size, "fails with 1 labelled and 2 unlabelled images"),
    (broken.OneChannel, contract.check_builds_where_it_says, "fails with 3 channels and 2 classes in 2-D: ValueError"),
    # side effects
    (broken.ChangesItsInput, contract.check_no_side_effects, "changes its input batch.labelled.image in place"),
    (broken.Reseeds, contract.check_no_side_effects, "a step sets the seed of torch's stream itself"),
    (broken.DrawsWithNumpy, contract.check_same_seed_same_result, "draw with torch's current stream only"),
    # predictions and pseudo labels
    (broken.PredictsInTrainMode, contract.check_predict, "predict() changes network."),
    (broken.PredictsWithDropout, contract.check_predict, "something else the second time"),
    (broken.PredictsTheBatch, contract.check_predict, "depends on the other images of its batch"),
    (broken.PredictsLogits, contract.check_predict, "predict() returns no probabilities"),
    (broken.PredictsInHalf, contract.check_predict, "torch.bfloat16 instead of float32 under bfloat16 autocast"),
    (
        broken.TeacherOfLabels,
        contract.check_predict,
        "other_predictions()['teacher'] returns shape (5, 32, 32) instead",
    ),
    (broken.Overwrites, contract.check_relabel, "annotated pixels"),
    (broken.InventsClasses, contract.check_relabel, "relabel() returns label values [-1]"),
    (broken.NeverAsks, contract.check_relabels_when_it_says, "relabel_at() never asks for it"),
    (broken.RelabelsItself, contract.check_relabels_when_it_says, "calls relabel() itself"),
    (
        broken.PretendsOffline,
        contract.check_offline_labels_ignore_the_weights,
        "relabel() depends on the weights or returns a memory",
    ),
    # what it says of itself
    (broken.NoReason, contract.check_unsupported_gives_reasons, "unsupported() has no reason against 3-D"),
    (broken.Mistyped, contract.check_unsupported_gives_reasons, "got 'scribbles'; did you mean 'scribble'?"),
    (broken.Undocumented, contract.check_hyper, "hyper-parameter 'weight' has no help"),
    (broken.SearchesTooFar, contract.check_hyper, "the search range of 'weight'"),
)


def _pairs() -> list[Any]:
    return [
        pytest.param(
            toy,
            check,
            settings,
            id=f"{toy.__name__}{'-released' if settings else ''}-{check.__name__}",
            marks=(pytest.mark.slow,) if check in SLOW else (),
        )
        for toy in CORRECT
        for check, settings in checks_for(toy)
        if check not in contract.OF_THE_FILE
    ]


@pytest.mark.parametrize(("toy", "check", "settings"), _pairs())
def test_a_correct_method_passes(toy: type[Method], check: Check, settings: Mapping[str, Any]) -> None:
    run_check(check, toy, settings)


@pytest.mark.parametrize(
    ("method_class", "check", "sentence"), [pytest.param(*f, id=f"{f[0].__name__}-{f[1].__name__}") for f in FAULTS]
)
def test_a_planted_fault_is_reported_by_name(method_class: type[Method], check: Check, sentence: str) -> None:
    with pytest.raises(AssertionError) as caught:
        run_check(check, method_class, {})
    assert str(caught.value).startswith(f"{method_class.__name__}: ")
    assert sentence in str(caught.value)


@pytest.mark.slow
def test_a_method_that_climbs_does_not_learn() -> None:
    with pytest.raises(AssertionError, match="LearnsNothing: it does not learn"):
        contract.check_learns(broken.LearnsNothing)


def test_every_fast_check_has_a_fault_that_it_reports() -> None:
    reported = {check for _, check, _ in FAULTS}
    assert set(contract.EVERY) - set(SLOW) - {contract.check_identity} == reported  # the files below have that one


@pytest.mark.parametrize("toy", [broken.InColour, broken.OnLargePatches])
def test_what_takes_no_smallest_task_is_checked_on_the_next_that_it_takes(toy: type[Method]) -> None:
    passes = {check for check, _ in checks_for(toy)} - {*SLOW, contract.check_identity, contract.check_no_inert_term}
    passes -= {contract.check_uses_unlabelled_images, contract.check_no_idle_hyper}  # its term is of nothing
    for check in passes:
        run_check(check, toy, {})


# Exceptions and released variants -----------------------------------------------------------------------------------
def test_an_undeclared_inert_term_of_the_released_variant_is_reported() -> None:
    with pytest.raises(AssertionError, match="loss term 'adversarial' sends no gradient"):
        contract.check_no_inert_term(broken.ArgmaxAdversary, **RELEASED)


def test_a_claim_of_inertness_that_does_not_hold_is_reported() -> None:
    with pytest.raises(AssertionError, match="says that loss term 'supervised' sends no gradient, but it does"):
        contract.check_no_inert_term(broken.StaleClaim, **RELEASED)


class Excepted(broken.ForgetfulBank):
    contract_exceptions: ClassVar[Mapping[str, str]] = {
        "check_resume_is_exact": "the bank is rebuilt within a few steps",
        "check_no_side_effects": "as above",
    }


class ExceptedForNothing(MeanTeacher):
    contract_exceptions: ClassVar[Mapping[str, str]] = {"check_resume_is_exact": "an old story"}


class ExceptedFromNothing(MeanTeacher):
    contract_exceptions: ClassVar[Mapping[str, str]] = {"check_resumes": "a typing error"}


class ExceptedWithoutReason(MeanTeacher):
    contract_exceptions: ClassVar[Mapping[str, str]] = {"check_resume_is_exact": " "}


class ExceptedOfVolumes(broken.ForgetfulBank):
    contract_exceptions: ClassVar[Mapping[str, str]] = {"3d:check_resume_is_exact": "the bank is rebuilt at once"}


class ExceptedOfVolumesForNothing(MeanTeacher):
    contract_exceptions: ClassVar[Mapping[str, str]] = {"3d:check_resume_is_exact": "an old story"}


def test_an_exception_with_a_reason_holds_while_the_check_fails() -> None:
    run_check(contract.check_resume_is_exact, Excepted, {})


def test_an_exception_of_volumes_holds_for_volumes_alone_and_while_the_check_fails() -> None:
    run_check(contract.check_resume_is_exact, ExceptedOfVolumes, {}, ndim=3)
    with pytest.raises(AssertionError, match=r"ExceptedOfVolumes: (?!check_)"):
        run_check(contract.check_resume_is_exact, ExceptedOfVolumes, {})
    run_check(contract.check_resume_is_exact, ExceptedOfVolumesForNothing, {})
    with pytest.raises(AssertionError, match="check_resume_is_exact passes, so its exception"):
        run_check(contract.check_resume_is_exact, ExceptedOfVolumesForNothing, {}, ndim=3)


@pytest.mark.parametrize(
    ("method_class", "sentence"),
    [
        (ExceptedForNothing, "check_resume_is_exact passes, so its exception"),
        (ExceptedFromNothing, "names 'check_resumes', which is no check"),
        (ExceptedWithoutReason, "gives no reason"),
    ],
)
def test_an_exception_that_is_stale_unknown_or_unreasoned_is_reported(
    method_class: type[Method], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        run_check(contract.check_resume_is_exact, method_class, {})


@pytest.mark.slow
def test_certify_runs_every_check_on_a_class_from_anywhere() -> None:
    contract.certify(CORRECT[2])
    with pytest.raises(AssertionError, match="InertConsistency: "):
        contract.certify(broken.InertConsistency)


# Files --------------------------------------------------------------------------------------------------------------
GOOD = '''"""The mean of the labels.

Paper: A. Author, "A title", MICCAI 2020.
Code: https://github.com/author/title/blob/0123abc/train.py
Differences: none.
"""

from datasets.types import Batch
from methods.base import Clock, Method, Terms


class Mine(Method):
    """Means."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        return {"mean": self.network(batch.labelled.image).mean()}
'''


def _written(folder: Path, source: str, name: str = "mine") -> type[Method]:
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found: type[Method] = module.Mine
    return found


def test_a_file_that_says_what_it_must_passes(tmp_path: Path) -> None:
    contract.check_identity(_written(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("Paper: A. Author", "By A. Author"), "no line that starts with 'Paper:'"),
        (("Differences: none.\n", ""), "no line that starts with 'Differences:'"),
        (("blob/0123abc", "blob/main"), "gives no permalink"),
        (('    """Means."""\n', ""), "its class has no docstring"),
        (("class Mine", "class Other(Method):\n    pass\n\n\nclass Mine"), "defines 2 method classes"),
        (("from methods.base", "import datasets.splits\nfrom methods.base"), "imports datasets.splits"),
        (("class Mine", "\n" * 150 + "class Mine"), "lines; 150 is the most"),
        (("(Method)", "(Supervised)"), "subclasses Supervised, which is final"),
    ],
)
def test_a_file_that_does_not_is_reported(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    source = GOOD.replace("from methods.base", "from methods.semi.supervised import Supervised\nfrom methods.base")
    with pytest.raises(AssertionError, match=f"Mine: .*{sentence}"):
        contract.check_identity(_written(tmp_path, source.replace(*change)))
