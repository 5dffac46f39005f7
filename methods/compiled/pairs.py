"""Compiled loops for pairs of neighbouring pixels that look alike, on a CPU: many pairs of one step at a time.

Maps are float32 and flat, with a margin of zeros after every row, so that a step off a row ends in zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import exponential, kernel_of_sums, piece

_BLOCK = 512
"""Pixels that are looked at together."""


@piece
def _write_kernels(image: Any, inside: Any, start: Any, shift: Any, distant: Any, by_contrast: Any, found: Any) -> None:
    """Write how alike pixels from ``start`` on are to those ``shift`` further on; 0 where either is of the margins."""
    stop = start + len(found)
    found[:] = distant
    for k in range(len(image)):
        one, other = image[k, start:stop], image[k, start + shift : stop + shift]
        for x in range(len(found)):
            contrast = one[x] - other[x]
            found[x] += by_contrast * (contrast * contrast)
    one, other = inside[start:stop], inside[start + shift : stop + shift]
    for x in range(len(found)):
        found[x] = exponential(found[x]) * (one[x] * other[x])


@piece
def _add_products(kernels: Any, probs: Any, pull: Any) -> None:
    for x in range(len(kernels)):
        pull[x] += kernels[x] * probs[x]


@kernel_of_sums
def pull_of_neighbours(
    probs: Any, image: Any, inside: Any, space: Any, margin: Any, radius: Any, by: Any, pull: Any
) -> float:
    """Add Σ_j k_ij p_j of every pixel i to ``pull``, over the other pixels j of a window of side 2 * radius + 1.

    k_ij = exp(by[0] * distance² + by[1] * |I_i - I_j|²).

    Args:
        probs, pull: ``(n, c, pixels)``; what ``pull`` has in the margins afterwards means nothing.
        image: ``(n, channels, pixels)``.
        inside: ``(pixels,)``, 1 but in the margins.
        space: depth, height, and width with its margin.
        margin: zeros after every row, and once more after all rows; the smaller of radius and a row's other pixels.
        by: two float32, at most 0.

    Returns:
        The sum of all kernels.
    """
    depth, height, width = space
    plane = height * width
    kernels, total = np.empty(_BLOCK, np.float32), 0.0
    for n, z, start in np.ndindex(len(probs), depth, -(-plane // _BLOCK)):
        for down in range(min(radius, depth - 1 - z) + 1):
            for along in range(-radius if down else 0, radius + 1):
                first = max(start * _BLOCK, -along * width)
                last = min((start + 1) * _BLOCK, plane, plane - along * width)
                if first >= last:
                    continue
                a, b, some = z * plane + first, z * plane + last, kernels[: last - first]
                for step in range(-margin if down or along else 1, margin + 1):
                    shift = down * plane + along * width + step
                    distant = by[0] * np.float32(down * down + along * along + step * step)
                    _write_kernels(image[n], inside, a, shift, distant, by[1], some)
                    whole = np.float32(0)
                    for x in range(len(some)):
                        whole += some[x]
                    total += 2 * float(whole)
                    for k in range(probs.shape[1]):
                        _add_products(some, probs[n, k, a:b], pull[n, k, a + shift : b + shift])
                        _add_products(some, probs[n, k, a + shift : b + shift], pull[n, k, a:b])
    return total


def warm_up() -> None:
    """Compile, or load from disk."""
    maps, by = np.zeros((1, 1, 3), np.float32), (np.float32(-1), np.float32(-1))
    pull_of_neighbours(maps, maps, maps[0, 0], (1, 1, 2), 1, 1, by, maps.copy())
