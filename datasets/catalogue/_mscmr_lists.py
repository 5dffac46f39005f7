"""The subjects of MSCMR in each part, as released with CycleMix."""

from __future__ import annotations

SUBJECTS = {
    "train": (2, 4, 6, 7, 9, 13, 14, 15, 18, 19, 20, 21, 22, 24, 25, 26, 27, 31, 32, 34, 37, 39, 42, 44, 45),
    "val": (1, 8, 29, 36, 41),
    "test": (3, 5, 10, 11, 12, 16, 17, 23, 28, 30, 33, 35, 38, 40, 43),
}
