"""What every test stands on: one thread, no network, no display, no telemetry, seeded streams.

Markers (declared in pyproject.toml): ``slow`` takes longer than a second, ``data`` reads real scans, ``gpu`` needs an
accelerator, ``browser`` drives a headless browser. The last three skip where what they need is not at hand.
"""

from __future__ import annotations

import os

os.environ.update(
    MPLBACKEND="Agg",
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="true",
    HF_HUB_OFFLINE="1",
    OMP_NUM_THREADS="1",
)
os.environ.pop("BENCH_DEVICE", None)  # what a person set for their runs must not move the tests
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("COLUMNS", None)  # a console that is made while it is set keeps that width

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The global streams start equal in every test, whatever ran before."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the legacy stream is what careless code draws from
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Connections to other machines fail at once, with a message; this machine's own servers stay reachable."""
    import socket

    original = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("localhost", "127.0.0.1", "::1"):
            raise OSError(f"tests are offline, but something connects to {address!r}")
        original(self, address)

    socket.socket.connect = connect  # type: ignore[method-assign]
    yield
    socket.socket.connect = original  # type: ignore[method-assign]
