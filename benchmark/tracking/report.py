"""The plan's report as artifacts of one run of its experiment, beside the cells."""

from __future__ import annotations

import hashlib
from pathlib import Path

from . import log
from .experiment import open_store
from .store import BUSY_SECONDS, Store, Unavailable, public_name, resolve_uri, translated

_LIMIT = 7500
"""Characters of the tables that the run's page shows; MLflow's tags hold 8000."""


def log_report(
    name: str, folder: Path, uri: str | None = None, *, called: str = "", busy_seconds: float = BUSY_SECONDS
) -> list[str]:
    """Attach ``results/<plan>/report`` to the plan's experiment; the same files are not logged twice.

    ``called`` is the plan as the command line had it, for advice; "": its name.

    Returns:
        Sentences about what could not be done; a tracker that is down is no error, the report stays where it is.
    """
    found = resolve_uri(uri)
    try:
        store = open_store(name, folder.parent.parent, found, busy_seconds=busy_seconds)
        attach(store, name, folder)
    except Unavailable as error:
        return [
            f"the tracker {public_name(found)} cannot be used ({error}): the report is in {folder} only; "
            f"`python -m benchmark sync {called or name}` shows it later"
        ]
    return []


def attach(store: Store, name: str, folder: Path) -> None:
    """Log the files of a report, unless these very files are there.

    Raises:
        Unavailable: the tracker is down.
    """
    digest = _digest(folder)
    earlier = [run for run in store.runs("tags.kind = 'report'") if run.info.lifecycle_stage == "active"]
    if any(run.data.tags.get("digest") == digest for run in earlier):
        return
    tags = {"kind": "report", "plan": name, "mlflow.source.type": "LOCAL"}
    run_id = earlier[0].info.run_id if earlier else store.create_run("report", tags, log.now_ms())
    with translated():
        store.client.log_artifacts(run_id, str(folder), "report")
    tables = "\n\n".join(path.read_text() for path in sorted(folder.glob("*.md")))
    log.log_batch(store, run_id, tags={"mlflow.note.content": tables[:_LIMIT], "digest": digest})
    with translated():
        store.client.set_terminated(run_id)


def _digest(folder: Path) -> str:
    found = hashlib.blake2b(digest_size=8)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()
