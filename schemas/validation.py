"""What is said of a name or value that does not fit: the nearest known name, and pydantic's errors as one line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from schemas.errors import UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T", bound=str)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest in spelling, or None when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return close[0] if close else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """How to fix a name that is not known: ``did you mean 'color'?``, or ``otherwise`` when none is close."""
    close = nearest(name, known)
    return f"did you mean '{close}'?" if close else otherwise


def known_name(what: str, name: str, known: Collection[T]) -> T:
    """The one of the names known that ``name`` is.

    Raises:
        UsageError: it is none; says the nearest.
    """
    for each in known:
        if each == name:
            return each
    raise UsageError(f"unknown {what} '{name}'", fix=did_you_mean(name, known, f"one of {', '.join(known)}"))


class Mistake(NamedTuple):
    """One thing that pydantic refused."""

    at: tuple[int | str, ...]  # where it is, from the outside in
    what: str  # what is wrong with it
    kind: str  # pydantic's name for that, such as ``missing``

    @property
    def key(self) -> str:
        """Where it is, as in ``labelling.window``; empty for the whole."""
        return ".".join(map(str, self.at))

    @property
    def is_unknown(self) -> bool:
        """Whether there is no such key."""
        return self.kind == "extra_forbidden"


def first_mistake(problem: ValidationError) -> Mistake:
    """What to say of several: a key that is not known, which may be why another is missing, else the first."""
    found = [Mistake(e["loc"], e["msg"].removeprefix("Value error, "), e["type"]) for e in problem.errors()]
    return next((each for each in found if each.is_unknown), found[0])
