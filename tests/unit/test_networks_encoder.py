"""Encoders by name: the contract of networks on a stand-in for timm, and what is asked of the real one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark import preflight
from benchmark.config import ConfigError
from benchmark.encoders import encoder_weights
from methods import networks
from tests.contracts.checks_networks import EVERY, Make

from .tiny_cells import places_in, tiny_cell

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


class Pyramid(nn.Module):
    """What timm makes of an EfficientNet: maps at 1/2, 1/4, ..., a stage after the last, and what it knows of them."""

    def __init__(self, channels: int, stages: int, stride: int) -> None:
        super().__init__()
        self.maps, widths = stages, [4 * 2**k for k in range(stages + 1)]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, 3, stride=stride, padding=1), nn.BatchNorm2d(o), nn.ReLU())
                for i, o in zip((channels, *widths), widths, strict=False)
            )
        )
        nn.init.zeros_(self.stages[stages - 1][1].weight)  # as timm leaves the last normalisation of a residual block
        self.feature_info = SimpleNamespace(
            channels=lambda: widths[:stages],
            reduction=lambda: [stride ** (k + 1) for k in range(stages)],
            module_name=lambda: [f"stages.{k}" for k in range(stages)],
        )
        self.pretrained_cfg = {"mean": MEAN, "std": STD}

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [image]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1 : self.maps + 1]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A stand-in for timm that knows toy and leap; the arguments with which it was asked for a model."""
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **arguments: Any) -> Pyramid:
        calls.append({"name": name, **arguments})
        stages = len(arguments.get("out_indices", range(5)))
        if stages > 5:
            raise IndexError("list index out of range")
        return Pyramid(arguments.get("in_chans", 3), stages, 4 if name == "leap" else 2)

    timm = ModuleType("timm")
    timm.create_model = create_model  # type: ignore[attr-defined]
    timm.list_models = lambda pattern="": ["toy", "leap"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    return calls


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("check", EVERY, ids=lambda check: check.__name__)
def test_a_network_on_an_encoder_keeps_the_contract_of_networks(check: Callable[[Make, int], None]) -> None:
    check(partial(networks.make, "encoder:toy"), 2)


def make(name: str, channels: int = 3, **options: Any) -> Any:
    return networks.make(name, ndim=2, channels=channels, classes=2, width=4, **options)


def test_from_scratch_is_the_default_and_nothing_is_fetched(asked: list[dict[str, Any]]) -> None:
    network = make("encoder:toy").eval()
    (call,) = asked
    assert call == {
        "name": "toy", "features_only": True, "in_chans": 3, "pretrained": False, "out_indices": (0, 1, 2, 3),
    }  # fmt: skip
    assert network.channels == (3, 4, 8, 16, 32)
    assert network.divisor == 16
    assert torch.equal(network.encode(torch.ones(1, 3, 16, 16))[0], torch.ones(1, 3, 16, 16))  # the image is level 0


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("levels", [2, 3, 5])
def test_sides_are_those_that_the_coarsest_of_an_encoders_resolutions_divides(
    levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Pyramid.forward

    def side_by_side(self: Pyramid, image: Tensor) -> list[Tensor]:
        if image.shape[2] % 32:
            raise RuntimeError("The size of tensor a must match the size of tensor b")
        return plain(self, image)

    monkeypatch.setattr(Pyramid, "forward", side_by_side)
    network = make("encoder:toy", levels=levels)
    assert network.divisor == 32
    assert network.encoder.backbone.training
    with pytest.raises(ValueError, match=r"side 48 .* is not divisible by 32"):
        network(torch.zeros(1, 3, 48, 32))


def test_pretrained_weights_come_from_the_file_and_see_images_as_they_did_before(asked: list[dict[str, Any]]) -> None:
    network = make("encoder:toy@pretrained", weights="/w/toy.pth").eval()
    assert asked[0]["pretrained"] is True
    assert asked[0]["pretrained_cfg_overlay"] == {"file": "/w/toy.pth"}
    image = torch.rand(1, 3, 16, 16)
    normal = (image - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    torch.testing.assert_close(network.encode(image)[1], network.encoder.backbone(normal)[0])


def test_grey_images_and_networks_from_scratch_are_not_normalised(asked: list[dict[str, Any]]) -> None:
    for network, channels in ((make("encoder:toy@pretrained", 1), 1), (make("encoder:toy"), 3)):
        image = torch.rand(1, channels, 16, 16)
        network.eval()
        torch.testing.assert_close(network.encode(image)[1], network.encoder.backbone(image)[0])


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("name", "ndim", "message"),
    [
        ("encoder:toi", 2, "timm has no encoder 'toi'; near it are toy, leap"),
        ("encoder:leap", 2, r"'leap' reduces sides by \(4, 16, 64, 256\); wanted are \(2, 4, 8, 16\)"),
        ("encoder:toy", 3, "encoder:toy works in 2-D, the task is 3-D; use unet or vnet"),
    ],
)
def test_an_encoder_that_cannot_be_used_is_refused(name: str, ndim: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        networks.make(name, ndim=ndim, channels=1, classes=2)


def test_without_timm_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="make env EXTRAS=encoders"):
        make("encoder:toy")


@pytest.mark.parametrize("error", [ImportError, RuntimeError, OSError])
def test_a_torchvision_that_does_not_load_is_told_as_a_missing_one(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text(f"raise {error.__name__}('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(ValueError, match=r"cannot be imported here .*torchvision::nms.*make env EXTRAS=encoders"):
        make("encoder:toy")


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("levels", "message"), [(1, "levels must be 2 .* or more, got 1"), (9, r"levels must be in 2\.\.6 .*, got 9")]
)
def test_levels_that_the_encoder_has_not_are_refused(levels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("encoder:toy", levels=levels)
    assert len(make("encoder:toy", levels=6).channels) == 6


def test_names_of_encoders_are_known_without_timm_and_other_names_are_not() -> None:
    assert networks.known("encoder:anything")
    assert networks.known("encoder:anything@pretrained")
    assert not networks.known("encoder:")
    assert not networks.known("encoder:@pretrained")
    assert not networks.known("encodr:toy")
    with pytest.raises(KeyError, match="encoder:MODEL"):
        make("encodr:toy")


# In a plan ----------------------------------------------------------------------------------------------------------
def test_a_record_says_whether_an_encoder_was_pretrained_and_with_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encoder_weights("unet") == ({}, "")
    assert encoder_weights("encoder:toy") == ({}, "encoder toy is trained from scratch")
    assert encoder_weights("encoder:toy@pretrained") == (
        {},
        "encoder toy starts from the weights that timm names for it",
    )
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    (tmp_path / "toy.pth").write_bytes(b"weights")
    options, note = encoder_weights("encoder:toy@pretrained")
    assert options == {"weights": str(tmp_path / "toy.pth")}
    assert note.startswith("encoder toy starts from toy.pth (blake2b ")
    (tmp_path / "toy.pth").write_bytes(b"of another")
    assert encoder_weights("encoder:toy@pretrained")[1] != note
    (tmp_path / "toy.pth").write_bytes(b"WEIGHTS")  # as long as the first
    os.utime(tmp_path / "toy.pth", ns=(1, 1))
    assert encoder_weights("encoder:toy@pretrained")[1] not in (note, "")
    (tmp_path / "toy.safetensors").write_bytes(b"safe")
    assert encoder_weights("encoder:toy@pretrained")[0] == {"weights": str(tmp_path / "toy.safetensors")}
    (tmp_path / "toy.safetensors").unlink()
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("BENCH_WEIGHTS", tmp_path.name)
    assert encoder_weights("encoder:toy@pretrained")[0] == options, "wherever a worker runs"
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    monkeypatch.setenv("BENCH_WEIGHTS", f"~/{tmp_path.name}")
    assert encoder_weights("encoder:toy@pretrained")[0] == options


@pytest.mark.usefixtures("asked")
def test_a_plan_with_an_encoder_passes_the_checks_before_training(tmp_path: Path) -> None:
    preflight.check([tiny_cell(network="encoder:toy@pretrained")], places_in(tmp_path))
    with pytest.raises(ConfigError, match="unknown network 'encodr:toy'"):
        preflight.check([tiny_cell(network="encodr:toy")], places_in(tmp_path))


def test_weights_that_cannot_be_had_are_missed_before_training(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight.check([tiny_cell(network="encoder:toy@pretrained")] * 2, places_in(tmp_path))
    assert [call["pretrained"] for call in asked].count(True) == 1
    create = sys.modules["timm"].create_model

    def offline(name: str, **arguments: Any) -> Pyramid:
        if arguments["pretrained"]:
            raise OSError("no route to host")
        return create(name, **arguments)

    monkeypatch.setattr(sys.modules["timm"], "create_model", offline)
    with pytest.raises(
        preflight.NotReady, match=r"cannot be read \(OSError: no route to host\); .*toy.pth .*BENCH_WEIGHTS"
    ):
        preflight.check([tiny_cell(network="encoder:toy@pretrained")], places_in(tmp_path))
