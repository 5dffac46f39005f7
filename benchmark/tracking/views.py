"""Saved views of an experiment, so that MLflow's page opens on something that can be read.

They are experiment tags in a format of MLflow's own page (3.17), not of its API: a page that no longer understands them
ignores them. Charts and columns name the metrics and parameters of `describe`.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

from .store import Store, Unavailable

HOST = "127.0.0.1"
PORTS = range(5000, 5010)
"""Where `server` serves, tried in this order where no port is asked for; then any free one."""

_PREFIX = "mlflow.sharedViewState."
_CELLS = "tags.`kind` = 'cell'"
_IDENTITY = [f"params.`{name}`" for name in ("method", "dataset", "amount", "seed")]
_RESULTS = [f"metrics.`{name}`" for name in ("test/dice", "test/hd95", "test/failure_rate", "time/train_seconds")]


def seed(store: Store, description: str = "") -> None:
    """Give an experiment its views, and a description (Markdown) if there is one; only what differs is written.

    Raises:
        Unavailable: the tracker is down. A store that refuses the tags is left without views.
    """
    tags = {"mlflow.note.content": description[:5000]} if description else {}
    for key, (name, view) in definitions().items():
        tags[_PREFIX + key] = encode(name, view)
    try:
        store.tag_experiment(tags)
    except Unavailable:
        raise
    except Exception:  # pages without views are still pages
        return


def definitions() -> dict[str, tuple[str, dict[str, Any]]]:
    """Key -> name in the menu and content of every view."""
    dice, hd95, failures = ({"type": "BAR", "metricKey": f"test/{name}"} for name in ("dice", "hd95", "failure_rate"))
    learning = {"type": "LINE", "metricKey": "val/dice"}
    axes = {
        "type": "PARALLEL",
        "selectedParams": ["method", "dataset"],
        "selectedMetrics": ["labels/ratio", "test/hd95", "test/dice"],
        "showAllRuns": True,
    }
    efficiency = [
        {
            "type": "SCATTER",
            "xaxis": {"key": "labels/ratio", "type": "METRIC"},
            "yaxis": {"key": f"test/{name}", "type": "METRIC"},
        }
        for name in ("dice", "hd95")
    ]
    return {
        "every-cell": ("Every cell", _view({"Test": [dice, hd95], "Learning": [learning]})),
        "by-method": (
            "By method",
            _view({"Test": [dice, hd95], "Failures and learning": [failures, learning]}, ("dataset", "method")),
        ),
        "label-ratio": ("Label ratio", _view({"Test": [axes], "Over the share of labels": efficiency})),
        "method-ratio": (
            "Method × ratio",
            _view({"Test": [dice, hd95], "Learning": [learning]}, ("dataset", "method", "amount")),
        ),
    }


def links(experiment_id: str) -> list[tuple[str, str]]:
    """Name and path of every view, below the address of MLflow's server."""
    start = page(experiment_id)
    return [
        (name, f"{start}&viewStateShareKey={key}" + ("" if key == "every-cell" else "&compareRunsMode=CHART"))
        for key, (name, _) in definitions().items()
    ]


def seeded(tag_keys: Iterable[str]) -> bool:
    """Whether an experiment with these tags has our views."""
    return f"{_PREFIX}every-cell" in set(tag_keys)


def page(experiment_id: str) -> str:
    """Path of the list of runs; without the type of workflow MLflow 3 opens its page for language models."""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def address(store: Store) -> str:
    """Where a browser finds the store; for a database, where `mlflow ui` serves it unless told otherwise."""
    return store.name.rstrip("/") if store.is_remote else f"http://{HOST}:{PORTS[0]}"


def encode(name: str, view: dict[str, Any]) -> str:
    """The value of a view's tag."""
    packed = base64.b64encode(zlib.compress(json.dumps(view, sort_keys=True).encode())).decode()
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


def decode(value: str) -> tuple[str, dict[str, Any]]:
    """Name and content of a view's tag."""
    outer = json.loads(value)
    return outer["name"], json.loads(zlib.decompress(base64.b64decode(outer["state"].removeprefix("deflate;"))))


def _view(sections: dict[str, list[dict[str, Any]]], group_by: tuple[str, ...] = ()) -> dict[str, Any]:
    shown: list[dict[str, Any]] = []
    charts: list[dict[str, Any]] = []
    for name, content in sections.items():
        place = f"section-{len(shown)}"
        shown.append(_section(place, name, columns=len(content)))
        for chart in content:
            common = {"metricSectionId": place, "runsCountToCompare": 100, "deleted": False, "isGenerated": False}
            charts.append({"uuid": f"chart-{len(charts)}"} | common | chart)
    # the page adds a section for every first part of a metric's name; folded, they do not bury the charts above
    generated = ("test", "val", "train", "labels", "time", "memory", "model")
    groups = [{"mode": "param", "groupByData": name} for name in group_by]
    return {
        "searchFilter": _CELLS,
        "orderByKey": "metrics.`test/dice`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*_IDENTITY, *_RESULTS],
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": {"aggregateFunction": "average", "groupByKeys": groups} if groups else None,
        "compareRunSections": shown + [_section(name, name, display=False) for name in generated],
        "compareRunCharts": charts,
        "isAccordionReordered": True,  # or the page sorts the sections by name
        "hideEmptyCharts": True,
    }


def _section(key: str, name: str, *, display: bool = True, columns: int = 3) -> dict[str, Any]:
    return {"uuid": key, "name": name, "display": display, "isReordered": False, "columns": columns, "cardHeight": 420}
