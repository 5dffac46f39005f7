"""The map before dropout, and projections of single pixels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from methods import features, networks
from methods.features import Projection, cosines, directions_sum, with_last_map, with_last_maps


@pytest.mark.parametrize("name", ["vnet", "unet"])
def test_the_last_map_is_the_one_before_dropout_and_the_logits_are_the_networks(name: str):
    network = networks.make(name, ndim=3, channels=1, classes=2, width=4, levels=2)
    network.train()
    image = torch.randn(2, 1, 8, 8, 8)
    torch.manual_seed(3)
    expected = network(image)
    torch.manual_seed(3)
    logits, last = with_last_map(network, image)
    assert torch.equal(logits, expected)
    # no channel of the map is dropped as a whole, and with dropout it would be, or single values would be
    torch.manual_seed(3)
    after = network.decode(network.encode(image))
    kept = after != 0
    assert (after[kept] > last[kept]).all()  # scaled by 1/(1 - p)
    assert ((after == 0) & (last > 0)).any()


def test_the_last_map_carries_gradient_and_leaves_no_hook_behind():
    network = networks.make("unet", ndim=2, channels=1, classes=2, width=4, levels=2)
    _, last = with_last_map(network, torch.randn(1, 1, 8, 8))
    last.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.encoder.parameters())
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_projected_pixels_are_those_of_the_layers_which_a_checkpoint_holds_as_convolutions(layout: torch.memory_format):
    projection = Projection(5, 8)
    shapes = {name: tuple(weight.shape) for name, weight in projection.state_dict().items()}
    assert shapes == {"layers.0.weight": (8, 5, 1), "layers.2.weight": (8, 8, 1)}
    maps = torch.randn(2, 5, 4, 3).contiguous(memory_format=layout).requires_grad_()
    gradients, outputs = [], []
    for way in (projection, lambda maps: projection.layers(maps.flatten(2)).transpose(1, 2)):
        outputs.append(way(maps))
        weight = torch.linspace(-1, 1, outputs[-1].numel()).view(2, 12, 8)
        gradients.append(torch.autograd.grad((outputs[-1] * weight).sum(), [maps, *projection.parameters()]))
    torch.testing.assert_close(*outputs)
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_sums_of_directions_are_those_of_unit_vectors_and_so_are_their_gradients():
    vectors = torch.randn(2, 12, 8, dtype=torch.float64)
    vectors[0, 3] = 0  # has no direction and adds nothing
    weight, gradients, sums = torch.rand(2, 3, 12, dtype=torch.float64), [], []
    for way in (lambda v: directions_sum(weight, v), lambda v: weight @ F.normalize(v, dim=2)):
        v = vectors.clone().requires_grad_()
        sums.append(way(v))
        gradients.append(torch.autograd.grad(sums[-1].square().sum(), v)[0])
    torch.testing.assert_close(*sums, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_projected_pixels_are_the_same_alone_as_among_others():
    projection = Projection(5, 8)
    maps = torch.randn(2, 5, 4, 3)
    every = projection(maps)
    index = torch.tensor([[0, 11, 4], [7, 7, 2]])
    found = projection.at(maps, index)
    for n in range(2):
        torch.testing.assert_close(found[n], every[n, index[n]])


def both_ways(monkeypatch: pytest.MonkeyPatch, compute: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """By compiled loops, and by PyTorch alone."""
    pytest.importorskip("numba")
    compiled = compute()
    monkeypatch.setattr(features, "_compiled", lambda: None)
    return compiled, compute()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_sums_and_cosines_are_those_of_pytorch(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    vectors = (torch.randn(2, 700, 24) * torch.logspace(-3, 3, 700)[:, None]).to(dtype)
    vectors[0, 3] = 0
    weight, units = torch.rand(2, 3, 700) * (torch.rand(2, 3, 700) < 0.3), F.normalize(torch.randn(5, 24), dim=1)
    assert (weight.amax(dim=1) == 0).any()
    exact = units.double() @ F.normalize(vectors.double(), dim=2).transpose(1, 2)
    for found in both_ways(monkeypatch, lambda: cosines(vectors, units)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-6)
    monkeypatch.undo()
    exact = weight.double() @ F.normalize(vectors.double(), dim=2)
    for found in both_ways(monkeypatch, lambda: directions_sum(weight, vectors)):
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4)
    monkeypatch.undo()

    def gradient() -> Tensor:
        leaf = vectors.clone().requires_grad_()
        (directions_sum(weight, leaf) * torch.linspace(-1, 1, 144).view(2, 3, 24)).sum().backward()
        return leaf.grad

    compiled, plain = both_ways(monkeypatch, gradient)
    assert compiled.dtype == dtype
    size = plain.float().norm(dim=2, keepdim=True).clamp_min(1e-6)
    assert ((compiled.float() - plain.float()) / size).abs().max() < (1e-4 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_a_projection_by_blocks_is_that_of_all_pixels_at_once(
    dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(features, "_BLOCK", 10)
    projection = Projection(5, 8)
    plain = torch.randn(2, 5, 4, 6)
    outcome = []
    for maps in (plain, plain.to(dtype).contiguous(memory_format=torch.channels_last)):
        leaf = maps.requires_grad_()
        found = projection(leaf)
        loss = (found.float() * torch.linspace(-1, 1, found.numel()).view(found.shape)).sum()
        outcome.append([found, *torch.autograd.grad(loss, [leaf, *projection.parameters()])])
    assert type(outcome[1][0].grad_fn).__name__ == "_ProjectedBackward"
    assert outcome[1][0].dtype == dtype
    for one, other in zip(*outcome, strict=True):
        torch.testing.assert_close(other.float(), one, rtol=0, atol=tolerance * one.abs().max().item())


def in_rows(dtype: torch.dtype) -> Tensor:
    return torch.randn(2, 5, 4, 6).to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_single_pixels_are_those_of_a_gather(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    projection, maps, index = Projection(5, 8), in_rows(dtype), torch.tensor([[0, 11, 4], [7, 7, 2]])
    weight, gradients = torch.linspace(-1, 1, 48).view(2, 3, 8), []
    for fits in (True, False):
        monkeypatch.setattr(features, "takes", lambda _, fits=fits: fits)
        leaf = maps.detach().requires_grad_()
        gradients.append(torch.autograd.grad((projection.at(leaf, index) * weight).sum(), leaf)[0])
    assert gradients[0].is_contiguous(memory_format=torch.channels_last)  # as the other gradients it is added to
    assert gradients[0].dtype == dtype
    torch.testing.assert_close(*gradients)
    assert gradients[0][1, :, 7 // 6, 7 % 6].abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_cosines_of_few_projected_pixels_are_those_among_all(
    dtype: torch.dtype, share: float, monkeypatch: pytest.MonkeyPatch
):
    projection, maps, units = Projection(5, 8), in_rows(dtype), F.normalize(torch.randn(3, 8), dim=1)
    where = torch.rand(2, 24) < share
    monkeypatch.setattr(features, "takes", lambda _: False)
    every = projection.cosines(maps, units, where)
    monkeypatch.setattr(features, "takes", lambda _: True)
    found = projection.cosines(maps, units, where)
    assert found.shape == every.shape == (2, 3, 24)
    counts = where.unsqueeze(1).expand_as(found)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0, "atol": 0.02}
    torch.testing.assert_close(found[counts], every[counts], **tolerance)
    assert not found[~counts].any()


def test_the_last_maps_of_several_batches_are_those_of_one_after_the_other():
    network = networks.make("unet", ndim=2, channels=1, classes=2, width=4, levels=2).train()
    for layer in network.modules():
        if "Dropout" in type(layer).__name__:
            layer.p = 0.0
    batches = torch.randn(3, 1, 8, 8), torch.randn(2, 1, 8, 8)
    logits, maps = with_last_maps(network, *batches)
    for batch, *found in zip(batches, logits, maps, strict=True):
        for one, other in zip(found, with_last_map(network, batch), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
