"""What must be said under every table of a dataset: the caveats of their cards."""

from __future__ import annotations

from collections.abc import Container

import datasets

from .frame import Results


def caveats(results: Results, among: Container[str] | None = None) -> tuple[str, ...]:
    """One sentence per dataset of the records (``among`` these) that has a caveat, in the order of the records.

    A dataset says it of its options, so that a choice of one plan stands under the tables of that plan.
    """
    said: dict[str, None] = {}
    for cell in (record.cell for record in results.records.values()):
        name = cell["dataset"]
        if name in datasets.names() and (among is None or name in among):
            caveat = datasets.get(name).caveat(cell.get("options") or {})
            said |= {f"{name}: {caveat}": None} if caveat else {}
    return tuple(said)
