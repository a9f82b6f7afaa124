"""The state tracker: given a dialogue, what each user turn changes and the belief state after it, with probabilities.

It has three sources: rules where hardly anything is labelled (:class:`RuleTracker`), what labels teach
(:class:`semantic_model.states.taught.TaughtTracker`), and the beliefs of a trained student
(:meth:`semantic_model.ranking.ranker.PredictsStates.predicted_states`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from schemas.accumulate import accumulate, difference
from schemas.belief import BeliefState, Polarity, TurnUpdate
from schemas.ontology import Ontology
from semantic_model.states.rules import category_slot, rule_update
from semantic_model.states.turn_reading import Choice, Turn, TurnReader, dialogue_turns

FEWEST_DIALOGUES = 20
"""Dialogues with a turn labelled in every slot from which a tracker learns; fewer teach it less than its rules know."""

MOST_DIALOGUES = 1000
"""Labelled dialogues that a tracker learns from, at most: more make it slower, hardly better."""

Rows = Sequence[Mapping[str, Any]]
"""Of one dialogue in ``turns.parquet``, in order."""

Beliefs = Mapping[tuple[str, str, Polarity], float]
"""Slot, value, polarity -> the probability that it holds; what is not there hardly does."""

_SURE_OF_SOMETHING = 0.5
_SURE_OF_NOTHING = 0.85
"""Shares of turns that the rules get wholly right where they mark something, and where they mark nothing: 0.66 and 0.89
on the real gold states of SIMMC 2, 0.35 and 0.84 on those of SIMMC 1; rounded means."""

SURE_OF_VALUES = 0.85
"""Share of the values in the states that the rules read which are right: 0.93 on SIMMC 2 while they are fresh, less
later on."""


@dataclass(frozen=True)
class LabelledDialogue:
    """A dialogue with the state after each of its user turns, or after some of them."""

    rows: Rows
    states: Mapping[int, BeliefState | None]  # after user turns, by their number; None, or no entry, without a label
    # the slots that a state tells of, by user turn, where it says nothing of the others
    known_slots: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def whole(self, turn: int) -> BeliefState | None:
        """The state after a turn where it is known in every slot."""
        return None if turn in self.known_slots else self.states.get(turn)


class TurnState(NamedTuple):
    """What a tracker reads in one user turn."""

    turn: int  # its merged index
    update: TurnUpdate  # what the turn changes
    state: BeliefState  # the likeliest state after it
    sure: float  # probability that all of the update is right
    beliefs: Beliefs  # of single values, after the turn

    @property
    def doubts(self) -> Beliefs:
        """The probability that a value of the state is wrong, 1 - b with b its belief, and that another one is missing
        in it, b. Their sum is how many mistakes are to be expected in the state.
        """
        held = {(item.slot, item.value, item.polarity): 0.0 for item in self.state}
        return {key: 1 - b if key in held else b for key, b in (held | dict(self.beliefs)).items()}


class StateTracker(Protocol):
    """Reads the belief states of a dialogue."""

    @property
    def version(self) -> str:
        """What it is and what it rests on."""
        ...

    @property
    def single(self) -> frozenset[str]:
        """The slots that are known to hold one value at a time."""
        ...

    def track(self, rows: Rows) -> list[TurnState]:
        """One entry for each user turn, in order."""
        ...

    def beliefs_given(self, dialogue: LabelledDialogue) -> dict[int, Beliefs]:
        """What it would have believed of each labelled turn, so that an early slip is not told again at later turns.

        The state that the labels give before the turn counts as certain; whether a value of it stays is judged beside
        the values that the label itself says are new.

        Returns:
            User turn -> beliefs after it, for the turns before and after which the state is known; the least likely
            values too, as far as the tracker thinks of them.
        """
        ...


@dataclass(frozen=True)
class RuleTracker:
    """Looks the ontology's values up in what the user says; nothing is learned.

    Args:
        reader: of turns, with the ontology.
        attributes: of each image, the slots and values of the product in it, see :func:`product_choices`.
    """

    reader: TurnReader
    attributes: Mapping[str, frozenset[Choice]]

    @property
    def version(self) -> str:
        """``lexicon-v1@ontology3``."""
        return f"lexicon-v1@ontology{self.reader.ontology.version}"

    @property
    def single(self) -> frozenset[str]:
        """None: nothing has been learned."""
        return frozenset()

    def track(self, rows: Rows) -> list[TurnState]:
        """One entry for each user turn, in order."""
        turns = list(dialogue_turns(rows, self.reader, self.attributes))
        updates: list[TurnUpdate] = []
        topic: frozenset[str] = frozenset()
        category = category_slot(self.reader)
        for turn in turns:
            updates.append(rule_update(turn, self.reader, topic))
            if category is not None and category in updates[-1].want:
                topic = frozenset(updates[-1].want[category])
        found = []
        for turn, update, known in zip(turns, updates, accumulate(updates, self.reader.ontology), strict=True):
            marks = update.want or update.dislike or update.drop or update.new_topic
            state = known.state or ()
            beliefs = {(item.slot, item.value, item.polarity): SURE_OF_VALUES for item in state}
            found.append(
                TurnState(turn.number, update, state, _SURE_OF_SOMETHING if marks else _SURE_OF_NOTHING, beliefs)
            )
        return found

    def beliefs_given(self, dialogue: LabelledDialogue) -> dict[int, Beliefs]:
        """See :meth:`StateTracker.beliefs_given`; whatever the rules say is as sure as all they say."""
        found: dict[int, Beliefs] = {}
        category = category_slot(self.reader)
        for turn, before, _ in labelled_turns(dialogue, self.reader, self.attributes):
            topic = frozenset(item.value for item in before if item.slot == category and item.polarity == "like")
            update = rule_update(turn, self.reader, topic)
            state = accumulate([difference((), before), update], self.reader.ontology)[-1].state or ()
            thought_of = _keys(before)
            thought_of |= {(slot, value, "like") for slot, value in self.reader.choices(turn.text)}
            unlikely = dict.fromkeys(thought_of, 1 - SURE_OF_VALUES)
            found[turn.number] = unlikely | dict.fromkeys(_keys(state), SURE_OF_VALUES)
        return found


def labelled_turns(
    dialogue: LabelledDialogue, reader: TurnReader, attributes: Mapping[str, frozenset[Choice]]
) -> Iterator[tuple[Turn, BeliefState, BeliefState]]:
    """The turns before and after which the state is known, with both states."""
    before: BeliefState | None = ()
    for turn in dialogue_turns(dialogue.rows, reader, attributes):
        after = dialogue.whole(turn.number)
        if before is not None and after is not None:
            yield turn, before, after
        before = after


def _keys(state: BeliefState) -> set[tuple[str, str, Polarity]]:
    return {(item.slot, item.value, item.polarity) for item in state}


def fit_tracker(
    labelled: Sequence[LabelledDialogue],
    ontology: Ontology,
    attributes: Mapping[str, frozenset[Choice]],
    *,
    unlabelled: Sequence[Rows] = (),
) -> StateTracker:
    """The tracker that these dialogues teach; rules alone, where they are fewer than :data:`FEWEST_DIALOGUES`.

    Args:
        labelled: dialogues that people, or the corpus, have labelled, wholly or in some turns; the same ones in the
            same order teach the same.
        ontology: the slots and their values.
        attributes: of each image, the slots and values of the product in it, see :func:`product_choices`.
        unlabelled: dialogues for self-training: the tracker reads them, and is taught again by the turns that it was
            sure of, too.
    """
    from semantic_model.states.taught import TaughtTracker  # which is made of what stands above

    tracker: StateTracker = RuleTracker(TurnReader(ontology), attributes)
    if sum(any(each.whole(turn) is not None for turn in each.states) for each in labelled) >= FEWEST_DIALOGUES:
        tracker = TaughtTracker.fit(labelled, ontology, attributes)
    if unlabelled:
        tracker = TaughtTracker.fit(labelled, ontology, attributes, unlabelled=unlabelled, teacher=tracker)
    return tracker


def fingerprint(dialogues: Sequence[LabelledDialogue]) -> str:
    """Six digits that differ where the dialogues, or their labels, do."""
    digest = hashlib.sha256()
    for dialogue in dialogues:
        digest.update(repr([(row["turn"], row["text"]) for row in dialogue.rows]).encode())
        digest.update(repr(sorted(dialogue.states.items())).encode())
        if dialogue.known_slots:
            digest.update(repr([(turn, sorted(of)) for turn, of in sorted(dialogue.known_slots.items())]).encode())
    return digest.hexdigest()[:6]


def product_choices(ontology: Ontology, attributes: Mapping[str, Sequence[str]]) -> frozenset[Choice]:
    """The slots and values of a product with these attributes; numbers as the product has them."""
    found: set[Choice] = set()
    for slot in ontology.slots:
        for text in attributes.get(slot.attribute, ()):
            value = slot.find(text)
            if value is not None and not value.split_into:
                found.add((slot.name, text if slot.kind == "numeric" else value.value))
    return frozenset(found)
