"""Damage to valid inputs, drawn by hypothesis: bytes cut, turned and put in, values of JSON that are something else.

``SEMCTL_FUZZ_CASES`` says how many cases there are of all kinds of input together: 500, and 10,000 in ``make nightly``.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SHARES = {
    "mmd": 10, "simmc1": 6, "simmc2": 6, "jsonl": 8, "csv": 6, "export": 10, "tables": 6, "images": 8, "semctl.toml": 3,
    "preset": 6, "ontology": 6, "experiment": 4, "conversation": 4, "batch": 3, "filter": 3, "address": 2, "vectors": 1,
    "weights": 2, "request": 6,
}  # fmt: skip
"""Kind of input -> of a hundred cases, how many."""


def share_of(kind: str) -> settings:
    """As many cases of a kind as fall to it."""
    cases = int(os.environ.get("SEMCTL_FUZZ_CASES", "500"))
    return settings(
        max_examples=cases * SHARES[kind] // 100, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )


ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 5, 10**30, -(10**400), 1e300, float("nan"), float("inf"), -0.0, "", " ", "nan", "\x00",
    "\ud800", "\udcff", "\u202e", "=1+1", "../../etc/passwd", "y" * 5000, "9" * 5000, "1e999", "http://[", [], {},
    [None], [[[]]], {"a": 1}, {"": None}, [1, "a", None], "\x1b[2J",
)  # fmt: skip
ODD_BYTES = (
    b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"[" * 3000, b'{"a":' * 3000, b"1" * 5000, b"NaN",
    b"-Infinity", b"1e999", b'"', b'"\\ud800"', b"\\", b"\r", b"\n\n", b",", b";", b"}", b"]", b"=", b"'''", b"\x1b[2J",
    bytes(64),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """``content`` with one to three places damaged."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.sampled_from((0, 1, 2, 16, 200)))
        kind = draw(st.sampled_from(("cut", "flip", "insert", "replace", "drop", "twice")))
        before, after = content[:at], content[at + length :]
        if kind == "cut":
            content = before
        elif kind == "flip" and content:
            turned = content[at] ^ 1 << draw(st.integers(0, 7))
            content = before + bytes([turned]) + content[at + 1 :]
        elif kind == "insert":
            content = before + draw(st.sampled_from(ODD_BYTES)) + content[at:]
        elif kind == "replace":
            content = before + draw(st.sampled_from(ODD_BYTES)) + after
        elif kind == "drop":
            content = before + after
        elif kind == "twice":
            content = content[: at + length] + content[at:]
    return content


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield (*path, key)
            yield from _places(value[key], (*path, key))


def _within(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@st.composite
def damaged_value(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which one to three parts are something else, are missing, renamed, exchanged or nested deeply."""
    whole = [copy.deepcopy(value)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(whole))
        *above, key = draw(st.sampled_from(places))
        holder = _within(whole, tuple(above))
        kind = draw(st.sampled_from(("odd", "odd", "odd", "missing", "renamed", "exchanged", "nested", "listed")))
        if kind == "odd":
            holder[key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        elif kind == "missing" and len(above):
            del holder[key]
        elif kind == "renamed" and isinstance(holder, dict):
            holder[draw(st.sampled_from((f"{key}s", key.upper(), "", "\ud800", "__proto__")))] = holder.pop(key)
        elif kind == "exchanged":
            holder[key] = copy.deepcopy(_within(whole, draw(st.sampled_from(places))))
        elif kind == "nested":
            for _ in range(draw(st.sampled_from((1, 2, 300)))):
                holder[key] = [holder[key]]
        elif kind == "listed":
            holder[key] = [holder[key]] * draw(st.sampled_from((0, 2, 50)))
    return whole[0]


@st.composite
def damaged_json(draw: st.DrawFn, value: Any, write: Callable[[Any], str] = json.dumps) -> bytes:
    """The text of a damaged value, with keys given twice or with its bytes damaged, too."""
    text = write(draw(damaged_value(value)))
    if draw(st.integers(0, 5)) == 0:
        text = text.replace("{", '{"turns": 1, "dialogue_id": null, ', draw(st.integers(1, 3)))
    content = text.encode("utf-8", "surrogatepass")
    return draw(damaged(content)) if draw(st.integers(0, 2)) == 0 else content


def lines_of(values: Any) -> str:
    """JSON lines of a list, or of what damage has made of one."""
    each = values if isinstance(values, list) else [values]
    return "".join(json.dumps(value) + "\n" for value in each)
