"""Checks of a dataset's files: missing, damaged, or changed behind its back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

from datasets.base import DataError, MissingData
from datasets.splits import make_split
from tests.miniatures import DAMAGES_WANTED

from .specimen import Specimen


def check_missing(make: Specimen) -> None:
    """No folder: the error names the folder expected and where to get the data. The folder itself is a root too."""
    empty = make._scratch / "nothing here"
    empty.mkdir(exist_ok=True)
    if not make.cls.folder:
        assert make(empty).groups(), f"{make.name}: procedural data must need no folder"
        return
    root = make.root()
    dataset = make(root)
    assert dataset.root != root, f"{make.name}: the miniature must lie below the data root"
    assert make(dataset.root).groups() == dataset.groups(), f"{make.name}: its own folder is not taken for a root"
    for gone in (empty, root):
        if gone == root:
            shutil.rmtree(dataset.root)
            dataset.root.mkdir()  # the folder is there, but hollow
        try:
            make(gone)
        except MissingData as error:
            wanted = (make.name, str(gone / dataset.subfolder()), make.cls.card.how_to_get, make.cls.card.layout)
            absent = [words for words in wanted if words not in str(error)]
            assert not absent, f"{make.name}: the error for missing data does not say {absent}"
        else:
            raise AssertionError(f"{make.name}: opened without data in {gone}")


def check_damage(make: Specimen) -> None:
    """Each kind of damage is refused with a message that names the case, the file or value, and what is allowed."""
    assert make.miniature is not None
    damages: Mapping[str, Callable[[Path], tuple[str, ...]]] = make.miniature.DAMAGES
    unknown = [kind for kind in DAMAGES_WANTED if make.cls.folder and kind not in damages]
    assert not unknown, f"{make.name}: the miniature offers no damage of kind {unknown}"
    for kind, spoil in damages.items():
        root = make.root()
        words = spoil(root)
        message = _refusal(make, root)
        assert message, f"{make.name}: {kind}: nothing was noticed"
        absent = [word for word in words if word not in message]
        assert not absent, f"{make.name}: {kind}: the message does not say {absent}: {message}"


def check_fingerprint(make: Specimen) -> None:
    """Equal for equal data; another for other options, versions or files; the manifest is the same on every machine."""
    root = make.root()
    dataset = make(root)
    mark, content = dataset.fingerprint(), dataset.manifest()
    assert make(root).fingerprint() == mark, f"{make.name}: two fingerprints of the same folder"
    assert make(make.root()).manifest() == content, f"{make.name}: equal content, different manifests"
    with mock.patch.object(make.cls, "version", "another"):
        assert make(root).fingerprint() != mark, f"{make.name}: the version is not in the fingerprint"
    assert make.miniature is not None
    grown = make(root, make.miniature.grow(root))
    assert grown.fingerprint() != mark, f"{make.name}: one more case, the same fingerprint"
    assert grown.manifest() != content, f"{make.name}: one more case, the same manifest"


def _refusal(make: Specimen, root: Path) -> str:
    """What opening the folder, dividing it and loading every case says against it; nothing = all is well."""
    try:
        dataset = make(root)
        groups, bare = dataset.groups(), dataset.unannotated("dense")
        make_split(groups, dataset.partition(1), count=1, seed=0, unannotated=bare, unscored=bare)
        for key in groups:
            dataset.check(dataset.load(key))
    except DataError as error:
        return str(error)
    return ""
