from __future__ import annotations

from annotate.annotations.annotation import Annotation, Mark
from annotate.resolution.answers import people_answers, verdicts

RED, BLUE, NONE = Mark(0, "want", "color", "red"), Mark(0, "want", "color", "blue"), Mark(2, "none")


def annotation(name: str, by: str, at: str, *marks: Mark, **more: object) -> Annotation:
    return Annotation(name, "d", by, at, **more).with_marks(marks)  # type: ignore[arg-type]


def said(found: dict[str, dict[int, object]]) -> dict[str, dict[int, tuple[Mark, ...]]]:
    return {who: {turn: answer.marks for turn, answer in turns.items()} for who, turns in found.items()}  # type: ignore[attr-defined]


def test_each_annotator_answers_turn_by_turn_and_the_newest_answer_stands():
    first = annotation("a", "ann", "2026-01-01", RED, NONE, project="1")
    again = annotation("b", "ann", "2026-01-02", BLUE, project="2")
    other = annotation("c", "bo", "2026-01-01", NONE)
    found = people_answers([again, first, other])
    assert said(found) == {"ann": {0: (BLUE,), 2: (NONE,)}, "bo": {2: (NONE,)}}
    assert found["ann"][0].annotation is again
    assert found["ann"][2].annotation is first


def test_only_the_newest_version_of_an_annotation_counts_and_a_withdrawn_one_not_at_all():
    old, new = annotation("a", "ann", "2026-01-01", RED, NONE), annotation("a", "ann", "2026-01-02", BLUE)
    gone = annotation("c", "bo", "2026-01-03", Mark(0, "withdrawn"))
    assert said(people_answers([new, old, annotation("c", "bo", "2026-01-01", RED), gone])) == {"ann": {0: (BLUE,)}}


def test_the_corpus_is_nobody_and_verdicts_are_apart():
    corpus = annotation("corpus:d", "corpus", "", RED)
    early = annotation("r", "chief", "2026-02-01", RED, role="review")
    late = annotation("s", "boss", "2026-02-02", BLUE, role="review")
    assert people_answers([corpus, early, late]) == {}
    assert [(turn, [each.marks for each in given]) for turn, given in verdicts([late, early, corpus]).items()] == [
        (0, [(BLUE,)])
    ]
