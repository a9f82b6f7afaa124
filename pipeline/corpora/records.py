"""What every reader yields, whatever the corpus: products, and dialogues of utterances with candidates and states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from pipeline.corpora.ledger import Ledger
from pipeline.corpora.pictures import Pictures

__all__ = [
    "SPLITS",
    "CumulativeState",
    "Dialogue",
    "ItemFeedback",
    "ProductRecord",
    "Reader",
    "Speaker",
    "StateRecord",
    "TurnState",
    "Utterance",
    "split_name",
]

Speaker = Literal["user", "system"]

SPLITS = ("train", "valid", "test")

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "devtest": "test",
    "teststd": "test",
}


def split_name(text: object) -> str | None:
    """``train``, ``valid`` or ``test`` for the names corpora give their splits; None for any other."""
    return _SPLIT_NAMES.get(text.strip().casefold().replace("-", "")) if isinstance(text, str) else None


@dataclass(frozen=True)
class TurnState:
    """What one turn says, as corpora with per-turn states give it: slots as the corpus names them."""

    want: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dislike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    new_topic: bool | None = None
    """True or False where the corpus says so; None where a change of category has to tell."""


@dataclass(frozen=True)
class ItemFeedback:
    """Slots liked and disliked in a product that is pointed at by one of its pictures."""

    picture: str
    likes: tuple[str, ...] = ()
    dislikes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CumulativeState:
    """What holds after a turn, as MMD-v3's ``ds`` gives it."""

    like: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dislike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    feedback: tuple[ItemFeedback, ...] = ()


StateRecord = TurnState | CumulativeState


class Utterance(NamedTuple):
    """One utterance as the corpus gives it, or several of one speaker merged.

    ``images`` are picture references. ``positives`` and ``negatives`` are references to candidates: pictures or
    product ids, as the reader's ``candidates`` says.
    """

    speaker: Speaker
    act: str = ""
    text: str = ""
    images: Sequence[str] = ()
    positives: Sequence[str] = ()
    negatives: Sequence[str] = ()
    state: StateRecord | None = None


class Dialogue(NamedTuple):
    """A dialogue with its utterances in order, consecutive ones of one speaker already merged."""

    dialogue_id: str
    split: str
    utterances: Sequence[Utterance]


@dataclass
class ProductRecord:
    """A product as its source gives it, attributes named in snake case.

    Attributes:
        own: names of the attributes that come from the source's own nested record rather than from the flat keys.
        pictures: references to its pictures, the main one first.
        keys: further references by which dialogues may name it (picture file stems).
    """

    product_id: str
    name: str = ""
    description: str = ""
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    price: float | None = None
    currency: str | None = None
    pictures: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    source: str = ""


class Reader(Protocol):
    """A corpus in one format.

    Attributes:
        candidates: whether candidates are named by a picture of theirs or by product id.
        negatives_needed: whether a recommendation turn without negatives is dropped.
        pictures: how picture references become files.
        not_slots: names of state slots that are annotation machinery rather than product attributes.
    """

    candidates: Literal["pictures", "products"]
    negatives_needed: bool
    pictures: Pictures
    not_slots: frozenset[str]

    def products(self, ledger: Ledger) -> list[ProductRecord]:
        """All products, in the order of their files. Raises CorpusError when there is no catalogue."""

    def dialogues(self, ledger: Ledger) -> Iterator[Dialogue]:
        """Dialogues sorted by ``dialogue_id``, read as they are asked for. Raises CorpusError when there are none."""

    def count(self) -> int:
        """How many dialogues there are to read, for the progress bar."""

    def input_hashes(self) -> Mapping[str, str]:
        """``name -> sha256`` of what was read; complete once everything was."""

    def files(self) -> Sequence[Path]:
        """The dialogue and catalogue files, for the import benchmark."""
