"""What must be said under every table of a dataset: the caveats of their cards."""

from __future__ import annotations

from collections.abc import Container

import datasets

from .frame import Results


def caveats(results: Results, among: Container[str] | None = None) -> tuple[str, ...]:
    """One sentence per dataset of the records (``among`` these) that has a caveat, in the order of the records."""
    names = dict.fromkeys(record.cell["dataset"] for record in results.records.values())
    asked = (name for name in names if among is None or name in among)
    cards = {name: datasets.get(name).card for name in asked if name in datasets.names()}
    return tuple(f"{name}: {card.caveat}" for name, card in cards.items() if card.caveat)
