"""The contract of a dataset: every check, and which of them make sense on the real folder.

A check is ``check_xxx(specimen)``; it raises AssertionError with one sentence that names the dataset and the case. A
:class:`Specimen` opens the dataset on a fresh copy of its miniature (``tests/miniatures/<name>.py``), or on real scans.
To check a dataset of your own:

    certify(Specimen(MyDataset, tmp_path, miniature=my_miniature))
"""

from __future__ import annotations

from .checks_cases import (
    check_cases,
    check_geometry,
    check_identity,
    check_load,
    check_scribbles,
    check_task,
    check_truth,
)
from .checks_files import check_damage, check_fingerprint, check_missing
from .checks_splits import check_growth, check_seal, check_split, check_store
from .specimen import Check, Specimen

CHECKS: tuple[Check, ...] = (
    check_identity, check_task, check_cases, check_load, check_truth, check_geometry, check_scribbles, check_split,
    check_growth, check_seal, check_store, check_missing, check_damage, check_fingerprint,
)  # fmt: skip

ON_REAL: tuple[Check, ...] = (
    check_task, check_cases, check_load, check_geometry, check_scribbles, check_split, check_seal, check_store,
)  # fmt: skip
"""Those that neither damage files nor add cases."""


def certify(specimen: Specimen) -> None:
    """Run the whole contract.

    Raises:
        AssertionError: with the first thing that is wrong.
    """
    for check in CHECKS:
        check(specimen)
