"""The contract of a network: shapes and channels as it states them, gradients everywhere, parts that compose.

A check is ``check_xxx(make, ndim)``, where ``make`` takes the keywords of ``methods.networks.make`` less the name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from methods.networks.base import SegmentationNetwork

Make = Callable[..., SegmentationNetwork]

WIDTH, LEVELS = 4, 3


def check_channels_and_sizes_are_as_stated(make: Make, ndim: int) -> None:
    """``channels``, ``decoder_channels`` and the logits' classes, at levels that halve the side each."""
    for channels, classes in ((1, 2), (3, 4)):
        network = _small(make, ndim, channels=channels, classes=classes).eval()
        image = _image(network, channels)
        features = network.encode(image)
        widths = tuple(f.shape[1] for f in features)
        assert widths == tuple(network.channels), f"channels says {network.channels}, encode() returns {widths}"
        for k, feature in enumerate(features):
            wanted = tuple(side // 2**k for side in image.shape[2:])
            assert tuple(feature.shape[2:]) == wanted, f"level {k} is {tuple(feature.shape[2:])} instead of {wanted}"
        decoded = network.decode(features)
        wanted = (2, network.decoder_channels, *image.shape[2:])
        assert tuple(decoded.shape) == wanted, f"decode() returns {tuple(decoded.shape)} instead of {wanted}"
        logits = network(image)
        wanted = (2, classes, *image.shape[2:])
        assert tuple(logits.shape) == wanted, f"the logits are {tuple(logits.shape)} instead of {wanted}"
        again = network.head(network.decode(network.encode(image)))
        assert torch.equal(logits, again), "forward is not the head of the decoded encoding"


def check_divisor_is_true(make: Make, ndim: int) -> None:
    """A multiple of ``divisor`` passes; a side that is none is refused with the divisor and the next allowed size."""
    network = _small(make, ndim).eval()
    sides = [3 * network.divisor, *[2 * network.divisor] * (ndim - 1)]
    try:
        network(torch.zeros(1, 1, *sides))
    except (RuntimeError, ValueError) as error:
        raise AssertionError(f"sides {sides} are multiples of divisor {network.divisor}, but: {error}") from error
    for offset in range(1, network.divisor):
        sides[-1] = 2 * network.divisor + offset
        message = _refusal(network, torch.zeros(1, 1, *sides))
        allowed = str(3 * network.divisor)
        named = str(network.divisor) in message and str(sides[-1]) in message and allowed in message
        assert named, f"side {sides[-1]} with divisor {network.divisor}: {message}"


def check_wrong_images_are_refused(make: Make, ndim: int) -> None:
    """Another number of channels or axes is an error that gives the shape, not a crash inside a layer."""
    network = _small(make, ndim, channels=3)
    side = 2 * network.divisor
    for image in (torch.zeros(1, 1, *[side] * ndim), torch.zeros(1, 3, *[side] * (5 - ndim))):
        message = _refusal(network, image)
        assert str(tuple(image.shape)) in message, f"an image of shape {tuple(image.shape)}: {message}"


def check_gradients_reach_every_parameter(make: Make, ndim: int) -> None:
    """Of the network and of a further decoder over the same features.

    A layer's bias may have none: normalisation after it takes its effect away.
    """
    network = _small(make, ndim).train()
    branch = network.new_decoder()
    image = _image(network, 1)
    features = network.encode(image)
    outputs = network.head(network.decode(features)), branch(features)
    sum((o * torch.randn_like(o)).sum() for o in outputs).backward()
    for part, module in (("network", network), ("new_decoder()", branch)):
        missing = [name for name, p in module.named_parameters() if p.grad is None]
        assert not missing, f"no gradient reaches {missing} of {part}"
        still = [n for n, p in module.named_parameters() if n.endswith("weight") and not p.grad.any()]
        assert not still, f"the gradient of {still} of {part} is zero"


def check_new_parts_are_independent(make: Make, ndim: int) -> None:
    """``new_decoder`` and ``new_head`` share nothing with the network, are initialised anew, and leave it alone."""
    network = _small(make, ndim).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, second, head = network.new_decoder().eval(), network.new_decoder(5).eval(), network.new_head(7).eval()
    held = {id(p) for p in network.parameters()}
    shared = [n for part in (first, second, head) for n, p in part.named_parameters() if id(p) in held]
    assert not shared, f"a new part shares {shared} with the network"
    after = network.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert list(before) == list(after), "making a new part adds parameters to the network"
    assert not changed, f"making a new part changes {changed} of the network"
    image = _image(network, 1)
    features = network.encode(image)
    assert first(features).shape[1] == network.classes
    assert second(features).shape[1:] == (5, *image.shape[2:])
    assert head(network.decode(features)).shape[1:] == (7, *image.shape[2:])
    assert not torch.equal(first(features), network(image)), "a new decoder starts from the network's own weights"


def check_seed_decides_initialisation(make: Make, ndim: int) -> None:
    """The same torch seed makes the same network, another one another."""
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(torch.cat([p.detach().flatten() for p in _small(make, ndim).parameters()]))
    assert torch.equal(states[0], states[1]), "the same seed makes different networks"
    assert not torch.equal(states[0], states[2]), "different seeds make the same network"


def check_evaluation_is_repeatable(make: Make, ndim: int) -> None:
    """In evaluation mode an image's logits depend on nothing but the image, and survive a state_dict."""
    network = _small(make, ndim).train()
    image = _image(network, 1)
    network(image)  # moves running statistics
    network.eval()
    with torch.no_grad():
        logits = network(image)
        assert torch.equal(logits, network(image)), "dropout is on in evaluation mode"
        torch.testing.assert_close(logits[:1], network(image[:1]), atol=1e-4, rtol=1e-4)
        loaded = _small(make, ndim).eval()
        loaded.load_state_dict(network.state_dict())
        assert torch.equal(logits, loaded(image)), "a state_dict does not hold all that the logits depend on"


def check_bfloat16_is_finite(make: Make, ndim: int) -> None:
    """Under autocast, logits stay near those of float32."""
    network = _small(make, ndim).eval()
    image = _image(network, 1)
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(image).float()
    assert torch.isfinite(rough).all()
    # bfloat16 keeps 8 bits; a handful of layers of order-one values
    assert (rough - exact).abs().max() <= 0.1 * exact.abs().max() + 0.05


EVERY: tuple[Callable[[Make, int], None], ...] = (
    check_channels_and_sizes_are_as_stated,
    check_divisor_is_true,
    check_wrong_images_are_refused,
    check_gradients_reach_every_parameter,
    check_new_parts_are_independent,
    check_seed_decides_initialisation,
    check_evaluation_is_repeatable,
    check_bfloat16_is_finite,
)


def _small(make: Make, ndim: int, *, channels: int = 1, classes: int = 3) -> SegmentationNetwork:
    return make(ndim=ndim, channels=channels, classes=classes, width=WIDTH, levels=LEVELS)


def _image(network: nn.Module, channels: int) -> Tensor:
    """Two images that are not square."""
    divisor, ndim = int(network.divisor), int(network.ndim)  # type: ignore[arg-type]
    return torch.randn(2, channels, 3 * divisor, *[2 * divisor] * (ndim - 1))


def _refusal(network: nn.Module, image: Tensor) -> str:
    try:
        network(image)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"an image of shape {tuple(image.shape)} is not refused")
