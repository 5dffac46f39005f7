"""MLflow as a view of the records: the only folder that imports it, lazily, in the supervising process only.

A tracker that is down, locked, slow or not installed never stops or loses a cell: records stay on disk, and `sync`
replays them. Training and evaluating need none of this.
"""

from __future__ import annotations

from .experiment import links
from .replay import SyncReport, sync
from .report import log_report
from .server import ServerError, ui
from .study import StudyTracker
from .tracker import Tracker

__all__ = ["ServerError", "StudyTracker", "SyncReport", "Tracker", "links", "log_report", "sync", "ui"]
