"""What a method must return is asked for: before training, or at the first descent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark import promises
from benchmark.run import run_cell
from benchmark.training import Training
from methods.scribble.pce import PCE
from methods.semi.supervised import Supervised

from .tiny_cells import places_in, tiny_cell

SCALAR = torch.tensor(0.5)


def refused_before_any_step(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Why a cell of ``supervised`` failed, none of whose losses was asked for."""
    steps: list[int] = []
    monkeypatch.setattr(Supervised, "losses", lambda self, batch, clock: steps.append(clock.step))
    reason = failed(root)
    assert not steps
    return reason


def failed(root: Path, method: str = "supervised") -> str:
    found = run_cell(tiny_cell(method, validations=0), places_in(root))
    assert found.status == "failed"
    return found.reason


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (None, "losses must return named scalar terms, such as {'ce': loss}, got NoneType"),
        (SCALAR, "losses must return named scalar terms, such as {'ce': loss}, got Tensor"),
        ({}, "losses must return named scalar terms, such as {'ce': loss}, got no term"),
        ({"own": 0.5}, "loss term 'own' must be a floating-point tensor without dimensions"),
        ({"own": SCALAR[None]}, "such as loss.mean(), got a tensor of torch.float32 and shape (1,)"),
        ({"own": torch.tensor(1)}, "got a tensor of torch.int64 and shape ()"),
    ],
)
def test_losses_that_are_not_named_scalars_end_the_cell_with_what_they_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terms: Any, says: str
) -> None:
    monkeypatch.setattr(Supervised, "losses", lambda self, batch, clock: terms)
    reason = failed(tmp_path)
    assert reason.startswith("BrokenPromise: method supervised: ")
    assert says in reason


@pytest.mark.parametrize(
    ("predict", "says"),
    [
        (lambda self, image: self.network(image).argmax(1), "of one image (1, 4, 32, 32), got shape (1, 32, 32)"),
        (lambda self, image: None, "got NoneType"),
        (lambda self, image: self.network(image), "take torch.softmax(logits, dim=1)"),
        (lambda self, image: torch.sigmoid(self.network(image)), "with the sum of 1 in every pixel"),
    ],
)
def test_what_does_not_predict_probabilities_is_refused_before_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predict: Any, says: str
) -> None:
    monkeypatch.setattr(Supervised, "predict", predict)
    reason = refused_before_any_step(tmp_path, monkeypatch)
    assert reason.startswith("BrokenPromise: method supervised: predict must return probabilities (n, classes, *space)")
    assert says in reason


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ({"teacher": lambda image: image.argmax(1)}, "other_predictions()['teacher'] must return probabilities (n, "),
        ({"teacher": lambda image: image.argmax(1)}, "of one image (1, 4, 32, 32), got shape (1, 32, 32)"),
        ({"teacher": lambda image: None}, "got NoneType"),
        ({"teacher": lambda image: torch.ones(1, 4, 32, 32)}, "take torch.softmax(logits, dim=1)"),
        ({"teacher": None}, "other_predictions must return functions by name"),
        ([len], "other_predictions must return functions by name"),
    ],
)
def test_what_is_tested_beside_it_is_asked_before_any_step_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: Any, says: str
) -> None:
    monkeypatch.setattr(Supervised, "other_predictions", lambda self: others)
    reason = refused_before_any_step(tmp_path, monkeypatch)
    assert reason.startswith("BrokenPromise: method supervised: other_predictions")
    assert says in reason


@pytest.mark.parametrize("further", [SCALAR, None, {"partial_ce": SCALAR}])
def test_what_regularises_must_not_replace_the_supervised_term(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, further: Any
) -> None:
    monkeypatch.setattr(PCE, "regularise", lambda self, logits, samples, clock: further)
    assert "pce: regularise must return named terms, of which none is called partial_ce" in failed(tmp_path, "pce")


def test_asking_changes_neither_the_method_nor_what_is_drawn(tmp_path: Path) -> None:
    from benchmark.prepare import prepare

    ready = prepare(tiny_cell("ua_mt", validations=0), places_in(tmp_path), tmp_path)
    before = {name: value.clone() for name, value in ready.method.state_dict().items()}
    ready.method.train()
    stream = torch.random.get_rng_state()
    promises.require_probabilities(ready.method, Training(patch=(32, 32)), **ready.on)
    assert ready.method.training
    assert torch.equal(stream, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in ready.method.state_dict().items())


def test_an_error_in_a_methods_file_is_placed_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Tensor:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr("methods.semi.supervised.supervised_terms", broken)
    reason = failed(tmp_path)
    assert reason.startswith("RuntimeError: the sky fell (methods/semi/supervised.py, line ")


def test_an_error_elsewhere_is_not() -> None:
    with pytest.raises(ValueError, match="steps must be") as raised:
        Training(steps=0)
    assert promises.place(raised.value) == ""
