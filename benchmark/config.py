"""Strict mapping -> frozen dataclass: unknown key, wrong type and out of range are refused before anything runs."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

T = TypeVar("T")

_MOST_DIGITS = 20
"""Of a number that is written out for people."""


class ConfigError(ValueError):
    """A plan, option or hyper-parameter is wrong; the message says where, what is allowed and what is nearest."""


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build a frozen dataclass from a mapping, checking every key and type (nested dataclasses too).

    Ints are accepted where floats are asked for and lists where tuples are; nothing else is converted.

    Args:
        cls: the dataclass; its own ``__post_init__`` checks ranges.
        mapping: what was read.
        where: where it stands, for messages ("plan demo: training").

    Raises:
        ConfigError: unknown key (with the nearest), wrong type, missing key, or a value that ``cls`` refuses.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where}: expected a mapping, got {type(mapping).__name__} {mapping!r}")
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    for key in mapping:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest(str(key), known)}")
    missing = [
        f.name
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.init
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in mapping
    ]
    if missing:
        raise ConfigError(f"{where}: missing key(s) {', '.join(missing)}")
    values = {key: convert(value, hints[key], f"{where}: {key}") for key, value in mapping.items()}
    try:
        return cls(**values)
    except ConfigError:
        raise
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{where}: {error.args[0] if error.args else error}") from error


def convert(value: Any, hint: Any, where: str) -> Any:
    """``value`` as the type ``hint``, or ConfigError; scalars, Literal, unions, tuples, mappings and dataclasses."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else from_mapping(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        return _union(value, args, where)
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(
                f"{where}: must be one of {', '.join(map(repr, args))}, got {value!r}{nearest(str(value), args)}"
            )
        return value
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: must be a list, got {value!r}; write {as_list(value)}")
        return tuple(convert(v, args[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (Mapping, dict) or hint in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: must be a mapping, got {value!r}")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise ConfigError(
        f"{where}: must be of type {getattr(hint, '__name__', hint)}, got {type(value).__name__} {value!r}"
        + (_as_number(value, hint) if hint in (int, float) and isinstance(value, str) else "")
    )


def nearest(given: str, known: Iterable[Any]) -> str:
    """``; did you mean 'x'? (known: ...)`` for messages."""
    names = [str(k) for k in known]
    close = difflib.get_close_matches(given, names, n=1)
    return (f"; did you mean {close[0]!r}?" if close else "") + f" (known: {', '.join(names)})"


def as_list(value: Any) -> str:
    """What stands for a list without its brackets, as YAML reads it, for messages.

    >>> as_list("32,32"), as_list(32), as_list("(3, 4)"), as_list(None)
    ('[32,32]', '[32]', '[3, 4]', '[...]')
    """
    return f"[{str(value).strip('() ')}]" if isinstance(value, (str, int, float)) and value != "" else "[...]"


def _as_number(text: str, kind: type) -> str:
    """``; write 0.001 or 1.0e-3`` where YAML took a number for text, as it does 1e-3; else nothing."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return ""
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        return ""
    if kind is int:
        return f"; write {number:.0f}" if number == number.to_integral_value() else ""
    digits, _, exponent = f"{number.normalize():e}".partition("e")
    point = "" if "." in digits else ".0"
    return f"; write {number:f}" + (f" or {digits}{point}e{int(exponent):+d}" if "e" in text.lower() else "")


def _union(value: Any, args: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in args:
        return None
    errors = []
    for arg in args:
        if arg is type(None):
            continue
        try:
            return convert(value, arg, where)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError(
        errors[0] if len(errors) == 1 else f"{where}: {value!r} fits none of the allowed forms: " + "; or ".join(errors)
    )
