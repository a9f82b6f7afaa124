"""The lexicon as a source of pre-labels: rules where nothing is labelled yet, taught as soon as enough is."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from annotate.prelabels.corrections import corrected
from annotate.prelabels.features import AliasTable, Held, TurnEvidence, gate_features
from annotate.prelabels.logistic import Logistic
from annotate.prelabels.prelabels import Prelabel, TurnPrelabel
from annotate.prelabels.rules import category_slot, rule_update
from annotate.prelabels.turn_reading import Choice, Turn, TurnReader, dialogue_turns
from schemas.belief import BeliefState, Polarity, SlotValue, TurnUpdate
from schemas.mentions import Words
from schemas.ontology import Ontology

_Example = tuple[list[str], bool]
_PARTS = 5
_HARDLY = 0.02


@dataclass(frozen=True)
class LabelledDialogue:
    """A dialogue with the state after each of its user turns."""

    rows: Sequence[Mapping[str, Any]]  # of ``turns.parquet``, in order
    states: Mapping[int, BeliefState | None]  # after each user turn, by its number; turns without one teach nothing


class _Known(NamedTuple):
    """What holds at a point of a dialogue: slot -> values wanted, and values to be avoided."""

    held: Held
    avoided: Held

    def state(self) -> BeliefState:
        sides: tuple[tuple[Held, Polarity], ...] = ((self.held, "like"), (self.avoided, "dislike"))
        return tuple(
            SlotValue(slot, value, polarity)
            for side, polarity in sides
            for slot, values in sorted(side.items())
            for value in values
        )


@dataclass(frozen=True)
class TaughtLexicon:
    """Predicts what each turn changes."""

    reader: TurnReader
    attributes: Mapping[str, frozenset[Choice]]  # of each image, the slots and values of the product in it
    aliases: AliasTable  # other words for values
    changes: Logistic  # tells whether a turn changes anything
    wanted: Logistic  # tells whether a candidate is wanted, or avoided, from a turn on
    kept: Logistic  # tells whether a value held stays
    single: frozenset[str]  # slots that hold one value at a time

    @cached_property
    def category(self) -> str | None:
        return category_slot(self.reader)

    @classmethod
    def fit(
        cls, dialogues: Sequence[LabelledDialogue], ontology: Ontology, attributes: Mapping[str, frozenset[Choice]]
    ) -> TaughtLexicon:
        """Learn from labelled dialogues; the same ones in the same order give the same lexicon."""
        reader = TurnReader(ontology)
        category = category_slot(reader)
        read = [list(_labelled_turns(dialogue, reader, attributes)) for dialogue in dialogues]
        aliases = AliasTable.mine(
            (str(number), Words.of(turn.text), _unnamed(turn, _sides(before), _sides(after)))
            for number, turns in enumerate(read)
            for turn, before, after in turns
        )
        gates = [[(gate_features(turn), before != after) for turn, before, after in turns] for turns in read]
        wanted: list[_Example] = []
        kept: list[_Example] = []
        for turns, changes in zip(read, _crossed(gates), strict=True):
            for (turn, before, after), probability in zip(turns, changes, strict=True):
                held, now = _sides(before), _sides(after)
                evidence = TurnEvidence(turn, reader, aliases, held, category, probability)
                for candidate in evidence.candidates():
                    slot, value = candidate.choice
                    there = _sides(after, "dislike") if candidate.avoided else now
                    wanted.append((evidence.features(candidate), value in there.get(slot, ())))
                new = {slot: frozenset(values) - {*held.get(slot, ())} for slot, values in now.items()}
                for slot, values in held.items():
                    for value in values:
                        kept.append((evidence.keep_features(slot, value, new), value in now.get(slot, ())))
        single = _single_slots(after for turns in read for _, _, after in turns)
        gate = Logistic.fit([example for some in gates for example in some])
        return cls(reader, attributes, aliases, gate, Logistic.fit(wanted), Logistic.fit(kept), single)

    def updates(self, rows: Sequence[Mapping[str, Any]]) -> dict[int, tuple[TurnUpdate, float]]:
        """What each user turn changes, and how sure that is: the probability that all of it is right."""
        known = _Known({}, {})
        found: dict[int, tuple[TurnUpdate, float]] = {}
        for turn in dialogue_turns(rows, self.reader, self.attributes):
            update, known, sure = self._follow(turn, known)
            found[turn.number] = update, sure
        return found

    def _follow(self, turn: Turn, known: _Known) -> tuple[TurnUpdate, _Known, float]:
        """The turn's update, what holds after it, and how sure that is."""
        changes = self.changes.probability(gate_features(turn))
        evidence = TurnEvidence(turn, self.reader, self.aliases, known.held, self.category, changes)
        said, against, sure_of_said = self._said(evidence)
        stays, sure_of_stays = self._stays(evidence, said, known)
        now = {slot: tuple(sorted(said.get(slot, set()) | stays.get(slot, set()))) for slot in {*said, *stays}}
        moves = bool(self.category and known.held.get(self.category) and _new(said, known).get(self.category))
        avoided = {} if moves else {slot: {*values} for slot, values in known.avoided.items()}
        for slot, unwanted in against.items():
            avoided[slot] = avoided.get(slot, set()) | unwanted
        after = _Known(now, {slot: tuple(sorted(avoided[slot] - {*now.get(slot, ())})) for slot in avoided})
        given = TurnUpdate(
            # what is said again is marked again: right, it costs nothing, and it mends what was missed before
            want={slot: now[slot] for slot in said},
            dislike={slot: tuple(sorted(unwanted)) for slot, unwanted in against.items()},
            new_topic=moves and not stays,
        )
        update = corrected(given, known.state(), after.state(), self.reader.ontology).update
        return update, after, sure_of_said * sure_of_stays

    def _said(self, evidence: TurnEvidence) -> tuple[dict[str, set[str]], dict[str, set[str]], float]:
        """What the turn wants, what it wants to avoid, and how sure that is."""
        said: dict[str, set[str]] = {}
        against: dict[str, set[str]] = {}
        likeliest: dict[str, float] = {}
        sure = 1.0
        for candidate in evidence.candidates():
            probability = self.wanted.probability(evidence.features(candidate))
            sure *= max(probability, 1 - probability)
            if probability <= 0.5:
                continue
            slot, value = candidate.choice
            if candidate.avoided:
                against.setdefault(slot, set()).add(value)
            elif slot not in self.single:
                said.setdefault(slot, set()).add(value)
            elif probability > likeliest.get(slot, 0.0):
                said[slot], likeliest[slot] = {value}, probability
        rest = {slot: unwanted - said.get(slot, set()) for slot, unwanted in against.items()}
        return said, {slot: unwanted for slot, unwanted in rest.items() if unwanted}, sure

    def _stays(
        self, evidence: TurnEvidence, said: Mapping[str, set[str]], known: _Known
    ) -> tuple[dict[str, set[str]], float]:
        """What is wanted still, though the turn does not say it again, and how sure that is."""
        stays: dict[str, set[str]] = {}
        new = _new(said, known)
        sure = 1.0
        for slot, values in known.held.items():
            if slot in self.single and slot in said:
                continue
            for value in values:
                if value not in said.get(slot, ()):
                    probability = self.kept.probability(evidence.keep_features(slot, value, new))
                    sure *= max(probability, 1 - probability)
                    if probability > 0.5:
                        stays.setdefault(slot, set()).add(value)
        return stays, sure


def _new(said: Mapping[str, set[str]], known: _Known) -> dict[str, frozenset[str]]:
    return {slot: frozenset(values) - {*known.held.get(slot, ())} for slot, values in said.items()}


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
        for slot, values in _sides(state).items():
            held[slot] += 1
            several[slot] += len(values) > 1
    return frozenset(slot for slot in held if several[slot] <= _HARDLY * held[slot])


def _sides(state: BeliefState, polarity: Polarity = "like") -> dict[str, tuple[str, ...]]:
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


_VERSION = "lexicon-v1"

FEWEST_DIALOGUES = 20
"""Labelled dialogues from which the lexicon learns; fewer teach it less than its rules know."""

_SURE_OF_SOMETHING = 0.5
_SURE_OF_NOTHING = 0.85
"""Shares of turns that the rules get wholly right where they mark something, and where they mark nothing: 0.66 and 0.89
on the real gold states of SIMMC 2, 0.35 and 0.84 on those of SIMMC 1; rounded means."""


class Lexicon:
    """Pre-labels from words.

    Args:
        dialogues: rows of ``turns.parquet`` of each dialogue to label.
        attributes: of each image, the slots and values of the product in it, see :func:`product_choices`.
        labelled: dialogues that people, or the corpus, have labelled; those to be labelled now are left out.
    """

    def __init__(
        self,
        dialogues: Mapping[str, Sequence[Mapping[str, Any]]],
        ontology: Ontology,
        attributes: Mapping[str, frozenset[Choice]],
        labelled: Mapping[str, LabelledDialogue],
    ) -> None:
        self._dialogues = dialogues
        self._attributes = attributes
        self._reader = TurnReader(ontology)
        others = [labelled[name] for name in sorted(labelled) if name not in dialogues]
        self._taught: TaughtLexicon | None = None
        self.version = f"{_VERSION}@ontology{ontology.version}"
        if len(others) >= FEWEST_DIALOGUES:
            self._taught = TaughtLexicon.fit(others, ontology, attributes)
            self.version += f"+{len(others)}dialogues:{_fingerprint(others)}"

    def prelabel(self, dialogue_id: str) -> Prelabel:
        """What each of the dialogue's turns changes."""
        rows = self._dialogues[dialogue_id]
        if self._taught is not None:
            return {turn: TurnPrelabel(*said) for turn, said in self._taught.updates(rows).items()}
        return dict(self._by_rule(rows))

    def _by_rule(self, rows: Sequence[Mapping[str, Any]]) -> Prelabel:
        found: dict[int, TurnPrelabel] = {}
        topic: frozenset[str] = frozenset()
        category = category_slot(self._reader)
        for turn in dialogue_turns(rows, self._reader, self._attributes):
            update = rule_update(turn, self._reader, topic)
            if category is not None and category in update.want:
                topic = frozenset(update.want[category])
            marks = update.want or update.dislike or update.drop or update.new_topic
            found[turn.number] = TurnPrelabel(update, _SURE_OF_SOMETHING if marks else _SURE_OF_NOTHING)
        return found


def _fingerprint(dialogues: Sequence[LabelledDialogue]) -> str:
    """Six digits that differ where the dialogues, or their labels, do."""
    digest = hashlib.sha256()
    for dialogue in dialogues:
        digest.update(repr([(row["turn"], row["text"]) for row in dialogue.rows]).encode())
        digest.update(repr(sorted(dialogue.states.items())).encode())
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
