"""The update that a turn means, by rules alone: what the lexicon says where no dialogue is labelled yet.

Each rule is there because it saves annotators actions on real gold states. A value counts where its sentence asks for
products, not where it asks about one, buys one or praises one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest

from schemas.belief import TurnUpdate
from schemas.mentions import Span, Words
from semantic_model.states.turn_reading import Choice, Named, Sentence, Turn, TurnReader, referred

_ASKS_FOR = re.compile(
    r"\b(?:want|need|look(?:ing)? for|looking|show|find|search|recommend|suggest|interested|prefer|after|get me|"
    r"do you (?:have|sell|carry)|have you got|got any|are there|is there|any|anything|something|some|other|others|else|"
    r"how about|what about|why not|why don't|let's|like to see|i'd like|would like|help|see|instead|similar|in size|"
    r"options|ideas)\b"
)
_ABOUT_ONE = re.compile(
    r"^(?:(?:and|also|so|well|okay|ok|hmm|wow|oh|great|cool|nice|thanks|now|but)\W+)*"
    r"(?:(?:is|are|was|does|do|did) (?:it|that|this|these|those|they|the)\b|how much|how many|how (?:is|does|do|are)|"
    r"who\b|which\b|when\b|where\b|why\b(?! not| don't)|"
    r"what(?:'s| is| are| was| were| size| sizes| color| colors| brand| brands| material| kind of)|"
    r"(?:can|could|would|will) (?:you|i) (?:please )?(?:tell|compare|know|give me the|get the)|tell me|compare|"
    r"i (?:am|was|'m)? ?(?:talking|referring|asking)|i meant?|"
    r"i(?:'d like| would like| want) to know (?:who|what|which|how|more)|"
    r"the (?:one|ones|first|second|third|left|right)\b)"
    r"|\b(?:have|got|get) (?:it|this|that|them|these|those)(?: (?:one|ones|items?))? in\b"
    r"|\bcompar(?:e|ed|ison)\b|\b(?:how much|how many)\b|\bavailable (?:in|sizes)\b"
    r"|\b(?:price|cost|rating|review|brand|size|material|fabric)s? (?:of|for|on) (?:the|that|this|these|those)\b"
)
_BUYS = re.compile(
    r"\b(?:cart|basket|wish ?list|checkout|check out|buy|buying|purchase|bookmark|save (?:it|this|that)|"
    r"(?:i'll|i will|let me) (?:take|get|have)|take (?:it|them|that|this|both|those|these)|order)\b"
)
_ORDERED = re.compile(r"\b(?:in|size|an?)(?: an?| the)?(?: size| color| colour)?$")
_REMARKS = re.compile(
    r"^(?:(?:and|also|so|well|okay|ok|hmm?|wow|oo+|oh|great|now|but|hi|hello|hey|yes)\W+)*"
    r"(?:that|that's|this|these|those|it|it's|what an?|style of|i (?:really |do )?(?:like|love)|i am not|i'm not|"
    r"(?:very |really |such an? )?(?:nice|cute|lovely|beautiful|pretty|sweet|interesting|dope|gorgeous|cool|great)\b)"
)
_ANOTHER = frozenset(("another", "other", "different"))
_LIKE = re.compile(r"\b(?:like (?:the|that|this|those|these|it)|similar|same|resembl\w+)\b")
_POINTING = frozenset(("the", "that", "this", "those", "these"))
_NO_MATTER = re.compile(
    r"\bany (?P<any>[a-z ]{2,20}?) (?:is|are|will|would|works?) (?:fine|ok|okay|do|good|work|great)\b"
    r"|\b(?P<matter>[a-z ]{2,20}?) (?:does|do)(?:n't| not) matter\b"
    r"|\b(?:don't|do not) (?:care|mind) (?:about|what|which|for) (?:the )?(?P<care>[a-z ]{2,20})"
    r"|\b(?:regardless of|no matter (?:the|what|which)|forget (?:about )?the) (?P<forget>[a-z ]{2,20})"
    r"|\bin any (?P<in>[a-z ]{2,20})"
)


def category_slot(reader: TurnReader) -> str | None:
    """The slot that says what kind of thing is sought; another kind is another topic."""
    for slot in reader.ontology.slots:
        if slot.kind == "categorical" and slot.attribute.casefold() in ("type", "category", "product_type", "kind"):
            return slot.name
    return None


def rule_update(turn: Turn, reader: TurnReader, topic: frozenset[str]) -> TurnUpdate:
    """What a turn changes; ``topic`` is what kind of thing was sought so far."""
    want: dict[str, tuple[str, ...]] = {}
    dislike: dict[str, tuple[str, ...]] = {}
    category = category_slot(reader)
    asked = asked_slots(turn, reader)
    describes = bool(turn.seen) or is_like(turn)
    for sentence, answer in zip_longest(turn.sentences, turn.sentences[1:]):
        if sentence.question and answer is not None and answer.words.words[:1] in (("no",), ("nope",), ("nah",)):
            continue  # "Red? No, blue."
        for named in _meant(sentence, reader, category if is_like(turn) else None, asked, describes=describes):
            is_answer = named.slot in asked and not (sentence.question or _ABOUT_ONE.search(sentence.text))
            if not (is_answer or _counts(sentence, named, is_first=turn.is_first)):
                continue
            if named.slot == category and not (topic or turn.seen) and _is_another(sentence, named):
                continue
            side = dislike if named.negated else want
            if named.value not in side.get(named.slot, ()):
                side[named.slot] = (*side.get(named.slot, ()), named.value)
    want |= {slot: (value,) for slot, value in _pointed_at(turn, reader) if slot not in want and slot not in dislike}
    # wanted in one sentence and not in another: nobody can tell
    for slot in want.keys() & dislike.keys():
        both = set(want[slot]) & set(dislike[slot])
        want[slot] = tuple(value for value in want[slot] if value not in both)
        dislike[slot] = tuple(value for value in dislike[slot] if value not in both)
    want, dislike = ({slot: values for slot, values in side.items() if values} for side in (want, dislike))
    new_topic = bool(category in want and topic and not topic & set(want[category]))
    drop = frozenset(dropped_slots(turn, reader)) - want.keys() - dislike.keys()
    return TurnUpdate(want, dislike, drop, new_topic)


def _counts(sentence: Sentence, named: Named, *, is_first: bool) -> bool:
    """Whether a sentence asks for products that are as it names them; who buys something may say in what size."""
    if _BUYS.search(sentence.text):
        return (
            named.span is not None and _ORDERED.search(" ".join(sentence.words.words[: named.span.start])) is not None
        )
    if _ABOUT_ONE.search(sentence.text):
        return False
    says_what = is_first or (named.negated and not sentence.question)  # "No black, please" asks for something else
    return _ASKS_FOR.search(sentence.text) is not None or (says_what and not _REMARKS.search(sentence.text))


def _is_another(sentence: Sentence, named: Named) -> bool:
    """Whether a kind of thing is named as that of what is there already: "do you have any other dresses"."""
    before = () if named.span is None else sentence.words.words[max(0, named.span.start - 3) : named.span.start]
    return not _ANOTHER.isdisjoint(before)


def asked_slots(turn: Turn, reader: TurnReader) -> frozenset[str]:
    """The slots that the system asked about right before."""
    questions = [part for part in reader.sentences(turn.asked) if part.question]
    return frozenset(slot for part in questions for slot in reader.slot_words if reader.names_slot(slot, part.words))


def _meant(
    sentence: Sentence, reader: TurnReader, category: str | None, asked: frozenset[str], *, describes: bool
) -> Iterator[Named]:
    """The values that a sentence names for their own sake.

    Words that are values of several slots are those of the slot that the sentence names, else of the first. What
    describes a product pointed at, as in "like the black coat, but in red", tells of its kind and nothing else; but
    where there is no image that it ``describes``, as in "the black one, please", nothing else says what is wanted. So
    do answers, as in "the medium", about a slot that was ``asked`` for.
    """
    of_span: dict[Span, list[Named]] = {}
    for named in sentence.named:
        if any(name >= set(Words.of(named.value).stems) for name in reader.slot_words[named.slot]):
            continue  # a rating is no value of the slot of ratings
        if named.span is None:
            yield named
        else:
            of_span.setdefault(named.span, []).append(named)
    pointing = False
    previous: Span | None = None
    for span, several in of_span.items():
        if not pointing or previous is None or span.start > previous.stop:
            begins = sentence.words.clauses[: span.start][-1:] != (sentence.words.clauses[span.start],)
            pointing = not begins and sentence.words.words[span.start - 1] in _POINTING
        previous = span
        for named in (
            [each for each in several if reader.names_slot(each.slot, sentence.words)] if len(several) > 1 else several
        ) or several[:1]:
            known = describes or named.slot == category_slot(reader)
            if not (pointing and known) or named.slot in {category, *asked} or named.negated:
                yield named


def is_like(turn: Turn) -> bool:
    """Whether a turn asks for something like what was shown."""
    return any(_LIKE.search(sentence.text) for sentence in turn.sentences)


def _pointed_at(turn: Turn, reader: TurnReader) -> Iterator[Choice]:
    """Of the product whose image the turn points at and wants the like of: its kind, and the slots it names."""
    product = referred(turn) if is_like(turn) else None
    if product is None:
        return
    category = category_slot(reader)
    for slot, value in sorted(product):
        if slot == category or any(reader.names_slot(slot, sentence.words) for sentence in turn.sentences):
            yield slot, value


def dropped_slots(turn: Turn, reader: TurnReader) -> Iterator[str]:
    """Slots of which a turn says that they do not matter: "any color is fine", "the price doesn't matter"."""
    for sentence in turn.sentences:
        for match in _NO_MATTER.finditer(sentence.text):
            words = Words.of(next(part for part in match.groups() if part))
            for slot in reader.ontology.slots:
                if reader.names_slot(slot.name, words):
                    yield slot.name
