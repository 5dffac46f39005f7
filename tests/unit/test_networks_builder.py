"""What methods get as ``build``: the plan's network, or another kind of its size."""

from __future__ import annotations

import pytest
import torch

from methods import networks

SIZES = {"ndim": 2, "channels": 2, "classes": 3, "width": 4}


def test_without_a_word_it_makes_the_network_of_the_plan_anew():
    build = networks.builder("vnet", **SIZES, levels=3, dropout=0.1)
    first, second = build(), build()
    assert type(first) is type(networks.make("vnet", **SIZES))
    assert (first.in_channels, first.classes, first.channels, first.dropout) == (2, 3, (4, 8, 16), 0.1)
    assert not torch.equal(first.head.weight, second.head.weight)


def test_another_kind_has_the_same_sizes_and_those_options_that_it_knows():
    build = networks.builder("unet", **SIZES, levels=3, recipe="ssl4mis", norm="instance")
    other = build(name="transunet")  # which has no recipes
    assert type(other) is type(networks.make("transunet", **SIZES))
    assert (other.in_channels, other.classes, other.channels) == (2, 3, (4, 8, 16))
    assert other.recipe.norm == "instance"
    assert other.divisor == build().divisor


def test_what_a_method_says_itself_goes_before_what_the_plan_says():
    build = networks.builder("unet", **SIZES, levels=3)
    assert build(classes=7).classes == 7
    assert len(build(name="transunet", layers=2, levels=2).encoder.transformer.layers) == 2
    with pytest.raises(ValueError, match="network 'vnet' has no option 'layers'"):
        build(name="vnet", layers=2)


def test_an_option_that_the_plans_own_network_lacks_is_refused():
    with pytest.raises(ValueError, match="network 'unet' has no option 'dropout'"):
        networks.builder("unet", **SIZES, dropout=0.1)()


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(KeyError, match="unknown network 'trans_unet'; did you mean 'transunet'"):
        networks.builder("unet", **SIZES)(name="trans_unet")
