"""Whether a processor's bfloat16 convolutions of volumes are right: every shape is tried once, against float32.

oneDNN under PyTorch 2.13 leaves parts of some results unwritten, so that what lay in memory is taken for them. Seen: a
kernel of 3 on one channel of 1 x 2 x 2; a kernel and stride of 2 on 4 x 4 x 3 and 64 channels or more; on another kind
of processor the gradient of a padded kernel of 3 where the first axis has length 2. Which shapes those are depends on
the processor, so no list can be complete. Images are not affected.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import _disable_current_modes

TOLERANCE = 0.03
"""Largest difference to float32, as a share of the largest number of a result; right ones stay below 0.01."""

_SHORT = 2
"""Volumes with an axis up to so long are never trusted: what is wrong there need not show in one trial."""

_MOST = 2**24
"""Numbers of a volume that is tried; of more samples than fit, the first are."""


_kept: Path | None = None


def remember_in(folder: Path | None) -> None:
    """Keep verdicts as files of ``folder``, by processor and PyTorch; None = in memory only."""
    global _kept
    _kept = folder


def in_bfloat16() -> bool:
    """Whether convolutions on a CPU are computed in bfloat16 here."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def right_in_bfloat16(maps: Tensor, layer: nn.Conv3d) -> bool:
    """Whether ``layer`` may take ``maps`` in bfloat16 on this CPU; its gradients too, where there may be some."""
    if min(maps.shape[2:]) <= _SHORT:
        return False
    last = maps.is_contiguous(memory_format=torch.channels_last_3d)
    weight_last = layer.weight.is_contiguous(memory_format=torch.channels_last_3d)
    shape = (max(1, min(len(maps), _MOST // maps[0].numel())), *maps.shape[1:])
    key = (shape, last, tuple(layer.weight.shape), weight_last, layer.stride, layer.padding, maps.dtype)
    return _verdict(*key)


@cache
def _verdict(*key: Any) -> bool:
    """As it is known here, or once tried."""
    if _kept is None:
        return _unseen(*key)
    file = _kept / hashlib.blake2b(repr((key, _kind())).encode(), digest_size=12).hexdigest()
    try:
        return file.read_text() == "right"
    except OSError:
        found = _unseen(*key)
    with contextlib.suppress(OSError):  # a full disk costs a second trial
        _kept.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.{os.getpid()}")
        part.write_text("right" if found else "wrong")
        part.replace(file)
    return found


@cache
def _kind() -> tuple[str, ...]:
    """What decides on the kernels that oneDNN takes: its build, the processor and its instructions, a limit to them."""
    known = [platform.processor(), platform.machine()]
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        known = [line for line in first if line.startswith(("model", "vendor_id", "cpu family", "stepping", "flags"))]
    return (torch.__version__, os.environ.get("ONEDNN_MAX_CPU_ISA", ""), *known)


def _unseen(*key: Any) -> bool:
    """Tried without those who look at every operation, to count them, say, and with gradients wherever it is asked."""
    with _disable_current_modes(), torch.inference_mode(False):
        return _tried(*key)


def _tried(
    shape: tuple[int, ...],
    last: bool,
    kernel: tuple[int, ...],
    kernel_last: bool,
    stride: tuple[int, ...],
    padding: Any,
    dtype: torch.dtype,
) -> bool:
    """Forward, and both gradients, on random numbers."""
    draw = torch.Generator().manual_seed(0)
    maps = _laid(torch.randn(shape, generator=draw), last)
    weight = _laid(torch.randn(kernel, generator=draw) / math.sqrt(math.prod(kernel[1:])), kernel_last)
    bias = torch.randn(kernel[0], generator=draw)
    found: list[list[Tensor]] = []
    for rounded in (False, True):
        leaves = [leaf.clone().requires_grad_() for leaf in (maps.to(dtype) if rounded else maps, weight, bias)]
        _spoil_free_memory()
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            result = F.conv3d(leaves[0], leaves[1], leaves[2], stride, padding)
        arriving = _laid(torch.randn(result.shape, generator=torch.Generator().manual_seed(1)), last)
        _spoil_free_memory()
        result.backward(arriving.to(result.dtype))
        found.append([result.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)])
    pairs = zip(*found, strict=True)
    return all(bool((a - b.float()).abs().max() <= TOLERANCE * a.abs().max()) for a, b in pairs)


def _laid(maps: Tensor, last: bool) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last_3d) if last else maps


def _spoil_free_memory() -> None:
    """What is given back to the allocator now holds no numbers; a result that was not written shows."""
    for power in range(10, 22):
        torch.full((2**power,), math.nan)
