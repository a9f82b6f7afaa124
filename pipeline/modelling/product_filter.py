"""Filters of products: ``gender = women and price < 50``, read by hand and never run as code.

    NAME = VALUE, NAME != VALUE, NAME < VALUE, <=, >, >=, NAME in (VALUE, VALUE), NAME not in (VALUE, VALUE)

joined by ``and`` and ``or`` (``and`` binds closer), turned around by ``not``, grouped by parentheses.

A name is a slot's, or any attribute of the catalogue, in any spelling that the ontology knows; ``price`` is the
product's price, ``product_id`` its id. A value may be of several words; one that holds "and", "or", "not", "in", a
comma or a parenthesis stands in quotes, as such a name does.

Values are compared as the ontology compares them: folded, an alias for its value, and a range ("under 40") for the
numbers in it. A product with several values has each of them. ``!=`` and ``not in`` hold wherever ``=`` and ``in`` do
not, also where there is no value. ``<`` and its kind compare numbers, and hold for no product without one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import regex

from schemas.errors import Excerpt, UsageError
from schemas.folding import fold, fold_name
from schemas.numbers import currency_of, read_number, same_currency
from schemas.ontology import Ontology, Slot
from schemas.validation import did_you_mean
from semantic_model.data.records import Product

Mask = npt.NDArray[np.bool_]

LONGEST = 4000
"""Characters of a filter."""

_DEEPEST = 50  # parentheses within each other
_MOST_COMPARED = 2000  # values among which the nearest is looked for
_REMEMBERED = 16  # filters whose products are
_SHOWN = 8  # values that an error lists
_MOST_NAMED = 40  # attributes that an error lists
_LONGEST_QUOTED = 60  # characters of a word that an error quotes
_PRICE, _ID = "price", "product_id"


class FilterError(UsageError):
    """A filter that cannot be read, or that speaks of what the catalogue does not have."""


class Word(NamedTuple):
    """A part of the filter: a word, a quoted text, a sign, or the end of it all."""

    kind: Literal["word", "quoted", "sign", "end"]
    text: str  # without quotes; of a sign, in its plain form
    start: int  # where it stands
    stop: int

    def says(self, keyword: str) -> bool:
        """Whether it is this keyword or sign, and not quoted."""
        return self.kind in ("word", "sign") and self.text.casefold() == keyword


class Term(NamedTuple):
    """A name or a value."""

    text: str
    start: int
    stop: int


@dataclass(frozen=True)
class Comparison:
    """``NAME sign VALUE``; ``in`` is ``=`` with several values."""

    name: Term
    sign: str  # =, <, <=, > or >=
    values: tuple[Term, ...]


@dataclass(frozen=True)
class Not:
    """What does not hold."""

    inner: Filter


@dataclass(frozen=True)
class AllOf:
    """All of several."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one of several."""

    parts: tuple[Filter, ...]


Filter = Comparison | Not | AllOf | AnyOf

_SIGNS = {"==": "=", "<>": "!=", "≤": "<=", "≥": ">=", "≠": "!="}
_ORDER: Mapping[str, Callable[[npt.NDArray[np.float64], float], Mask]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
_KEYWORDS = ("and", "or", "not", "in")
_PART = regex.compile(
    r"""\s*(?:
      (?P<sign><=|>=|!=|<>|==|[=<>≤≥≠(),])
    | (?P<open>["'“„])
    | (?P<word>[^\s()<>=≤≥≠!,"“”„]+)
    | (?P<strange>\S)
    )""",
    regex.VERBOSE,
)
_CLOSING = {'"': '"', "'": "'", "“": "”", "„": "“"}


def read_filter(text: str) -> Filter:
    """A filter's form; what it speaks of is not looked up.

    Raises:
        FilterError: it is none; points at the word where it stops being one.
    """
    if len(text) > LONGEST:
        raise FilterError(f"a filter of {len(text):,} characters; at most {LONGEST:,} are read")
    return _Parser(text).whole()


def _wrong(text: str, what: str, at: Word | Term, fix: str | None = None) -> FilterError:
    if len(at.text) > _LONGEST_QUOTED:
        what = what.replace(at.text, f"{at.text[:_LONGEST_QUOTED]}…")
    problem = FilterError(what, where=f"character {at.start + 1} of the filter", fix=fix)
    problem.excerpt = Excerpt(text, at.start, at.stop)
    return problem


def _words(text: str) -> Iterator[Word]:
    at = 0
    while match := _PART.match(text, at):
        at = match.end()
        if match["sign"]:
            yield Word("sign", _SIGNS.get(match["sign"], match["sign"]), match.start("sign"), at)
        elif match["word"]:
            yield Word("word", match["word"], match.start("word"), at)
        elif match["open"]:
            start = match.start("open")
            end = text.find(_CLOSING[match["open"]], at)
            if end < 0:
                raise _wrong(text, "a quotation mark that is not closed", Word("quoted", "", start, at), "close it")
            yield Word("quoted", text[at:end], start, end + 1)
            at = end + 1
        else:
            strange = Word("sign", match["strange"], match.start("strange"), at)
            raise _wrong(text, f"'{strange.text}' has no meaning here", strange, "quote it if it is part of a value")
    yield Word("end", "", len(text), len(text) + 1)


class _Parser:
    """Recursive descent; each method reads one level of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = list(_words(text))
        self.at = 0
        self.depth = 0

    @property
    def next(self) -> Word:
        return self.words[self.at]

    def take(self, *keywords: str) -> bool:
        """Step over the next word if it is one of these."""
        found = any(self.next.says(keyword) for keyword in keywords)
        self.at += found
        return found

    def wrong(self, what: str, fix: str | None = None) -> FilterError:
        said = "the filter ends" if self.next.kind == "end" else f"there is '{self.next.text}'"
        return _wrong(self.text, f"{what}, and {said}", self.next, fix)

    def whole(self) -> Filter:
        found = self.any_of()
        if self.next.kind != "end":
            raise self.wrong("'and' or 'or' is expected", "quote values that hold such signs")
        return found

    def any_of(self) -> Filter:
        parts = [self.every()]
        while self.take("or"):
            parts.append(self.every())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def every(self) -> Filter:
        parts = [self.maybe_not()]
        while self.take("and"):
            parts.append(self.maybe_not())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def maybe_not(self) -> Filter:
        negated = False
        while self.take("not"):
            negated = not negated
        found = self.one()
        return Not(found) if negated else found

    def one(self) -> Filter:
        if not self.take("("):
            return self.comparison()
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.wrong(f"at most {_DEEPEST} parentheses may stand within each other")
        found = self.any_of()
        if not self.take(")"):
            raise self.wrong("')' is expected")
        self.depth -= 1
        return found

    def comparison(self) -> Filter:
        name = self.term("the name of an attribute")
        negated = self.take("not")
        if self.take("in"):
            found: Filter = Comparison(name, "=", self.values())
            return Not(found) if negated else found
        if negated:
            raise self.wrong("'in' is expected after 'not'")
        sign = self.next.text
        if self.next.kind != "sign" or sign not in ("=", "!=", "<", "<=", ">", ">="):
            raise self.wrong(f"a comparison is expected after '{name.text}'", "write it as in color = red")
        self.at += 1
        value = self.term("a value")
        if sign == "!=":
            return Not(Comparison(name, "=", (value,)))
        return Comparison(name, sign, (value,))

    def values(self) -> tuple[Term, ...]:
        if not self.take("("):
            raise self.wrong("'(' is expected after 'in'", "write it as in color in (red, blue)")
        found = [self.term("a value")]
        while self.take(","):
            found.append(self.term("a value"))
        if not self.take(")"):
            raise self.wrong("',' or ')' is expected")
        return tuple(found)

    def term(self, what: str) -> Term:
        """A quoted text, or words up to a keyword or a sign."""
        first = self.next
        if first.kind == "quoted":
            self.at += 1
            if not first.text.strip():
                raise _wrong(self.text, f"{what} is expected, and the quotes are empty", first)
            return Term(first.text.strip(), first.start, first.stop)
        last = first
        while self.next.kind == "word" and self.next.text.casefold() not in _KEYWORDS:
            last = self.next
            self.at += 1
        if self.next is first:
            raise self.wrong(f"{what} is expected")
        return Term(self.text[first.start : last.stop], first.start, last.stop)


class _Numbers(NamedTuple):
    """Numbers of an attribute, a row for each."""

    rows: npt.NDArray[np.int64]  # the product of each
    values: npt.NDArray[np.float64]
    currencies: tuple[str | None, ...]  # of each
    slot: Slot | None

    def read(self, text: str) -> tuple[float, str | None] | None:
        number = read_number(text) if self.slot is None else self.slot.number(text)
        return None if number is None or number.value is None else (number.value, number.currency)


class ProductFilters:
    """What filters ask of a catalogue; each attribute is looked at once, when it is first asked for.

    Args:
        products: N.
        ontology: slots, with the spellings of their values.
    """

    def __init__(self, products: Sequence[Product], ontology: Ontology) -> None:
        self.products = products
        self.ontology = ontology
        self._values: dict[tuple[str, str | None], dict[str, npt.NDArray[np.int64]]] = {}
        self._numbers: dict[tuple[str, str | None], _Numbers] = {}
        self._masks: dict[str, Mask] = {}

    def mask(self, text: str) -> Mask:
        """Which products a filter lets through, bool [N].

        Raises:
            FilterError: not a filter, or one that speaks of what is not there; points at the word.
        """
        found = self._masks.get(text)
        if found is None:
            found = self._holds(read_filter(text), text)
            if len(self._masks) >= _REMEMBERED:
                self._masks.clear()
            self._masks[text] = found
        return found

    def _holds(self, part: Filter, text: str) -> Mask:
        if isinstance(part, Comparison):
            return self._compared(part, text)
        if isinstance(part, Not):
            return ~self._holds(part.inner, text)
        found = [self._holds(inner, text) for inner in part.parts]
        every: Mask = (np.logical_and if isinstance(part, AllOf) else np.logical_or).reduce(found)
        return every

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        """Folded name -> attribute, of all that the catalogue has."""
        names = dict.fromkeys(name for product in self.products for name in product.attributes)
        return {fold_name(_PRICE): _PRICE, fold_name(_ID): _ID} | {fold_name(name): name for name in names}

    def _compared(self, part: Comparison, text: str) -> Mask:
        slot = self.ontology.find(part.name.text)
        attribute = slot.attribute if slot is not None else self.attributes.get(fold_name(part.name.text))
        if attribute is None:
            keyed = {each.attribute for each in self.ontology.slots}
            known = [
                *(each.name for each in self.ontology.slots),
                *(a for a in self.attributes.values() if a not in keyed),
            ]
            fix = did_you_mean(part.name.text, known, f"there are {', '.join(known[:_MOST_NAMED])}")
            raise _wrong(text, f"no product has an attribute '{part.name.text}'", part.name, fix)
        found = np.zeros(len(self.products), dtype=np.bool_)
        for value in part.values:
            rows = self._with_value(attribute, slot, value, text) if part.sign == "=" else None
            if rows is None:
                rows = self._with_number(attribute, slot, part.sign, value, text)
            found[rows] = True
        return found

    def _with_value(self, attribute: str, slot: Slot | None, value: Term, text: str) -> npt.NDArray[np.int64] | None:
        """Rows of the products with a value; None where it is a number, to be compared as one."""
        of_numbers = attribute == _PRICE if slot is None else slot.kind == "numeric"
        known = None if slot is None else slot.named(value.text) if of_numbers else slot.find(value.text)
        is_number = self._numbers_of(attribute, slot).read(value.text) is not None
        if known is None and of_numbers and is_number:
            return None
        having = self._rows_of_values(attribute, slot)
        key = fold(value.text if known is None else known.value)
        if known is not None or key in having:
            return having.get(key, np.zeros(0, dtype=np.int64))
        if is_number and len(self._numbers_of(attribute, slot).rows):
            return None
        spelled = [*([] if slot is None else (each.value for each in slot.offered)), *having]
        first: dict[str, str] = {}
        for each in spelled:
            first.setdefault(fold(each), each)
        names = list(first.values())
        some = f"its values are {', '.join(names[:_SHOWN])}" + (", ..." if len(names) > _SHOWN else "")
        fix = did_you_mean(value.text, names[:_MOST_COMPARED], some)
        raise _wrong(text, f"no product has {attribute} '{value.text}'", value, fix)

    def _rows_of_values(self, attribute: str, slot: Slot | None) -> Mapping[str, npt.NDArray[np.int64]]:
        """Folded value, as the ontology writes it where it knows it -> rows of the products that have it."""
        asked = attribute, None if slot is None else slot.name
        if asked not in self._values:
            rows: dict[str, list[int]] = {}
            keys: dict[str, set[str]] = {}
            for row, product in enumerate(self.products):
                for said in self._texts(product, attribute):
                    if said not in keys:
                        known = None if slot is None else slot.find(said)
                        keys[said] = {fold(said)} | (set() if known is None else {fold(known.value)})
                    for key in keys[said]:
                        rows.setdefault(key, []).append(row)
            self._values[asked] = {key: np.array(found, dtype=np.int64) for key, found in rows.items()}
        return self._values[asked]

    @staticmethod
    def _texts(product: Product, attribute: str) -> Sequence[str]:
        if attribute == _ID and _ID not in product.attributes:
            return (product.product_id,)
        said = product.attributes.get(attribute, ())
        return (f"{product.price:.15g}",) if attribute == _PRICE and not said and product.price is not None else said

    def _numbers_of(self, attribute: str, slot: Slot | None) -> _Numbers:
        asked = attribute, None if slot is None else slot.name
        if asked not in self._numbers:
            rows: list[int] = []
            values: list[float] = []
            currencies: list[str | None] = []
            for row, product in enumerate(self.products):
                for value, currency in self._read(product, attribute, slot):
                    rows.append(row)
                    values.append(value)
                    currencies.append(currency)
            self._numbers[asked] = _Numbers(np.array(rows, np.int64), np.array(values), tuple(currencies), slot)
        return self._numbers[asked]

    def _read(self, product: Product, attribute: str, slot: Slot | None) -> Iterator[tuple[float, str | None]]:
        """Numbers of a product; its price is that of the catalogue, read once at the import."""
        if attribute == _PRICE and product.price is not None:
            yield product.price, _known_currency(product.currency)
            return
        for said in self._texts(product, attribute):
            number = read_number(said) if slot is None else slot.number(said)
            if number is not None and number.value is not None:
                yield number.value, number.currency

    def _with_number(
        self, attribute: str, slot: Slot | None, sign: str, value: Term, text: str
    ) -> npt.NDArray[np.int64]:
        numbers = self._numbers_of(attribute, slot)
        if not len(numbers.rows):
            raise _wrong(text, f"no product has a number as its {attribute}, so nothing is {sign} of it", value)
        read = numbers.read(value.text)
        if read is None:
            fix = f"{sign} compares numbers; write one with a point for decimals, as 39.90"
            raise _wrong(text, f"'{value.text}' is not a number", value, fix)
        number, currency = read
        comparable = np.ones(len(numbers.rows), dtype=np.bool_)
        several = {each for each in numbers.currencies if each is not None}
        if currency is not None and several:
            comparable[:] = [each is None or same_currency(each, currency) for each in numbers.currencies]
        elif len(several) > 1:
            example = f"{value.text} {min(several)}"
            raise _wrong(text, f"prices are in {', '.join(sorted(several))}", value, f"say in which, as {example}")
        found: npt.NDArray[np.int64] = numbers.rows[comparable & _ORDER[sign](numbers.values, number)]
        return found


def _known_currency(text: str | None) -> str | None:
    return None if text is None else currency_of(text) or text
