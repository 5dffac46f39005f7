"""Numbers from papers, as data, and how they stand beside ours. What is marked as from memory is kept, never shown."""

from __future__ import annotations

from .comparison import csv, html, markdown, tables
from .numbers import load
from .pairing import Comparison, beside

__all__ = ["Comparison", "beside", "csv", "html", "load", "markdown", "tables"]
