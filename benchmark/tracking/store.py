"""One experiment of one MLflow store: opened once, its database created and migrated under a lock.

What may pass (a locked or full database, a server that does not answer) is raised as `Unavailable`; other errors will
not go away by themselves.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import ROOT
from .state import lock

BUSY_SECONDS = 5.0
"""How long a locked sqlite file is waited for before it counts as unavailable (MLflow itself waits 20 s)."""

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines per cell between those of the progress
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # a server that is down is asked again later, by our own back-off; MLflow's own retries would take 4 minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_PASSING = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "9p", "afs")


class Unavailable(Exception):
    """The tracker cannot be used now; trying again later may help."""


def resolve_uri(uri: str | None = None) -> str:
    """Where to log: ``uri``, else MLFLOW_TRACKING_URI, else ``mlflow.db`` in the root, where `mlflow ui` finds it."""
    found = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{ROOT / 'mlflow.db'}"
    path, query = sqlite_path(found), found.partition("?")[1:]
    return f"sqlite:///{path}{''.join(query)}" if path else found


def sqlite_path(uri: str) -> Path | None:
    """The file behind a sqlite URI; None for every other kind."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute() if uri.startswith("sqlite:///") else None


def public_name(uri: str) -> str:
    """The URI without user and password, for files and messages.

    >>> public_name("postgresql://anna:secret@db:5432/mlflow")
    'postgresql://db:5432/mlflow'
    """
    return re.sub(r"://[^/@]*@", "://", uri)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what may pass into `Unavailable`; let the rest through."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(first_line(error)) from error
    except Exception as error:
        if _passes(error):
            raise Unavailable(first_line(error)) from error
        raise


def _passes(error: Exception) -> bool:
    """Whether an error of MLflow or SQLAlchemy is about the store's state now, not about what was asked of it."""
    kind = type(error).__name__  # by name, since neither library may be imported up here
    return getattr(error, "error_code", None) in _PASSING or kind == "OperationalError" or _is_silence(error)


def _is_silence(error: BaseException) -> bool:
    return type(error).__name__ == "MlflowException" and str(error).startswith("API request to")


def first_line(error: BaseException) -> str:
    """The part of an error that fits into a sentence."""
    if _is_silence(error):
        return "the server does not answer"
    if "file is not a database" in str(error) or "disk image is malformed" in str(error):
        return "the file is damaged: move it away, and sync makes it anew from the records"
    text = re.sub(r"^\((?:\w+\.)*\w+\) ", "", str(error).strip()) or type(error).__name__
    return text.splitlines()[0][:300]


class Store:
    """An open experiment.

    Attributes:
        client: MLflow's client; its calls belong inside ``with translated()``.
        name: URI without secrets, under which ``tracked.json`` knows this store.
        experiment_id: of the experiment, created where it did not exist.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifacts: Path,
        *,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        """Open, creating what is missing.

        Raises:
            Unavailable: whatever the reason; nothing is half done that a later attempt would stumble over.
        """
        self.uri, self.name, self._busy_seconds = uri, public_name(uri), busy_seconds
        self._database = sqlite_path(uri)
        self._started: dict[str, int] = {}
        try:
            self.check()
            MlflowClient = _import_client()
            with self.alone():
                self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                self.experiment_id = self._experiment(experiment, artifacts)
                self._write_ahead_log()
        except Unavailable:
            raise
        except Exception as error:
            raise Unavailable(first_line(error)) from error

    @property
    def is_remote(self) -> bool:
        """Whether a server stands between us and the store; it then decides where artifacts lie."""
        return self.uri.startswith(("http://", "https://"))

    def check(self) -> None:
        """Raise `Unavailable` if the sqlite file cannot be written within the time allowed; other stores are asked."""
        if self._database is None or not self._database.exists():
            return
        with translated():
            connection = sqlite3.connect(self._database, timeout=self._busy_seconds, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            finally:
                connection.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this machine from creating databases, experiments and runs meanwhile."""
        if self._database is not None:
            path = self._database.with_name(f"{self._database.name}.lock")
        else:
            key = hashlib.blake2b(self.uri.encode(), digest_size=8).hexdigest()
            path = Path(tempfile.gettempdir()) / f"scant-{os.getuid()}-{key}.lock"
        with lock(path, wait=True):
            yield

    def create_run(self, name: str, tags: Mapping[str, str], began_ms: int) -> str:
        """A new top-level run; its id."""
        with translated():
            run = self.client.create_run(self.experiment_id, start_time=began_ms, tags=dict(tags), run_name=name)
        self._started[run.info.run_id] = run.info.start_time
        return run.info.run_id

    def started_ms(self, run_id: str) -> int | None:
        """When a run began, milliseconds; None if the store does not hold it, or somebody deleted it there."""
        if run_id not in self._started:
            try:
                with translated():
                    info = self.client.get_run(run_id).info
            except Unavailable:
                raise
            except Exception as error:
                if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None
            if info.lifecycle_stage == "deleted":
                return None
            self._started[run_id] = info.start_time
        return self._started[run_id]

    def delete_run(self, run_id: str) -> None:
        """Take a run out of the pages."""
        self._started.pop(run_id, None)
        with translated():
            self.client.delete_run(run_id)

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set the tags that differ from what is there."""
        with translated():
            present = self.client.get_experiment(self.experiment_id).tags
            for key, value in tags.items():
                if present.get(key) != value:
                    self.client.set_experiment_tag(self.experiment_id, key, value)

    def runs(self, filter_string: str = "") -> list[Any]:
        """Every run of the experiment, deleted ones too."""
        from mlflow.entities import ViewType

        found, token = [], None
        with translated():
            while True:
                page = self.client.search_runs(
                    [self.experiment_id], filter_string, run_view_type=ViewType.ALL, max_results=1000, page_token=token
                )
                found += page
                token = page.token
                if not token:
                    return found

    def _experiment(self, name: str, artifacts: Path) -> str:
        known = self.client.get_experiment_by_name(name)
        if known is not None:
            if known.lifecycle_stage == "deleted":
                self.client.restore_experiment(known.experiment_id)
            return known.experiment_id
        location = None if self.is_remote else artifacts.absolute().as_uri()
        try:
            return self.client.create_experiment(name, artifact_location=location)
        except Exception as error:
            # another machine was faster: the lock above holds for this one only
            if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
                raise
            return self.client.get_experiment_by_name(name).experiment_id

    def _write_ahead_log(self) -> None:
        """Let readers and one writer work side by side; it stays set in the file. Not safe on network file systems."""
        if self._database is None or _on_network(self._database):
            return
        connection = sqlite3.connect(self._database, timeout=self._busy_seconds)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()


def _import_client() -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise Unavailable(f"MLflow cannot be imported ({error}); `make env` installs it") from error
    # both print what is reported here in one sentence, the first with a traceback, over the progress bar
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return MlflowClient


def _on_network(path: Path) -> bool:
    import psutil

    def contains(partition: Any) -> bool:
        return path.is_relative_to(partition.mountpoint)

    mounts = [p for p in psutil.disk_partitions(all=True) if contains(p)]
    return bool(mounts) and max(mounts, key=lambda p: len(p.mountpoint)).fstype.lower().startswith(
        _NETWORK_FILE_SYSTEMS
    )
