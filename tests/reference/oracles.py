"""What the released code returns on fixed inputs, where the file with these numbers is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

PATH = Path(__file__).parents[3] / "shared" / "specs" / "oracles" / "released_terms.npz"


def load(*names: str) -> list[Tensor]:
    """Arrays of these names; the test skips where the file is missing."""
    if not PATH.is_file():
        pytest.skip("needs released_terms.npz, the numbers of the released code, in ../shared/specs/oracles")
    with np.load(PATH) as file:
        return [torch.from_numpy(file[name].copy()) for name in names]


def close_with_gradient(term: Tensor, at: Tensor, value: Tensor, gradient: Tensor) -> None:
    """The term's value and its gradient at the leaf ``at`` are the released ones, to float32 accuracy."""
    term.backward()
    torch.testing.assert_close(term.detach().double(), value.double(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(at.grad.double(), gradient.double(), rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))
