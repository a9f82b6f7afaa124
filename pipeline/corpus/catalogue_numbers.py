"""Prices and other numbers of a whole catalogue, which only all values of a column together tell how to read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from pipeline.corpus.ledger import LedgerLine
from pipeline.corpus.records import ProductRecord
from schemas.numbers import (
    THREE_DECIMALS,
    DecimalMark,
    Number,
    currency_of,
    decimal_mark_of,
    number_text,
    read_number,
    same_currency,
)

__all__ = ["read_prices", "settle_numbers"]

_ONE_OF_TWO = re.compile(r"\d[.,]\d{3}(?!\d)")


def read_prices(products: Sequence[ProductRecord], line: LedgerLine) -> dict[str, int]:
    """Read the prices of a whole catalogue, as each source writes them.

    Fills in ``price`` and ``currency``, and writes the attribute ``price`` as a number that can be read in one way
    only, with its currency where the catalogue has several; what is no price, or may be one of two, stays as it is
    written there, what is below zero is left out, and all of them are counted.

    Returns:
        Currency -> products with a price in it, the commonest first; "unknown" where none is named.
    """
    texts: defaultdict[str, set[str]] = defaultdict(set)
    for product in products:
        texts[product.source].update(product.attributes.get("price", ()))
    marks = {source: decimal_mark_of(written) for source, written in texts.items()}
    for product in products:
        if product.currency is not None:
            product.currency = currency_of(product.currency) or product.currency
        if product.price_text:
            reason = _read_price(product, marks.get(product.source))
            if reason is None:
                line.keep()
            else:
                line.drop(reason)
    priced = [product for product in products if product.price is not None]
    _name_signs(priced)
    found = Counter(product.currency or "unknown" for product in priced)
    several = len(found.keys() - {"unknown"}) > 1
    for product in products:
        written = product.attributes.get("price", ())
        if written:
            mark = marks[product.source]
            product.attributes["price"] = tuple(dict.fromkeys(_rewritten(t, product, mark, several) for t in written))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _read_price(product: ProductRecord, mark: DecimalMark | None) -> str | None:
    """Fill in the price and the currency; the reason why there is no price."""
    number = Number(product.price) if product.price is not None else _number(product.price_text, product, mark)
    product.price = None
    if number is None or number.of is not None:
        return "not_a_price"
    if number.value is None:
        return "price_may_be_one_of_two"
    if number.value < 0:
        product.attributes.pop("price", None)  # it would lie in the lowest range
        return "price_below_zero"
    if number.currency and product.currency and not same_currency(number.currency, product.currency):
        return "price_in_another_currency_than_named"
    product.price = number.value
    product.currency = _more_exact(number.currency, product.currency)
    return None


def _number(text: str, product: ProductRecord, mark: DecimalMark | None) -> Number | None:
    return read_number(text, decimal_mark=mark, thousands=product.currency not in THREE_DECIMALS)


def _rewritten(text: str, product: ProductRecord, mark: DecimalMark | None, several: bool) -> str:
    """A price so that it can be read in one way only; what is none stays as it is."""
    number = _number(text, product, mark)
    if number is None or number.value is None or number.of is not None:
        return text
    if number.currency and product.currency and not same_currency(number.currency, product.currency):
        return text
    currency = product.currency or number.currency
    return f"{number_text(number.value)} {currency}" if several and currency else number_text(number.value)


def settle_numbers(products: Sequence[ProductRecord], line: LedgerLine) -> None:
    """Rewrite attribute values such as ``1,299`` where the others of their source and column tell what they are.

    In columns of numbers that do not tell, they stay as they are and are counted.
    """
    columns: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for product in products:
        for name, values in product.attributes.items():
            columns[product.source, name].update(values)
    settled: dict[tuple[str, str], dict[str, str]] = {}
    for key, texts in columns.items():
        unclear = [text for text in texts if _ONE_OF_TWO.search(text) and (n := read_number(text)) and n.is_ambiguous]
        if unclear and 2 * sum(read_number(text) is not None for text in texts) >= len(texts):
            mark = decimal_mark_of(sorted(texts))
            settled[key] = {text: _settled(text, mark) for text in unclear}
    if not settled:
        return
    for product in products:
        for name, values in product.attributes.items():
            told = settled.get((product.source, name), {})
            for text in filter(told.__contains__, values):
                if told[text] == text:
                    line.drop("number_may_be_one_of_two")
                else:
                    line.keep()
            if told:
                product.attributes[name] = tuple(dict.fromkeys(told.get(text, text) for text in values))


def _settled(text: str, mark: DecimalMark | None) -> str:
    number = read_number(text, decimal_mark=mark)
    return text if number is None or number.value is None else number_text(number.value)


def _more_exact(one: str | None, other: str | None) -> str | None:
    """Of two names of one currency the code rather than the sign."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=len)


def _name_signs(priced: Sequence[ProductRecord]) -> None:
    """A sign that currencies share stands for the only one of them that the catalogue names."""
    present = {product.currency for product in priced if product.currency is not None}
    codes: dict[str, str] = {}
    for sign in present:
        meant = [other for other in present if other != sign and same_currency(sign, other)]
        if len(meant) == 1 and len(sign) < len(meant[0]):
            codes[sign] = meant[0]
    for product in priced:
        if product.currency in codes:
            product.currency = codes[product.currency]
