"""Options that several datasets have: the folder's name, the patch, and the pattern that finds a case's group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

from ..base import DataError


def check_folder(folder: str, option: str = "folder") -> None:
    """Refuse what is not the name of one folder."""
    if not folder or Path(folder).name != folder:
        raise ValueError(f"{option} must be the name of one folder, got {folder!r}")


def check_patch(patch: Sequence[int], *sizes: int) -> None:
    """Refuse a patch that has not one of ``sizes`` positive numbers."""
    if len(patch) not in sizes or min(patch) < 1:
        raise ValueError(f"patch must be {' or '.join(map(str, sizes))} positive numbers, got {tuple(patch)}")


def check_classes(classes: Sequence[str], values: Sequence[int]) -> None:
    """Refuse fewer than two classes, one name twice, and values that are not one for each class."""
    if not 2 <= len(set(classes)) == len(classes) <= 255:
        raise ValueError(f"classes must be two or more distinct names, background first, got {classes}")
    if values and not len(set(values)) == len(values) == len(classes):
        raise ValueError(f"values must be one distinct value for each of {classes}, got {values}")


def check_ignore(ignore: int | None, values: Sequence[int], threshold: int = 0) -> None:
    """Refuse a value of no class that is a class's, or beside a threshold."""
    if ignore is not None and (ignore in values or threshold or not 0 <= ignore < 2**16):
        beside = f"beside threshold {threshold}" if threshold else f"with values {tuple(values) or '0, 1, 2, ...'}"
        raise ValueError(f"ignore must be a value in masks that is no class's, got {ignore} {beside}")


def check_pattern(pattern: str) -> None:
    """Refuse what is no regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"group_pattern {pattern!r} is no regular expression: {error}") from error


def group_of(name: str, key: str, text: str, pattern: str) -> str:
    """What ``pattern`` finds in ``text`` (in its first bracket that matches); the case itself without a pattern.

    Args:
        name: the dataset's, for the message.
        key: the case.
        text: its file's stem.
        pattern: regular expression, or "".

    Raises:
        DataError: the pattern does not match.
    """
    if not pattern:
        return key
    found = re.search(normalize("NFC", pattern), normalize("NFC", text))  # ü as one character and as two is one name
    if not found:
        raise DataError(f"{name}: {text!r} of case {key!r} does not match group_pattern {pattern!r}")
    return next((part for part in found.groups() if part is not None), found[0])
