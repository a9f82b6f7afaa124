"""The tracker that labels teach: which values a turn says, and which of those held before stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from schemas.accumulate import accumulate, difference, one_after_the_other
from schemas.belief import BeliefState, Polarity, SlotValue, TurnUpdate
from schemas.corrections import corrected
from schemas.errors import ModelError
from schemas.files import read_json, write_json
from schemas.mentions import Words
from schemas.ontology import Ontology
from semantic_model.states.features import AliasTable, Candidate, Held, TurnEvidence, gate_features
from semantic_model.states.logistic import Example, Logistic
from semantic_model.states.rules import category_slot
from semantic_model.states.tracker import (
    SURE_OF_VALUES,
    Beliefs,
    LabelledDialogue,
    Rows,
    RuleTracker,
    StateTracker,
    TurnState,
    fingerprint,
    labelled_turns,
)
from semantic_model.states.turn_reading import Choice, Turn, TurnReader, dialogue_turns

_PARTS = 5
_HARDLY = 0.02
_RULES = 20
"""How many labelled turns all those count for, together, whose states the rules read: enough that a few labels do not
unlearn what rules know, and no more than a few once there are many."""
_SURE = 0.9
"""How sure of a turn a tracker has to be to learn from it."""
_ITSELF = 0.3
"""How many labelled turns such a turn counts for."""
_LIKELY = 0.02
"""A value less likely than that is no longer thought of."""


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


class _Said(NamedTuple):
    """What a turn says by itself."""

    wanted: dict[str, set[str]]
    avoided: dict[str, set[str]]
    sure: float  # probability that all of it is right
    likely: Beliefs  # of every candidate


class _Lesson(NamedTuple):
    """A turn that teaches."""

    turn: Turn
    before: BeliefState
    after: BeliefState
    source: Literal["label", "rules", "itself"]  # of the state after it: a label, the rules, or a tracker that was sure
    labelled: frozenset[str] = frozenset()  # slots that a label tells of all the same

    def source_of(self, slot: str) -> Literal["label", "rules", "itself"]:
        """Where what the state after it says of a slot comes from."""
        return "label" if slot in self.labelled else self.source

    def labels(self, state: BeliefState) -> BeliefState:
        """The part of a state that a label tells of."""
        return tuple(item for item in state if self.source_of(item.slot) == "label")


@dataclass(frozen=True)
class TaughtTracker:
    """Reads what labels have taught it to.

    A value is wanted from a turn on, or avoided, by one logistic regression over what speaks for it; one that was
    wanted before stays by another. Where no label has a value to be avoided, the rules say which are: such labels are
    silent about them, and do not deny them. States follow the likelier answers; beliefs are the probabilities, of
    values taken one by one:

        b_t(v) = q_t(v) + (1 - q_t(v)) k_t(v) b_{t-1}(v)

    with q that v is said and k that it stays; in a slot of one value at a time, the 1 - q_t of all its values.
    """

    version: str
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
        cls,
        dialogues: Sequence[LabelledDialogue],
        ontology: Ontology,
        attributes: Mapping[str, frozenset[Choice]],
        *,
        unlabelled: Sequence[Rows] = (),
        teacher: StateTracker | None = None,
    ) -> TaughtTracker:
        """Learn from dialogues labelled wholly or in part; the same ones in the same order teach the same.

        Of ``unlabelled`` ones, the turns that a ``teacher`` is sure of teach, too: see :data:`_SURE`.
        """
        reader = TurnReader(ontology, _unlisted(dialogues, ontology))
        category = category_slot(reader)
        read = [list(_lessons(dialogue, reader, attributes)) for dialogue in dialogues]
        if teacher is not None:
            read += [list(_sure_lessons(rows, teacher, reader, attributes)) for rows in unlabelled]
        aliases = AliasTable.mine(
            (
                str(number),
                Words.of(each.turn.text),
                _unnamed(each.turn, _sides(each.before), _sides(each.labels(each.after))),
            )
            for number, lessons in enumerate(read)
            for each in lessons
            if each.source == "label" or each.labelled
        )
        guessed = sum(each.source == "rules" for lessons in read for each in lessons)
        times = {"label": 1.0, "rules": min(1.0, _RULES / max(1, guessed)), "itself": _ITSELF}
        gates = [
            [Example(gate_features(each.turn), each.before != each.after, times[each.source]) for each in lessons]
            for lessons in read
        ]
        avoids = any(item.polarity == "dislike" for lessons in read for each in lessons for item in each.after)
        wanted: list[Example] = []
        kept: list[Example] = []
        for lessons, changes in zip(read, _crossed(gates), strict=True):
            for lesson, probability in zip(lessons, changes, strict=True):
                held, now = _sides(lesson.before), _sides(lesson.after)
                evidence = TurnEvidence(lesson.turn, reader, aliases, held, category, probability)
                for candidate in evidence.candidates():
                    if candidate.avoided and not avoids:
                        continue
                    slot, value = candidate.choice
                    there = _sides(lesson.after, "dislike") if candidate.avoided else now
                    is_there = value in there.get(slot, ())
                    wanted.append(Example(evidence.features(candidate), is_there, times[lesson.source_of(slot)]))
                new = {slot: frozenset(values) - {*held.get(slot, ())} for slot, values in now.items()}
                for slot, values in held.items():
                    for value in values:
                        features = evidence.keep_features(slot, value, new)
                        kept.append(Example(features, value in now.get(slot, ()), times[lesson.source_of(slot)]))
        single = _single_slots(each.after for lessons in read for each in lessons)
        gate = Logistic.fit([example for some in gates for example in some])
        taught = [*dialogues, *(LabelledDialogue(rows, {}) for rows in unlabelled)]
        unread = f"+{len(unlabelled)}unlabelled" if unlabelled else ""
        version = f"lexicon-v1@ontology{ontology.version}+{len(dialogues)}dialogues{unread}:{fingerprint(taught)}"
        return cls(version, reader, attributes, aliases, gate, Logistic.fit(wanted), Logistic.fit(kept), single)

    def track(self, rows: Rows) -> list[TurnState]:
        """One entry for each user turn, in order."""
        known = _Known({}, {})
        beliefs: Beliefs = {}
        found: list[TurnState] = []
        for turn in dialogue_turns(rows, self.reader, self.attributes):
            read, known = self.follow(turn, known, beliefs)
            beliefs = read.beliefs
            found.append(read)
        return found

    def follow(self, turn: Turn, known: _Known, beliefs: Beliefs) -> tuple[TurnState, _Known]:
        """One turn more, given what held before it."""
        changes = self.changes.probability(gate_features(turn))
        evidence = TurnEvidence(turn, self.reader, self.aliases, known.held, self.category, changes)
        said = self._said(evidence)
        new = _new(said.wanted, known)
        stays, sure_of_stays = self._stays(evidence, said.wanted, new, known)
        now = {
            slot: tuple(sorted(said.wanted.get(slot, set()) | stays.get(slot, set())))
            for slot in {*said.wanted, *stays}
        }
        moves = bool(self.category and known.held.get(self.category) and new.get(self.category))
        avoided = {} if moves else {slot: {*values} for slot, values in known.avoided.items()}
        for slot, unwanted in said.avoided.items():
            avoided[slot] = avoided.get(slot, set()) | unwanted
        after = _Known(now, {slot: tuple(sorted(avoided[slot] - {*now.get(slot, ())})) for slot in avoided})
        given = TurnUpdate(
            # what is said again is marked again: right, it costs nothing, and it mends what was missed before
            want={slot: now[slot] for slot in said.wanted},
            dislike={slot: tuple(sorted(unwanted)) for slot, unwanted in said.avoided.items()},
            new_topic=moves and not stays,
        )
        state = after.state()
        update = corrected(given, known.state(), state, self.reader.ontology).update
        every = self._believed(evidence, said.likely, new, beliefs, moves=moves)
        believed = {key: belief for key, belief in every.items() if belief >= _LIKELY}
        return TurnState(turn.number, update, state, said.sure * sure_of_stays, believed), after

    def beliefs_given(self, dialogue: LabelledDialogue) -> dict[int, Beliefs]:
        """See :meth:`semantic_model.states.tracker.StateTracker.beliefs_given`."""
        found: dict[int, Beliefs] = {}
        for turn, before, after in labelled_turns(dialogue, self.reader, self.attributes):
            known = _Known(_sides(before), _sides(before, "dislike"))
            changes = self.changes.probability(gate_features(turn))
            evidence = TurnEvidence(turn, self.reader, self.aliases, known.held, self.category, changes)
            new = _new(_sides(after), known)
            moves = bool(self.category and known.held.get(self.category) and new.get(self.category))
            certain = {(item.slot, item.value, item.polarity): 1.0 for item in before}
            likely = self._said(evidence).likely
            found[turn.number] = self._believed(evidence, likely, new, certain, moves=moves)
        return found

    def _said(self, evidence: TurnEvidence) -> _Said:
        said: dict[str, set[str]] = {}
        against: dict[str, set[str]] = {}
        likeliest: dict[str, float] = {}
        likely: dict[tuple[str, str, Polarity], float] = {}
        sure = 1.0
        for candidate in evidence.candidates():
            probability = self._probability(evidence, candidate)
            sure *= max(probability, 1 - probability)
            slot, value = candidate.choice
            likely[slot, value, "dislike" if candidate.avoided else "like"] = probability
            if probability <= 0.5:
                continue
            if candidate.avoided:
                against.setdefault(slot, set()).add(value)
            elif slot not in self.single:
                said.setdefault(slot, set()).add(value)
            elif probability > likeliest.get(slot, 0.0):
                said[slot], likeliest[slot] = {value}, probability
        rest = {slot: unwanted - said.get(slot, set()) for slot, unwanted in against.items()}
        return _Said(said, {slot: unwanted for slot, unwanted in rest.items() if unwanted}, sure, likely)

    def _probability(self, evidence: TurnEvidence, candidate: Candidate) -> float:
        """That a candidate is wanted from this turn on, or to be avoided."""
        kind, *others = evidence.features(candidate)
        if candidate.avoided and kind not in self.wanted.weights:
            slot, value = candidate.choice
            by_rule = value in evidence.rule.dislike.get(slot, ())
            return SURE_OF_VALUES if by_rule else 1 - SURE_OF_VALUES
        return self.wanted.probability((kind, *others))

    def _believed(
        self, evidence: TurnEvidence, said: Beliefs, new: Mapping[str, frozenset[str]], before: Beliefs, *, moves: bool
    ) -> Beliefs:
        """Beliefs after a turn, of those before it and of what it says; see the class."""
        total: dict[tuple[str, Polarity], float] = {}  # that a slot of one value gets another one
        for (slot, _, polarity), q in said.items():
            total[slot, polarity] = total.get((slot, polarity), 0.0) + q
        found: dict[tuple[str, str, Polarity], float] = {}
        for key in {**before, **said}:
            slot, value, polarity = key
            one = polarity == "like" and slot in self.single
            q = said.get(key, 0.0) / (max(1.0, total[slot, polarity]) if one and key in said else 1.0)
            changed = min(1.0, total.get((slot, polarity), 0.0)) if one else q
            b = before.get(key, 0.0)
            if b and polarity == "like":
                b *= self.kept.probability(evidence.keep_features(slot, value, new))
            elif b:
                b *= (not moves) * (1 - said.get((slot, value, "like"), 0.0))
            found[key] = q + (1 - changed) * b
        return found

    def _stays(
        self, evidence: TurnEvidence, said: Mapping[str, set[str]], new: Mapping[str, frozenset[str]], known: _Known
    ) -> tuple[dict[str, set[str]], float]:
        """What is wanted still, though the turn does not say it again, and how sure that is."""
        stays: dict[str, set[str]] = {}
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


@dataclass(frozen=True)
class _Learned:
    """A taught tracker as a file holds it."""

    version: str
    aliases: dict[str, list[tuple[str, str, float]]]  # words -> slot, value, how sure
    changes: dict[str, float]
    wanted: dict[str, float]
    kept: dict[str, float]
    single: list[str]
    unlisted: list[tuple[str, str]]  # slots and values that the ontology lacks


def save_tracker(path: Path, tracker: StateTracker) -> None:
    """Write what labels taught a tracker, nothing where there were too few; the ontology is kept elsewhere."""
    learned: list[_Learned] = []
    if isinstance(tracker, TaughtTracker):
        aliases = {
            said: [(*choice, sure) for choice, sure in choices.items()]
            for said, choices in tracker.aliases.values.items()
        }
        weights = tracker.changes.weights, tracker.wanted.weights, tracker.kept.weights
        unlisted = list(tracker.reader.unlisted)
        learned.append(_Learned(tracker.version, aliases, *weights, sorted(tracker.single), unlisted))
    write_json(path, list(map(asdict, learned)))


def load_tracker(path: Path, ontology: Ontology, attributes: Mapping[str, frozenset[Choice]]) -> StateTracker:
    """Read :func:`save_tracker` back, to be used with an ontology and images as :func:`fit_tracker` takes them.

    Raises:
        ModelError: missing or damaged.
    """
    found = read_json(path, error=ModelError, fix="train again", shape=list[_Learned])
    if not found:
        return RuleTracker(TurnReader(ontology), attributes)
    learned = found[0]
    reader = TurnReader(ontology, learned.unlisted)
    table = {said: {(slot, value): sure for slot, value, sure in each} for said, each in learned.aliases.items()}
    weights = Logistic(learned.changes), Logistic(learned.wanted), Logistic(learned.kept)
    return TaughtTracker(learned.version, reader, attributes, AliasTable(table), *weights, frozenset(learned.single))


def _new(said: Mapping[str, Collection[str]], known: _Known) -> dict[str, frozenset[str]]:
    return {slot: frozenset(values) - {*known.held.get(slot, ())} for slot, values in said.items()}


def _lessons(
    dialogue: LabelledDialogue, reader: TurnReader, attributes: Mapping[str, frozenset[Choice]]
) -> Iterator[_Lesson]:
    """What a dialogue teaches: every turn, if it is labelled throughout; nothing, if it is not labelled at all.

    In one labelled in some turns, rules read on from each label to the next. A labelled turn after such a gap is taught
    with the state that they read before it, and the turns that they read teach a little themselves, see :data:`_RULES`.
    Of a turn labelled in some slots, they read the others.
    """
    turns = list(dialogue_turns(dialogue.rows, reader, attributes))
    if all(dialogue.states.get(turn.number) is None for turn in turns):
        return
    labels = [dialogue.whole(turn.number) for turn in turns]
    states = [label for label in labels if label is not None]
    if len(states) < len(labels):
        read = RuleTracker(reader, attributes).track(dialogue.rows)
        updates = [
            difference(None, label)
            if label is not None
            else one_after_the_other(each.update, _of_slots(dialogue, each))
            for each, label in zip(read, labels, strict=True)
        ]
        states = [known.state or () for known in accumulate(updates, reader.ontology)]
    for turn, before, after, label in zip(turns, [(), *states], states, labels, strict=False):
        some = dialogue.known_slots.get(turn.number, frozenset())
        yield _Lesson(turn, before, after, "rules" if label is None else "label", some)


def _of_slots(dialogue: LabelledDialogue, read: TurnState) -> TurnUpdate:
    """The update that leaves the slots that a turn is labelled in as the label says, and all others alone."""
    state = dialogue.states.get(read.turn) or ()
    return TurnUpdate(_sides(state), _sides(state, "dislike"), dialogue.known_slots.get(read.turn, frozenset()))


def _unlisted(dialogues: Sequence[LabelledDialogue], ontology: Ontology) -> list[Choice]:
    """The labelled values that are none of the ontology's, without amounts, which are read as such."""
    said = {
        (item.slot, item.value)
        for dialogue in dialogues
        for state in dialogue.states.values()
        for item in state or ()
        if (slot := ontology.find(item.slot)) is not None
        and slot.find(item.value) is None
        and not (slot.kind == "numeric" and any(letter.isdigit() for letter in item.value))
    }
    return sorted(said)


def _sure_lessons(
    rows: Rows, teacher: StateTracker, reader: TurnReader, attributes: Mapping[str, frozenset[Choice]]
) -> Iterator[_Lesson]:
    """The turns whose whole update a tracker is sure of; all of them, if rules read them, which never know."""
    before: BeliefState = ()
    for turn, read in zip(dialogue_turns(rows, reader, attributes), teacher.track(rows), strict=True):
        if read.sure >= _SURE or isinstance(teacher, RuleTracker):
            yield _Lesson(turn, before, read.state, "itself")
        before = read.state


def _crossed(gates: Sequence[Sequence[Example]]) -> list[list[float]]:
    """Each dialogue's probabilities, by weights that other dialogues taught."""
    found: list[list[float]] = [[] for _ in gates]
    for part in range(_PARTS):
        taught = Logistic.fit([each for at, some in enumerate(gates) if at % _PARTS != part for each in some])
        for at in range(part, len(gates), _PARTS):
            found[at] = [taught.probability(features) for features, *_ in gates[at]]
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
