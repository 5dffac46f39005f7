"""Cochlear implant: RGB video of a surgical microscope with private masks; listed because a paper uses it.

Source: Min-Max Similarity's own data.
Licence: none; the data are private.
Layout: none.
Classes: background, tool.
Spacing: none.
Protocol: none published; the paper labels 2.4 % of an unknown number of frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..base import Dataset, MissingData, Partition
from ..types import Card, Case, Task


@dataclass(frozen=True)
class CochlearOptions:
    """Nothing to set."""


class Cochlear(Dataset):
    """Never opens."""

    unavailable = (
        "the authors of Min-Max Similarity annotated their own video of cochlear implantation and released neither "
        "images nor masks; use kvasir_instrument, endovis17, art_net or robotool"
    )
    card = Card(
        title="Cochlear implant (surgical microscope), not available",
        source="Private data of the authors of Min-Max Similarity.",
        licence="None: never released.",
        how_to_get="It cannot be had; numbers on it cannot be reproduced.",
        layout="Unknown.",
        spacing="None.",
        protocol="None published.",
        known_issues=("RGB video of a surgical microscope, not CT, as it is sometimes cited.",),
    )
    Options = CochlearOptions
    folder = "cochlear"

    def make_task(self) -> Task:
        return Task("cochlear", 2, 3, ("background", "tool"), (288, 512), "px")

    def groups(self) -> Mapping[str, str]:
        raise MissingData(self.unavailable)

    def load(self, key: str) -> Case:
        raise MissingData(self.unavailable)

    def partition(self, fold: int) -> Partition:
        raise MissingData(self.unavailable)
