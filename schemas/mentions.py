"""Which values a text names, word by word: one matcher for pre-labels and for the models that read mentions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import regex

from schemas.folding import fold, snake_case
from schemas.ontology import Slot, Value

Stance = Literal["for", "against", "open"]
"""What a text says of a value that it names; ``open``: neither, as in "it doesn't have to be red"."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _pairs(words: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(pair.split()) for pair in words.split(", "))


_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー"
# where no spaces are written between words, every letter is a word, except for these
_UNSPACED_NEGATIONS = "不要 不想要 不想 不喜欢 不喜歡 不是 ไม่เอา ไม่ชอบ ไม่อยากได้ ไม่ต้องการ ไม่ใช่"
_UNSPACED_EXCEPTIONS = "除了 นอกจาก ยกเว้น"
_UNSPACED_AFTER = "以外 じゃない ではない くない いらない 嫌い 嫌"


def _tokens(letter: str) -> str:
    """A word, with the decimals and the sign of a number and with the symbols of ``c++`` or ``c#``."""
    return (
        rf"(?:(?<![^\s(=:])[+-](?=\d))?{letter}+(?:(?<=\d)[.,](?=\d){letter}+)*(?:'{letter}+)?"
        rf"(?:[+#]+(?!{letter}|[+#]))?"
    )


_WITHOUT = r"(?<!\w)w/o(?!\w)"


def _all_tokens() -> str:
    whole = f"{_UNSPACED_NEGATIONS} {_UNSPACED_EXCEPTIONS} {_UNSPACED_AFTER}".split()
    spaced = rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]"
    letter = rf"(?=[{_UNSPACED}])\X"
    return "|".join((_WITHOUT, *sorted(whole, key=len, reverse=True), letter, _tokens(spaced), _BREAK, _DASH))


_BREAK = r"[\p{Terminal_Punctuation}()]"  # "no, red please", "not black but red": what comes after is not negated
_DASH = r"(?<=\s)[-\u2013\u2014]+(?=\s)|\u2014"  # "no - red please"
_ASCII_BREAKS = frozenset(".,;:!?()")
_ASCII_TOKENS = re.compile(rf"{_WITHOUT}|" + _tokens("[a-z0-9]") + rf"|[.,;:!?()]|{_DASH}")
_TOKENS = regex.compile(_all_tokens(), regex.V1)
_IS_BREAK = regex.compile(_BREAK)
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d{1,2}|\d{4,})")
_NO_DECIMALS = re.compile(r"([+-]?\d+)\.0+")
_FRACTION = re.compile(r"(?<=\d) ([13])/([24])(?!\d)")  # "7 1/2"
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*")

_EXCEPTIONS = _set(f"except besides excluding but außer sauf salvo excepto {_UNSPACED_EXCEPTIONS}")
_NEGATIONS = (_EXCEPTIONS - {"besides", "but"}) | _set(
    "not no without w/o avoid avoids avoiding hate hates hating dislike dislikes never nothing neither nor "
    "loathe exclude eliminate cannot "
    # of other languages, as far as they are no English words
    "kein keine keinen nicht ohne pas sans sin nunca senza não sem niet geen zonder inte ikke لا بدون ليس बिना не без "
    "nada nichts rien niente ningún ninguna aucun aucune nenhum nenhuma nessun nessuna " + _UNSPACED_NEGATIONS
)
_NEGATIONS_AFTER = _set(f"{_UNSPACED_AFTER} नहीं मत")
_CONTRACTIONS = _set(
    "dont doesnt didnt isnt arent wasnt werent havent hasnt hadnt couldnt wouldnt shouldnt cant wont aint"
)
"""As many type them; see :func:`_is_not`."""
_APOSTROPHES = re.compile(r"\u2019|(?<=[^\W\d])[\u2018\u02bc\u2032\u00b4`](?=[^\W\d])")
_VERBS_AGAINST = _set("hate hates hating dislike dislikes avoid avoids avoiding loathe exclude eliminate")
_TAKING_BACK = _set("remove removing forget none")  # of what was said, which may be no refusal
_LEAVING_OUT = _set("skip ditch minus stop") | _TAKING_BACK  # names of brands, or no refusal in most texts
_EXCEPTING = _pairs("other than, apart from, aside from, else than")
_AGAINST = _pairs(
    "instead of, rather than, sick of, tired of, bored of, enough of, away from, clear of, rid of, leave out, free of, "
    "rule out, ruling out, ruled out, free from, allergic to"
)
_REACH = 3  # words after a negation that it may be about
_REACH_OF_A_VERB = 5  # "don't want it to be black"
_BEFORE_NOT = _set(
    "do does did is are am was were have has had can could will would shall should must may might rather"
)
_LIKING = _set("fan keen into fond crazy interested looking")  # "not a big fan of black"

_DEGREES = _set("less fewer too hardly barely scarcely")  # "that is too long": something else is wanted, but not which

_ALL = _set("any every all each")
_WHOLE = _ALL | _set("anything everything anyone everyone whatever")
_CONTRASTS = _set("in with for not only also it i i'd maybe preferably no")
"""What follows a "but" that says more: "anything, but in red"."""

_AFTER_NO = _set(
    "pls plz problem problems worries worry doubt matter wonder idea rush way thanks thank sorry "
    "i i'm i'd i'll i've show give "
    "let let's please can could do does that's it's this the just maybe actually wait we you what how is are try find "
    "get something anything make not no rather"
)
"""What follows a "no" that answers, and refuses nothing of what comes next: "no show me red ones"."""
_AFTER_NOT = _set("only just merely simply bad to until")
_OPEN_AFTER_NOT = _set("necessarily sure mind care decide decided know bother fussed")
_SEEKING = _set("find found see seen wait spot beat")
"""What one cannot do with what one would like to have: "I can't find a red one"."""
_SOMETHING = _set("anything something one ones more else")
_POINTERS = _set("the that this those these")
_ASKED = _set("you there we they it these those this")  # "don't you have red ones?"
_ASKING = _set(
    "don't doesn't didn't aren't isn't haven't hasn't can't couldn't wouldn't won't "
    "dont doesnt didnt arent isnt havent hasnt cant couldnt wouldnt wont"
)
_PREFERRING = _set("prefer preferred like love rather sooner")

_LITTLE_WORDS = _set(
    "yes yeah yep no nope ok okay sure true false none any one all both some other else same more most less only just "
    "like please now here there this that these those a an the i me my you your we us our it its they them he she his "
    "her is are be was am do does did have has had can could will would may and or not nor but if so in on at of to "
    "for from by with as than up off out very too also then next new what which who how where when why something "
    "anything nothing everything every each either neither another maybe well ja nein oui non si sí sim não да нет "
    "是 不 否 有 无 無"
)
"""Words that say something in most sentences, whatever values are called: each names a value only beside its slot."""

_PLACES = _set("picture image photo pic option number item product no")
_LINKS = _set("is are be should must being")
_BEFORE_A_DENIAL = _LINKS | _set("does do did will would can could may might")
_DENIALS = _set("not too out optional")
_NOT_ASKED_FOR = _set("required necessary needed mandatory essential important")


class Mention(NamedTuple):
    """A value that a text names."""

    column: int
    negated: bool  # it is to be avoided, see :func:`stance`


class Span(NamedTuple):
    """Words of a text that spell values."""

    start: int
    stop: int  # one after the last word
    columns: tuple[int, ...]  # of the values so spelled


class Words(NamedTuple):
    """A text cut into words, folded as the ontology's spellings are.

    A number is one word with its decimals, symbols as in ``c++`` belong to their word, and in scripts without spaces
    every letter with its marks is a word.
    """

    words: tuple[str, ...]  # without case
    stems: tuple[str, ...]  # one form of singular, plural and possessive of each
    clauses: tuple[int, ...]  # the number of the clause that each is in; a punctuation mark or "but" ends one
    text: str = ""  # folded, with plain apostrophes

    @classmethod
    def of(cls, text: str) -> Words:
        """Cut a text."""
        return _cut_once(text) if len(text) <= _SHORT else _cut(text)

    def starts(self) -> list[int]:
        """Where each word begins in the text."""
        starts: list[int] = []
        tokens = (_ASCII_TOKENS if self.text.isascii() else _TOKENS).finditer(self.text)
        for word in self.words:
            starts.append(next(token.start() for token in tokens if token.group() == word))
        return starts


def _cut(text: str) -> Words:
    folded = fold(plain_apostrophes(text))
    if "/" in folded:
        folded = _FRACTION.sub(_decimals, folded)
    is_ascii = folded.isascii()
    words: list[str] = []
    clauses: list[int] = []
    clause = 0
    tokens: list[str] = (_ASCII_TOKENS if is_ascii else _TOKENS).findall(folded)
    for at, token in enumerate(tokens):
        is_break = token in _ASCII_BREAKS if is_ascii else _IS_BREAK.match(token) is not None
        is_break = is_break or not token.strip("-\u2013\u2014")
        if is_break or (token == "but" and not _excepts(words, tokens, at)):
            clause += 1
        else:
            words.append(token)
            clauses.append(clause)
    return Words(tuple(words), tuple(map(stem, words)), tuple(clauses), folded)


_cut_once = lru_cache(maxsize=1 << 14)(_cut)
"""Turns are cut again in each pass over a corpus, values of slots with each sentence that names one."""
_SHORT = 500  # characters; longer texts are not kept


def _excepts(before: Sequence[str], tokens: Sequence[str], at: int) -> bool:
    """Whether a "but" leaves out what follows: "anything but red", "any color but red"; not "nothing but red"."""
    if at + 1 == len(tokens) or tokens[at + 1] in _CONTRASTS or not before or before[-1] != tokens[at - 1]:
        return False
    return before[-1] in _WHOLE or (len(before) > 1 and before[-2] in _ALL and tokens[at + 1] not in ("a", "an"))


class MentionFinder:
    """Finds spellings in texts.

    A spelling that is a word of most sentences ("no", "new", "one") counts only right after the name of its slot
    ("vegan: no"); so does a number that counts things or places ("2 dresses", "image 2").

    Args:
        spellings: of each column, all ways to write its value.
        names: of each column, all ways to write its slot; without any, such words are never counted.
    """

    def __init__(self, spellings: Iterable[Iterable[str]], names: Iterable[Iterable[str]] = ()) -> None:
        self._columns: dict[str, tuple[int, ...]] = {}
        self._beginnings: set[str] = set()
        self._names: list[tuple[tuple[str, ...], ...]] = []
        known_names: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = {}
        for each in names:
            key = tuple(each)
            if key not in known_names:
                known_names[key] = name_stems(key)
            self._names.append(known_names[key])
        for column, texts in enumerate(spellings):
            for text in texts:
                joined = _joined(Words.of(text).stems)
                known = self._columns.get(joined, ())
                if joined and column not in known:
                    self._columns[joined] = (*known, column)
                    self._beginnings.update(joined[:length] for length in range(1, _BEGINNING + 1))

    @classmethod
    def of_slots(cls, values: Iterable[tuple[Slot, Value]]) -> MentionFinder:
        """Of values, each with its slot: a column each, found by name and alias."""
        values = list(values)
        return cls(
            ((value.value, *value.aliases) for _, value in values),
            ((slot.name, slot.attribute, *slot.aliases) for slot, _ in values),
        )

    def spans(self, words: Words) -> list[Span]:
        """Where values are spelled, from left to right; the longest spelling at a place wins, and none overlap.

        Words are compared without case, plural endings, hyphens and spaces: "T-shirts" spells ``tshirt``. Digits of
        two words are two numbers: "4 5" does not spell ``45``.
        """
        found: list[Span] = []
        at = 0
        while at < len(words.stems):
            span = self._longest(words.stems, at)
            if span is not None and span.stop == at + 1 and _needs_its_slot(words, at):
                columns = tuple(column for column in span.columns if self._is_named_before(words, at, column))
                span = span._replace(columns=columns) if columns else None
            if span is not None:
                found.append(span)
            at = at + 1 if span is None else span.stop
        return found

    def mentions(self, text: str) -> list[Mention]:
        """The values that a text names, each once.

        A value that is both negated and not is not. A negation is about the three words after it, up to a punctuation
        mark or "but".
        """
        words = Words.of(text)
        found: dict[int, bool] = {}
        for span in self.spans(words):
            negated = stance(words, span, reach_of_a_verb=_REACH) == "against"
            for column in span.columns:
                found[column] = found.get(column, True) and negated
        return [Mention(column, negated) for column, negated in found.items()]

    def _longest(self, stems: Sequence[str], at: int) -> Span | None:
        found: Span | None = None
        joined = ""
        for stop in range(at, len(stems)):
            joined = _joined((joined, stems[stop])) if joined else stems[stop]
            if joined[:_BEGINNING] not in self._beginnings:
                break
            columns = self._columns.get(joined)
            if columns:
                found = Span(at, stop + 1, columns)
        return found

    def _is_named_before(self, words: Words, at: int, column: int) -> bool:
        """Whether the column's slot is named right before a word, as in "vegan: no" and "the size is 2"."""
        if column >= len(self._names):
            return False
        end = at
        while end > 0 and words.words[end - 1] in _LINKS:
            end -= 1
        named = any(name == words.stems[max(0, end - len(name)) : end] for name in self._names[column])
        if not named or words.clauses[end - 1] == words.clauses[at]:
            return named
        starts = words.starts()
        return words.text[starts[end - 1] + len(words.words[end - 1]) : starts[at]].strip() == ":"


_BEGINNING = 8
"""Characters by which most words are seen to begin no spelling."""


def _decimals(fraction: re.Match[str]) -> str:
    return f"{int(fraction[1]) / int(fraction[2]):g}"[1:]


def _joined(stems: Iterable[str]) -> str:
    joined = ""
    for part in stems:
        joined += f" {part}" if joined and joined[-1].isdigit() and part[:1].isdigit() else part
    return joined


def name_stems(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The stems of each name of a slot: ``sleeveLength`` is "sleeve length"."""
    return tuple(dict.fromkeys(filter(None, (Words.of(snake_case(name).replace("_", " ")).stems for name in names))))


def _needs_its_slot(words: Words, at: int) -> bool:
    word = words.words[at]
    if word in _LITTLE_WORDS or words.stems[at] in _LITTLE_WORDS:
        return True
    if (
        len(word) == 1
        and "&" in words.text
        and re.search(rf"\w&{re.escape(word)}\b|\b{re.escape(word)}&\w", words.text)
    ):
        return True  # "H&M"
    if word == "long" and words.words[at - 1 : at + 2 : 2] in (("as", "as"), ("so", "as")):
        return True
    if not _NUMBER.fullmatch(word):
        return False
    after = _after(words, at + 1)
    counts = _is_plural(after[0]) or (_is_plural(after[1]) and after[0] not in _LITTLE_WORDS)  # "2 red shirts"
    return counts or (at > 0 and words.words[at - 1] in _PLACES) or f"#{word}" in words.text


def _after(words: Words, stop: int) -> tuple[str, str]:
    """The next two words of the clause of the word before ``stop``; "" where it ends."""
    clause = words.clauses[stop - 1]
    found = (words.words[i] if i < len(words.words) and words.clauses[i] == clause else "" for i in (stop, stop + 1))
    return next(found), next(found)


def _is_plural(word: str) -> bool:
    return word != stem(word) and word.endswith("s") and not word.endswith("'s")


def stance(words: Words, span: Span, *, reach_of_a_verb: int = _REACH_OF_A_VERB) -> Stance:
    """What a text says of the value that a span spells.

    A negation is about the three words after it in its clause, a verb ("don't", "avoid") about as many as
    ``reach_of_a_verb``; an exception ("except", "other than", "anything but") is about what it leaves out, and takes
    that out of a negation before it: "no dresses except black ones" wants black. So does one that says in what a thing
    is to differ: "similar in price to the blue coat, except in black".
    """
    clause = words.clauses[span.start]
    before = [i for i in range(span.start) if words.clauses[i] == clause]
    if _is_negated_after(words, span) or (before and words.words[before[-1]] == "non"):
        return "against"
    compared = _compared(words, before)
    if compared is not None:
        return compared
    negations = [i for i in before if _turns_around(words.words[i])]
    ends = [i for i in before if words.words[i] in _EXCEPTIONS or (i and words.words[i - 1 : i + 1] in _EXCEPTING)]
    kinds = {i: _kind(words, i) for i in negations}
    if ends and span.start - ends[-1] <= _REACH + 1:
        is_out_of_a_negation = any(i < ends[-1] and kinds[i] == "against" for i in negations)
        return "for" if is_out_of_a_negation or _is_comparison(words, ends[-1]) else "against"
    about = [i for i in negations if kinds[i] != "for" and span.start - i <= _reach(words, i, reach_of_a_verb)]
    if any(kinds[i] == "open" for i in about):
        return "open"
    if about:
        if any(_is_relative(words, i) and any(j < i and kinds[j] == "against" for j in negations) for i in about):
            return "for"  # "avoid anything that isn't red"
        is_double = len(about) > 1 and words.words[about[-1]] in (*_VERBS_AGAINST, "without")  # "I don't hate red"
        return "open" if is_double else "against"
    pairs = [i for i in before[1:] if words.words[i - 1 : i + 1] in _AGAINST]
    if any(span.start - i <= _REACH for i in pairs):
        return "against"
    if not before:
        return "open" if _is_denied_after(words, span) else "for"
    last = words.words[before[-1]]
    if last in ("to", "over") and any(words.words[i].startswith("prefer") for i in before):
        return "against"  # "I prefer blue to red"
    return "open" if last in _DEGREES or _is_denied_after(words, span) else "for"


def _is_comparison(words: Words, at: int) -> bool:
    """Whether the words before one, of its clause and the last, ask for the like of a thing: "similar to that coat"."""
    said = [word for i, word in enumerate(words.words[:at]) if words.clauses[i] >= words.clauses[at] - 1]
    if not {"similar", "same"}.isdisjoint(said):
        return not {"to", "as"}.isdisjoint(said)
    like = said.index("like") if "like" in said else 0
    return like > 0 and said[like - 1] in _SOMETHING and not _POINTERS.isdisjoint(said[like + 1 : like + 2])


def _compared(words: Words, before: Sequence[int]) -> Stance | None:
    """What is said of a value that another one is compared with: "rather blue than red", "darker than red"."""
    said = [words.words[i] for i in before]
    while said and said[-1] in ("a", "an", "the"):
        said.pop()
    if len(said) < 2 or said[-1] != "than" or (said[-2], "than") in _EXCEPTING | _AGAINST:
        return None
    is_less_liked = said[-2] != "better" and "better" in said
    return "against" if is_less_liked or not _PREFERRING.isdisjoint(said) else "open"


def _turns_around(word: str) -> bool:
    return (is_negation(word) or word in _LEAVING_OUT) and word not in _EXCEPTIONS


def _is_relative(words: Words, at: int) -> bool:
    return at > 0 and words.words[at - 1] in ("that", "which") and _is_not(words.words[at])


def _reach(words: Words, at: int, of_a_verb: int) -> int:
    word = words.words[at]
    if word in ("no", "non") and _is_hyphenated(words, at):
        return 1
    is_verb = (
        _is_not(word)
        or word in (*_VERBS_AGAINST, "never")
        or (word == "not" and at > 0 and words.words[at - 1] in _BEFORE_NOT)
        or not _LIKING.isdisjoint(words.words[at + 1 : at + 4])
    )
    return of_a_verb if is_verb else _REACH


def _kind(words: Words, at: int) -> Stance:
    """What a negation says of the words after it."""
    word = words.words[at]
    clause = words.clauses[at]
    first, second = _after(words, at + 1)
    before = words.words[at - 1] if at and words.clauses[at - 1] == clause else ""
    is_negative_question = at == 0 and word in _ASKING and "?" in words.text  # "wouldn't red be nice?"
    if is_negative_question or before == "why" or (word == "not" and before in ("if", "or")):
        return "for"
    if word == "no":
        return (
            "for"
            if first in _AFTER_NO and (not before or first in ("problem", "worries", "doubt", "matter"))
            else "against"
        )
    if word == "without" and "doubt" in (first, second):
        return "for"
    if word in _TAKING_BACK or (word == "never" and first == "mind"):
        return "open"
    if word != "not" and word != "cannot" and not _is_not(word):
        return "against"
    if first in _OPEN_AFTER_NOT or before == "need" or ((first, second) in (("have", "to"), ("need", "to"))):
        return "open"
    if word == "not" and first in _AFTER_NOT:
        return "for"
    if word in _ASKING and first in _ASKED:
        return "for"
    if (
        first in _SEEKING
        or (first, second) in (("go", "wrong"), ("seem", "to"))
        or (first in ("have", "carry", "sell", "stock") and before in ("i", "you", "we", "they"))
    ):
        return "for"
    return "against"


def _is_negated_after(words: Words, span: Span) -> bool:
    """Whether a negation follows: "leather-free", and in Hindi and Japanese."""
    after = [
        word
        for i, word in enumerate(words.words[span.stop : span.stop + _REACH], span.stop)
        if words.clauses[i] == words.clauses[span.start]
    ]
    if after[:1] == ["free"] and after[1:2] not in (["size"], ["shipping"], ["delivery"]):
        return True
    return not _NEGATIONS_AFTER.isdisjoint(after)


def _is_denied_after(words: Words, span: Span) -> bool:
    """Whether something is denied of a value, or refused with it: "red isn't for me", "over 50 is too much"."""
    after = _after(words, span.stop)
    if after[0] == "not":
        return after[1] in _NOT_ASKED_FOR  # not "red, not blue"
    return _is_not(after[0]) or after == ("no", "") or (after[0] in _BEFORE_A_DENIAL and after[1] in _DENIALS)


def stem(word: str) -> str:
    """One form of singular, plural and possessive: ``dresses``, ``blouses``, ``hoodie``, ``men's``; of numbers, too."""
    if word[-1:].isdigit():
        return _NO_DECIMALS.sub(r"\1", _DECIMAL_COMMA.sub(r"\1.\2", word)) if _NUMBER.fullmatch(word) else word
    word = word.removesuffix("'s")
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if len(word) > 4 and word.endswith(("ies", "ie")):
        return word.removesuffix("s")[:-2] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def is_negation(word: str) -> bool:
    """Whether a folded word turns what follows it around: ``not``, ``without``, ``don't``."""
    return word in _NEGATIONS or _is_not(word)


def plain_apostrophes(text: str) -> str:
    """A text whose apostrophes are the one of ASCII, whatever key they were typed with: ``don´t``."""
    return text if text.isascii() and "`" not in text else _APOSTROPHES.sub("'", text)


def _is_not(word: str) -> bool:
    """Whether a word ends in "not": ``don't``, ``dont``."""
    return word.endswith("n't") or word in _CONTRACTIONS


def _is_hyphenated(words: Words, at: int) -> bool:
    """Whether a word is the first part of another one: "no-iron", "no-show"."""
    word = words.words[at]
    return f"{word}-" in words.text and words.text.startswith("-", words.starts()[at] + len(word))
