"""The JSON form of results: dataclasses as objects of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any


def json_form(record: Any, *without: str) -> dict[str, Any]:
    """A dataclass or named tuple as JSON has it: its fields by name, but for those left out.

    What is inside and has an ``as_json`` of its own is written by that.

    >>> from typing import NamedTuple
    >>> class Interval(NamedTuple):
    ...     low: float
    ...     high: float
    ...     names: tuple[str, ...] = ()
    >>> json_form(Interval(0.1, 0.2, ("a", "b")), "high")
    {'low': 0.1, 'names': ['a', 'b']}
    """
    names = [each.name for each in fields(record)] if is_dataclass(record) else record._fields
    return {name: _inner(getattr(record, name)) for name in names if name not in without}


def _inner(value: Any) -> Any:
    own = getattr(value, "as_json", None)
    if own is not None:
        return own()
    if is_dataclass(value) or hasattr(value, "_fields"):
        return json_form(value)
    if isinstance(value, Mapping):
        return {key: _inner(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_inner(each) for each in value]
    return str(value) if isinstance(value, PurePath) else value
