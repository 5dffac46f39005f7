"""What the metrics refuse to measure, and that the message says what to do."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from benchmark.metrics import measure

LABELS = np.zeros((4, 5), np.uint8)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (LABELS.astype(float), "prediction has dtype float64; allowed: an integer label map. Take the argmax"),
        (np.full((4, 5), np.nan), "prediction has dtype float64"),
        (LABELS.astype(bool), "prediction has dtype bool"),
    ],
)
def test_maps_that_are_not_integers_are_refused(prediction, message):
    with pytest.raises(TypeError, match=message):
        measure(prediction, LABELS, classes=2, spacing=None)


@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        (LABELS + 255, LABELS, r"prediction holds the label 255; allowed: 0..1 \(classes=2\)"),
        (LABELS, LABELS + 2, "reference holds the label 2; allowed: 0..1"),
        (LABELS.astype(int) - 1, LABELS, "prediction holds the label -1; allowed: 0..1"),
        (LABELS.astype(int) + 256, LABELS, "prediction holds the label 256; allowed: 0..1"),
        (
            LABELS,
            np.zeros((5, 4), np.uint8),
            r"prediction has shape \(4, 5\) and reference \(5, 4\); allowed: equal shapes",
        ),
        (np.zeros((2, 5), np.uint8), LABELS, "nothing is broadcast"),
        (LABELS[None], LABELS[None], r"\(1, 4, 5\); allowed: every axis at least 2.*Pass a 2-D image as 2-D"),
        (LABELS[None], np.zeros((3, 4, 5), np.uint8), "every axis at least 2"),
        (LABELS[..., None], LABELS[..., None], "every axis at least 2"),
        (LABELS[:0], LABELS[:0], "every axis at least 2"),
        (LABELS[0], LABELS[0], r"shape \(5,\); allowed: 2-D or 3-D"),
        (LABELS[None, None], LABELS[None, None], "without batch or channels"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(prediction, reference, message):
    with pytest.raises(ValueError, match=message):
        measure(prediction, reference, classes=2, spacing=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1.0,)}, r"spacing \(1.0,\) has 1 values; allowed: one per axis, 2 here"),
        ({"spacing": (1.0, 0.0)}, r"spacing \(1.0, 0.0\) has a value that is not above 0"),
        ({"spacing": (1.0, np.nan)}, "not above 0"),
        ({"spacing": (1.0, inf)}, "not above 0"),
        ({"tolerance": [1.0, 2.0]}, r"tolerance is \[1.0, 2.0\]; allowed: one per foreground class, 1 here"),
        ({"tolerance": 1.0}, "tolerance is 1.0; allowed: one per foreground class"),
        ({"tolerance": [-1.0]}, "negative or non-finite"),
        ({"tolerance": [np.nan]}, "negative or non-finite"),
        ({"classes": 1}, r"classes is 1; allowed: a whole number in 2..256"),
        ({"classes": 257}, "classes is 257"),
        ({"classes": True}, "classes is True"),
        ({"engine": "cuda"}, "engine is 'cuda'; allowed: numba, scipy"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        measure(LABELS, LABELS, **{"classes": 2, "spacing": None} | options)
