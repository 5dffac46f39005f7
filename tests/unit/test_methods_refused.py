"""A method that states nonsense of itself is refused as it is read, before anything trains or is certified."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import methods
from methods import BrokenMethod

Load = Callable[[str], type[methods.Method]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Reads methods/semi/mine.py with a class body of this text."""

    def loaded(body: str) -> type[methods.Method]:
        (tmp_path / "mine.py").write_text(f"from ..base import Method\n\nclass Mine(Method):\n    {body}\n")
        return methods.get("mine")

    monkeypatch.setattr(methods, "families", lambda: {"mine": "semi"})
    here = importlib.import_module("methods.semi").__path__
    monkeypatch.setattr("methods.semi.__path__", [*here, str(tmp_path)])
    yield loaded
    sys.modules.pop("methods.semi.mine", None)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "supervision = 'scribbles'",
            "supervision must be one of 'full', 'semi', 'scribble', got 'scribbles'; did you",
        ),
        ("supervision = 'scribbles'", "did you mean 'scribble'?"),
        ("supervision = None", "supervision must be one of 'full', 'semi', 'scribble', got None"),
        ("views = 3", "views must be 1, or 2 where every labelled batch has two disjoint halves, got 3"),
        ("views = True", "views must be 1"),
        ("ndims = (2)", "ndims must be the tuple (2,), (3,) or (2, 3), got 2; for images alone write ndims = (2,)"),
        ("ndims = (4,)", "ndims must be the tuple (2,), (3,) or (2, 3), got (4,)"),
        ("ndims = ()", "ndims must be"),
        ("ndims = ([],)", "ndims must be"),
        ("ndims = (2, 2)", "ndims must be"),
    ],
)
def test_a_fact_that_cannot_be_is_refused_by_name(load: Load, body: str, says: str) -> None:
    with pytest.raises(BrokenMethod) as told:
        load(body)
    assert str(told.value).startswith("method mine cannot be loaded: methods/semi/mine.py: ")
    assert says in str(told.value)


@pytest.mark.parametrize("body", ["ndims = (3,)", "ndims = (3, 2)", "views = 2", "supervision = 'full'"])
def test_a_fact_that_can_be_is_taken(load: Load, body: str) -> None:
    assert load(body).name() == "mine"
