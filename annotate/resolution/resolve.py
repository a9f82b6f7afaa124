"""What each turn of a dialogue changes, when several annotations speak of it.

1. Of several versions of one annotation the newest counts; a withdrawn one does not count at all. Of several answers
   of one annotator to a turn the newest stands.
2. People win over the corpus, dialogue by dialogue: an update is relative to the turns before it, so the two are not
   mixed within one dialogue.
3. A verdict, an answer to a review task, decides the turns it speaks of, whatever others say.
4. One annotator alone is taken as is. Of several the policy makes one answer, turn by turn and item by item
   (:mod:`annotate.resolution.ballots`); whether a turn can be labelled at all (``unsure``, ``bad_turn``) is voted on
   first, and those who could not label it then have no say in what it changes. ``bad_dialogue`` is voted
   on among all who answered any turn of the dialogue; those who say it and are outvoted have no say in it either.
5. A slot in dispute is unknown from its turn on, until a turn says it anew: the dialogue is in D_P.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from annotate.annotations import Annotation, turn_update
from annotate.resolution.answers import Answer, newest_versions, people_answers, verdicts
from annotate.resolution.ballots import Ballot, disagreement, vote
from annotate.resolution.items import Item, items_of
from annotate.resolution.policies import Majority, Policy
from schemas.belief import TurnUpdate
from schemas.ontology import Ontology

__all__ = ["DecidedBy", "Resolution", "TurnResolution", "ballots_of", "resolve", "says_bad_dialogue"]

DecidedBy = Literal["corpus", "one", "agreement", "majority", "dawid-skene", "disputed", "verdict"]
"""What made the label of a turn: the corpus, its only annotator, all of them alike, a policy, a reviewer; or nothing
did for some of its slots."""


@dataclass(frozen=True)
class TurnResolution:
    """What is in force of all that is said of one user turn.

    Attributes:
        turn: the turn.
        update: what it changes; None where nothing in force speaks of it.
        decided_by: what made it so; None where nobody speaks.
        sources: the annotations that the update comes from, sorted by annotator.
        disputed_slots: slots that are unknown because people disagree and nothing has decided yet.
        ballots: what people say of it, by annotator; without verdicts.
        agreed: the items of those ballots that are decided on, also in disputed slots, as they are to be written.
    """

    turn: int
    update: TurnUpdate | None = None
    decided_by: DecidedBy | None = None
    sources: tuple[Annotation, ...] = ()
    disputed_slots: frozenset[str] = frozenset()
    ballots: tuple[Ballot, ...] = ()
    agreed: Mapping[Item, str] = field(default_factory=dict)

    @property
    def disagreement(self) -> float:
        """See :func:`annotate.resolution.ballots.disagreement`."""
        return disagreement(self.ballots)


@dataclass(frozen=True)
class Resolution:
    """What is in force of all annotations of one dialogue.

    Attributes:
        turns: one entry per user turn.
        in_force: annotations that count, sorted by key; several may speak of one turn.
        orphaned: how many of the annotations speak of turns that the dialogue does not have (any more).
    """

    turns: tuple[TurnResolution, ...]
    in_force: tuple[Annotation, ...]
    orphaned: int

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
    reviewed = {turn: answer for turn, answer in verdicts(counting).items() if turn in here}
    if not any(ballots.values()) and not reviewed:
        return _of_the_corpus([each for each in counting if each.is_corpus], user_turns, orphaned)
    found = _of_people(ballots, policy, [slot.name for slot in ontology.slots])
    found |= {turn: _of_a_verdict(turn, answer, found[turn], ontology) for turn, answer in reviewed.items()}
    if any(mark.op == "bad_dialogue" for answer in reviewed.values() for mark in answer.annotation.marks):
        found = {turn: _unlabelled(one, "verdict") for turn, one in found.items()}
    standing = {ballot.annotation.key: ballot.annotation for said in ballots.values() for ballot in said}
    standing |= {answer.annotation.key: answer.annotation for answer in reviewed.values()}
    return Resolution(
        turns=tuple(found[turn] for turn in user_turns),
        in_force=tuple(standing[key] for key in sorted(standing)),
        orphaned=orphaned,
    )


def ballots_of(
    annotations: Iterable[Annotation], user_turns: Sequence[int], ontology: Ontology
) -> dict[int, tuple[Ballot, ...]]:
    """What people say of each user turn, sorted by annotator; without verdicts and the corpus."""
    answers = people_answers(annotations)
    return {
        turn: tuple(
            Ballot.read(annotator, said[turn].marks, said[turn].annotation, ontology)
            for annotator, said in sorted(answers.items())
            if turn in said
        )
        for turn in user_turns
    }


def says_bad_dialogue(ballots: Mapping[int, Sequence[Ballot]]) -> dict[str, bool]:
    """Annotator -> whether they call the dialogue useless, for all who answered any of its turns."""
    said: dict[str, bool] = {}
    for turn in sorted(ballots):
        for ballot in ballots[turn]:
            flagged = any(mark.op == "bad_dialogue" for mark in ballot.annotation.marks)
            said[ballot.annotator] = said.get(ballot.annotator, False) or flagged
    return said


def _of_the_corpus(annotations: list[Annotation], user_turns: Sequence[int], orphaned: int) -> Resolution:
    spoken: dict[int, TurnResolution] = {}
    for annotation in sorted(annotations, key=lambda each: (each.updated_at, each.annotation_id)):
        for turn, marks in annotation.turns().items():
            spoken[turn] = TurnResolution(turn, turn_update(marks), "corpus", (annotation,))
    in_force = tuple(sorted(annotations, key=lambda each: each.key))
    return Resolution(tuple(spoken.get(turn, TurnResolution(turn)) for turn in user_turns), in_force, orphaned)


def _of_people(
    ballots: Mapping[int, Sequence[Ballot]], policy: Policy, slots: Sequence[str]
) -> dict[int, TurnResolution]:
    bad = says_bad_dialogue(ballots)
    useless = policy.decide(bad) if bad else False
    found = {}
    for turn, said in ballots.items():
        one = TurnResolution(turn, ballots=tuple(said))
        if not said:
            found[turn] = one
        elif useless is None:
            sources = tuple(ballot.annotation for ballot in said)
            found[turn] = TurnResolution(
                turn, TurnUpdate(readable=False), "disputed", sources, frozenset(slots), tuple(said)
            )
        elif useless:
            by: DecidedBy = "one" if len(bad) == 1 else "agreement" if all(bad.values()) else _by(policy)
            found[turn] = _unlabelled(one, by)
        else:
            found[turn] = _of_ballots(one, [ballot for ballot in said if not bad[ballot.annotator]], policy, slots)
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


def _of_a_verdict(turn: int, answer: Answer, one: TurnResolution, ontology: Ontology) -> TurnResolution:
    update = turn_update(answer.marks)
    said = items_of(answer.marks, ontology) if update.readable else {}
    return TurnResolution(turn, update, "verdict", (answer.annotation,), frozenset(), one.ballots, said)


def _unlabelled(one: TurnResolution, by: DecidedBy) -> TurnResolution:
    """The turn of a dialogue that is of no use; one that nobody answered stays without a word."""
    if one.update is None and not one.ballots:
        return one
    sources = one.sources or tuple(ballot.annotation for ballot in one.ballots)
    return TurnResolution(one.turn, TurnUpdate(readable=False), by, sources, frozenset(), one.ballots)


def _by(policy: Policy) -> DecidedBy:
    """The policy, as what decided where people differ; ``adjudicated`` never does."""
    return "disputed" if policy.name == "adjudicated" else policy.name
