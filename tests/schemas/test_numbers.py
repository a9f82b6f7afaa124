from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.numbers import (
    DecimalMark,
    Number,
    currency_of,
    decimal_mark_of,
    number_text,
    read_number,
    read_quantity,
    same_currency,
)


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("1,299.00", 1299, None),
        ("1.299,00", 1299, None),
        ("1 299,50", 1299.5, None),
        ("1\u00a0299", 1299, None),
        ("1\u2009299,00", 1299, None),
        ("1\u202f299\u202f000", 1299000, None),
        ("1'299.50", 1299.5, None),
        ("1\u2019299", 1299, None),
        ("1,29,999.00", 129999, None),
        ("12,34,567", 1234567, None),
        ("1,299,000", 1299000, None),
        ("1.299.000", 1299000, None),
        ("24,9", 24.9, None),
        ("0,125", 0.125, None),
        ("1299.000", 1299, None),
        ("3,1416", 3.1416, None),
        (".5", 0.5, None),
        ("-5", -5, None),
        ("\u22125,5", -5.5, None),
        ("2k", 2000, None),
        ("2,5 K", 2500, None),
        ("\uff11\uff12\uff19\uff19", 1299, None),
        ("\u0967,\u0968\u096f,\u096f\u096f\u096f", 129999, None),
        ("\u0661\u066c\u0662\u0669\u0669\u066b\u0665", 1299.5, None),
        ("$1,299", 1299, "$"),
        ("-$5", -5, "$"),
        ("$-5", -5, "$"),
        ("Rs. 1,299", 1299, "Rs"),
        ("Rs.499/-", 499, "Rs"),
        ("Rs. 1299 only", 1299, "Rs"),
        ("\u20b9 1,23,456", 123456, "INR"),
        ("39,90 \u20ac", 39.9, "EUR"),
        ("\u20ac 1.299,-", 1299, "EUR"),
        ("1.299,-", 1299, None),
        ("CHF 35.\u2013", 35, "CHF"),
        ("35 kr.", 35, "kr"),
        ("35:-", 35, None),
        ("29,99 z\u0142", 29.99, "PLN"),
        ("R$ 1.299,90", 1299.9, "BRL"),
        ("\u20a1 5.000", 5000, "CRC"),
        ("1,299 \u062f.\u0625", 1299, "AED"),
        ("990 \u0e1a\u0e32\u0e17", 990, "THB"),
        ("UGX 50,000", 50000, "UGX"),
        ("US $24.99", 24.99, "USD"),
        ("$24.99 CAD", 24.99, "CAD"),
        ("2k\u20ac", 2000, "EUR"),
        ("\uff041\uff0c299", 1299, "$"),
        ("20 dollars", 20, "$"),
        ("1e+16", 1e16, None),
        ("-1.5E-05", -1.5e-05, None),
    ],
)
def test_numbers_in_one_reading(text: str, value: float, currency: str | None):
    assert read_number(text) == Number(value, currency)


@pytest.mark.parametrize(
    ("text", "value", "of"),
    [("5.0 out of 5 stars", 5, 5), ("4,5/5", 4.5, 5), ("9 / 10", 9, 10), ("4 stars", 4, 5), ("50 %", 50, 100)],
)
def test_numbers_that_say_of_how_many_they_are(text: str, value: float, of: int):
    assert read_number(text) == Number(value, None, of)


@pytest.mark.parametrize("text", ["1,299", "1.299", "12,500", "\uff11\uff0c\uff12\uff19\uff19", "1,299k", "1.250 KWD"])
def test_one_mark_before_three_digits_is_ambiguous(text: str):
    number = read_number(text)
    assert number is not None
    assert number.is_ambiguous
    assert number.value is None


@pytest.mark.parametrize(
    ("text", "mark", "thousands", "value"),
    [
        ("1,299", None, True, 1299),
        ("1.299", None, True, 1299),
        ("1,299", ".", False, 1299),
        ("1,299", ",", False, 1.299),
        ("1.299", ",", False, 1299),
        ("1.299", ".", True, 1.299),
        ("1.250 KWD", ".", False, 1.25),
    ],
)
def test_what_it_stands_among_settles_it(text: str, mark: DecimalMark | None, thousands: bool, value: float):
    number = read_number(text, decimal_mark=mark, thousands=thousands)
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "free", "size 4", "n5", "100% wool", "2 for 3", "<500", ">= 20", "max 500", "500-1000", "5+", "~20"),
        *(
            "$24.99 - $39.99",
            "$24.99 EUR",
            "7,8,9",
            "36 38",
            "1.2.3",
            "12,50.00",
            "1,299 000",
            "1,2999,000",
            "01,299.5",
        ),
        *("5\u00b2", "\u00bd", "5\u00bd", "\u2460", "5'11", "6 ft", "128 GB", "1" * 65, "kr", "not 5"),
    ],
)
def test_what_is_not_one_number(text: str):
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("texts", "mark"),
    [
        (("39,90 \u20ac", "1.299"), ","),
        (("1.299,00", "1.299"), ","),
        (("1.299.000",), ","),
        (("$1,299", "1,300"), "."),
        (("4.5", "1.125"), "."),
        (("1'299.50", "12"), "."),
        (("3", "1,203", "1,250", "seven"), "."),
        (("3", "1.203", "1.250"), None),
        (("1,203", "1,250"), None),
        (("3", "1,203"), None),
        (("39,90", "12.50"), None),
        (("free", "12"), None),
        ((), None),
    ],
)
def test_the_decimal_mark_of_a_column(texts: tuple[str, ...], mark: str | None):
    assert decimal_mark_of(texts) == mark


@given(
    st.decimals(min_value=0, max_value=10**9, places=2),
    st.sampled_from(((",", "."), (".", ","), (" ", ","), ("\u202f", ","), ("'", "."))),
    st.sampled_from(("{}", "{} \u20ac", "$ {}", "Rs. {}", "-{}")),
)
def test_every_number_with_cents_is_read_back(number: object, marks: tuple[str, str], form: str):
    whole, _, cents = f"{number:,}".partition(".")
    read = read_number(form.format(whole.replace(",", marks[0]) + marks[1] + cents))
    assert read is not None
    assert read.value == float(str(number)) * (-1 if form[0] == "-" else 1)


@given(st.text(max_size=12) | st.text("0123456789.,' -k$\u20ac", max_size=12))
def test_no_text_breaks_the_reader(text: str):
    number = read_number(text)
    settled = read_number(text, thousands=True)
    if number is None or not number.is_ambiguous:
        assert settled == number
    elif number.currency is None:
        assert settled is not None
        assert settled.value is not None


def test_a_price_with_three_decimals_stays_ambiguous_in_currencies_that_have_them():
    number = read_number("1.250 KWD", thousands=True)
    assert number == Number(None, "KWD")


@given(st.floats(-1e300, 1e300).map(lambda number: float(format(number, ".10g"))))
def test_a_number_written_as_text_is_read_back(number: float):
    assert read_number(number_text(number)) == Number(number)


def test_a_number_written_as_text_reads_in_one_way():
    assert [number_text(x) for x in (1.125, 24.5, 1299.0, 0.125, 1234.567, -36.125)] == [
        *("1.1250", "24.5", "1299", "0.125", "1234.567", "-36.1250")
    ]


def test_currencies():
    assert [currency_of(text) for text in ("eur", "\u20ac", "Rs.", " KR", "$", "XTS", "")] == [
        *("EUR", "EUR", "Rs", "kr", "$", None, None)
    ]
    assert same_currency("$", "CAD")
    assert same_currency("INR", "Rs")
    assert not same_currency("USD", "CAD")
    assert not same_currency("$", "EUR")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("42", (42, "")),
        ("37,5", (37.5, "")),
        ("128 GB", (128, "#gb")),
        ("128gb", (128, "#gb")),
        ("EU 42", (42, "eu#")),
        ('6.1"', (6.1, '#"')),
        ("25 EUR", (25, "EUR")),
        ("1-2 years", None),
        ("32/34", None),
        ("W 32 / L 34", None),
        ("1,299 g", None),
        ("small", None),
        ("", None),
    ],
)
def test_a_quantity_is_a_number_with_its_unit(text: str, amount: tuple[float, str] | None):
    assert read_quantity(text) == amount
