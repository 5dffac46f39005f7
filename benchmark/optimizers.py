"""The plan's optimizers; on a CPU their fused loops run over weights as they lie in memory.

PyTorch's fused loops copy the weight of every channels-last convolution at every step, to make it contiguous, which
takes as long as the step itself (2.13). Elementwise they need not know axes: weight, gradient and averages are given
as vectors. They also pair numbers as these lie in memory, whatever the strides, so that a gradient in another layout
than its weight would move the wrong numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from .training import Training

_OF_SGD = ("weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize")
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def make(training: Training, parameters: Iterable[nn.Parameter], device: torch.device) -> torch.optim.Optimizer:
    """The plan's optimizer of some parameters.

    Args:
        training: which, and its learning rate, momentum and weight decay.
        parameters: on ``device``.
        device: on a GPU the learning rate is a tensor, which a replayed step reads anew.
    """
    params, gpu, decay = list(parameters), device.type == "cuda", training.weight_decay
    lr: Any = torch.tensor(training.lr, device=device) if gpu else training.lr
    if training.optimizer == "sgd":
        kind = torch.optim.SGD if gpu else _SGD
        return kind(params, lr=lr, momentum=training.momentum, weight_decay=decay, fused=True)
    kinds: tuple[Callable[..., torch.optim.Optimizer], ...] = (torch.optim.Adam, torch.optim.AdamW)
    adam = (kinds if gpu else (_Adam, _AdamW))[training.optimizer == "adamw"]
    return adam(params, lr=lr, weight_decay=decay, fused=True, capturable=gpu)


class _OfVectors:
    """Adam and AdamW read what they step on from here."""

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> bool:
        found: bool = super()._init_group(group, *lists)  # type: ignore[misc]
        *tensors, _, _ = lists  # largest squares, of which there are none, and counters
        _as_vectors(*tensors)
        return found


class _Adam(_OfVectors, torch.optim.Adam):
    pass


class _AdamW(_OfVectors, torch.optim.AdamW):
    pass


class _SGD(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; a momentum of 0 before the first is PyTorch's first step."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            weights, gradients, averages = list(params), [p.grad for p in params], []
            if group["momentum"]:
                for p in params:
                    if "momentum_buffer" not in self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                averages = [self.state[p]["momentum_buffer"] for p in params]
            _as_vectors(weights, gradients, *([averages] if averages else []))
            settings = {name: group[name] for name in _OF_SGD}
            sgd(weights, gradients, averages or [None] * len(weights), fused=True, **settings)


def _as_vectors(params: list[Tensor], gradients: list[Tensor], *averages: list[Tensor]) -> None:
    """Replace, in place, what lies channels-last by vectors of the same memory; gradients lie as their weights do."""
    for i, weight in enumerate(params):
        if gradients[i].stride() != weight.stride():
            gradients[i] = torch.empty_like(weight).copy_(gradients[i])
        last = _CHANNELS_LAST.get(weight.ndim)
        together = (params, gradients, *averages)
        if last is not None and all(each[i].is_contiguous(memory_format=last) for each in together):
            for each in together:
                each[i] = each[i].detach().as_strided((weight.numel(),), (1,))
