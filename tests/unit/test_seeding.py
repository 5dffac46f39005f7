"""One seed gives many independent streams, the same everywhere."""

from __future__ import annotations

import hashlib

import pytest

from benchmark.seeding import STREAMS, derive, streams


def test_a_derived_seed_is_the_hash_of_the_names_and_stays_what_it_is() -> None:
    # 8 bytes of BLAKE2b of "7/init", big-endian, without the lowest bit: a change would change every published run
    digest = hashlib.blake2b(b"7/init", digest_size=8).digest()
    assert derive(7, "init") == int.from_bytes(digest, "big") // 2
    assert derive(0, "method", 3) == int.from_bytes(hashlib.blake2b(b"0/method/3", digest_size=8).digest(), "big") // 2


def test_derived_seeds_fit_every_generator() -> None:
    found = [derive(seed, name, step) for seed in range(20) for name in STREAMS for step in range(20)]
    assert min(found) >= 0
    assert max(found) < 2**63  # torch's limit


def test_neighbouring_seeds_names_and_steps_never_share_a_stream() -> None:
    found = [derive(seed, name, step) for seed in range(20) for name in STREAMS for step in range(20)]
    assert len(set(found)) == 20 * len(STREAMS) * 20


@pytest.mark.parametrize("bit", [0, 20, 40, 62])
def test_each_bit_is_set_about_half_of_the_time(bit: int) -> None:
    # 2000 fair coins: mean 1000, standard deviation 22; five of them either way
    assert abs(sum(derive(seed, "batches") >> bit & 1 for seed in range(2000)) - 1000) < 112


def test_streams_are_derived_from_the_seed_that_they_were_given() -> None:
    assert streams(5)("augment/labelled", 7) == derive(5, "augment/labelled", 7)
