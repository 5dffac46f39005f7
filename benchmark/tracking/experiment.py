"""The experiment of a plan: opened with its saved views, and where a browser finds them."""

from __future__ import annotations

from pathlib import Path

from .. import ROOT
from . import views
from .store import BUSY_SECONDS, Store, Unavailable, resolve_uri


def links(name: str, uri: str | None = None, *, results: Path = ROOT / "results") -> list[tuple[str, str]]:
    """Name and address of the saved views of a plan; none if the tracker cannot be reached.

    A database has no address of its own: the links are those of `mlflow ui` and `make ui`, at their first port.
    """
    found = resolve_uri(uri)
    try:
        store = open_store(name, results, found)
    except Unavailable:
        return []
    return [(title, views.address(store) + path) for title, path in views.links(store.experiment_id)]


def open_store(
    name: str, results: Path, uri: str, description: str = "", *, busy_seconds: float = BUSY_SECONDS
) -> Store:
    """The experiment of a plan, with its saved views.

    Raises:
        Unavailable: the tracker cannot be used now.
    """
    store = Store(uri, name, results / "artifacts" / name, busy_seconds=busy_seconds)
    views.seed(store, description)
    return store
