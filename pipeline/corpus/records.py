"""What every reader yields, whatever the corpus: products, and dialogues of utterances with candidates and states."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from pipeline.corpus.images import ImageReferences
from pipeline.corpus.ledger import Ledger
from schemas.errors import UsageError

Speaker = Literal["user", "system"]

_SPEAKERS: Mapping[str, Speaker] = {
    **dict.fromkeys(("user", "usr", "shopper", "customer", "buyer", "human"), "user"),
    **dict.fromkeys(("system", "sys", "assistant", "agent", "wizard", "bot", "seller"), "system"),
}

CandidateKind = Literal["images", "products"]
"""What candidates are named by: an image of theirs, or product ids."""

SPLITS = ("train", "valid", "test")

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "devtest", "teststd"), "test"),
}


def split_name(text: object) -> str | None:
    """``train``, ``valid`` or ``test`` for the names corpora give their splits; None for any other."""
    return _SPLIT_NAMES.get(text.strip().casefold().replace("-", "")) if isinstance(text, str) else None


def speaker_name(text: object) -> Speaker | None:
    """``user`` or ``system`` for the names corpora give them, in any case; None for any other."""
    return _SPEAKERS.get(text.strip().casefold()) if isinstance(text, str) else None


@dataclass(frozen=True, eq=False)
class TurnState:
    """What one turn says, as corpora with per-turn states give it: slots as the corpus names them.

    States are the same when they are one object: readers give equal ones as one object where that is cheap.
    """

    want: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dislike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    new_topic: bool | None = None
    """True or False where the corpus says so; None where a change of category has to tell."""


@dataclass(frozen=True)
class ItemFeedback:
    """Slots liked and disliked in a product that is pointed at by one of its images."""

    image: str
    likes: tuple[str, ...] = ()
    dislikes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CumulativeState:
    """What holds after a turn, as MMD-v3's ``ds`` gives it; compared by identity, as :class:`TurnState` is."""

    like: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dislike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    feedback: tuple[ItemFeedback, ...] = ()


StateRecord = TurnState | CumulativeState


class Utterance(NamedTuple):
    """One utterance as the corpus gives it.

    ``images`` are image references. ``positives`` and ``negatives`` are references to candidates: images or
    product ids, as the reader's ``candidates`` says.
    """

    speaker: Speaker
    act: str = ""
    text: str = ""
    images: Sequence[str] = ()
    positives: Sequence[str] = ()
    negatives: Sequence[str] = ()
    state: StateRecord | None = None


@dataclass(eq=False)
class MergedTurns:
    """The turns of one dialogue, column by column: runs of one speaker are one turn.

    Texts are joined by a space, images and candidates one after the other; the last act counts. Of the states what
    the turn says is kept in order; one that says all that holds replaces those before it.
    """

    # one entry a turn
    speakers: list[Speaker] = field(default_factory=list)
    acts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    images: list[Sequence[str]] = field(default_factory=list)
    # turn -> (positives, negatives), where any are listed
    candidates: dict[int, tuple[Sequence[str], Sequence[str]]] = field(default_factory=dict)
    states: dict[int, tuple[StateRecord, ...]] = field(default_factory=dict)  # turn -> its states in order
    utterances: int = 0  # how many there were before merging
    replaced_states: int = 0  # how many gave way to a later cumulative one of their turn

    def add(self, said: Utterance) -> None:
        """Add the next utterance."""
        self.utterances += 1
        if not self.speakers or said.speaker != self.speakers[-1]:
            self.speakers.append(said.speaker)
            self.acts.append(said.act)
            self.texts.append(said.text)
            self.images.append(said.images)
        else:
            if said.act:
                self.acts[-1] = said.act
            if said.text:
                self.texts[-1] = f"{self.texts[-1]} {said.text}".strip()
            if said.images:
                self.images[-1] = (*self.images[-1], *said.images)
        turn = len(self.speakers) - 1
        if said.positives or said.negatives:
            before = self.candidates.get(turn, ((), ()))
            both = zip(before, (said.positives, said.negatives), strict=True)
            positives, negatives = ((*known, *more) if known else more for known, more in both)
            self.candidates[turn] = (positives, negatives)
        if said.state is not None:
            before_it = self.states.get(turn, ())
            if isinstance(said.state, CumulativeState):
                self.replaced_states += len(before_it)
                before_it = ()
            self.states[turn] = (*before_it, said.state)


class Dialogue(NamedTuple):
    """A dialogue with its turns in order, consecutive utterances of one speaker already merged."""

    dialogue_id: str
    split: str
    turns: MergedTurns


@dataclass
class ProductRecord:
    """A product as its source gives it, attributes named in snake case."""

    product_id: str
    name: str = ""
    description: str = ""
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()  # attributes of the source's own nested record rather than of the flat keys
    price: float | None = None  # what only a text says is read with all others by ``read_prices``
    price_text: str = ""  # the price as its source writes it; "" where it gives none
    currency: str | None = None
    image_refs: tuple[str, ...] = ()  # the main one first
    keys: tuple[str, ...] = ()  # further references by which dialogues may name it (image file stems)
    source: str = ""


class Parts(NamedTuple):
    """A corpus's dialogue files in runs, the same each time."""

    runs: Sequence[Sequence[tuple[str, str, str]]]  # of (dialogue id, split, file), in order
    size: int  # bytes of all files


class Reader(Protocol):
    """A corpus in one format."""

    candidates: CandidateKind = "products"  # whether candidates are named by an image of theirs or by product id
    negatives_needed: bool = False  # whether a recommendation turn without negatives is dropped
    image_refs: ImageReferences  # how image references become files
    # names of state slots that are annotation machinery rather than product attributes
    not_slots: frozenset[str] = frozenset()

    def products(self, ledger: Ledger) -> list[ProductRecord]:
        """All products, in the order of their files. Raises CorpusError when there is no catalogue."""

    def dialogues(self, ledger: Ledger) -> Iterator[Dialogue]:
        """Dialogues sorted by ``dialogue_id``, read as they are asked for. Raises CorpusError when there are none."""

    def count(self) -> int:
        """How many dialogues there are to read, for the progress bar; 0 where only reading the files shows it."""
        return 0

    def input_hashes(self) -> Mapping[str, str]:
        """``name -> sha256`` of what was read; complete once everything was."""

    def files(self) -> Sequence[Path]:
        """The dialogue and catalogue files, for the import benchmark."""


def keep_or_drop(turns: MergedTurns, ledger: Ledger) -> bool:
    """Count a dialogue, its utterances and its turns as kept, or as dropped when the user says nothing in it."""
    if "user" not in turns.speakers:
        ledger["dialogues"].drop("no_user_utterance")
        ledger["utterances"].drop("in_dropped_dialogue", turns.utterances)
        return False
    kept = len(turns.speakers)
    ledger["dialogues"].keep()
    ledger["utterances"].keep(turns.utterances)
    ledger["turns"].keep(kept)
    ledger["turns"].drop("merged_into_the_one_before", turns.utterances - kept)
    ledger["states"].drop("replaced_later_in_the_turn", turns.replaced_states)
    return True


_FIX = "write it as train=0.8,valid=0.1,test=0.1"


@dataclass(frozen=True)
class SplitShares:
    """Which share of the dialogues goes into which split.

    A dialogue's split depends on its id and the seed alone: SHA-256 of ``<seed>:<dialogue_id>`` makes a number in
    [0, 1), and the splits take their shares of that interval in the order train, valid, test. Dialogues that come to
    the corpus later change nothing for those that are there, and of two shares of ``train`` the smaller one's
    dialogues are within the larger one's. The shares hold in expectation, not exactly.
    """

    shares: Mapping[str, float]  # split -> share, in the order of :data:`SPLITS`; they sum to 1
    seed: int = 0  # another seed draws other splits

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> SplitShares:
        """Read ``train=0.8,valid=0.1,test=0.1``; a split that is left out gets nothing.

        Raises:
            UsageError: not of that form, an unknown split, or shares that do not sum to 1.
        """
        shares: dict[str, float] = {}
        for part in text.split(","):
            name, equals, number = part.partition("=")
            split = split_name(name)
            try:
                share = float(number)
            except ValueError:
                share = math.nan
            if split is None or not equals or not 0 <= share <= 1:
                raise UsageError(f"--split: '{part.strip()}' is not a split with its share", fix=_FIX)
            if split in shares:
                raise UsageError(f"--split: {split} is there twice", fix=_FIX)
            shares[split] = share
        if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
            raise UsageError(f"--split: the shares sum to {sum(shares.values()):g}, not to 1", fix=_FIX)
        return cls({split: shares[split] for split in SPLITS if shares.get(split)}, seed)

    def of(self, dialogue_id: str) -> str:
        digest = hashlib.sha256(f"{self.seed}:{dialogue_id}".encode(errors="surrogatepass")).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        end = 0.0
        for split, share in self.shares.items():
            end += share
            if place < end:
                return split
        return split  # the shares' sum may fall short of 1 by a rounding error

    def as_json(self) -> dict[str, Any]:
        return {"shares": dict(self.shares), "seed": self.seed}
