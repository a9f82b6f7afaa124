"""What speaks for or against a value, turn by turn: learned aliases, candidates and their features."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from schemas.mentions import Words
from semantic_model.states.rules import dropped_slots, is_like, rule_update
from semantic_model.states.turn_reading import Choice, Named, Sentence, Turn, TurnReader, referred

_LONGEST = 3
_TIMES = 2
_SURE = 0.2


class AliasTable:
    """Word sequences and the values that came with them, where no spelling of the ontology named the value."""

    def __init__(self, values: Mapping[str, Mapping[Choice, float]]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def find(self, words: Words) -> dict[Choice, dict[str, float]]:
        """The values that the words may stand for, each with the word sequences that say so and how sure they are."""
        found: dict[Choice, dict[str, float]] = {}
        for said in dict.fromkeys(ngrams(words)):
            for choice, sure in self.values.get(said, {}).items():
                found.setdefault(choice, {})[said] = sure
        return found

    @classmethod
    def mine(cls, turns: Iterable[tuple[str, Words, frozenset[Choice]]]) -> AliasTable:
        """The word sequences that came with a value in at least two dialogues and a fifth of their turns.

        Of each turn: its dialogue, its words, and the values newly wanted that no spelling names.
        """
        heard: dict[str, int] = defaultdict(int)
        together: dict[str, dict[Choice, set[str]]] = defaultdict(lambda: defaultdict(set))
        times: dict[tuple[str, Choice], int] = defaultdict(int)
        for dialogue, words, wanted in turns:
            for said in dict.fromkeys(ngrams(words)):
                heard[said] += 1
                for choice in wanted:
                    together[said][choice].add(dialogue)
                    times[said, choice] += 1
        values: dict[str, dict[Choice, float]] = {}
        for said, choices in sorted(together.items()):
            kept = {
                choice: times[said, choice] / heard[said]
                for choice, dialogues in sorted(choices.items())
                if len(dialogues) >= _TIMES and times[said, choice] / heard[said] >= _SURE
            }
            if kept:
                values[said] = kept
        return cls(values)


def ngrams(words: Words) -> Iterator[str]:
    """Sequences of one to three stems that stand within one clause."""
    stems, clauses = words.stems, words.clauses
    for start, said in enumerate(stems):
        yield said
        for at in range(start + 1, min(start + _LONGEST, len(stems))):
            if clauses[at] != clauses[start]:
                break
            said = f"{said} {stems[at]}"
            yield said


_LIKENESS = re.compile(r"\b(?:like|similar|same|resembl\w+|than|as|match\w*)\b")
_CONTRAST = re.compile(r"\b(?:but|only|just|except|instead|rather|this time|also)\b")

_STEPS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)

Held = Mapping[str, tuple[str, ...]]
"""Slot -> what is wanted of it."""


@dataclass
class Candidate:
    """A value that may be wanted (or avoided) from this turn on, with what it rests on."""

    choice: Choice  # slot and value
    avoided: bool  # to be avoided rather than wanted
    named: list[tuple[Sentence, Named]] = field(default_factory=list)  # where sentences name it
    aliases: dict[str, float] = field(default_factory=dict)  # learned words that stand for it, and how sure they are
    shown: list[str] = field(default_factory=list)  # how it is among what was shown


class TurnEvidence:
    """All that a turn says, ready to be asked about one value after the other.

    Args:
        held: what is wanted before the turn.
        category: the slot of the kind of thing, or None.
        changes: probability that the turn changes anything, see :func:`gate_features`.
    """

    def __init__(
        self, turn: Turn, reader: TurnReader, aliases: AliasTable, held: Held, category: str | None, changes: float
    ) -> None:
        self.turn, self.reader, self.held, self.category = turn, reader, held, category
        self.words = Words.of(turn.text)
        self.aliases = aliases.find(self.words)
        self.like = is_like(turn)
        self.asked = set(Words.of(turn.asked).stems)
        self.asked_choices = set(reader.choices(turn.asked))
        self.slot_zones = {
            slot.name: zones for slot in reader.ontology.slots if (zones := list(_slot_zones(slot.name, turn, reader)))
        }
        topic = frozenset(held.get(category or "", ()))
        self.rule = rule_update(turn, reader, topic)
        self.dropped = set(dropped_slots(turn, reader))
        self.bag = [f"{said}" for said in dict.fromkeys(ngrams(self.words)) if said.count(" ") < 2]
        self.likely = self._likely()
        self.gate = f"gate {int(changes * 7.999)}"
        self.gates = [f"gate > {step}" for step in _STEPS if changes > step]
        self.skeleton = list(
            dict.fromkeys(said for sentence in turn.sentences for said in ngrams(_plain(tuple(_skeleton(sentence)))))
        )

    def candidates(self) -> Iterator[Candidate]:
        """Values named, said by another word, or of the products shown where the turn asks for the like of them."""
        found: dict[tuple[Choice, bool], Candidate] = {}
        for sentence in self.turn.sentences:
            for named in sentence.named:
                key = named.choice, named.negated
                found.setdefault(key, Candidate(*key)).named.append((sentence, named))
        for choice, said in self.aliases.items():
            found.setdefault((choice, False), Candidate(choice, avoided=False)).aliases = said
        shown = self._shown()
        for choice in self.asked_choices:
            shown.setdefault(choice, []).append("asked")
        for choice, how in shown.items():
            key = choice, False
            if key in found or self.like or choice[0] in self.slot_zones:
                found.setdefault(key, Candidate(*key)).shown = how
        yield from found.values()

    def _likely(self) -> list[frozenset[Choice]]:
        """Of the products seen, those that have most of what is named: "the black coat"."""
        named = {item.choice for sentence in self.turn.sentences for item in sentence.named}
        scores = [len(named & product) for product in self.turn.seen]
        best = max(scores, default=0)
        return [product for product, score in zip(self.turn.seen, scores, strict=True) if score == best and best]

    def _shown(self) -> dict[Choice, list[str]]:
        found: dict[Choice, list[str]] = {}
        pointed = referred(self.turn)
        for name, products in (
            ("pictures", self.turn.images),
            ("likely", self.likely),
            ("pointed", () if pointed is None else (pointed,)),
        ):
            for choice in sorted({choice for product in products for choice in product}):
                share = sum(choice in product for product in products) / len(products)
                found.setdefault(choice, []).append(f"{name}{'=' if share == 1 else '~'}")
        return found

    def features(self, candidate: Candidate) -> list[str]:
        """What speaks for and against a candidate."""
        slot, value = candidate.choice
        side = "avoid" if candidate.avoided else "want"
        kind = side + ("N" if candidate.named else "") + ("A" if candidate.aliases else "")
        kind += "P" if candidate.shown and not candidate.named else ""
        head = f"{kind}|{slot}"
        held = self.held.get(slot, ())
        standing = "same" if value in held else "other" if held else "none"
        found = [kind, head, f"{head}={value}", f"{kind}|held {standing}", f"{head}|held {standing}"]
        found += [f"{kind}|{self.gate}", f"{head}|{self.gate}", f"{head}|{self.gate}|held {standing}"]
        found += [f"{side}|{gate}" for gate in self.gates]
        found += [f"{kind}|{gate}" for gate in self.gates]
        found += [f"{head}|{gate}" for gate in self.gates]
        for how in (*candidate.shown, "+".join(candidate.shown)):
            found += [f"{kind}|{how}", f"{head}|{how}", f"{head}|{how}|like {self.like}", f"{head}|{how}|{self.gate}"]
        marked = self.rule.dislike if candidate.avoided else self.rule.want
        by_rule = value in marked.get(slot, ())
        found += [f"{kind}|rule {by_rule}", f"{head}|rule {by_rule}", f"{kind}|first {self.turn.is_first}"]
        found += [f"{kind}|slot {zone}" for zone in self.slot_zones.get(slot, ())]
        found += [f"{head}|slot {zone}" for zone in self.slot_zones.get(slot, ())]
        found += [f"{kind}|like {self.like}", f"{head}|like {self.like}"]
        if candidate.choice in self.asked_choices:
            found += [f"{kind}|asked value", f"{head}|asked value"]
        for said, sure in candidate.aliases.items():
            found += [f"alias|{slot}={value}|{said}", f"{kind}|sure {min(int(sure * 5), 4)}"]
        found += [f"{kind}|{said}" for said in self.skeleton]
        found += [f"{head}|{said}" for said in self.bag]
        if candidate.named:
            found += [f"{head}|asked {stem}" for stem in self.asked]
            for sentence, named in candidate.named:
                found += self._place(head, kind, sentence, named)
        return found

    def _place(self, head: str, kind: str, sentence: Sentence, named: Named) -> Iterator[str]:
        """The words around a mention; those of other mentions as the slot they name."""
        yield f"{kind}|question {sentence.question}"
        zone = "amount" if named.span is None else _zone(sentence, named.span.start)
        yield from (f"{kind}|{zone}", f"{head}|{zone}", f"{kind}|{zone}|{self.gate}")
        yield f"{kind}|values in sentence {min(len(sentence.named), 4)}"
        yield from (f"{kind}|with {slot}" for slot in {other.slot for other in sentence.named} - {named.slot})
        if named.span is None:
            return
        stems = list(sentence.words.stems)
        for other in sentence.named:
            if other.span is not None:
                stems[other.span.start : other.span.stop] = [f"<{other.slot}>"] * (other.span.stop - other.span.start)
        stems = ["^", "^", *stems, "$", "$"]
        start, stop = named.span.start + 2, named.span.stop + 2
        around = {
            "-1": stems[start - 1],
            "-2": stems[start - 2],
            "-21": " ".join(stems[start - 2 : start]),
            "+1": stems[stop],
            "+12": " ".join(stems[stop : stop + 2]),
            "-1+1": f"{stems[start - 1]} {stems[stop]}",
        }
        for place, said in around.items():
            yield f"{kind}|at {place} {said}"
            yield f"{head}|at {place} {said}"

    def keep_features(self, slot: str, value: str, new: Mapping[str, frozenset[str]]) -> list[str]:
        """What speaks for a value held to stay, given the values newly wanted of each slot, as far as is known."""
        moves = bool(self.category and new.get(self.category, frozenset()) - {*self.held.get(self.category, ())})
        situation = f"keep|moves {moves}|replaced {bool(new.get(slot))}"
        named = (slot, value) in {item.choice for sentence in self.turn.sentences for item in sentence.named}
        found = ["keep", situation, f"keep|{self.gate}", f"{situation}|{self.gate}", f"{situation}|{slot}"]
        found += [f"keep|{slot}|named {named}", f"{situation}|named {named}", *(f"keep|{gate}" for gate in self.gates)]
        found += [f"keep|{slot}|dropped"] * (slot in self.dropped) + [f"keep|{slot}|said"] * (slot in self.slot_zones)
        found += [f"keep|{slot}|{said}" for said in self.bag]
        return [*found, *(f"keep|{said}" for said in self.bag)]


def gate_features(turn: Turn) -> list[str]:
    """What speaks for a turn to change anything at all: its words, with a slot in the place of each of its values."""
    found = ["gate", f"first {turn.is_first}", f"sentences {min(len(turn.sentences), 4)}"]
    slots: set[str] = set()
    for sentence in turn.sentences:
        skeleton = tuple(_skeleton(sentence))
        slots |= {named.slot for named in sentence.named}
        found += [f"says {said}" for said in ngrams(_plain(skeleton))]
        found += [f"begins {' '.join(skeleton[:length])}" for length in (1, 2, 3, 4)]
        found.append(f"ends {' '.join(skeleton[-2:])} {sentence.question}")
    asked = Words.of(turn.asked)
    found += [f"asked {said}" for said in ngrams(asked) if said.count(" ") < 2]
    found += [f"names {slot}" for slot in slots]
    return [*found, f"pictures {bool(turn.images)}", f"slots {min(len(slots), 3)}"]


def _plain(words: tuple[str, ...]) -> Words:
    return Words(words, words, (0,) * len(words))


def _slot_zones(slot: str, turn: Turn, reader: TurnReader) -> Iterator[str]:
    """Where in its sentences a turn names a slot itself."""
    for sentence in turn.sentences:
        if reader.names_slot(slot, sentence.words):
            stems = {stem for name in reader.slot_words[slot] if name <= {*sentence.words.stems} for stem in name}
            yield _zone(sentence, max(at for at, stem in enumerate(sentence.words.stems) if stem in stems))


def _zone(sentence: Sentence, at: int) -> str:
    """Whether a word stands before, within or after what a sentence wants the like of: "like the grey one, but red"."""
    likes = _places(_LIKENESS, sentence)
    buts = _places(_CONTRAST, sentence)
    before = [place for place in likes if place <= at]
    if not before:
        return "before like" if likes else "after but" if any(place <= at for place in buts) else "plain"
    return "like but" if any(before[0] < place <= at for place in buts) else "like"


def _places(pattern: re.Pattern[str], sentence: Sentence) -> list[int]:
    """How many words stand before each match."""
    return [len(Words.of(sentence.text[: match.start()]).words) for match in pattern.finditer(sentence.text)]


def _skeleton(sentence: Sentence) -> Iterator[str]:
    at = 0
    spans = {named.span.start: named for named in sentence.named if named.span is not None}
    while at < len(sentence.words.stems):
        named = spans.get(at)
        if named is not None and named.span is not None:
            yield f"<{named.slot}>"
            at = named.span.stop
        else:
            yield sentence.words.stems[at]
            at += 1
