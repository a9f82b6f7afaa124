"""Where a ranker is good and where it is not: its figures on parts of the queries, each with an interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.json_form import json_form
from schemas.ontology import Ontology
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import Query
from semantic_model.evaluation.metrics import Interval, bootstrap_intervals

Numbers = npt.NDArray[np.float64]

_FEWEST = 2  # dialogues from which an interval can be drawn
_MOST_KINDS = 12
_OTHERS = "all others"


@dataclass(frozen=True)
class Figure:
    """A mean over queries and its 95 % interval, drawing whole dialogues; None of a single dialogue."""

    mean: float
    interval: Interval | None

    @classmethod
    def of(cls, values: Numbers, dialogues: Sequence[str]) -> Figure:
        """Of one figure a query."""
        if len(set(dialogues)) < _FEWEST:
            return cls(float(values.mean()), None)
        return cls(float(values.mean()), bootstrap_intervals({"": values}, dialogues)[""])

    def as_json(self) -> dict[str, Any]:
        return {"mean": self.mean, "interval": self.interval and list(self.interval)}


@dataclass(frozen=True)
class Slice:
    """A part of the queries."""

    name: str
    queries: int
    dialogues: int
    mine: Figure  # the run's
    difference: Figure  # by how much it is ahead of another ranker, paired by query


@dataclass(frozen=True)
class SliceGroup:
    """All queries, divided in one way."""

    name: str  # by what
    slices: tuple[Slice, ...]

    def as_json(self) -> dict[str, Any]:
        return json_form(self)


def slice_groups(
    labels: Mapping[str, Sequence[str]], mine: Numbers, theirs: Numbers, dialogues: Sequence[str]
) -> tuple[SliceGroup, ...]:
    """Figures of each part.

    Args:
        labels: by what queries are divided -> the part of each query [Q]; parts are shown in the order of their names.
        mine, theirs: the figure of each query by the run and by another ranker [Q].
        dialogues: the dialogue of each query [Q].
    """
    return tuple(
        SliceGroup(name, tuple(_slice(part, of, mine, theirs, dialogues) for part in _in_order(of)))
        for name, of in labels.items()
    )


def _in_order(labels: Sequence[str]) -> list[str]:
    return sorted(set(labels), key=lambda label: (label == _OTHERS, label))


def _slice(part: str, labels: Sequence[str], mine: Numbers, theirs: Numbers, dialogues: Sequence[str]) -> Slice:
    rows = [row for row, label in enumerate(labels) if label == part]
    names = [dialogues[row] for row in rows]
    own, other = mine[rows], theirs[rows]
    return Slice(part, len(rows), len(set(names)), Figure.of(own, names), Figure.of(own - other, names))


def query_labels(queries: Sequence[Query], corpus: Corpus, ontology: Ontology) -> dict[str, list[str]]:
    """By what queries are divided -> the part of each query [Q].

    The kind of product is that of the slot which says what is sought; without such a slot there is no such division.
    """
    found: dict[str, list[str]] = {}
    attribute = _kind_attribute(ontology)
    if attribute is not None:
        kinds = [_kind(query, corpus, attribute) for query in queries]
        common = {kind for kind, _ in Counter(kinds).most_common(_MOST_KINDS)}
        found[f"{attribute} of the right products"] = [kind if kind in common else _OTHERS for kind in kinds]
    found["user turns so far"] = [_count_class(_user_turns(query), (1, 2, 3, 5, 8)) for query in queries]
    found["right products"] = [_count_class(len(set(query.positives)), (1, 2, 3)) for query in queries]
    found["images in the context"] = ["with images" if _has_images(query) else "without images" for query in queries]
    return found


def _kind_attribute(ontology: Ontology) -> str | None:
    from semantic_model.states.rules import category_slot
    from semantic_model.states.turn_reading import TurnReader

    slot = category_slot(TurnReader(ontology))
    return None if slot is None else ontology.slot(slot).attribute


def _kind(query: Query, corpus: Corpus, attribute: str) -> str:
    kinds = {", ".join(corpus.products[row].attributes.get(attribute, ())) or "none" for row in query.positives}
    return kinds.pop() if len(kinds) == 1 else "several kinds"


def _user_turns(query: Query) -> int:
    return sum(said.speaker == "user" for said in query.history)


def _has_images(query: Query) -> bool:
    return any(said.image_ids for said in query.history)


def _count_class(number: int, starts: Sequence[int]) -> str:
    """``1``, ``3 to 4`` or ``8 and more``: the class of ``starts`` that a number lies in."""
    if number < starts[0]:
        return str(number)
    at = max(place for place, start in enumerate(starts) if start <= number)
    if at + 1 == len(starts):
        return f"{starts[at]} and more"
    last = starts[at + 1] - 1
    return str(starts[at]) if last == starts[at] else f"{starts[at]} to {last}"
