"""Training: the settings that all methods of a plan share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Training:
    """What all methods of a plan share. Budgets are optimiser steps, never epochs: their length depends on the ratio.

    Attributes:
        steps: optimiser steps (adversarial methods: of each player).
        labelled_batch, unlabelled_batch: samples of each kind per step.
        patch: spatial size of a sample in pixels or voxels; None = the dataset's own.
        network, width: kind of network and channels of its first level.
        optimizer, lr, momentum, weight_decay, schedule, power: the plan's optimizer; "poly" is lr·(1−progress)^power,
            "step" divides by ten every 5/12 of the budget (UA-MT: every 2500 of 6000 steps).
        precision: "auto" = bfloat16 where the processor or GPU computes it, else float32.
        augment: recipe of ``datasets.augment``.
        interpolation: how 2-D images are resized: "linear", or "nearest" as in the released code.
        validations: how many times validation Dice is measured, at equal distances, the last at the last step.
        val_share: share of training groups carved for validation where none is published.
        subset: "random" labelled subsets drawn by the seed; "stratified", drawn so that each stratum (a disease, say)
            has its share, where the dataset knows strata; or the "first" of the published list.
        overlap: share by which neighbouring windows overlap in sliding-window inference, in [0, 1).
        stride: voxels between neighbouring windows along each axis instead, as published protocols give it; needs
            ``patch``, and no ``overlap``.
        network_options: what else the network takes, by name; ``{dropout: 0.1}``, say, for a narrow V-Net, which may
            lose a class for good when half of its last few channels are dropped.
    """

    steps: int = 1000
    labelled_batch: int = 4
    unlabelled_batch: int = 4
    patch: tuple[int, ...] | None = None
    network: str = "unet"
    width: int = 16
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["poly", "constant", "step"] = "poly"
    power: float = 0.9
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    augment: str = "dihedral"
    interpolation: Literal["linear", "nearest"] = "linear"
    validations: int = 4
    val_share: float = 0.1
    subset: Literal["random", "first", "stratified"] = "random"
    overlap: float = 0.5
    stride: tuple[int, ...] | None = None
    network_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, interval in (
            ("steps", "[1, inf)"), ("labelled_batch", "[1, inf)"), ("unlabelled_batch", "[1, inf)"),
            ("width", "[1, inf)"), ("lr", "(0, inf)"), ("momentum", "[0, 1)"), ("weight_decay", "[0, inf)"),
            ("power", "[0, inf)"), ("validations", "[0, inf)"), ("val_share", "[0, 0.5]"), ("overlap", "[0, 0.95]"),
        ):  # fmt: skip
            if not _within(getattr(self, name), interval):
                raise ValueError(f"{name} must be in {interval}, got {getattr(self, name)}")
        for name, holder, only in (("momentum", "optimizer", "sgd"), ("power", "schedule", "poly")):
            if getattr(self, holder) != only and getattr(self, name) != getattr(Training, name):
                raise ValueError(
                    f"{name} is of {holder} {only} alone, and {holder} is {getattr(self, holder)}; remove it"
                )
        if self.stride is not None and self.overlap != Training.overlap:
            raise ValueError(f"overlap is of windows without stride alone, and stride is {self.stride}; remove it")
        if self.patch is not None and (not self.patch or min(self.patch) < 1):
            raise ValueError(f"patch must be sides of 1 or more pixels or voxels, got {list(self.patch)}")
        given = sorted({"ndim", "channels", "classes", "width"} & set(self.network_options))
        if given:
            raise ValueError(
                f"network_options may not hold {', '.join(given)}: ndim, channels and classes follow from the dataset, "
                "and width is a setting of its own (training.width)"
            )
        if self.stride is not None:
            patch = self.patch or ()
            fits = len(self.stride) == len(patch) == 3 and all(
                1 <= step <= side for step, side in zip(self.stride, patch, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"stride must be three numbers of voxels from 1 to the side of the patch, which must be given and "
                    f"3-D; got stride {self.stride} and patch {self.patch}"
                )

    def strides(self, patch: Sequence[int]) -> tuple[int, ...]:
        """Voxels between neighbouring windows of size ``patch`` along each axis.

        >>> Training(overlap=0.25).strides((32, 48, 32))
        (24, 36, 24)
        """
        return self.stride or tuple(max(1, round(side * (1 - self.overlap))) for side in patch)

    def canonical(self) -> dict[str, Any]:
        """What a cell's id holds: all settings, but those added later only where they are set, so that ids stay."""
        settings = asdict(self)
        return {name: value for name, value in settings.items() if value or name not in ("stride", "network_options")}


def _within(value: float, interval: str) -> bool:
    """Whether a number lies in an interval; NaN lies in none.

    >>> _within(0.0, "[0, 1)"), _within(1.0, "[0, 1)")
    (True, False)
    """
    low, high = map(float, interval[1:-1].split(", "))
    above = value >= low if interval[0] == "[" else value > low
    return above and (value <= high if interval[-1] == "]" else value < high)
