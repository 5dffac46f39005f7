"""Saved views of an experiment, so that MLflow's page opens on something that can be read.

They are experiment tags in a format of MLflow's own page (3.17), not of its API: a page that no longer understands them
ignores them. Charts and columns name the metrics and parameters of `describe`.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from .store import Store, Unavailable

_PREFIX = "mlflow.sharedViewState."
_CELLS = "tags.`kind` = 'cell'"
_IDENTITY = [f"params.`{name}`" for name in ("method", "dataset", "amount", "seed")]
_RESULTS = [f"metrics.`{name}`" for name in ("test/dice", "test/hd95", "test/failure_rate", "time/train_seconds")]


def seed(store: Store, title: str, protocol: str) -> None:
    """Describe the experiment and give it the views; only what differs is written.

    Raises:
        Unavailable: the tracker is down. A store that refuses the tags is left without views.
    """
    tags = {"mlflow.note.content": f"## {title}\n\n{protocol}"[:5000]}
    for key, (name, view) in _views(title).items():
        tags[_PREFIX + key] = encode(name, view)
    try:
        store.tag_experiment(tags)
    except Unavailable:
        raise
    except Exception:  # pages without views are still pages
        return


def links(experiment_id: str) -> list[tuple[str, str]]:
    """Name and path of every view, below the address of MLflow's server."""
    start = page(experiment_id)
    return [
        (name, f"{start}&viewStateShareKey={key}" + ("" if key == "every-cell" else "&compareRunsMode=CHART"))
        for key, (name, _) in _views("").items()
    ]


def page(experiment_id: str) -> str:
    """Path of the list of runs; without the type of workflow MLflow 3 opens its page for language models."""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def encode(name: str, view: dict[str, Any]) -> str:
    """The value of a view's tag."""
    packed = base64.b64encode(zlib.compress(json.dumps(view, sort_keys=True).encode())).decode()
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


def decode(value: str) -> tuple[str, dict[str, Any]]:
    """Name and content of a view's tag."""
    outer = json.loads(value)
    return outer["name"], json.loads(zlib.decompress(base64.b64decode(outer["state"].removeprefix("deflate;"))))


def _views(title: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Key -> name in the menu and content of every view."""
    dice = {"type": "BAR", "metricKey": "test/dice", "displayName": "Dice on test (higher is better)"}
    hd95 = {"type": "BAR", "metricKey": "test/hd95", "displayName": "HD95 on test (lower is better)"}
    failures = {"type": "BAR", "metricKey": "test/failure_rate", "displayName": "Share of organs missed or invented"}
    learning = {"type": "LINE", "metricKey": "val/dice", "displayName": "Dice on validation"}
    axes = {
        "type": "PARALLEL",
        "selectedParams": ["method", "dataset"],
        "selectedMetrics": ["labels/ratio", "test/dice", "test/hd95"],
        "showAllRuns": True,
        "displayName": "Method, dataset, share of labels, result",
    }
    efficiency = [
        {
            "type": "SCATTER",
            "xaxis": {"key": "labels/ratio", "type": "METRIC"},
            "yaxis": {"key": metric, "type": "METRIC"},
            "displayName": text,
        }
        for metric, text in (("test/dice", "Dice over share of labels"), ("test/hd95", "HD95 over share of labels"))
    ]
    return {
        "every-cell": ("Every cell", _view(title, [dice, hd95, learning])),
        "by-method": ("By method", _view(title, [dice, hd95, failures, learning], group_by=["dataset", "method"])),
        "label-ratio": ("Label ratio", _view(title, [axes, *efficiency])),
        "method-ratio": ("Method × ratio", _view(title, [dice, hd95, learning], group_by=["method", "amount"])),
    }


def _view(title: str, charts: list[dict[str, Any]], group_by: list[str] | None = None) -> dict[str, Any]:
    shown = [
        {
            "uuid": f"chart-{i}",
            "runsCountToCompare": 100,
            "metricSectionId": "results",
            "deleted": False,
            "isGenerated": False,
            **chart,
        }
        for i, chart in enumerate(charts)
    ]
    sections = [{"uuid": "results", "name": title or "Results", "display": True, "isReordered": False}]
    # the page makes a section of every first part of a metric's name; folded, they do not bury the charts above
    sections += [
        {"uuid": name, "name": name, "display": False, "isReordered": False}
        for name in ("test", "val", "train", "labels", "time", "memory", "model")
    ]
    groups = [{"mode": "param", "groupByData": name} for name in group_by or ()]
    return {
        "searchFilter": _CELLS,
        "orderByKey": "metrics.`test/dice`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*_IDENTITY, *_RESULTS],
        "runsHiddenMode": "SHOWALL",
        "groupBy": {"aggregateFunction": "average", "groupByKeys": groups} if groups else None,
        "compareRunSections": sections,
        "compareRunCharts": shown,
        "isAccordionReordered": False,
        "hideEmptyCharts": True,
    }
