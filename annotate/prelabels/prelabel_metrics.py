"""What pre-labels are worth: right values and actions left for people, against gold; who sends them on as they are.

A pre-label that nobody changed may be right, or may not have been looked at; the two cannot be told apart one by one.
Their rate and their time per turn can be compared between annotators. Single answers that came faster than a turn can
be read are findings of the checks (``untouched_fast``), and their dialogues are listed to be labelled again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from annotate.annotations.annotation import Annotation
from annotate.prelabels.offers import Offer, corrected_with_offers
from schemas.accumulate import accumulate, difference
from schemas.belief import BeliefState, TurnUpdate
from schemas.corrections import Edit, corrected
from schemas.ontology import Ontology
from schemas.state_metrics import Hits, Item, StateFigures, items_of

STROKES = {"picks": 8, "typed": 16, "removals": 1, "offers": 1, "submits": 1}
"""Clicks and keys of an action. A pick is a click, some letters, ↓ and Enter, eight as counted on the screen; what is
typed, a click, a line such as ``color=aubergine`` and Enter, taken as sixteen."""


@dataclass
class Actions:
    """What an annotator does."""

    picks: int = 0  # values, drops and flags picked from a list
    typed: int = 0  # values typed because no list offers them
    removals: int = 0  # marks taken away
    offers: int = 0  # offers taken, of whatever number of marks
    submits: int = 0  # tasks sent
    of_slot: Counter[str] = field(default_factory=Counter)  # slot, or ``new_topic``, ``unsure`` -> all but submits

    @property
    def total(self) -> int:
        return self.picks + self.typed + self.removals + self.offers + self.submits

    @property
    def strokes(self) -> int:
        """Clicks and keys that the actions take, see :data:`STROKES`."""
        return sum(strokes * getattr(self, name) for name, strokes in STROKES.items())

    def add(self, edits: Sequence[Edit], offered: Collection[str], taken: Sequence[Offer] = ()) -> None:
        """Count the actions of one turn; values not ``offered`` (``slot=value``) are typed."""
        for offer in taken:
            self.offers += 1
            self.of_slot[next(iter(offer.slots)) if len(offer.slots) == 1 else offer.text] += 1
        for edit in edits:
            self.of_slot[edit.slot or edit.mark] += 1
            if edit.removes:
                self.removals += 1
            elif edit.value and f"{edit.slot}={edit.value}" not in offered:
                self.typed += 1
            else:
                self.picks += 1


@dataclass
class PrelabelFigures:
    """Sums over dialogues."""

    dialogues: int = 0
    turns: int = 0
    # slot -> values that a turn newly wants or avoids or gives up; wanting again what is wanted says nothing
    updates: dict[str, Hits] = field(default_factory=dict)
    states: StateFigures = field(default_factory=StateFigures)  # the cumulative states, of pre-labels alone
    exact_updates: int = 0  # turns whose pre-label leads from the gold state before to the gold state after
    without: Actions = field(default_factory=Actions)  # actions of labelling from nothing
    corrections: Actions = field(default_factory=Actions)  # actions of correcting the pre-labels, offers taken
    by_hand: Actions = field(default_factory=Actions)  # the same if nothing were offered
    offers: int = 0  # all that were shown

    @property
    def ratio(self) -> float | None:
        """Actions with pre-labels over those without; None where there is nothing to do."""
        return self.corrections.total / self.without.total if self.without.total else None

    @property
    def ratio_of_strokes(self) -> float | None:
        """The same in clicks and keys."""
        return self.corrections.strokes / self.without.strokes if self.without.total else None

    @property
    def ratio_of_marks(self) -> float | None:
        """The same without the submits, of which there are as many either way."""
        marks = self.without.total - self.without.submits
        return (self.corrections.total - self.corrections.submits) / marks if marks else None


def measure_dialogue(
    figures: PrelabelFigures,
    prelabels: Sequence[TurnUpdate],
    gold: Sequence[BeliefState | None],
    ontology: Ontology,
    *,
    offered: Collection[str],
    windows: int,
    offers: Sequence[Sequence[Offer]] = (),
) -> None:
    """Add one dialogue to the figures.

    Args:
        figures: changed.
        prelabels: an update for each user turn.
        gold: the state after each; where it is None the turn is left out.
        ontology: of both.
        offered: ``slot=value`` entries that the screen offers.
        windows: tasks that the dialogue is cut into, each submitted once.
        offers: what is offered beside each update; empty: nothing anywhere.
    """
    figures.dialogues += 1
    figures.without.submits += windows
    figures.corrections.submits += windows
    figures.by_hand.submits += windows
    own_states = [known.state or () for known in accumulate(prelabels, ontology)]
    before: BeliefState | None = ()
    beside = offers or [()] * len(prelabels)
    for update, here, own, after in zip(prelabels, beside, own_states, gold, strict=True):
        if after is None:
            before = None
            continue
        figures.turns += 1
        figures.without.add(corrected(TurnUpdate(), before, after, ontology).edits, offered)
        figures.by_hand.add(corrected(update, before, after, ontology).edits, offered)
        taken, correction = corrected_with_offers(update, here, before, after, ontology)
        figures.corrections.add(correction.edits, offered, taken)
        figures.offers += len(here)
        said, wanted = _applied(update, before or (), ontology), items_of(after)
        figures.exact_updates += said == wanted
        figures.states.add(own, after)
        changed_by_gold = set(_changes(items_of(before or ()), wanted))
        changed_by_update = set(_changes(items_of(before or ()), said))
        for slot in {change[1] for change in changed_by_gold | changed_by_update}:
            mine, theirs = ([c for c in some if c[1] == slot] for some in (changed_by_update, changed_by_gold))
            figures.updates.setdefault(slot, Hits()).add(mine, theirs)
        before = after


def _applied(update: TurnUpdate, before: BeliefState, ontology: Ontology) -> set[Item]:
    """The state that an update leads to from a state that is known."""
    return items_of(accumulate([difference((), before), update], ontology)[-1].state or ())


def _changes(before: set[Item], after: set[Item]) -> Iterator[tuple[str, str, str, str]]:
    for sign, items in (("+", after - before), ("-", before - after)):
        for slot, polarity, value in items:
            yield sign, slot, polarity, value


def seconds_per_turn(annotation: Annotation) -> float | None:
    """How long an answer took, by user turn; None where Label Studio does not say."""
    turns = len(annotation.turns())
    return None if annotation.lead_time is None or not turns else annotation.lead_time / turns


@dataclass
class _Person:
    untouched: list[float | None] = field(default_factory=list)
    changed: list[float | None] = field(default_factory=list)

    @property
    def prelabelled(self) -> int:
        return len(self.untouched) + len(self.changed)


class AcceptanceCounts:
    """Counts answers that started from a pre-label, annotator by annotator."""

    def __init__(self) -> None:
        self._people: dict[str, _Person] = {}

    def add(self, annotations: Iterable[Annotation]) -> None:
        """Count answers; those that started from nothing, and the corpus' own states, do not count."""
        for annotation in annotations:
            if annotation.prelabel is not None:
                person = self._people.setdefault(annotation.annotator, _Person())
                (person.untouched if annotation.untouched else person.changed).append(seconds_per_turn(annotation))

    def as_json(self) -> dict[str, Any]:
        """``{prelabelled, untouched, annotators: {name: {prelabelled, untouched, rate, seconds_per_turn_untouched,
        seconds_per_turn_changed}}}``; seconds are medians, None where no time is known.
        """
        return {
            "prelabelled": sum(person.prelabelled for person in self._people.values()),
            "untouched": sum(len(person.untouched) for person in self._people.values()),
            "annotators": {
                name: {
                    "prelabelled": person.prelabelled,
                    "untouched": len(person.untouched),
                    "rate": len(person.untouched) / person.prelabelled,
                    "seconds_per_turn_untouched": _median(person.untouched),
                    "seconds_per_turn_changed": _median(person.changed),
                }
                for name, person in sorted(self._people.items())
            },
        }


def _median(seconds: Iterable[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return round(median(known), 3) if known else None
