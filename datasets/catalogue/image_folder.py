"""Any folder of images and masks: a benchmark of your own without a line of code.

Source: yours; the divided layout is the one that Min-Max Similarity's released code asks of every dataset.
Licence: that of the images.
Layout: ``<folder>/{train,test}/{image,mask}/`` (perhaps ``val`` too), or ``<folder>/{images,masks}/`` undivided. PNG,
    JPEG, BMP or TIFF; image and mask have the same stem, the mask's perhaps followed by _mask, _seg, _gt or the like.
    Images without masks lie in ``<folder>/unlabelled/`` or ``<folder>/train/unlabelled/`` and train in every fold.
Classes: background and foreground (0 and 1, or 0 and 255), or as the options say.
Spacing: images have none: distances are in pixels.
Protocol: the folders' own division, else five folds by a hash of the groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..base import LATER
from ..types import Card
from ._image_folders import ImageFolders
from ._options import check_classes, check_folder, check_ignore, check_patch, check_pattern


@dataclass(frozen=True)
class ImageFolderOptions:
    """What a plan may set.

    Attributes:
        folder: name of the folder, below the data root.
        patch: (height, width) that training resizes to; the networks want multiples of 16.
        colour: "rgb" (grey images get three equal channels) or "grey" (colours become luminance).
        classes: names of the classes, background first.
        values: the value in the masks of each class, in order, such as [0, 128, 255]; empty = 0, 1, 2, ..., and for two
            classes 0 and 1 or 0 and 255.
        threshold: where above 0, mask values above it are the foreground; for lossy masks of two classes only.
        ignore: the value in the masks of pixels of no class, such as 255: nothing is learnt or scored there.
        group_pattern: regular expression that finds the video or patient in a file's stem (its first bracket, if any);
            empty = every image stands for itself. Groups never straddle two parts of a split.
    """

    folder: str = "images"
    patch: tuple[int, ...] = (256, 256)
    colour: Literal["rgb", "grey"] = "rgb"
    classes: tuple[str, ...] = ("background", "foreground")
    values: tuple[int, ...] = ()
    threshold: int = 0
    group_pattern: str = ""
    ignore: int | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        check_folder(self.folder)
        check_patch(self.patch, 2)
        if self.colour not in ("rgb", "grey"):
            raise ValueError(f'colour must be "rgb" or "grey", got {self.colour!r}')
        check_classes(self.classes, self.values)
        if not 0 <= self.threshold < 2**16 or (self.threshold and len(self.classes) != 2):
            raise ValueError(f"threshold must be a grey level, and for two classes, got {self.threshold}")
        check_pattern(self.group_pattern)
        check_ignore(self.ignore, self.values or range(len(self.classes)), self.threshold)


class ImageFolder(ImageFolders):
    """Your own pairs of image and mask."""

    card = Card(
        title="Any folder of images and masks",
        source="Your own, or any set in this layout, such as the 2018 Data Science Bowl's nuclei.",
        licence="That of the images: state it where you publish numbers.",
        how_to_get="Put your images and masks into these folders, and name the parent with the option folder.",
        layout="<folder>/{train,test}/{image,mask}/<stem>.png, or <folder>/{images,masks}/<stem>.png undivided; images "
        "without masks in <folder>/unlabelled/.",
        spacing="Images have none: distances are in pixels.",
        protocol="Folders train and test as they lie (val too, else validation is carved from train); undivided: five "
        "folds by a hash of the groups.",
        known_issues=(
            "Frames of one video are near-copies of each other: set group_pattern, or scores are too good.",
            "Images are resized to the patch without keeping their aspect; scores are on the native grid.",
        ),
        facts={"normalisation": "8-bit values / 255, 16-bit values / 65535; nothing else"},
    )
    Options = ImageFolderOptions
    folder = "images"

    def subfolder(self) -> str:
        return self.options.folder
