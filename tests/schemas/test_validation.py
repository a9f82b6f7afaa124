"""What is said of names and values that do not fit."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from schemas.errors import UsageError
from schemas.validation import Mistake, did_you_mean, first_mistake, known_name, nearest


class Lamp(BaseModel):
    model_config = ConfigDict(extra="forbid")
    watts: int = Field(ge=1)
    shade: str = "plain"

    @field_validator("shade")
    @classmethod
    def _no_blank(cls, value: str) -> str:
        if not value:
            raise ValueError("the shade is blank")
        return value


class Room(BaseModel):
    lamps: list[Lamp]


def mistake_of(value: object) -> Mistake:
    with pytest.raises(ValidationError) as raised:
        Room.model_validate(value)
    return first_mistake(raised.value)


def test_a_close_name_is_asked_about_and_a_strange_one_gets_the_other_advice():
    assert did_you_mean("colr", ["size", "color"], "see the list") == "did you mean 'color'?"
    assert did_you_mean("zzz", ["size", "color"], "see the list") == "see the list"
    assert nearest("x", []) is None


def test_a_name_is_one_of_those_known_or_refused_with_the_nearest():
    assert known_name("shade", "plain", ("plain", "ribbed")) == "plain"
    with pytest.raises(UsageError, match=r"unknown shade 'plan'; did you mean 'plain'\?"):
        known_name("shade", "plan", ("plain", "ribbed"))
    with pytest.raises(UsageError, match="one of plain, ribbed"):
        known_name("shade", "zzz", ("plain", "ribbed"))


def test_a_mistake_says_where_it_is_without_the_words_of_pydantic():
    assert mistake_of({"lamps": [{"watts": 5}, {"watts": 5, "shade": ""}]}) == (
        ("lamps", 1, "shade"),
        "the shade is blank",
        "value_error",
    )
    assert mistake_of({"lamps": [{"watts": 0}]}).key == "lamps.0.watts"
    assert mistake_of(3).key == ""


def test_an_unknown_key_goes_before_the_one_that_is_missing():
    wrong = mistake_of({"lamps": [{"wats": 5}]})
    assert wrong.is_unknown
    assert wrong.key == "lamps.0.wats"
