"""The folders of masks of EndoVis'17, and what their masks say: instrument or not.

Names as in data_export/create_binary_set.py of tkurmann/endovis2017_unibe and in datasets/endovis_instrument_2017.py of
warmspringwinds/pytorch-segmentation-detection, which agree on all eight videos. Pixels of no part in video 7:
docs/claim3_endovis17_matched_protocol.md of k4ru4kai/icml-2026-s2mnet-reproduction. The winner's code
(ternaus/robot-surgery-segmentation, prepare_data.py) takes all that is not 0 as instrument, in every video.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..base import DataError
from ..faults import fault
from ..io import CLASSES, read_image
from ._images import read_mask
from ._strays import first_of

INSTRUMENTS = {
    1: "Left_Prograsp_Forceps Maryland_Bipolar_Forceps Right_Prograsp_Forceps",
    2: "Left_Prograsp_Forceps Right_Prograsp_Forceps",
    3: "Left_Large_Needle_Driver Right_Large_Needle_Driver",
    4: "Large_Needle_Driver_Left Large_Needle_Driver_Right Prograsp_Forceps",
    5: "Bipolar_Forceps Grasping_Retractor Vessel_Sealer",
    6: "Left_Large_Needle_Driver Monopolar_Curved_Scissors Prograsp_Forceps Right_Large_Needle_Driver",
    7: "Left_Bipolar_Forceps Right_Vessel_Sealer",
    8: "Bipolar_Forceps Left_Grasping_Retractor Monopolar_Curved_Scissors Right_Grasping_Retractor",
}
"""Video -> its published folders but Other, without ``_labels``, which Prograsp_Forceps of 6 and both of 7 lack."""
PARTS = {0: 0, 10: 1, 20: 1, 30: 1}
UNCLEAN = 7
"""The video in whose RGB masks an audit found sparse pixels of no part, or of unequal channels."""


def folder_of(root: Path, video: int) -> Path:
    """Where the frames and masks of a video lie."""
    return root / f"instrument_dataset_{video}"


def instruments_in(root: Path, video: int) -> Sequence[Path]:
    """The folders of masks of a video, sorted, whatever they are called but Other."""
    there = (folder_of(root, video) / "ground_truth").glob("*")
    return sorted(path for path in there if path.is_dir() and not path.name.lower().startswith((".", "other")))


def lacking_in(root: Path) -> Sequence[str]:
    """A sentence for each published folder of masks that is not there, with or without ``_labels``."""
    return [
        f"no folder {folder_of(root, video) / 'ground_truth' / name}"
        for video, names in INSTRUMENTS.items()
        for name in sorted(set(names.split()) - {p.name.removesuffix("_labels") for p in instruments_in(root, video)})
    ]


def whole_frames(root: Path) -> dict[str, tuple[Path, tuple[Path, ...]]]:
    """Key, such as video1_frame000 -> frame, and the masks of its instruments; sorted. A frame without is a fault."""
    found, alone = {}, []
    for video in INSTRUMENTS:
        folders = instruments_in(root, video)
        for image in (folder_of(root, video) / "left_frames").glob("frame*.png"):
            key, masks = f"video{video}_{image.stem}", tuple(folder / image.name for folder in folders)
            gone = [str(mask) for mask in masks if not mask.is_file()]
            if masks and not gone:
                found[key] = (image, masks)
            else:
                alone.append(f"case {key!r} has no {', '.join(gone) or f'mask for {image}'}")
    if alone:
        advice = "fetch the masks, or take away the frames"
        fault(DataError(f"endovis17: {first_of(sorted(alone))}; {advice}").of("unpaired"))
    return dict(sorted(found.items()))


def read_instrument(path: Path, classes: Sequence[str]) -> np.ndarray:
    """``(h, w)`` uint8: 1 where a part is drawn; in the unclean video wherever any channel is not 0.

    Raises:
        DataError: the file cannot be read; unequal channels or a value of no part, in any other video.
    """
    if path.parents[2].name != folder_of(Path(), UNCLEAN).name:
        return read_mask(path, PARTS, classes)
    pixels = read_image(path, instead=CLASSES)
    return (pixels if pixels.ndim == 2 else pixels.max(axis=2)).astype(bool).astype(np.uint8)
