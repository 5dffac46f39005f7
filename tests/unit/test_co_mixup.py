"""The mixtures of Co-Mixup, against every possible one, and what each of their terms does."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from methods import co_mixup
from methods.co_mixup import Parts, co_mix

PLAIN: dict[str, Any] = {
    "cells": 2,
    "smooth": 0.32,
    "diversity": 1.0,
    "threshold": 0.5,
    "distance": 0.0,
    "prior": 0.05,
    "alpha": 2.0,
    "rounds": 4,
}


def saliencies(n: int, side: int = 16) -> Tensor:
    """Salient in a place of its own each, and a little everywhere."""
    coarse = torch.rand(n, 1, 4, 4) ** 4
    return coarse.repeat_interleave(side // 4, dim=2).repeat_interleave(side // 4, dim=3) + 0.1 * torch.rand(
        n, 1, side, side
    )


def drawn(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The shares of the Dirichlet distribution and what the mixtures begin with, as they are drawn."""
    torch.manual_seed(seed)
    shares = torch.distributions.Dirichlet(torch.full((n,), PLAIN["alpha"])).sample()
    return shares.double().numpy(), torch.randint(n, (n, k)).numpy()


def slow(salient: Tensor, seed: int, smooth: float, diversity: float, distances: np.ndarray) -> np.ndarray:
    """Shares ``(mixture, cell, image)`` on 2 x 2 cells, each mixture the best of all there are when it has its turn."""
    n, k, half = len(salient), 4, salient.shape[2] // 2
    blocks = salient.double().numpy().reshape(n, 2, half, 2, half).mean(axis=(2, 4)).reshape(n, k)
    blocks = blocks / blocks.sum(axis=1, keepdims=True)
    shares, start = drawn(n, k, seed)
    z = np.eye(n)[start]
    extra = np.zeros((n, n))
    for turn in range(PLAIN["rounds"]):
        if turn == PLAIN["rounds"] - 1:
            held = [tuple(np.flatnonzero(mixture.sum(axis=0))) for mixture in z]
            for i, j in itertools.combinations(range(n), 2):
                if held[i] == held[j] and len(held[i]) > 1:
                    extra[i, held[i][0]] = extra[j, held[j][1]] = 1
        for j in range(n):
            others = distances @ (z.sum(axis=(0, 1)) - z[j].sum(axis=0))
            cost = -blocks.T - PLAIN["prior"] / k * np.log(shares + 1e-8)
            cost = cost + diversity / k * (2 * others * (others > PLAIN["threshold"] * k) + extra[j])
            choices = [(np.eye(n)[i], 0.0) for i in range(n)]
            if turn:
                count = z[j].sum(axis=0)
                most = [i for i in np.argsort(-count, kind="stable")[:3] if count[i] > 0]
                choices += [((np.eye(n)[a] + np.eye(n)[b]) / 2, 5e-4) for a, b in itertools.combinations(most, 2)]
            best = np.inf
            for picks in itertools.product(choices, repeat=k):
                cells = np.array([vector for vector, _ in picks])
                energy = (cells * cost).sum() - sum(bonus for _, bonus in picks)
                for a, b in ((0, 1), (2, 3), (0, 2), (1, 3)):
                    energy += smooth / k / 2 * ((cells[a] - cells[b]) ** 2).sum()
                if energy < best - 1e-9:
                    best, z[j] = energy, cells
    return z


def shares_of(parts: Parts, cells: int) -> np.ndarray:
    """Shares ``(mixture, cell, image)``, after a look that all pixels of a cell have the same."""
    n, side = len(parts.first), parts.first.shape[-1] // cells
    one_hot = torch.eye(n)
    every = parts.share[:, 0, ..., None] * one_hot[parts.first[:, 0]]
    every = every + (1 - parts.share[:, 0, ..., None]) * one_hot[parts.second[:, 0]]
    blocks = every.view(n, cells, side, cells, side, n)
    assert torch.equal(blocks, blocks[:, :, :1, :, :1].expand_as(blocks))
    return blocks[:, :, 0, :, 0].reshape(n, cells**2, n).numpy()


def mixed(salient: Tensor, seed: int = 0, **changes: Any) -> Parts:
    torch.manual_seed(seed)
    return co_mix(salient, **(PLAIN | changes))


@pytest.mark.parametrize("n", [2, 3])
def test_each_mixture_is_the_best_of_all_while_the_others_stay(n: int):
    seen_halves = False
    for seed, diversity in itertools.product(range(4), (0.0, 0.2, 1.0)):
        torch.manual_seed(50 + seed)
        salient = saliencies(n)
        found = shares_of(mixed(salient, seed, diversity=diversity), 2)
        np.testing.assert_allclose(found, slow(salient, seed, PLAIN["smooth"], diversity, np.eye(n)), atol=1e-6)
        seen_halves |= bool((found == 0.5).any())
    assert seen_halves, "no cell was half and half: pairs went untested"


def test_distances_between_the_most_salient_places_count_as_alike():
    salient = torch.full((3, 1, 32, 32), 1e-3)
    salient[0, 0, :8, :8] = salient[1, 0, :8, 8:16] = salient[2, 0, 24:, 24:] = 1
    far = np.array([[0, 8, 48], [8, 0, 40], [48, 40, 0]])
    distances = 0.4 * np.eye(3) + 0.6 * far * 3 / far.sum()
    different = False
    for seed in range(6):
        found = shares_of(mixed(salient, seed, distance=0.6), 2)
        np.testing.assert_allclose(found, slow(salient, seed, PLAIN["smooth"], 1.0, distances), atol=1e-6)
        different |= not np.array_equal(found, shares_of(mixed(salient, seed), 2))
    assert different, "distance made no difference: it went untested"


def test_of_finer_mixtures_no_single_cell_is_better_otherwise():
    torch.manual_seed(1)
    salient = saliencies(4, side=32)
    parts = mixed(salient, cells=8, smooth=0.5, diversity=0.0, prior=0.0, rounds=1)
    z = shares_of(parts, 8).reshape(4, 8, 8, 4)
    blocks = salient.view(4, 8, 4, 8, 4).mean(dim=(2, 4)).double().numpy()
    cost = -np.moveaxis(blocks / blocks.sum(axis=(1, 2), keepdims=True), 0, -1)

    def energy(cells: np.ndarray) -> float:
        steps = sum((np.diff(cells, axis=axis) ** 2).sum() for axis in (0, 1))
        return float((cells * cost).sum() + 0.5 / 64 / 2 * steps)

    lowest = energy(z[0])
    for at in np.ndindex(8, 8):
        kept = z[0][at].copy()
        for one in np.eye(4):
            z[0][at] = one
            assert energy(z[0]) >= lowest - 1e-6
        z[0][at] = kept
    assert len(np.unique(z[0].reshape(-1, 4), axis=0)) > 1


def test_diversity_spreads_the_images_over_the_mixtures():
    torch.manual_seed(2)
    salient = saliencies(6)
    most = [shares_of(mixed(salient, cells=4, diversity=d, prior=0.0), 4).sum(axis=(0, 1)).max() for d in (0.0, 1.0)]
    same = shares_of(mixed(salient, cells=4, diversity=0.0, prior=0.0, rounds=1), 4)
    assert all(np.array_equal(same[0], other) for other in same), "without it all mixtures are the best one"
    assert most[1] < most[0]


def test_mixtures_of_the_same_images_let_go_of_one_each():
    left = torch.zeros(2, 1, 16, 16)
    left[0, 0, :, :8] = left[1, 0, :, 8:] = 1
    first, second = shares_of(mixed(left, cells=4, prior=0.0, diversity=0.0), 4).sum(axis=1)
    assert first.tolist() == second.tolist() == [8, 8], "a twin lets go of nothing where diversity is worth nothing"
    first, second = shares_of(mixed(left, cells=4, prior=0.0, threshold=9.0, diversity=3.0), 4).sum(axis=1)
    assert first.tolist() == [0, 16]
    assert second.tolist() == [16, 0]


def test_one_image_stays_as_it_is_and_volumes_and_images_without_saliency_are_mixed():
    alone = mixed(torch.rand(1, 1, 16, 16))
    assert not alone.first.any()
    assert not alone.second.any()
    assert (alone.share == 1).all()
    volumes = mixed(torch.rand(3, 1, 8, 12, 8))
    assert all(part.shape == (3, 1, 8, 12, 8) for part in volumes)
    assert volumes.first.dtype == torch.int64
    nothing = mixed(torch.zeros(3, 1, 16, 16))
    assert set(nothing.share.unique().tolist()) <= {0.5, 1.0}
    assert 0 <= nothing.first.min() <= nothing.first.max() < 3


def test_distances_in_images_that_are_no_squares_and_of_one_place():
    salient = torch.full((3, 1, 32, 16), 1e-3)
    salient[0, 0, :8, :8] = salient[1, 0, 24:, :8] = salient[2, 0, :8, 8:] = 1
    far = torch.tensor([[0.0, 24, 8], [24, 0, 32], [8, 32, 0]])  # pixels down and across
    torch.testing.assert_close(co_mixup._apart(salient), far * 3 / far.sum())
    assert co_mixup._apart(salient[:1].expand(3, -1, -1, -1)).eq(0).all()


def test_the_search_is_not_rounded_under_autocast():
    torch.manual_seed(1)
    salient = torch.rand(12, 1, 16, 16) ** 4

    def made() -> Parts:
        torch.manual_seed(0)
        return co_mix(salient, **PLAIN | {"cells": 4, "threshold": 0.83, "distance": 0.001})

    plain = made()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = made()
    assert all(torch.equal(a, b) for a, b in zip(plain, rounded, strict=True))
