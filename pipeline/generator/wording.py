"""Puts moves of a dialogue into words: synonyms, fillers, typing slips, typographic quotes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

from pipeline.generator.user_goal import UserGoal
from pipeline.generator.vocabulary import load

_Texts = Sequence[str]
_TextsOf = Mapping[str, _Texts]

_given = load("phrases.toml")

FILLERS: _Texts = _given["fillers"]
ORDINALS: Sequence[_Texts] = _given["ordinals"]

SYNONYMS: Mapping[str, _TextsOf] = _given["synonyms"]
"""Attribute -> value -> other words that users use for it."""
PLURALS: Mapping[str, str] = _given["plurals"]

# attribute, or act -> what is said
SLOT_WORDS: _TextsOf = _given["slot_words"]
SHOPPER: _TextsOf = _given["shopper"]
ASK: _TextsOf = _given["ask"]
QUESTIONS: _TextsOf = _given["questions"]
AGENT: _TextsOf = _given["agent"]


_IN_FRONT = ("style", "fit", "length", "color", "print", "sleeves", "material", "brand")
_BEHIND = ("neck", "available_sizes", "gender", "season", "care", "age")


class Wording:
    """Speaks for user and agent of one dialogue."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def pick(self, templates: Sequence[str], **words: str) -> str:
        return self._rng.choice(templates).format(**words)

    def templates(self, move: str, attribute: str = "") -> Sequence[str]:
        """What is said in a move about an attribute, else about any."""
        said: _Texts | _TextsOf = _given[{"impossible": "add", "relax": "drop"}.get(move, move)]
        if not isinstance(said, Mapping):
            return said
        return said.get(attribute) or said.get("default") or _given["add"]["style"]

    def value(self, attribute: str, value: str) -> str:
        """A value as the user says it."""
        if (attribute, value.lower()) == ("gender", "unisex"):
            return "everyone"
        words = SYNONYMS.get(attribute, {}).get(value)
        spoken = value
        if words and self._rng.random() < 0.3:
            spoken = self._rng.choice(words)
        if attribute == "sleeves" and spoken in ("short", "long", "half", "full"):
            return self._rng.choice((f"{spoken}-sleeved", f"with {spoken} sleeves", f"{spoken} sleeve"))
        return spoken if attribute in ("brand", "available_sizes") else spoken.lower()

    def values(self, attribute: str, values: Sequence[str]) -> str:
        return " or ".join(self.value(attribute, value) for value in values)

    def slot(self, attribute: str) -> str:
        """An attribute as the user calls it."""
        return self._rng.choice(SLOT_WORDS.get(attribute, (attribute.replace("_", " "),)))

    def ordinal(self, place: int) -> str:
        """The place of a shown image, counted from 0: "2nd" or "second"."""
        return self._rng.choice(ORDINALS[place])

    def thing(self, wants: UserGoal, *, only: Sequence[str], tail: str = "") -> tuple[str, str]:
        """What is wanted as a noun phrase, singular and plural: ("a red dress by Pilu", "red dresses by Pilu")."""
        noun = self.value("type", wants.likes["type"][0])
        front, behind = [], []
        for attribute in (*_IN_FRONT, *_BEHIND):
            if attribute not in only:
                continue
            spoken = self.values(attribute, wants.likes[attribute])
            if attribute == "brand":
                behind.append(self._rng.choice((f"by {spoken}", f"from {spoken}")))
            elif attribute == "fit":
                front.append(f"{spoken} fit" if spoken in wants.likes[attribute] else spoken)
            elif attribute in _BEHIND or spoken.startswith("with"):
                behind.append(_tail(attribute, spoken))
            else:
                front.append(spoken)
        many = plural(noun)
        words = " ".join([*front, noun])
        article = "some" if many == noun else "an" if words[0].lower() in "aeiou" else "a"
        end = [*behind, tail] if tail else behind
        return " ".join([article, words, *end]), " ".join([*front, many, *end])

    def shopper(self, text: str, *, opening: bool = False) -> str:
        """The user's finishing touch: fillers, capitals, slips of the fingers, quotes."""
        rng = self._rng
        if not opening and rng.random() < 0.3:
            text = rng.choice(FILLERS) + text
        if rng.random() < 0.65:
            text = text[0].upper() + text[1:]
        if text[-1] not in "?.!" and rng.random() < 0.4:
            text += "."
        if rng.random() < 0.07:
            text = slip(text, rng)
        return f"‘{text}’" if rng.random() < 0.03 else text


def slip(text: str, rng: Random) -> str:
    """A text with a letter left out, doubled or swapped in one of its longer words."""
    places = [match.span() for match in re.finditer(r"[A-Za-z]{5,}", text)]
    if not places:
        return text
    start, end = rng.choice(places)
    at = rng.randrange(start + 1, end - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _tail(attribute: str, spoken: str) -> str:
    forms = {"neck": "with a {}", "available_sizes": "in size {}", "care": "({})"}
    return spoken if spoken.startswith("with") else forms.get(attribute, "for {}").format(spoken)


def plural(noun: str) -> str:
    """The plural of a garment; garments that come in pairs have only one form."""
    if noun in PLURALS:
        return PLURALS[noun]
    if noun.endswith("s") and not noun.endswith("ss"):
        return noun
    if noun.endswith(("ss", "ch", "sh", "x")):
        return f"{noun}es"
    return f"{noun}s"
