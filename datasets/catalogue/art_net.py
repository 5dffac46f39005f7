"""ART-Net: non-robotic tools in laparoscopic hysterectomy, RGB frames with binary masks.

Source: the data set of ART-Net (repository kamruleee51/ART-Net).
Licence: research only.
Layout: ``ART-NET/{train,test}/{image,mask}/<stem>.png``, or ``ART-NET/{images,masks}/`` undivided.
Classes: background, tool.
Spacing: frames have none: distances are in pixels.
Protocol: the folders' own division, else five folds by a hash of the groups. No list is published.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..types import Card
from ._image_folders import ImageFolders
from ._options import check_patch, check_pattern


@dataclass(frozen=True)
class ArtNetOptions:
    """What a plan may set.

    Attributes:
        patch: (height, width) that training resizes to.
        group_pattern: regular expression that finds the procedure in a file's stem; empty = every frame for itself.
    """

    patch: tuple[int, ...] = (288, 512)
    group_pattern: str = ""

    colour = "rgb"
    classes = ("background", "tool")
    values = ()
    threshold = 0

    def __post_init__(self) -> None:
        check_patch(self.patch, 2)
        check_pattern(self.group_pattern)


class ArtNet(ImageFolders):
    """Frames of 29 procedures."""

    card = Card(
        title="ART-Net (laparoscopic tools)",
        source="The data set of ART-Net (repository kamruleee51/ART-Net).",
        licence="Research only, by the terms of the request form.",
        how_to_get="Fill in the web form that the repository kamruleee51/ART-Net links to; sort the segmented frames "
        "into the folders of the layout. Do not take the images from the repository's history past the form.",
        layout="ART-NET/{train,test}/{image,mask}/<stem>.png, or ART-NET/{images,masks}/<stem>.png undivided.",
        spacing="Frames have none: distances are in pixels.",
        protocol="The folders' own division, else five folds by a hash of the groups.",
        known_issues=(
            "Which frames Min-Max Similarity trained and tested on is not published: its numbers are not comparable.",
            "Several frames of one procedure: set group_pattern so that no procedure is on both sides of a split.",
        ),
        facts={"size": "635 frames with masks, of 29 procedures", "normalisation": "values / 255; nothing else"},
    )
    Options = ArtNetOptions
    folder = "ART-NET"
    unit = "procedure"
