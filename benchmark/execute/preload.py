"""Imported once by the forkserver, so that no cell waits for it: compiled kernels loaded, versions looked up.

Loading numba and its compiled kernels takes most of a second of processor time, which every cell would spend anew.
"""

from __future__ import annotations

import contextlib

import numpy as np

from .. import leaving, receipt
from ..metrics import measure

for _ndim in (2, 3):
    _label = np.zeros((4,) * _ndim, np.uint8)
    _label[(1,) * _ndim] = 1
    # whatever is wrong here is wrong in the cell too, which records it; the forkserver must live
    with contextlib.suppress(Exception):
        measure(_label, np.roll(_label, 1), classes=2, spacing=(1.0, 2.0, 3.0)[:_ndim], tolerance=(1.0,))

with contextlib.suppress(Exception):
    from datasets import kernels
    from methods import compiled

    for loops in (kernels, *compiled.every()):
        loops.warm_up()

receipt.versions()  # of what is loaded here
receipt.loaded()  # a cell says what it finds on disk as it starts, and whether that is still this

leaving.skip_destructors()  # the forkserver's end is an `exit`; those of cells are none
