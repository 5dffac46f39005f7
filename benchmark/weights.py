"""Files of weights and other tensors: written whole or not at all, read whole or called damaged."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from datasets.files import atomic_write


class Damaged(Exception):
    """A file that lost a part, as by a disk that lost its last writes."""


def save(path: Path, state: Any) -> None:
    """Save all or nothing. Through memory: on a full disk torch's own writer says nothing that a person understands."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic_write(path, buffer.getbuffer())


def load(path: Path, device: torch.device | str) -> Any:
    """What :func:`save` saved, on ``device``.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: it is not what was saved.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        raise Damaged(str(error)) from error
