"""RoboTool: tools in 20 public videos of robotic surgery, RGB frames with binary masks.

Source: Garcia-Peraza-Herrera et al., 2021 (arXiv 2102.09528); Synapse syn22427422.
Licence: CC BY 4.0 as MedSegBench records it; check it on Synapse.
Layout: ``RoboTool/{train,test}/{image,mask}/<stem>.png``, or ``RoboTool/{images,masks}/`` undivided.
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
class RoboToolOptions:
    """What a plan may set.

    Attributes:
        patch: (height, width) that training resizes to.
        group_pattern: regular expression that finds the video in a file's stem; empty = every frame for itself.
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


class RoboTool(ImageFolders):
    """Frames of 20 videos."""

    card = Card(
        title="RoboTool (robotic surgery)",
        source="Garcia-Peraza-Herrera et al., 2021 (arXiv 2102.09528).",
        licence="CC BY 4.0 as MedSegBench records it; check it on Synapse before you share anything.",
        how_to_get="Make a Synapse account and download syn22427422; sort the frames into the folders of the layout.",
        layout="RoboTool/{train,test}/{image,mask}/<stem>.png, or RoboTool/{images,masks}/<stem>.png undivided.",
        spacing="Frames have none: distances are in pixels.",
        protocol="The folders' own division, else five folds by a hash of the groups.",
        known_issues=(
            "Which frames Min-Max Similarity trained and tested on is not published: its numbers are not comparable.",
            "Several frames of one video: set group_pattern so that no video is on both sides of a split.",
            "MedSegBench's copy (500 frames: 350, 50, 100) is divided by frame, not by video.",
        ),
        facts={"size": "514 frames of 20 videos, of mixed sizes", "normalisation": "values / 255; nothing else"},
    )
    Options = RoboToolOptions
    folder = "RoboTool"
    unit = "video"
