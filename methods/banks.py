"""What methods remember of earlier batches, as persistent buffers: moving prototypes, a first-in-first-out bank."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .features import Projection, cosines, directions_sum
from .labels import nearest_if_sure

_MOMENTUM = 0.99
"""Of CVCL's class prototypes."""
_SLOTS = 64
"""Prototypes of single images that its bank holds per class."""


class MovingPrototypes(nn.Module):
    """One vector per class, the moving average of what batches show of it; unknown until a batch holds it.

    The weight of the past warms up like a teacher's (``ema.ema_decay``), so that the first batches, whose features are
    of an untrained network, are soon forgotten.

    Args:
        classes: number of classes.
        width: length of the vectors' axis.
        momentum: weight of the past after the warm-up.
    """

    vectors: Tensor
    batches: Tensor

    def __init__(self, classes: int, width: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("vectors", torch.zeros(classes, width))
        self.register_buffer("batches", torch.zeros(classes, dtype=torch.long))

    @torch.no_grad()
    def update(self, seen: Tensor, present: Tensor) -> None:
        """Move towards ``seen`` ``(c, d)``, of any length, in the classes that are ``present`` ``(c,)``."""
        past = (1 - 1 / (self.batches + 1)).clamp_max(self.momentum)
        moved = torch.lerp(F.normalize(seen, dim=1), self.vectors, past[:, None])
        self.vectors.copy_(torch.where(present[:, None], moved, self.vectors))
        self.batches.add_(present)

    def similarity(self, vectors: Tensor, where: Tensor | None = None) -> Tensor:
        """Cosine ``(n, c, v)`` of vectors ``(n, v, d)`` of any length to each prototype; -2 for a class never seen.

        ``where`` ``(n, v)`` booleans: the vectors that count, if not all.
        """
        return self._seen(cosines(vectors, self._units(), where))

    def similarity_of(self, projection: Projection, maps: Tensor, where: Tensor, projected: Tensor | None) -> Tensor:
        """:meth:`similarity` ``(n, c, *space)`` of what ``projection`` gives of ``maps``, which may be at hand.

        Without gradient; only pixels in ``where`` ``(n, *space)`` count.
        """
        counts = where.flatten(1)
        if projected is None:
            found = self._seen(projection.cosines(maps, self._units(), counts))
        else:
            found = self.similarity(projected, counts)
        return found.unflatten(2, where.shape[1:])

    def _units(self) -> Tensor:
        """Of length 1, or 0 for a class never seen."""
        return F.normalize(self.vectors, dim=1)

    def _seen(self, found: Tensor) -> Tensor:
        return found.sub_(2 * (self.batches[:, None] == 0))


class Bank(nn.Module):
    """The last vectors of every class, ``slots`` of them.

    Args:
        classes: number of classes.
        slots: vectors kept per class.
        width: length of the vectors' axis.
    """

    vectors: Tensor
    filled: Tensor
    cursor: Tensor

    def __init__(self, classes: int, slots: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(classes, slots, width))
        self.register_buffer("filled", torch.zeros(classes, slots, dtype=torch.bool))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, vectors: Tensor, present: Tensor) -> None:
        """Replace the oldest by ``vectors`` ``(n, c, d)`` where ``present`` ``(n, c)``; elsewhere the old ones stay."""
        slots = self.filled.shape[1]
        vectors, present = vectors[-slots:], present[-slots:]
        at = (self.cursor + torch.arange(len(vectors), device=vectors.device)) % slots
        new = torch.where(present.T[..., None], vectors.transpose(0, 1), self.vectors[:, at])
        self.vectors[:, at] = new
        self.filled[:, at] = self.filled[:, at] | present.T
        self.cursor.copy_((self.cursor + len(vectors)) % slots)


class Guidance(NamedTuple):
    """What a teacher's features say of unlabelled images: ``(n, *space)`` labels with IGNORE, and their prototypes.

    ``keys`` is ``(n, c, d)``, ``present`` ``(n, c)`` says which of these exist.
    """

    label: Tensor
    keys: Tensor
    present: Tensor


class PrototypeGuide(nn.Module):
    """Class prototypes over all images and a bank of those of single images, fed by a teacher; labels by the nearest.

    Args:
        classes: number of classes.
        width: length of the vectors.
        confidence: a label counts where the teacher's probability is above it,
        margin: or where the nearest prototype's cosine leads by more than this.
    """

    def __init__(self, classes: int, width: int, *, confidence: float, margin: float) -> None:
        super().__init__()
        self.confidence, self.margin = confidence, margin
        self.prototypes = MovingPrototypes(classes, width, _MOMENTUM)
        self.bank = Bank(classes, _SLOTS, width)

    @torch.no_grad()
    def update(self, known: Tensor, annotated: Tensor, guessed: Tensor, confident: Tensor) -> Guidance:
        """Take in one batch, then label its unlabelled voxels.

        Args:
            known, guessed: the teacher's vectors ``(n, v, d)``, of any length, of labelled and unlabelled images.
            annotated, confident: its probability of the annotated class, and of its most probable one, in the channel
                of that class; 0 in the others; ``(n, c, *space)``.

        Returns:
            Labels as ``(n, *space)``.
        """
        space, annotated, confident = confident.shape[2:], annotated.flatten(2), confident.flatten(2)
        keys = directions_sum(confident, guessed)
        present = confident.amax(dim=2) > 0
        seen = directions_sum(annotated, known).sum(dim=0) + keys.sum(dim=0)
        self.prototypes.update(seen, (annotated.amax(dim=2) > 0).any(dim=0) | present.any(dim=0))
        self.bank.push(F.normalize(keys, dim=2), present)
        similarity = self.prototypes.similarity(guessed)
        label = nearest_if_sure(similarity, confident, self.confidence, self.margin)
        return Guidance(label.view(-1, *space), keys, present)
