"""What each turn of a dialogue changes, when several annotations speak of it.

1. Of several versions of one annotation the newest counts; a withdrawn one does not count at all. Of several answers
   of one annotator to a turn the newest stands.
2. People win over the corpus, dialogue by dialogue: an update is relative to the turns before it, so the two are not
   mixed within one dialogue. They win over corrections made on the page, turn by turn.
3. A verdict, an answer to a review task, decides the slots that the reviewer touched, whatever others say; of the
   others holds what annotators agree on, and what they do not stays in dispute. Once people answer otherwise than the
   reviewer saw, a verdict that differs from them is outdated: it holds on, and the reviewer is asked again.
4. One annotator alone is taken as is. Of several the policy makes one answer, turn by turn and item by item
   (:mod:`annotate.resolution.ballots`); whether a turn can be labelled at all (``unsure``, ``bad_turn``) is voted on
   first, and those who could not label it then have no say in what it changes. ``bad_dialogue`` is voted
   on among all who answered any turn of the dialogue; those who say it and are outvoted have no say in it either.
5. A slot in dispute is unknown from its turn on, until a turn says it anew: the dialogue is in D_P.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from annotate.annotations.annotation import PAGE, Annotation, turn_update
from annotate.resolution.answers import Ruling, newest_versions, people_answers, reviews, standing_annotations, verdicts
from annotate.resolution.ballots import Ballot, Item, answers_sha256, disagreement, items_of, vote
from annotate.resolution.policies import DawidSkene, Majority, Pattern, Policy, fit
from schemas.belief import TurnUpdate
from schemas.ontology import Ontology

DecidedBy = Literal["corpus", "one", "agreement", "majority", "dawid-skene", "disputed", "verdict"]
"""What made the label of a turn: the corpus, its only annotator, all of them alike, a policy, a reviewer; or nothing
did for some of its slots."""


@dataclass(frozen=True)
class TurnResolution:
    """What is in force of all that is said of one user turn."""

    turn: int
    update: TurnUpdate | None = None  # what it changes; None where nothing in force speaks of it
    decided_by: DecidedBy | None = None  # what made it so; None where nobody speaks
    sources: tuple[Annotation, ...] = ()  # the annotations that the update comes from, sorted by annotator
    disputed_slots: frozenset[str] = frozenset()  # unknown: people disagree and nothing has decided yet
    ballots: tuple[Ballot, ...] = ()  # what people say of it, by annotator; without verdicts
    # the items of the ballots, or of a verdict, that are decided on, also in disputed slots, as they are to be written
    agreed: Mapping[Item, str] = field(default_factory=dict)
    outdated: frozenset[str] = frozenset()  # decided by a verdict; somebody said something else since

    @property
    def disagreement(self) -> float:
        """See :func:`annotate.resolution.ballots.disagreement`."""
        return disagreement(self.ballots)


@dataclass(frozen=True)
class Resolution:
    """What is in force of all annotations of one dialogue."""

    turns: tuple[TurnResolution, ...]  # one entry per user turn
    in_force: tuple[Annotation, ...]  # annotations that count, sorted by key; several may speak of one turn
    orphaned: int  # how many of the annotations speak of turns that the dialogue does not have (any more)
    reviews: tuple[Annotation, ...] = ()  # the answers to review tasks among them, whether they decide anything or not

    @property
    def updates(self) -> tuple[TurnUpdate | None, ...]:
        """One entry per user turn; None where no annotation in force speaks of it."""
        return tuple(turn.update for turn in self.turns)

    def values_without_product(self, ontology: Ontology) -> Iterator[tuple[str, str]]:
        """Slot and value of everything wanted or disliked, in the annotations in force, that no product has."""
        for annotation in self.in_force:
            for mark in annotation.marks:
                slot = None if mark.slot is None else ontology.find(mark.slot)
                if slot is not None and mark.value is not None and mark.op in ("want", "dislike"):
                    linked = ontology.link(slot, mark.value)
                    if not linked.in_catalogue:
                        yield linked.slot, linked.value


def resolve(
    annotations: Iterable[Annotation], user_turns: Sequence[int], ontology: Ontology, policy: Policy | None = None
) -> Resolution:
    """Resolve all annotations of one dialogue, in any order.

    Args:
        annotations: every version of every annotation.
        user_turns: the dialogue's user turns, ascending.
        ontology: says which spellings are the same value.
        policy: decides between several people; the majority when not given.
    """
    policy = policy or Majority()
    counting = newest_versions(annotations)
    here = set(user_turns)
    orphaned = sum(1 for annotation in counting if not here.issuperset(annotation.turns()))
    ballots = ballots_of(counting, user_turns, ontology)
    sent = tuple(each for each in reviews(counting) if not here.isdisjoint(each.turns()))
    if not any(ballots.values()) and not sent:
        return _of_the_corpus([each for each in counting if each.is_corpus], user_turns, orphaned)
    rulings = {turn: given for turn, given in verdicts(counting).items() if turn in here}
    found = _of_people(ballots, rulings, policy, ontology)
    if any(mark.op == "bad_dialogue" for each in sent for mark in each.marks):
        found = {turn: _unlabelled(one, "verdict") for turn, one in found.items()}
    in_force = tuple(standing_annotations(counting, here))
    return Resolution(tuple(found[turn] for turn in user_turns), in_force, orphaned, sent)


def ballots_of(
    annotations: Iterable[Annotation], user_turns: Sequence[int], ontology: Ontology
) -> dict[int, tuple[Ballot, ...]]:
    """What people say of each user turn, sorted by annotator; without verdicts and the corpus."""
    answers = people_answers(annotations)
    labelled = {turn for annotator, said in answers.items() if annotator != PAGE for turn in said}
    return {
        turn: tuple(
            Ballot.read(annotator, said[turn].marks, said[turn].annotation, ontology)
            for annotator, said in sorted(answers.items())
            if turn in said and not (annotator == PAGE and turn in labelled)
        )
        for turn in user_turns
    }


def says_bad_dialogue(ballots: Mapping[int, Sequence[Ballot]]) -> dict[str, bool]:
    """Annotator -> whether they call the dialogue useless, for all who answered any of its turns."""
    said: dict[str, bool] = {}
    for turn in sorted(ballots):
        for ballot in ballots[turn]:
            said[ballot.annotator] = said.get(ballot.annotator, False) or ballot.flags_dialogue
    return said


def _of_the_corpus(annotations: list[Annotation], user_turns: Sequence[int], orphaned: int) -> Resolution:
    spoken: dict[int, TurnResolution] = {}
    for annotation in sorted(annotations, key=lambda each: (each.updated_at, each.annotation_id)):
        for turn, marks in annotation.turns().items():
            spoken[turn] = TurnResolution(turn, turn_update(marks), "corpus", (annotation,))
    in_force = tuple(sorted(annotations, key=lambda each: each.key))
    return Resolution(tuple(spoken.get(turn, TurnResolution(turn)) for turn in user_turns), in_force, orphaned)


def _of_people(
    ballots: Mapping[int, Sequence[Ballot]], rulings: Mapping[int, Sequence[Ruling]], policy: Policy, ontology: Ontology
) -> dict[int, TurnResolution]:
    slots = [slot.name for slot in ontology.slots]
    bad = says_bad_dialogue(ballots)
    useless = policy.decide(bad) if bad else False
    found = {}
    for turn, said in ballots.items():
        one = TurnResolution(turn, ballots=tuple(said))
        useful = [] if useless is not False else [ballot for ballot in said if not bad[ballot.annotator]]
        if turn in rulings:
            found[turn] = _of_rulings(one, rulings[turn], useful, policy, ontology)
        elif not said:
            found[turn] = one
        elif useless is None:
            sources = tuple(ballot.annotation for ballot in said)
            unreadable = TurnUpdate(readable=False)
            found[turn] = TurnResolution(turn, unreadable, "disputed", sources, frozenset(slots), tuple(said))
        elif useless:
            by: DecidedBy = "one" if len(bad) == 1 else "agreement" if all(bad.values()) else _by(policy)
            found[turn] = _unlabelled(one, by)
        else:
            found[turn] = _of_ballots(one, useful, policy, slots)
    return found


def _of_ballots(one: TurnResolution, ballots: Sequence[Ballot], policy: Policy, slots: Sequence[str]) -> TurnResolution:
    if not ballots:
        return one
    outcome = vote(ballots, policy, slots)
    by: DecidedBy = "one" if len(one.ballots) == 1 else "agreement"
    if outcome.disputed_slots:
        by = "disputed"
    elif not outcome.unanimous or len(ballots) < len(one.ballots):
        by = _by(policy)
    sources = tuple(ballot.annotation for ballot in ballots if ballot.annotator in outcome.supporters)
    return TurnResolution(
        one.turn, outcome.update, by, sources, outcome.disputed_slots, one.ballots, dict(outcome.agreed)
    )


def _of_rulings(
    one: TurnResolution, rulings: Sequence[Ruling], ballots: Sequence[Ballot], policy: Policy, ontology: Ontology
) -> TurnResolution:
    """A turn of which reviewers decided something: rulings oldest first, and the ballots that count for the rest."""
    slots = [slot.name for slot in ontology.slots]
    whole = rulings[0].slots is None
    update = turn_update(rulings[0].marks)
    fixed: dict[str, dict[Item, str]] = {}
    decided: dict[str, Ruling] = {}
    for ruling in rulings:
        readable = turn_update(ruling.marks).readable
        said = items_of(ruling.marks, ontology) if readable else {}
        if ruling.slots is not None:
            named = [slot if (found := ontology.find(slot)) is None else found.name for slot in ruling.slots]
        else:
            named = ["", *slots] if readable else []
        decided |= dict.fromkeys(named, ruling)
        fixed |= {slot: {item: said[item] for item in said if item.slot == slot} for slot in named}
    outdated = _outdated(one.ballots, decided, fixed, ontology)
    sources = {ruling.annotation.key: ruling.annotation for ruling in rulings}
    if whole and len(rulings) == 1:
        agreed = items_of(rulings[0].marks, ontology) if update.readable else {}
        return TurnResolution(
            one.turn, update, "verdict", tuple(sources.values()), frozenset(), one.ballots, agreed, outdated
        )
    outcome = vote([] if whole else ballots, policy, slots, fixed)
    sources |= {each.annotation.key: each.annotation for each in ballots if each.annotator in outcome.supporters}
    return TurnResolution(
        one.turn,
        outcome.update,
        "disputed" if outcome.disputed_slots else "verdict",
        tuple(sorted(sources.values(), key=lambda each: (each.annotator, each.key))),
        outcome.disputed_slots,
        one.ballots,
        dict(outcome.agreed),
        outdated,
    )


def _outdated(
    ballots: Sequence[Ballot],
    decided: Mapping[str, Ruling],
    fixed: Mapping[str, Mapping[Item, str]],
    ontology: Ontology,
) -> frozenset[str]:
    """The decided slots of which somebody says something else in an answer that the reviewer did not see."""
    now = answers_sha256(ballots) if decided else ""
    found = set()
    for slot, ruling in decided.items():
        review = ruling.annotation
        unseen = [ballot for ballot in ballots if ballot.annotation.updated_at > review.updated_at]
        if ruling.shown is not None and review.ontology_version == ontology.version:
            unseen = [] if ruling.shown == now else list(ballots)
        if any(
            each.readable and {item for item in each.items if item.slot == slot} != fixed[slot].keys()
            for each in unseen
        ):
            found.add(slot)
    return frozenset(found)


def _unlabelled(one: TurnResolution, by: DecidedBy) -> TurnResolution:
    """The turn of a dialogue that is of no use; one that nobody answered stays without a word."""
    if one.update is None and not one.ballots:
        return one
    sources = one.sources or tuple(ballot.annotation for ballot in one.ballots)
    return TurnResolution(one.turn, TurnUpdate(readable=False), by, sources, frozenset(), one.ballots)


def _by(policy: Policy) -> DecidedBy:
    """The policy, as what decided where people differ; ``adjudicated`` never does."""
    return "disputed" if policy.name == "adjudicated" else policy.name


class AnswerCounts:
    """Counts answer patterns, one dialogue at a time; memory goes with the groups of people that answered together."""

    def __init__(self, ontology: Ontology) -> None:
        self._markable = sum(2 * len(slot.values) + 1 for slot in ontology.slots)
        self.patterns: Counter[Pattern] = Counter()

    def add(self, ballots: Mapping[int, Sequence[Ballot]]) -> None:
        """Count what several people say of the turns of one dialogue."""
        bad = says_bad_dialogue(ballots)
        if len(bad) > 1:
            self._count(bad)
        for said in ballots.values():
            if len(said) > 1:
                self._count({ballot.annotator: not ballot.readable for ballot in said})
                self._add_items([ballot for ballot in said if ballot.readable])

    def _add_items(self, ballots: Sequence[Ballot]) -> None:
        if len(ballots) < 2:
            return
        marked = {item for ballot in ballots for item in ballot.items}
        for item in marked | {Item("new_topic")}:
            self._count({ballot.annotator: item in ballot.items for ballot in ballots})
        of_slots = len(marked - {Item("new_topic")})
        self._count({ballot.annotator: False for ballot in ballots}, max(0, self._markable - of_slots))

    def _count(self, votes: Mapping[str, bool], times: int = 1) -> None:
        if times:
            self.patterns[tuple(sorted(votes.items()))] += times

    def fitted(self) -> DawidSkene:
        """The reliability of everybody who answered together with others."""
        return fit(self.patterns)

    @classmethod
    def of(cls, dialogues: Iterable[Mapping[int, Sequence[Ballot]]], ontology: Ontology) -> AnswerCounts:
        """The counts of several dialogues."""
        counts = cls(ontology)
        for ballots in dialogues:
            counts.add(ballots)
        return counts
