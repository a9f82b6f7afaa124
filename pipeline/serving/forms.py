"""What requests and answers look like; the OpenAPI description is made of these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Words = Annotated[str, StringConstraints(max_length=4000)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TurnForm(_Form):
    """One utterance."""

    speaker: Literal["user", "system"] = Field(description="Who speaks.")
    text: Words = Field("", description="What is said; may be empty where images are shown.")
    images: list[Name] = Field(
        [],
        max_length=16,
        description="Images shown: image ids or product ids of the catalogue, or names in `images` of the request. "
        "Addresses are not fetched.",
    )


class CorrectionForm(_Form):
    """What is really wanted of a slot; without values, nothing is."""

    slot: Name = Field(description="The slot's name.")
    like: list[Name] = Field([], max_length=100, description="Values wanted.")
    dislike: list[Name] = Field([], max_length=100, description="Values to be avoided.")


_TURNS: list[Any] = [
    {"speaker": "user", "text": "I am looking for a jacket, but not in black."},
    {"speaker": "system", "text": "Do you like one of these?", "images": ["an image id or a product id"]},
    {"speaker": "user", "text": "Like the first one, in blue."},
]


class StateForm(_Form):
    """A conversation: the question is what its user wants by now."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"turns": _TURNS[:1]}, {"turns": _TURNS[:1], "corrections": [{"slot": "type"}]}]
        },
    )

    turns: list[TurnForm] = Field(min_length=1, max_length=200, description="All that was said, oldest first.")
    images: dict[Name, str] = Field(
        {},
        max_length=16,
        description="Images that the catalogue does not have: a name of your choice -> the file in base64.",
    )
    corrections: list[CorrectionForm] = Field(
        [], max_length=100, description="Slots whose values are known better than the model reads them."
    )


class RecommendForm(StateForm):
    """A conversation: the question is which products fit it best."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"turns": _TURNS[:1], "top": 5},
                {"turns": _TURNS[:1], "where": "price < 60", "diversify": 0.3},
                {"turns": _TURNS[:1], "corrections": [{"slot": "color", "like": ["blue"]}], "explain": True},
                {
                    "turns": [{"speaker": "user", "text": "something like this", "images": ["mine.png"]}],
                    "images": {"mine.png": "iVBORw0KGgo... (the file in base64)"},
                },
            ]
        },
    )

    top: int = Field(10, ge=1, le=100, description="How many products.")
    where: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = Field(
        None, description="A filter, as `semctl recommend --where` takes it: only such products are ranked."
    )
    diversify: float = Field(0.0, ge=0, le=1, description="How much less a product counts for being like better ones.")
    explain: bool = Field(False, description="Tell of each product why it is there.")


class KeepForm(_Form):
    """A correction made by hand, after all that was said so far."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"turns": _TURNS[:1], "correction": {"slot": "color", "like": ["blue"], "dislike": ["black"]}}]
        },
    )

    turns: list[TurnForm] = Field(
        min_length=1,
        max_length=200,
        description="All that was said; the correction belongs to the user's last turn. Images of the catalogue only.",
    )
    correction: CorrectionForm = Field(description="All that is wanted of the slot by now, and all to be avoided.")
    as_read: list[Name] = Field(
        [],
        max_length=200,
        description="Those of its values that stand as the model read them: a slot with any is no label.",
    )
    undone: bool = Field(False, description="An earlier correction of the slot is taken back: the slot is no label.")
    key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{8,64}$")] | None = Field(
        None, description="A random name of your choice: a correction sent again under it counts once."
    )


class KeepAnswer(_Form):
    """A correction that is on the disk."""

    key: str = Field(description="What it is known by.")


class ValueAnswer(_Form):
    """A value of a slot."""

    value: str
    polarity: Literal["like", "dislike"]
    probability: float = Field(description="How sure the model is of what it reads of this slot, 0 to 1.")


class SlotAnswer(_Form):
    """What is wanted of a slot."""

    slot: str
    title: str = Field(description="The slot's name for people.")
    values: list[ValueAnswer] = Field(description="Empty where a correction says that nothing is wanted of it.")
    corrected: bool = Field(description="Whether this is what a correction says.")
    read: list[ValueAnswer] | None = Field(None, description="Of a corrected slot, what the model reads by itself.")


class ReasonAnswer(_Form):
    """A part of why a product is there."""

    text: str
    weight: float | None = Field(
        description="What it adds to the score, below 0 against the product; null where scores are no sums."
    )


class ProductAnswer(_Form):
    """A product of the catalogue."""

    product_id: str
    name: str
    description: str
    price: float | None
    currency: str | None
    attributes: dict[str, list[str]]
    images: list[str] = Field(description="Image ids, the first one first: see `/images/{image_id}`.")


class RankedAnswer(ProductAnswer):
    """A recommended product."""

    rank: int = Field(description="From 1.")
    score: float = Field(description="Higher is better; comparable within one answer only.")
    further: dict[str, list[str]] = Field(description="The attributes that its name does not say already.")
    why: list[ReasonAnswer] | None = Field(description="Largest first; null unless it was asked for.")


class StateAnswer(_Form):
    """What a conversation is taken to want."""

    run: str
    catalogue: str = Field(description="Which catalogue answered: changes with every update of it.")
    state: list[SlotAnswer] | None = Field(description="Null for a run whose states cannot be read.")


class RecommendAnswer(StateAnswer):
    """The products that fit a conversation best."""

    products: list[RankedAnswer]
    fitting: int | None = Field(description="How many products the filter lets through; null without one.")


class OfferedSlotAnswer(_Form):
    """A slot, and what it can be corrected to."""

    slot: str
    title: str
    values: list[str] = Field(description="The commonest first, at most 200; others may be given, too.")


class VersionAnswer(_Form):
    """What runs here."""

    semctl: str
    run: str
    catalogue: str
    products: int
    images: bool = Field(description="False where every image is left out.")
    reads_states: bool = Field(description="Whether states can be read.")
    takes_corrections: bool = Field(description="Whether corrections change the ranking.")
    keeps_corrections: bool = Field(default=False, description="Whether they can be kept: see `/corrections`.")
    slots: list[OfferedSlotAnswer]


class HealthAnswer(_Form):
    """Whether it works."""

    status: Literal["ok", "failing"]
    catalogue: str
    products: int
    update: str | None = Field(description="Why the newest catalogue is not served; null when it is.")


class ErrorDetail(_Form):
    """What is wrong, where, and what to do."""

    kind: str
    what: str
    where: str | None
    fix: str | None


class ErrorAnswer(_Form):
    """The answer to a request that was refused."""

    error: ErrorDetail
