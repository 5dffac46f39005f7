"""What must be said under every table of a dataset: the caveats of their cards."""

from __future__ import annotations

from collections.abc import Container

import datasets

from .frame import Results


def caveats(results: Results, among: Container[str] | None = None) -> tuple[str, ...]:
    """One sentence per dataset of the records (``among`` these) that has a caveat, in the order of the records.

    A dataset says it of its options, so that a choice of one plan stands under the tables of that plan.
    """
    cells = [record.cell for record in results.records.values()]
    chosen = {(cell["dataset"], repr(cell["options"])): cell["options"] for cell in cells}
    known = {name for name, _ in chosen if (among is None or name in among) and name in datasets.names()}
    said = ((name, datasets.get(name).caveat(options)) for (name, _), options in chosen.items() if name in known)
    return tuple(dict.fromkeys(f"{name}: {caveat}" for name, caveat in said if caveat))
