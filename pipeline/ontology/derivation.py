"""The ontology, derived from a catalogue's attributes and a corpus's own slots, grown when the catalogue has more."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from pipeline.ontology.number_rule import NumberRule, is_money, is_rating, number_rule
from schemas.folding import fold, fold_name
from schemas.numbers import Number, read_number, read_quantity
from schemas.ontology import CATEGORY_ATTRIBUTES, Growth, Ontology, Slot, SlotKind, Value, is_number

USEFULNESS = (
    *CATEGORY_ATTRIBUTES,
    *"gender for_gender age color colour base_colour pattern print material fabric brand sleeve_length sleeves".split(),
    *"sleeve_style neck neckline_style length hem_length fit style dress_style size available_sizes price".split(),
    *"customer_review customer_rating avg_stars".split(),
)
"""Attributes in the order in which users tend to speak of them."""

NOT_ASKED_FOR = frozenset(
    "taxonomy id sku ean upc asin name title url currency site source domain prefab asset_type scene_class model_worn "
    "image_type best_seller_rank size_fit availability".split()
)
"""Attributes that a user does not ask for by value."""

NUMBERS_OF_RECORDS = frozenset(
    "barcode code ean gtin id ids index isbn mpn no nr num number serial sku upc count date phone rank stock "
    "timestamp".split()
)
"""Words in the names of attributes whose numbers, nearly all different, tell records apart."""

VALUE_ALIASES: Mapping[str, tuple[str, ...]] = {
    "gray": ("grey",),
    "grey": ("gray",),
    "xxs": ("extra extra small",),
    "xs": ("extra small", "x-small"),
    "s": ("small",),
    "m": ("medium",),
    "l": ("large",),
    "xl": ("extra large", "x-large"),
    "xxl": ("extra extra large", "xx-large", "2xl"),
    "t-shirt": ("tshirt", "tee"),
    "tshirt": ("t-shirt", "tee"),
}
"""Other ways to say a value, where the catalogue does not have them as values of their own."""

_RANGES = 4
_LONG_VALUE = 40.0
_DECIMALS_OF_NOTHING = re.compile(r"(?<=\d)\.0+$")
_NEAR_UNIQUE = 0.5
_MANY = 50
_OFTEN_SAID = 3
_MOST_SAID_VALUES = 40


class AttributeCounts:
    """How often each value of each attribute occurs, gathered product by product.

    Attributes:
        coverage: attribute -> products that have it.
        values: attribute -> value -> products that have it.
        currencies: of their prices.
    """

    def __init__(self) -> None:
        self.products = 0
        self.currencies: set[str] = set()
        self.coverage: Counter[str] = Counter()
        self.values: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, attributes: Mapping[str, Iterable[str]], currency: str | None = None) -> None:
        """Count one product."""
        self.products += 1
        if currency and "price" in attributes:
            self.currencies.add(currency)
        for name, values in attributes.items():
            self.coverage[name] += 1
            self.values[name].update(values)


@dataclass(frozen=True)
class CorpusSlot:
    """A slot of the corpus's own states."""

    name: str  # as the corpus names it most often
    attribute: str  # the product attribute it means; one that no product has where the catalogue has none for it
    spellings: tuple[str, ...] = ()  # its other names in the corpus
    said: Mapping[str, int] = field(default_factory=dict)  # folded value -> how often it was said


def derive_ontology(
    counts: AttributeCounts,
    *,
    aliases: Mapping[str, Sequence[str]] | None = None,
    corpus_slots: Sequence[CorpusSlot] = (),
) -> Ontology:
    """Slots worth asking for, the category first and then by use in the corpus's states and by usefulness.

    Every corpus slot becomes a slot under the corpus's name. Other attributes become one when at least one product in
    a hundred has them, they have two values or more, and these are neither long texts nor nearly all different, as
    measures may be. Numbers become values or ranges by :func:`number_rule`.

    Args:
        aliases: attribute -> other names for it.
        corpus_slots: slots of the corpus's own states, at most one per attribute.
    """
    said = {slot.attribute: slot for slot in corpus_slots}
    names = [name for name in counts.values if name not in said and _worth_asking(name, counts)]
    order = {name: rank for rank, name in enumerate(USEFULNESS)}
    categories = [name for name in CATEGORY_ATTRIBUTES if name in said or name in names]

    def rank(name: str) -> tuple[bool, int, int, int, str]:
        mentions = sum(said[name].said.values()) if name in said else 0
        return name not in categories[:1], -mentions, order.get(name, len(order)), -counts.coverage[name], name

    taken: dict[str, str] = {}
    slots: list[Slot] = []
    ranked = sorted((*said, *names), key=rank)
    for name in ranked:
        taken[fold_name(said[name].name if name in said else name)] = name
        taken.setdefault(fold_name(name), name)
    for name in ranked:
        slots.append(_slot(name, counts, said.get(name), (aliases or {}).get(name, ()), taken))
    return Ontology(version=1, slots=tuple(slots))


def _worth_asking(name: str, counts: AttributeCounts) -> bool:
    values = counts.values[name]
    coverage = counts.coverage[name]
    if name in NOT_ASKED_FOR or len(values) < 2 or coverage < max(2, counts.products / 100):
        return False
    rule = _rule(name, values)
    if rule is not None and rule.ranges and not NUMBERS_OF_RECORDS.intersection(name.split("_")):
        return True
    length = sum(len(value) * n for value, n in values.items()) / values.total()
    near_unique = len(values) > _MANY and len(values) > _NEAR_UNIQUE * coverage
    return length <= _LONG_VALUE and not near_unique


def _rule(name: str, values: Counter[str]) -> NumberRule | None:
    """What becomes of an attribute's values if they are numbers; None when they are not."""
    numbers: Counter[float] = Counter()
    for text, n in values.items():
        number = _number(text, name)
        if number is not None and number.value is not None:
            numbers[number.value] += n
    least = 0.5 if name == "price" else 0.95  # a price is a number, even where some are only "on request"
    if not numbers or numbers.total() < least * values.total():
        return None
    return number_rule(name, numbers)


def _number(text: str, attribute: str) -> Number | None:
    """The number that a value is; None for one that may be one of two, and for two ("32/34") where none is a rating."""
    if "/" in text and not is_rating(attribute) and read_quantity(text) is None:
        return None
    number = read_number(text)
    return None if number is None or number.value is None else number


def _slot(
    attribute: str,
    counts: AttributeCounts,
    said: CorpusSlot | None,
    aliases: Sequence[str],
    taken: dict[str, str],
    kind: SlotKind | None = None,
) -> Slot:
    name = attribute if said is None else said.name
    values = counts.values.get(attribute, Counter())
    rule = _rule(attribute, values)
    numeric = rule is not None and rule.ranges if kind is None else kind == "numeric"
    other_names = []
    for alias in (*(said.spellings if said else ()), *aliases):
        if taken.setdefault(fold_name(alias), attribute) == attribute and fold_name(alias) != fold_name(name):
            other_names.append(alias)
    money = is_money(attribute)
    only = next(iter(counts.currencies)) if attribute == "price" and len(counts.currencies) == 1 else None
    numbers = {text: n for text in values if (n := _number(text, attribute)) is not None}
    whole = not money and all(float(number.value or 0).is_integer() for number in numbers.values())
    if numeric:
        found = ranges(Counter({text: values[text] for text in numbers}), money=money, currency=only)
    else:
        found = _categorical(values, numbers if rule is not None else {})
    if said is not None and (numeric or rule is not None or not values):
        known = {fold(value.value) for value in found}
        extra = sorted(said.said.items(), key=lambda item: (-item[1], item[0]))
        found += [
            Value(value=word)
            for word, n in extra
            if (n >= _OFTEN_SAID or not values) and not is_number(word) and fold(word) not in known
        ][:_MOST_SAID_VALUES]
    return Slot(
        name=name,
        attribute=attribute,
        kind="numeric" if numeric else "categorical",
        title=_title(name),
        aliases=tuple(dict.fromkeys(other_names)),
        values=tuple(found),
        whole=whole and (numeric or rule is not None),
        rule="" if rule is None or kind is not None else rule.why,
    )


def catalogue_slot(name: str, attribute: str, counts: AttributeCounts, *, kind: SlotKind | None = None) -> Slot:
    """A slot of this name with all the values that products have of an attribute; without any when they have none.

    Args:
        kind: "numeric" for ranges, "categorical" for values as they are; None: as :func:`number_rule` says.
    """
    taken = {fold_name(name): attribute, fold_name(attribute): attribute}
    return _slot(attribute, counts, CorpusSlot(name, attribute), (), taken, kind)


def _title(name: str) -> str:
    spaced = "".join(f" {c.lower()}" if c.isupper() else c for c in name).replace("_", " ")
    title = " ".join(spaced.split())
    return title[:1].upper() + title[1:]


def _categorical(values: Counter[str], numbers: Mapping[str, Number]) -> list[Value]:
    """Values, the commonest first; numbers in their order and each once, however it is written, then the others.

    Args:
        values: text -> products that have it.
        numbers: the number that a text is; "36.0", as programs write it, is called 36.
    """
    groups: defaultdict[str | Number, list[str]] = defaultdict(list)
    for value in values:
        groups[numbers.get(value) or fold(value)].append(value)
    folds = {*map(fold, values)}
    found = []
    order: dict[str, float] = {}
    for group, texts in groups.items():
        spellings = sorted(texts, key=lambda value: (-values[value], value))
        name = spellings[0]
        others: tuple[str, ...] = ()
        if isinstance(group, str):
            spaced = fold(group.replace("_", " "))
            others = (*VALUE_ALIASES.get(group, ()), *((spaced,) if spaced and spaced != group else ()))
        else:
            name = _DECIMALS_OF_NOTHING.sub("", name)
            order[name] = group.value or 0.0
        aliases = tuple(other for other in others if other not in folds)
        written = tuple({fold(text): text for text in reversed(spellings)}.values())[::-1]
        catalogue = () if list(map(fold, written)) == [fold(name)] else written
        count = sum(values[s] for s in spellings)
        found.append(Value(value=name, count=count, aliases=aliases, catalogue=catalogue))
    if order:
        found.sort(key=lambda value: (order.get(value.value, math.inf), -value.count, value.value))
    else:
        found.sort(key=lambda value: (-value.count, value.value))
    seen: set[str] = set()
    for index, known in enumerate(found):
        fresh = tuple(alias for alias in known.aliases if alias not in seen)
        found[index] = known.model_copy(update={"aliases": fresh})
        seen.update(fresh)
    return found


def ranges(values: Counter[str], *, money: bool, n: int = _RANGES, currency: str | None = None) -> list[Value]:
    """Cut numbers into up to ``n`` ranges of about equal product counts, at round edges.

    Prices in several currencies get ranges of their own for each; those without one are then in none.

    Args:
        values: number as text -> products that have it.
        money: edges are rounded to 1, 2 or 5 times a power of ten below a tenth of the spread, else to tenths.
        currency: of all of them, where it is known and not written with each.
    """
    numbers: defaultdict[str | None, list[float]] = defaultdict(list)
    for text, k in values.items():
        number = read_number(text)
        if number is not None and number.value is not None:
            numbers[number.currency or currency].extend([number.value] * k)
    named = sorted((name for name in numbers if name is not None), key=lambda name: (-len(numbers[name]), name))
    if len(named) < 2:
        return _ranges(sorted(chain.from_iterable(numbers.values())), money, n, named[0] if named else None)
    found: list[Value] = []
    for name in named:
        for value in _ranges(sorted(numbers[name]), money, n, name):
            called = _range_name(value.low, value.high, f" {name}")
            found.append(value.model_copy(update={"value": called}))
    return found


def _ranges(numbers: Sequence[float], money: bool, n: int, currency: str | None) -> list[Value]:
    if not numbers:
        return []
    spread = numbers[-1] - numbers[0]
    step = _nice_step(spread / 20) if money or spread > 20 else 0.1
    edges: list[float] = []
    for cut in range(1, n):
        edge = round(round(numbers[len(numbers) * cut // n] / step) * step, 6)
        if numbers[0] < edge <= numbers[-1] and edge not in edges:
            edges.append(edge)
    if not edges:
        edges = [numbers[0]]
    bounds = [None, *edges, None]
    found = []
    for low, high in pairwise(bounds):
        count = sum((low is None or x >= low) and (high is None or x < high) for x in numbers)
        found.append(Value(value=_range_name(low, high), count=count, low=low, high=high, currency=currency))
    return found


def _nice_step(size: float) -> float:
    if size <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(size))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= size)


def _range_name(low: float | None, high: float | None, unit: str = "") -> str:
    if low is None:
        return f"under {high:.10g}{unit}"
    if high is None:
        return f"{low:.10g}{unit} and over"
    return f"{low:.10g} to {high:.10g}{unit}"


def grown(existing: Ontology, derived: Ontology, counts: AttributeCounts) -> Ontology:
    """What people edited, with what the catalogue has anew: slots and values are added, counts follow the catalogue.

    Names, titles, hints, orders, aliases, ranges and kinds of what is there stay, and so do the steps by which it was
    changed. The version rises by one when anything changed, which is a step of its own.
    """
    slots = list(existing.slots)
    fresh: list[str] = []
    matched: set[int] = set()
    names = {fold_name(name) for slot in slots for name in (slot.name, *slot.aliases)}
    for new in derived.slots:
        index = _position(slots, new)
        if index is None:
            aliases = tuple(alias for alias in new.aliases if fold_name(alias) not in names)
            slots.append(new.model_copy(update={"aliases": aliases}))
            names.update(fold_name(name) for name in (new.name, *aliases))
            fresh.append(new.name)
            matched.add(len(slots) - 1)
            continue
        matched.add(index)
        old = slots[index]
        if new.kind != old.kind:  # the catalogue's numbers changed, or people decided otherwise
            forced = catalogue_slot(new.name, new.attribute, counts, kind=old.kind)
            new = forced.model_copy(update={"aliases": new.aliases})
        aliases = tuple(name for name in (new.name, *new.aliases) if fold_name(name) not in names)
        names.update(map(fold_name, aliases))
        slots[index] = old.model_copy(
            update={"aliases": (*old.aliases, *aliases), "values": _grown_values(old, new, counts)}
        )
    for index, old in enumerate(slots):
        if index not in matched and counts.values.get(old.attribute):  # added by people
            there = catalogue_slot(old.name, old.attribute, counts, kind=old.kind)
            slots[index] = old.model_copy(update={"values": _grown_values(old, there, counts)})
    if tuple(slots) == existing.slots:
        return existing
    values = sum(len(new.values) - len(old.values) for old, new in zip(existing.slots, slots, strict=False))
    step = Growth(version=existing.version + 1, slots=tuple(fresh), values=values)
    # built anew rather than copied, so that the checks of a slot and of the whole hold
    changed = {"version": step.version, "slots": tuple(slots), "history": (*existing.history, step)}
    return Ontology.model_validate(existing.model_copy(update=changed).model_dump())


def _position(slots: Sequence[Slot], new: Slot) -> int | None:
    for index, slot in enumerate(slots):
        if fold_name(slot.attribute) == fold_name(new.attribute):
            return index
    for index, slot in enumerate(slots):
        if fold_name(new.name) in {fold_name(slot.name), *map(fold_name, slot.aliases)}:
            return index
    return None


def _grown_values(old: Slot, new: Slot, counts: AttributeCounts) -> tuple[Value, ...]:
    edited_ranges = any(value.is_range for value in old.values)
    currencies = {value.currency for value in old.values if value.is_range}
    # one currency is that of the ranges there are, whether it was known to be or not
    is_new = {value.currency for value in new.values if value.is_range} - currencies - {None}
    if len(is_new) == 1 and currencies == {None}:
        is_new = set()
    found: Counter[str] = Counter()
    spelled: defaultdict[str, list[str]] = defaultdict(list)
    added: list[Value] = []
    for value in new.values:
        if edited_ranges and value.is_range:
            if value.currency in is_new:
                added.append(value)
            continue
        known = old.find(value.value)
        if known is None:
            spellings = tuple(alias for alias in value.aliases if old.find(alias) is None)
            added.append(value.model_copy(update={"aliases": spellings}))
        else:
            found[known.value] += value.count
            if value.count and not value.is_range:
                spelled[known.value] += value.catalogue or (value.value,)
    if edited_ranges:
        both = Slot(**{**dict(old), "values": (*old.values, *added)})
        for text, n in counts.values[new.attribute].items():
            known = both.find(text)
            if known is not None:
                found[known.value] += n
    return (*(_recounted(value, found[value.value], spelled[value.value]) for value in old.values), *added)


def _recounted(value: Value, count: int, spelled: Sequence[str]) -> Value:
    """The value with its products, and how they spell it, the commonest first; no longer there: as they spelled it."""
    if [*map(fold, spelled)] == [fold(value.value)]:
        spelled = ()
    elif not spelled or {*map(fold, spelled)} == {*map(fold, value.catalogue)}:
        spelled = value.catalogue
    return value.model_copy(update={"count": count, "catalogue": tuple(spelled)})
