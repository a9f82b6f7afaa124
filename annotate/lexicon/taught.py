"""A lexicon taught by labelled dialogues: other words for values, and which mentions people marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.corrections import corrected
from annotate.lexicon.aliases import AliasTable
from annotate.lexicon.dialogue import Turn, dialogue_turns
from annotate.lexicon.features import Held, TurnEvidence, gate_features
from annotate.lexicon.logistic import Logistic
from annotate.lexicon.reading import Choice, TurnReader
from annotate.lexicon.rules import category_slot
from schemas.belief import BeliefState, SlotValue, TurnUpdate
from schemas.mentions import Words
from schemas.ontology import Ontology

__all__ = ["LabelledDialogue", "TaughtLexicon"]

_Example = tuple[list[str], bool]
_PARTS = 5
_HARDLY = 0.02


@dataclass(frozen=True)
class LabelledDialogue:
    """A dialogue with the state after each of its shopper turns.

    Attributes:
        rows: of ``turns.parquet``, in order.
        states: after each shopper turn, by its number; turns without one teach nothing.
    """

    rows: Sequence[Mapping[str, Any]]
    states: Mapping[int, BeliefState | None]


class TaughtLexicon:
    """Predicts what each turn changes.

    Args:
        reader: of the ontology.
        attributes: of each picture, the slots and values of the product in it.
        aliases: other words for values.
        changes: tells whether a turn changes anything.
        wanted: tells whether a candidate is wanted, or avoided, from a turn on.
        kept: tells whether a value held stays.
        single: slots that hold one value at a time.
    """

    def __init__(
        self,
        reader: TurnReader,
        attributes: Mapping[str, frozenset[Choice]],
        aliases: AliasTable,
        changes: Logistic,
        wanted: Logistic,
        kept: Logistic,
        single: frozenset[str],
    ) -> None:
        self.reader = reader
        self.attributes = attributes
        self.aliases = aliases
        self.changes = changes
        self.wanted = wanted
        self.kept = kept
        self.single = single
        self.category = category_slot(reader)

    @classmethod
    def fit(
        cls, dialogues: Sequence[LabelledDialogue], ontology: Ontology, attributes: Mapping[str, frozenset[Choice]]
    ) -> TaughtLexicon:
        """Learn from labelled dialogues; the same ones in the same order give the same lexicon."""
        reader = TurnReader(ontology)
        category = category_slot(reader)
        read = [list(_labelled_turns(dialogue, reader, attributes)) for dialogue in dialogues]
        aliases = AliasTable.mine(
            (str(number), Words.of(turn.text), _unnamed(turn, _likes(before), _likes(after)))
            for number, turns in enumerate(read)
            for turn, before, after in turns
        )
        gates = [[(gate_features(turn), before != after) for turn, before, after in turns] for turns in read]
        wanted: list[_Example] = []
        kept: list[_Example] = []
        for turns, changes in zip(read, _crossed(gates), strict=True):
            for (turn, before, after), probability in zip(turns, changes, strict=True):
                held, now = _likes(before), _likes(after)
                evidence = TurnEvidence(turn, reader, aliases, held, category, probability)
                for candidate in evidence.candidates():
                    slot, value = candidate.choice
                    there = _avoided(after) if candidate.avoided else now
                    wanted.append((evidence.features(candidate), value in there.get(slot, ())))
                new = {slot: frozenset(values) - {*held.get(slot, ())} for slot, values in now.items()}
                for slot, values in held.items():
                    for value in values:
                        kept.append((evidence.keep_features(slot, value, new), value in now.get(slot, ())))
        single = _single_slots(after for turns in read for _, _, after in turns)
        gate = Logistic.fit([example for some in gates for example in some])
        return cls(reader, attributes, aliases, gate, Logistic.fit(wanted), Logistic.fit(kept), single)

    def updates(self, rows: Sequence[Mapping[str, Any]]) -> dict[int, tuple[TurnUpdate, float]]:
        """What each shopper turn changes, and how sure that is: the probability that all of it is right."""
        held: dict[str, tuple[str, ...]] = {}
        avoided: dict[str, tuple[str, ...]] = {}
        found: dict[int, tuple[TurnUpdate, float]] = {}
        for turn in dialogue_turns(rows, self.reader, self.attributes):
            found[turn.number] = self._update(turn, held, avoided)
        return found

    def _update(
        self, turn: Turn, held: dict[str, tuple[str, ...]], avoided: dict[str, tuple[str, ...]]
    ) -> tuple[TurnUpdate, float]:
        """The turn's update; what is held and avoided is brought up to date."""
        changes = self.changes.probability(gate_features(turn))
        evidence = TurnEvidence(turn, self.reader, self.aliases, held, self.category, changes)
        sure = 1.0
        best: dict[str, float] = {}
        said: dict[str, set[str]] = {}
        against: dict[str, set[str]] = {}
        for candidate in evidence.candidates():
            probability = self.wanted.probability(evidence.features(candidate))
            sure *= max(probability, 1 - probability)
            if probability > 0.5:
                slot, value = candidate.choice
                if not candidate.avoided and slot in self.single:
                    if probability <= best.get(slot, 0.0):
                        continue
                    best[slot] = probability
                    said[slot] = set()
                (against if candidate.avoided else said).setdefault(slot, set()).add(value)
        for slot in said.keys() & against.keys():
            against[slot] -= said[slot]
        new = {slot: frozenset(values) - {*held.get(slot, ())} for slot, values in said.items()}
        now = {slot: set(values) for slot, values in said.items()}
        for slot, values in held.items():
            for value in values:
                if value in said.get(slot, ()) or (slot in self.single and said.get(slot)):
                    continue
                probability = self.kept.probability(evidence.keep_features(slot, value, new))
                sure *= max(probability, 1 - probability)
                if probability > 0.5:
                    now.setdefault(slot, set()).add(value)
        ontology = self.reader.ontology
        before = _state(held, avoided)
        moves = bool(self.category and held.get(self.category) and new.get(self.category))
        if moves:
            avoided.clear()
        for slot, values in against.items():
            avoided[slot] = tuple(sorted({*avoided.get(slot, ()), *values}))
        held.clear()
        held.update({slot: tuple(sorted(values)) for slot, values in now.items() if values})
        for slot in avoided:
            avoided[slot] = tuple(value for value in avoided[slot] if value not in held.get(slot, ()))
        # what is said again is marked again: it costs nothing where it is right, and mends what was missed before
        again = {slot: tuple(sorted(now[slot])) for slot in said if now.get(slot)}
        given = TurnUpdate(
            want=again,
            dislike={slot: tuple(sorted(values)) for slot, values in against.items() if values},
            new_topic=moves and not any(slot in now and slot not in said for slot in held),
        )
        return corrected(given, before, _state(held, avoided), ontology).update, sure


def _labelled_turns(
    dialogue: LabelledDialogue, reader: TurnReader, attributes: Mapping[str, frozenset[Choice]]
) -> Iterator[tuple[Turn, BeliefState, BeliefState]]:
    """The turns before and after which the state is known."""
    before: BeliefState | None = ()
    for turn in dialogue_turns(dialogue.rows, reader, attributes):
        after = dialogue.states.get(turn.number)
        if before is not None and after is not None:
            yield turn, before, after
        before = after


def _crossed(gates: Sequence[Sequence[_Example]]) -> list[list[float]]:
    """Each dialogue's probabilities, by weights that other dialogues taught."""
    found: list[list[float]] = [[] for _ in gates]
    for part in range(_PARTS):
        taught = Logistic.fit([each for at, some in enumerate(gates) if at % _PARTS != part for each in some])
        for at in range(part, len(gates), _PARTS):
            found[at] = [taught.probability(features) for features, _ in gates[at]]
    return found


def _single_slots(states: Iterable[BeliefState]) -> frozenset[str]:
    """The slots that hold several values in hardly any state."""
    held: Counter[str] = Counter()
    several: Counter[str] = Counter()
    for state in states:
        for slot, values in _likes(state).items():
            held[slot] += 1
            several[slot] += len(values) > 1
    return frozenset(slot for slot in held if several[slot] <= _HARDLY * held[slot])


def _likes(state: BeliefState) -> dict[str, tuple[str, ...]]:
    return _by_slot(state, "like")


def _avoided(state: BeliefState) -> dict[str, tuple[str, ...]]:
    return _by_slot(state, "dislike")


def _by_slot(state: BeliefState, polarity: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for item in state:
        if item.polarity == polarity:
            found[item.slot] = (*found.get(item.slot, ()), item.value)
    return found


def _unnamed(turn: Turn, before: Held, after: Held) -> frozenset[Choice]:
    """The values newly wanted that no spelling names."""
    named = {item.choice for sentence in turn.sentences for item in sentence.named}
    new = {(slot, value) for slot, values in after.items() for value in values if value not in before.get(slot, ())}
    return frozenset(new - named)


def _state(held: Held, avoided: Held) -> BeliefState:
    likes = [SlotValue(slot, value) for slot, values in sorted(held.items()) for value in values]
    dislikes = [SlotValue(slot, value, "dislike") for slot, values in sorted(avoided.items()) for value in values]
    return (*likes, *dislikes)
