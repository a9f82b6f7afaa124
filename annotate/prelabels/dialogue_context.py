"""What a dialogue has shown and said before a user turn, as far as the lexicon looks back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.prelabels.turn_reading import Choice, Sentence, TurnReader
from schemas.folding import fold

__all__ = ["Turn", "dialogue_turns", "referred"]

_ORDINALS = {
    **{word: number for number, word in enumerate(("first", "second", "third", "fourth", "fifth", "sixth"), start=1)},
    **{f"{number}{end}": number for number, end in enumerate(("st", "nd", "rd", "th", "th", "th"), start=1)},
}
_THING = r"(?:one|ones|picture|image|photo|pic|product|item|option)s?"
_IMAGE = re.compile(
    rf"#\s?(?P<hash>\d{{1,2}})\b"
    rf"|\b(?:picture|image|photo|pic|number|option)\s(?P<number>\d{{1,2}})\b"
    rf"|\b(?P<ordinal>{'|'.join(_ORDINALS)}|last)\s{_THING}\b"
    # of a scene, not of the images: "the second one on the left"
    r"(?!\s(?:on|from|at|to|down|up|over|behind|hanging|above|below|along)\b"
    r"|\sin\s(?:the|that|this|there|back|front|middle|cent(?:er|re))\b)"
)


@dataclass(frozen=True)
class Turn:
    """A user turn with what stood before it."""

    number: int
    text: str  # as written
    sentences: tuple[Sentence, ...]  # read
    asked: str  # what the system said right before
    images: tuple[frozenset[Choice], ...]  # what the products of the last images shown have, in the order of the images
    seen: tuple[frozenset[Choice], ...]  # the same of all images shown so far, the latest first
    is_first: bool  # the user has said nothing before


def dialogue_turns(
    rows: Sequence[Mapping[str, Any]], reader: TurnReader, attributes: Mapping[str, frozenset[Choice]]
) -> Iterator[Turn]:
    """The user turns of one dialogue, given its rows of ``turns.parquet`` in order and what the product in each
    image has.
    """
    asked = ""
    images: tuple[frozenset[Choice], ...] = ()
    seen: list[frozenset[Choice]] = []
    is_first = True
    for row in rows:
        shown = tuple(attributes.get(image, frozenset()) for image in row["image_ids"])
        if row["speaker"] == "user":
            sentences = tuple(reader.sentences(row["text"]))
            yield Turn(row["turn"], row["text"], sentences, asked, images, tuple(seen), is_first)
            is_first, asked = False, ""
        else:
            asked = row["text"]
            images = shown or images
        seen[:0] = shown
        del seen[_REMEMBERED:]


_REMEMBERED = 24


def referred(turn: Turn) -> frozenset[Choice] | None:
    """What the product has that the turn points at by the place of its image: "the second one", "#2"."""
    match = _IMAGE.search(fold(turn.text))
    if match is None or not turn.images:
        return None
    if match["ordinal"]:
        number = len(turn.images) if match["ordinal"] == "last" else _ORDINALS[match["ordinal"]]
    else:
        number = int(match["hash"] or match["number"])
    return turn.images[number - 1] if 1 <= number <= len(turn.images) else None
