"""Numbers as people and catalogues write them: the one reader for typed labels, corpora and catalogues.

Thousands and decimal marks of both kinds are known (``1,299.00``, ``1.299,00``, ``1 299,00``, ``1'299``,
``1,29,999.00``), currencies before or after (``Rs. 499/-``, ``39,90 €``), ``2k``, and the digits of every script. One
mark with exactly three digits after it (``1,299``, ``1.299``) may be one of thousands or of decimals: a currency, or
what is known of the numbers it stands among, settles it; else the text is ambiguous, and no number is taken from it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

DecimalMark = Literal[".", ","]
_DECIMAL_MARKS: tuple[DecimalMark, ...] = (".", ",")

_CURRENCIES = (
    "EUR € euro euros | GBP £ pound pounds | INR ₹ | USD us$ | CAD c$ ca$ | AUD a$ au$ | NZD nz$ | SGD s$ | "
    "HKD hk$ | TWD nt$ | MXN mx$ | BRL r$ | KRW ₩ 원 | JPY 円 yen | CNY 元 rmb yuan | RUB ₽ руб руб. р. | "
    "TRY ₺ tl | VND ₫ đ | PHP ₱ | ILS ₪ | THB ฿ baht บาท | NGN ₦ | UAH ₴ | KZT ₸ | BDT ৳ | PLN zł zl | CZK kč | "
    "RON lei | BGN лв лв. | IDR rp rp. | MYR rm | CHF fr fr. sfr sfr. | AED dhs dhs. د.إ | SAR ر.س | EGP ج.م | "
    "KWD د.ك | CRC ₡ | PYG ₲ | GHS ₵ | GEL ₾ | AMD ֏ | AZN ₼ | LAK ₭ | KHR ៛ | MNT ₮ | "
    "$ $ dollar dollars bucks | kr kr kr. | ¥ ¥ | Rs rs rs. rupee rupees"
)
_WRITTEN: Mapping[str, str] = dict(entry.split(" ", 1) for entry in _CURRENCIES.split(" | "))
_ONLY_CODES = (
    "AFN ARS BHD BYN CLP COP DKK DOP DZD ETB GTQ HNL HUF IQD IRR ISK JMD JOD KES KGS LBP LKR LYD MAD MDL MKD MMK "
    "MUR MVR MZN NIO NOK NPR OMR PEN PKR QAR RSD RWF SEK SYP TJS TTD TZS UGX UZS XAF XOF YER ZMW"
)
_SIGNS = {
    **{code.casefold(): code for code in (*_WRITTEN, *_ONLY_CODES.split(), "TND", "UYU", "ZAR")},
    **{sign: currency for currency, signs in _WRITTEN.items() for sign in signs.split()},
    "us $": "USD",
}
THREE_DECIMALS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))
"""Currencies with a thousand parts, whose prices have three decimals."""

_OF_SIGN = {
    "$": frozenset(("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "TWD", "MXN", "ARS", "CLP", "COP", "UYU")),
    "kr": frozenset(("SEK", "NOK", "DKK", "ISK")),
    "¥": frozenset(("JPY", "CNY")),
    "Rs": frozenset(("INR", "PKR", "LKR", "NPR")),
}
"""What a sign that several currencies share may stand for."""

_LONGEST = 64
"""Characters; a longer text is no number."""

_CURRENCY = "|".join(sorted(map(re.escape, _SIGNS), key=lambda sign: (-len(sign), sign)))
_DIGITS = r"\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,']\d+)*|[.,]\d+"
_NUMBER = re.compile(
    rf"(?P<minus>- ?)?(?P<first>{_CURRENCY})? ?(?P<second>{_CURRENCY})? ?(?P<minus_after>- ?)?"
    rf"(?P<digits>{_DIGITS}) ?(?P<thousand>k(?![^\W\d]))?(?P<no_decimals>[.,][-–—]{{1,2}}|/-|:-)? ?"
    rf"(?P<last>{_CURRENCY})?(?: only)?"
    r"(?:(?P<percent> ?%)|(?P<stars> ?stars?)|(?: out of | ?/ ?)(?P<of>\d{1,4})(?: stars?)?)?"
)
_WORDS_TOO = frozenset(("cop", "fr", "fr.", "gel", "lei", "mad", "pen", "rm", "rp", "rp.", "sfr", "sfr.", "tl", "try"))
_IN_TEXT = "|".join(sorted(map(re.escape, _SIGNS.keys() - _WORDS_TOO), key=lambda sign: (-len(sign), sign)))
NUMBER_IN_TEXT = rf"(?:(?<![^\W\d])(?:{_IN_TEXT}) ?|(?<![\w.,]))(?:{_DIGITS})(?: ?k\b)?(?: ?(?:{_IN_TEXT})(?![^\W\d]))?"
"""Pattern of what may be a number within a folded text (lower case, single spaces); :func:`read_number` reads it."""

_QUANTITY = re.compile(r"(?P<before>[^\d]*?)(?P<number>\d(?:[\d.,' ]*\d)?)(?P<after>[^\d]*)")
_SEVERAL = re.compile(r"\d\s*/\s*\d")
_EXPONENT = re.compile(r"-?\d(?:\.\d+)?e[+-]\d{1,3}", re.ASCII | re.IGNORECASE)
_GROUPED = re.compile(r"\d{1,3}(?:([.,' ])\d{3})(?:\1\d{3})*|\d{1,2}(?:,\d{2})+,\d{3}")
_LETTERS = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "′": "'", "´": "'", "`": "'", "٬": "'", "،": ",", "−": "-"})


class Number(NamedTuple):
    """A number as read from a text."""

    value: float | None  # None where the text is ambiguous
    currency: str | None = None  # ISO 4217 code, or the sign where several currencies share it: "$", "kr", "¥", "Rs"
    of: int | None = None  # the most that there can be: 100 of a percentage, 5 of stars and of "4.5/5"

    @property
    def is_ambiguous(self) -> bool:
        """Whether it is a number, but may be one of two."""
        return self.value is None


def read_number(text: str, *, decimal_mark: DecimalMark | None = None, thousands: bool = False) -> Number | None:
    """The one number that a text is; None when it is none, or says more ("under 50", "2 for 3", "size 4").

    Args:
        text: as written; in any script, with a currency, "%", "stars", "out of 5" or "/5".
        decimal_mark: of the numbers it stands among, where they tell; see :func:`decimal_mark_of`.
        thousands: numbers of its kind have no three decimals, as amounts of money and whole numbers:
            ``1,299`` and ``1.299`` are 1299, unless ``decimal_mark`` or a currency of :data:`THREE_DECIMALS` says
            otherwise.
    """
    return _read(text, decimal_mark, thousands) if len(text) <= _LONGEST else None


def read_quantity(text: str, *, thousands: bool = False) -> tuple[float, str] | None:
    """The one number in a text and its unit, folded and without spaces: ``128 GB``, ``37,5``, ``EU 42``, ``6.1"``.

    Args:
        text: as written.
        thousands: as in :func:`read_number`.

    Returns:
        The number and the unit, which is a currency or empty where :func:`read_number` reads the text; None when there
        is no number, there are several ("32/34"), or it may be one of two.
    """
    if "/" in text and _SEVERAL.search(text):
        return None
    number = read_number(text, thousands=thousands)
    unit = ""
    if number is None:
        match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None:
            return None
        number = read_number(match["number"], thousands=thousands)
        unit = "".join(f"{match['before']}#{match['after']}".casefold().split())
    if number is None or number.value is None:
        return None
    return number.value, unit or number.currency or ""


@lru_cache(maxsize=50_000)
def _read(text: str, decimal_mark: DecimalMark | None, thousands: bool) -> Number | None:
    if text.isascii() and text.isdigit():
        return Number(float(text))
    if _EXPONENT.fullmatch(text) is not None:
        number = float(text)
        return Number(number) if math.isfinite(number) else None
    written = _written(text)
    if written is None:
        return None
    match, currency, is_money = written
    thousands = (thousands or is_money) and currency not in THREE_DECIMALS
    readings = _readings(match["digits"], "." if "٫" in text else decimal_mark, thousands)
    of = 100 if match["percent"] else 5 if match["stars"] else int(match["of"]) if match["of"] else None
    if len(readings) != 1:
        return Number(None, currency, of) if readings else None
    value = float(readings[0]) * (1000 if match["thousand"] else 1)
    if not math.isfinite(value):
        return None
    return Number(-value if match["minus"] or match["minus_after"] else value, currency, of)


def _written(text: str) -> tuple[re.Match[str], str | None, bool] | None:
    """The parts of a number, its currency, and whether it is an amount that has no three decimals."""
    folded = _folded(text)
    match = None if folded is None else _NUMBER.fullmatch(folded)
    if match is None:
        return None
    named = {_SIGNS[sign] for sign in match.group("first", "second", "last") if sign}
    currency = _most_exact(named)
    if named and currency is None:
        return None
    is_money = (currency is not None and currency not in THREE_DECIMALS) or bool(match["no_decimals"])
    return match, currency, is_money


def _folded(text: str) -> str | None:
    """Lower case, ASCII digits, plain apostrophes and single spaces; None with digits such as ``²`` or ``½``."""
    if not text.isascii():
        if any(unicodedata.category(letter) == "No" for letter in text):
            return None
        text = unicodedata.normalize("NFKC", text.translate(_LETTERS)).translate(_LETTERS).replace("٫", ".")
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    return " ".join(text.translate(_LETTERS).casefold().split())


def _readings(digits: str, decimal_mark: DecimalMark | None, thousands: bool) -> tuple[str, ...]:
    """What digits with marks can be, in Python's notation; nothing when the marks stand in no known order."""
    whole, mark, decimals = digits, "", ""
    last = max(digits.rfind("."), digits.rfind(","))
    if last >= 0:
        whole, mark, decimals = digits[:last], digits[last], digits[last + 1 :]
    if not decimals.isdigit() and mark:
        return ()
    if not any(other in whole for other in ".,' "):
        as_decimal = (f"{whole or 0}.{decimals}" if mark else whole,)
        if len(decimals) != 3 or not 1 <= len(whole) <= 3 or whole[0] == "0":
            return as_decimal
        if decimal_mark is not None:
            return as_decimal if mark == decimal_mark else (whole + decimals,)
        return (whole + decimals,) if thousands else (*as_decimal, whole + decimals)
    if mark and mark not in whole:
        plain = _ungrouped(whole)
        return () if plain is None else (f"{plain}.{decimals}",)
    plain = _ungrouped(digits)
    return () if plain is None else (plain,)


def _ungrouped(digits: str) -> str | None:
    """Without the marks between groups of three, or of two and at last three; None where groups are others."""
    return re.sub(r"\D", "", digits) if _GROUPED.fullmatch(digits) and digits[0] != "0" else None


def decimal_mark_of(texts: Iterable[str]) -> DecimalMark | None:
    """The decimal mark that numbers written by one hand share, as those of one column do; None where they don't tell.

    Those that can be read in one way only tell it: ``39,90`` and ``1.299,00`` a comma. Where all marks are commas
    before three digits and whole numbers stand beside them (``3``, ``1,203``, ``1,250``), they are thousands: decimals
    would not all have three places. Points do not tell so much, as programs write them in decimals.
    """
    marks: set[str] = set()
    whole = False
    unsettled: set[str] = set()
    for text in texts:
        written = _written(text) if len(text) <= _LONGEST else None
        if written is None:
            continue
        match, _, is_money = written
        digits = match["digits"]
        last = max(digits.rfind("."), digits.rfind(","))
        readings = _readings(digits, None, is_money)
        if last < 0:
            whole = whole or digits.isdigit()
        elif len(readings) == 2:
            unsettled.add(digits)
        elif readings and "." not in readings[0]:
            marks.add("," if digits[last] == "." else ".")
        elif readings:
            marks.add(digits[last])
    if not marks and whole and len(unsettled) > 1 and all("," in digits for digits in unsettled):
        return "."
    return next((mark for mark in _DECIMAL_MARKS if marks == {mark}), None)


def number_text(number: float) -> str:
    """A number as a text that can be read in one way only: ``1.125`` becomes ``1.1250``."""
    text = format(number, ".15g")
    read = read_number(text)
    return f"{text}0" if read is not None and read.is_ambiguous else text


def currency_of(text: str) -> str | None:
    """The currency that a text names, as :class:`Number` has it; None when it names none that is known."""
    folded = _folded(text) if len(text) <= _LONGEST else None
    return None if folded is None else _SIGNS.get(folded)


def same_currency(one: str, other: str) -> bool:
    """Whether two currencies can be one: ``$`` and ``CAD`` can, ``USD`` and ``CAD`` cannot."""
    return one == other or one in _OF_SIGN.get(other, ()) or other in _OF_SIGN.get(one, ())


def _most_exact(named: set[str]) -> str | None:
    """The code among signs that stand for it; None without any, or where they contradict each other."""
    codes = named - _OF_SIGN.keys()
    if len(codes) > 1 or (not codes and len(named) > 1):
        return None
    found = next(iter(codes or named), None)
    return found if found is None or all(same_currency(found, other) for other in named) else None
