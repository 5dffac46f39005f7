"""MLflow's own pages from a small local server: one worker, no job runner, two processes instead of fifteen."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .. import ROOT
from ..config import ConfigError
from ..interrupts import interrupted_by
from . import views
from .store import public_name, resolve_uri
from .views import HOST, PORTS

_SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
_START_SECONDS = 90.0


class ServerError(ConfigError):
    """The server cannot be started where it was asked for; the message holds what it said."""


def ui(port: int | None = None, *, open_browser: bool = False, uri: str | None = None) -> None:
    """Serve what was tracked until Ctrl-C, printing where; a tracker that is a server already is only named.

    Raises:
        ServerError: the port is taken, or the server ended at once.
    """
    found = resolve_uri(uri)
    if found.startswith(("http://", "https://")):
        _announce(public_name(found).rstrip("/"), open_browser)
        return
    with serving(found, port) as address:
        _announce(address, open_browser)
        print("Ctrl-C ends it.", flush=True)
        with suppress(KeyboardInterrupt), interrupted_by(signal.SIGTERM):
            while True:
                time.sleep(3600)
        print()


@contextmanager
def serving(uri: str, port: int | None = None, *, artifacts: Path = ROOT / "results" / "artifacts") -> Iterator[str]:
    """A server for the time of the block; yields its address once it answers, and ends all its processes.

    ``artifacts`` holds what clients upload to it; what was tracked without a server stays where it is.
    """
    port = free_port() if port is None else _checked(port)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        uri,
        "--host",
        HOST,
        "--port",
        str(port),
    ]
    command += ["--workers", "1", "--artifacts-destination", str(artifacts)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | _SETTINGS,
            cwd=ROOT,
            start_new_session=True,  # a group of its own, so that its worker ends with it
        )
        try:
            address = f"http://{HOST}:{port}"
            _await(process, address, output)
            yield address
        finally:
            _end_group(process)


def free_port() -> int:
    """The first of `PORTS` that nobody listens on, else one that the system picks."""
    for port in PORTS:
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def experiments(address: str) -> list[tuple[str, str, bool]]:
    """Id, name and whether it has our saved views, of the experiments at a server, latest first."""
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/experiments/search",
        data=json.dumps({"max_results": 100, "order_by": ["last_update_time DESC"]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found = json.load(answer).get("experiments", [])
    return [(e["experiment_id"], e["name"], views.seeded(t["key"] for t in e.get("tags", []))) for e in found]


def _announce(address: str, open_browser: bool) -> None:
    try:
        ours = [(key, name) for key, name, seeded in experiments(address) if seeded]
    except (OSError, ValueError, KeyError) as error:
        print(f"{address} (its experiments could not be listed: {error})", flush=True)
        return
    if not ours:
        print(f"{address}\nNothing is tracked there yet; `make bench` runs the demo.", flush=True)
    for key, name in ours:
        print(f"{name}:")
        for title, path in views.links(key):
            print(f"  {title:<16} {address}{path}", flush=True)
    if open_browser:
        webbrowser.open(address + (views.links(ours[0][0])[0][1] if ours else ""))


def _await(process: subprocess.Popen, address: str, output: Any) -> None:
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit:
        if process.poll() is not None:
            output.seek(0)
            said = output.read().decode(errors="replace").strip().splitlines()[-8:]
            raise ServerError("MLflow's server ended at once:\n" + "\n".join(said))
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise ServerError(f"MLflow's server did not answer at {address} within {_START_SECONDS:g} s")


def _end_group(process: subprocess.Popen) -> None:
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _checked(port: int) -> int:
    if not _is_free(port):
        raise ServerError(f"port {port} is taken on this machine; choose another, or none to have a free one picked")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
