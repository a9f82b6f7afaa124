"""Users who do not speak the catalogue's words, of ``data/colloquial.toml``: things, occasions, moods, slang, slips.

They want what the users of the wording ``catalogue`` want, turn by turn; only what they say of it differs.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pipeline.generator.user_goal import ProductIndex
from pipeline.generator.user_policy import MoveKind, UserAction
from pipeline.generator.vocabulary import SLOT_OF, load
from pipeline.generator.wording import ORDINALS, plural, slip
from pipeline.ontology.derivation import VALUE_ALIASES
from schemas.folding import fold
from schemas.mentions import MentionFinder, Words

AS_IN_THE_CATALOGUE = 0.1
"""Share of the user turns about wants that are said just as with the wording ``catalogue``."""
MISSPELT = 0.2
"""Share of the other user utterances that are misspelt: half as in short messages, half by a slip of the fingers."""
COMPARED = 0.3
"""Share of the wants added or changed that are said by comparison with what was shown: "same again, only ..."."""

_Texts = Sequence[str]
_given: Mapping[str, Any] = load("colloquial.toml")
_TEMPLATES: Mapping[str, Any] = _given["templates"]
_TAILS: Mapping[str, _Texts] = _given["tails"]
_SLOT_WORDS: Mapping[str, _Texts] = _given["slot_words"]
_CATALOGUE_WORD: Mapping[str, str] = _given["catalogue_word"]
_SMALL_TALK: Mapping[str, _Texts] = _given["small_talk"]
_MESSAGING: Mapping[str, str] = {fold(word): short for word, short in _given["messaging"].items()}
_IN_MESSAGES = re.compile(rf"\b(?:{'|'.join(map(re.escape, _MESSAGING))})\b", re.IGNORECASE)
_WORDS_BEFORE_A_COMMA = 4
_ADDING: frozenset[MoveKind] = frozenset(("add", "change", "impossible"))


@dataclass(frozen=True)
class Phrases:
    """What users say of one value."""

    said: tuple[str, ...]  # fits what is said of its attribute
    wish: tuple[str, ...] = ()  # whole sentences that ask for it
    against: tuple[str, ...] = ()  # whole sentences that refuse it

    def without(self, values: MentionFinder) -> Phrases:
        """Those that spell none of some values."""
        kept = [
            tuple(text for text in texts if not values.spans(Words.of(text)))
            for texts in (self.said, self.wish, self.against)
        ]
        return Phrases(*kept)


PHRASES: Mapping[str, Mapping[str, Phrases]] = {
    attribute: {value: Phrases(**{kind: tuple(texts) for kind, texts in kinds.items()}) for value, kinds in of.items()}
    for attribute, of in _given["values"].items()
}
"""Attribute -> value -> what users say of it."""


class CataloguePhrases:
    """The phrases for a catalogue's values: none spells a value of this catalogue, and each stands for one value."""

    def __init__(self, index: ProductIndex) -> None:
        values = {attribute: index.values(attribute) for attribute in SLOT_OF}
        spelled = MentionFinder(_spellings(value) for known in values.values() for value in known)
        self._of: dict[tuple[str, str], Phrases] = {}
        for attribute, known in values.items():
            for value, phrases in _matching(attribute, known):
                fitting = phrases.without(spelled)
                if fitting.said:
                    self._of[attribute, value] = fitting

    def find(self, attribute: str, value: str) -> Phrases | None:
        """What users say of a value; None where they have only the catalogue's word for it."""
        return self._of.get((attribute, value))


def _spellings(value: str) -> tuple[str, ...]:
    return value, *VALUE_ALIASES.get(fold(value), ())


def _matching(attribute: str, values: Sequence[str]) -> Iterator[tuple[str, Phrases]]:
    """The values that have phrases, as "Shirts" has those of "shirt"; not two that would have the same."""
    phrases = PHRASES.get(attribute, {})
    names = list(phrases)
    finder = MentionFinder(map(_spellings, names))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for value in values:
        words = Words.of(value)
        spans = finder.spans(words)
        if len(spans) == 1 and len(spans[0].columns) == 1 and spans[0].stop - spans[0].start == len(words.words):
            found[names[spans[0].columns[0]]].append(value)
    for name, alike in found.items():
        if len(set(map(fold, alike))) == 1:
            yield from ((value, phrases[name]) for value in alike)


@dataclass
class Rewording:
    """How often what was worded how."""

    turns: Counter[str] = field(default_factory=Counter)  # user turns about wants
    values: Counter[str] = field(default_factory=Counter)  # values named in those reworded
    # attribute -> value -> times, of values that users have only the catalogue's word for
    without_phrases: dict[str, Counter[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What ``generated.json`` keeps of it."""
        return {
            "name": "colloquial",
            "turns": {name: self.turns[name] for name in ("reworded", "as_in_the_catalogue")},
            "values": {name: self.values[name] for name in ("in_other_words", "by_catalogue_word")},
            "values_without_phrases": {
                attribute: dict(sorted(self.without_phrases[attribute].items()))
                for attribute in sorted(self.without_phrases)
            },
        }


class ColloquialUser:
    """Words the user's turns of one dialogue anew.

    Args:
        phrases: of the catalogue.
        rng: of its own, so that the dialogue takes the course that it takes in the wording ``catalogue``.
        counts: counts what is worded how.
    """

    def __init__(self, phrases: CataloguePhrases, rng: Random, counts: Rewording) -> None:
        self._phrases = phrases
        self._rng = rng
        self._counts = counts

    def reword(self, said: str, text: str, act: str, move: UserAction | None, *, compares: bool, opening: bool) -> str:
        """What the user says instead of ``said``.

        Args:
            said: what the user says in the wording ``catalogue``, and ``text`` before the finishing touch.
            act: MMD's intent of the turn.
            move: what it does to the wants; None for small talk and questions.
            compares: whether products were shown that the turn may be compared with.
            opening: nothing is said before it, such as "hmm".
        """
        rng = self._rng
        if move is None:
            return self._typed(rng.choice(_SMALL_TALK.get(act, (text,))), opening=opening)
        if rng.random() < AS_IN_THE_CATALOGUE:
            self._counts.turns["as_in_the_catalogue"] += 1
            return said
        self._counts.turns["reworded"] += 1
        return self._typed(self._sentence(move, act, compares=compares), opening=opening)

    def _sentence(self, move: UserAction, act: str, *, compares: bool) -> str:
        kind, attribute = move.kind, move.attribute
        if kind in ("open", "switch"):
            return self._pick(_TEMPLATES[kind], thing=self._thing(move))
        if kind == "info":
            return self._pick(_TEMPLATES[kind], v=self._named(attribute, move.values))
        if kind in ("upload", "upload_dislike"):
            return self._pick(_TEMPLATES[kind][attribute])
        if kind in _ADDING or kind == "dislike":
            return self._of_values(move, act, compares=compares)
        if kind == "more":
            return self._pick(_TEMPLATES[kind])
        tail = self._tail(attribute, move.values) if move.values else ""
        slot, ordinal = self._rng.choice(_SLOT_WORDS[attribute]), self._ordinal(move.place)
        return self._pick(_TEMPLATES["drop" if kind == "relax" else kind], tail=tail, s=slot, n=ordinal)

    def _of_values(self, move: UserAction, act: str, *, compares: bool) -> str:
        """A want that is added, changed or refused, in a whole sentence or after the attribute's usual words."""
        phrases = self._phrases.find(move.attribute, move.values[0]) if len(move.values) == 1 else None
        if phrases is not None:
            whole = phrases.against if move.kind == "dislike" else phrases.wish
            if self._rng.random() < len(whole) / (len(whole) + len(phrases.said)):
                self._counts.values["in_other_words"] += 1
                lead = self._rng.choice(_TEMPLATES["change_lead"]) if move.kind == "change" else ""
                return lead + self._rng.choice(whole)
        tail = self._tail(move.attribute, move.values)
        if move.kind == "dislike":
            return self._pick(_TEMPLATES["dislike"], tail=tail)
        if act == "give-part-criteria":
            return self._pick(_TEMPLATES["answer"], tail=tail)
        if compares and self._rng.random() < COMPARED:
            return self._pick(_TEMPLATES["compared"], tail=tail)
        return self._pick(_TEMPLATES["change" if move.kind == "change" else "add"], tail=tail)

    def _thing(self, move: UserAction) -> str:
        """What is sought: "a pair of kicks for the school run, in banana colours"."""
        likes = move.wants.likes
        tails = [self._tail(attribute, likes[attribute]) for attribute in SLOT_OF if attribute in move.mentioned]
        if move.place is not None:
            slot = self._rng.choice(_SLOT_WORDS[move.attribute])
            tails.append(self._pick(_TEMPLATES["open_nth"], s=slot, n=self._ordinal(move.place)))
        seen = [name.removeprefix("image:") for name in move.mentioned if name.startswith("image:")]
        if seen:
            tails.append(self._pick(_TEMPLATES["upload_open"][seen[0]]))
        thing = self._named("type", likes["type"])
        separator = " " if len(thing.split()) <= _WORDS_BEFORE_A_COMMA else ", "
        return separator.join([thing, ", ".join(tails)]) if tails else thing

    def _tail(self, attribute: str, values: Sequence[str]) -> str:
        return self._pick(_TAILS[attribute], v=self._named(attribute, values))

    def _named(self, attribute: str, values: Sequence[str]) -> str:
        return " or ".join(self._value(attribute, value) for value in values)

    def _value(self, attribute: str, value: str) -> str:
        phrases = self._phrases.find(attribute, value)
        if phrases is not None:
            self._counts.values["in_other_words"] += 1
            return self._rng.choice(phrases.said)
        self._counts.values["by_catalogue_word"] += 1
        self._counts.without_phrases.setdefault(attribute, Counter())[value] += 1
        spoken = value if attribute in ("brand", "available_sizes") else value.lower()
        if attribute == "type":
            article = "some" if plural(spoken) == spoken else "an" if spoken[0] in "aeiou" else "a"
            return f"{article} {spoken}"
        return _CATALOGUE_WORD[attribute].format(v=spoken)

    def _ordinal(self, place: int | None) -> str:
        return "" if place is None else self._rng.choice(ORDINALS[place])

    def _pick(self, templates: _Texts, **words: str) -> str:
        return self._rng.choice(templates).format(**words)

    def _typed(self, text: str, *, opening: bool) -> str:
        """The finishing touch: fillers, capitals, misspellings."""
        rng = self._rng
        if not opening and rng.random() < 0.25:
            text = rng.choice(_given["fillers"]) + text
        if rng.random() < 0.4:
            text = text[0].upper() + text[1:]
        if text[-1] not in "?.!" and rng.random() < 0.25:
            text += "."
        if rng.random() >= MISSPELT:
            return text
        if rng.random() < 0.5 and _IN_MESSAGES.search(text):
            return _IN_MESSAGES.sub(lambda match: _MESSAGING[fold(match.group())], text)
        return slip(text, rng)
