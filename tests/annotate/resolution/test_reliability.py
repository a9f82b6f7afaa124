from __future__ import annotations

import pytest

from annotate.annotations.annotation import Annotation, Mark
from annotate.resolution.resolve import AnswerCounts, ballots_of
from tests.labelling_corpus import ONTOLOGY

MARKABLE = 2 * 5 + 2  # three colours and two prices, wanted or disliked, and two slots to drop


def ballots(*answers: tuple[str, tuple[Mark, ...]], turns: tuple[int, ...] = (0,)):
    given = [
        Annotation(who, "d", who, "2026", task_uid="d#0").with_marks(marks or [Mark(0, "none")])
        for who, marks in answers
    ]
    return ballots_of(given, turns, ONTOLOGY)


def test_everything_that_could_be_marked_is_an_item_marked_or_not():
    red, blue = Mark(0, "want", "color", "red"), Mark(0, "want", "color", "blue")
    counts = AnswerCounts.of([ballots(("ann", (red,)), ("bo", (red, blue)))], ONTOLOGY)
    assert counts.patterns == {
        (("ann", True), ("bo", True)): 1,  # red
        (("ann", False), ("bo", True)): 1,  # blue
        # the rest of what is there, a new topic, that the turn cannot be labelled, that the dialogue is useless
        (("ann", False), ("bo", False)): MARKABLE - 2 + 1 + 1 + 1,
    }


def test_a_turn_of_one_annotator_tells_nothing_and_who_could_not_label_it_marks_nothing():
    red = Mark(0, "want", "color", "red")
    assert not AnswerCounts.of([ballots(("ann", (red,)))], ONTOLOGY).patterns
    counts = AnswerCounts.of([ballots(("ann", (red,)), ("bo", (Mark(0, "unsure"),)))], ONTOLOGY)
    assert counts.patterns == {(("ann", False), ("bo", True)): 1, (("ann", False), ("bo", False)): 1}


def test_three_annotators_get_the_rates_they_were_planted_with():
    """One forgets every third value, one adds a wrong value to every fourth turn, one never errs."""
    red, blue = Mark(0, "want", "color", "red"), Mark(0, "want", "price", "cheap")
    dialogues = [
        ballots(
            ("adds", (red, blue) if turn % 4 == 0 else (red,)),
            ("forgets", () if turn % 3 == 0 else (red,)),
            ("never errs", (red,)),
        )
        for turn in range(600)
    ]
    found = AnswerCounts.of(dialogues, ONTOLOGY).fitted().reliability
    assert found["forgets"].sensitivity == pytest.approx(2 / 3, abs=0.01)
    assert found["never errs"].sensitivity == pytest.approx(1, abs=0.01)
    assert found["adds"].specificity == pytest.approx(1 - 0.25 / (MARKABLE - 1 + 3), abs=0.002)
    assert found["forgets"].specificity == pytest.approx(1, abs=0.002)
