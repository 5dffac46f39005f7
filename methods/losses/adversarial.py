"""What two players of an adversarial game minimise, from a critic's logits: positive where it takes a map for real."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..labels import most_probable
from .overlap import one_hot


def as_real(verdict: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits to "real": of the critic on real maps, of its opponent on its own.

    Source: Goodfellow et al., NeurIPS 2014, with the loss of the generator that does not saturate.
    """
    return F.softplus(-verdict.float()).mean()


def as_made(verdict: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits to "made by a network": of the critic."""
    return F.softplus(verdict.float()).mean()


def straight_through(soft: Tensor) -> Tensor:
    """The one-hot map of the most probable class, with the gradient of the probabilities ``(n, c, *space)``.

    A critic that compares with label maps would know soft maps by their softness alone.
    """
    soft = soft.float()
    return one_hot(most_probable(soft), soft.shape[1]) + (soft - soft.detach())
