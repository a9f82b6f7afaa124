from __future__ import annotations

from annotate.adjudication.feedback import Feedback, collect_feedback
from annotate.annotations.annotation import Annotation, Mark
from annotate.resolution.policies import Policy
from annotate.resolution.resolve import resolve
from tests.labelling_corpus import ONTOLOGY

TURNS = (0, 2)


def of(who: str, *marks: Mark, role: str = "label", dialogue: str = "d") -> Annotation:
    rest = [Mark(turn, "none") for turn in TURNS if all(mark.turn != turn for mark in marks)]
    annotation = Annotation(f"{who} {dialogue}", dialogue, who, "2026", task_uid=f"{dialogue}#0", role=role)  # type: ignore[arg-type]
    return annotation.with_marks([*marks, *rest])


def want(value: str, turn: int = 0, slot: str = "color") -> Mark:
    return Mark(turn, "want", slot, value)


def feedback(*answers: Annotation, policy: Policy | None = None) -> dict[str, Feedback]:
    by: dict[str, list[Annotation]] = {}
    for answer in answers:
        by.setdefault(answer.dialogue_id, []).append(answer)
    return collect_feedback((name, resolve(said, TURNS, ONTOLOGY, policy)) for name, said in by.items())


def shown(given: Feedback) -> list[tuple[object, ...]]:
    return [(one.turn, one.slot, one.kind, one.pair, one.alike, one.answers) for one in given.differences]


def test_each_kind_of_difference_from_the_majority():
    red, cheap = want("red"), want("cheap", slot="price")
    found = feedback(of("ann", red, cheap), of("bo", red, cheap), of("cy", want("Blue"), Mark(2, "drop", "price")))
    assert shown(found["ann"]) == []
    assert shown(found["cy"]) == [
        (0, "color", "another value", (("want blue",), ("want red",)), 2, 3),
        (0, "price", "left out", ((), ("want cheap",)), 2, 3),
        (2, "price", "marked on top", (("drop price",), ()), 2, 3),
    ]
    assert (found["cy"].answered, found["cy"].compared, found["cy"].same) == (2, 2, 0)
    assert (found["ann"].answered, found["ann"].compared, found["ann"].same) == (2, 2, 2)


def test_wanted_against_disliked_and_marks_of_other_kinds():
    red = want("red")
    found = feedback(of("ann", red), of("bo", red), of("cy", Mark(0, "dislike", "color", "red")))
    assert [one.kind for one in found["cy"].differences] == ["the other side"]
    found = feedback(of("ann", red), of("bo", red), of("cy", Mark(0, "drop", "color")))
    assert [one.kind for one in found["cy"].differences] == ["said otherwise"]


def test_aliases_and_spellings_are_no_difference():
    assert shown(feedback(of("ann", want("red")), of("bo", want("RED")))["ann"]) == []


def test_what_is_in_dispute_is_counted_and_not_shown():
    cheap = want("cheap", slot="price")
    found = feedback(of("ann", want("red"), cheap), of("bo", want("blue"), cheap), of("cy", cheap), of("di"))
    assert all(shown(found[who]) == [] for who in ("ann", "bo", "cy"))
    assert [one.slot for one in found["di"].differences] == ["price"]
    assert {given.undecided for given in found.values()} == {1}


def test_a_turn_of_one_annotator_is_compared_only_once_a_reviewer_decided_it():
    alone = of("ann", want("red"))
    assert feedback(alone)["ann"].compared == 0
    verdict = Annotation("v", "d", "chief", "2027", role="review").with_marks([want("blue")])
    found = feedback(alone, verdict)
    assert list(found) == ["ann"]
    (one,) = found["ann"].differences
    assert (one.pair, one.decided_by, one.alike, one.answers) == ((("want red",), ("want blue",)), "verdict", 0, 1)
    assert (found["ann"].answered, found["ann"].compared) == (2, 1)


def test_who_could_not_label_what_others_could_and_the_other_way_round():
    unsure = Mark(0, "unsure")
    found = feedback(of("ann", want("red")), of("bo", want("red")), of("cy", unsure))
    (one,) = found["cy"].differences
    assert (one.kind, one.slot, one.pair, one.alike) == ("not labelled", "", (("unsure",), ("want red",)), 2)
    found = feedback(of("ann", want("red")), of("bo", unsure), of("cy", unsure))
    (one,) = found["ann"].differences
    assert (one.kind, one.pair, one.alike) == ("not labelled", (("want red",), ()), 2)
    bad = of("cy", Mark(0, "bad_dialogue"), Mark(0, "none"))
    found = feedback(of("ann", want("red")), of("bo", want("red")), bad)
    assert [one.marked for one in found["cy"].differences] == [(Mark(0, "bad_dialogue"),)] * 2


def test_what_differs_most_often_comes_first_and_typical_pairs_lead():
    red, blue, black = want("red"), want("blue"), want("black")
    names = [f"d{n}" for n in range(4)]
    answers = [of(who, red, dialogue=name) for name in names for who in ("ann", "bo")]
    wrong = [black, blue, blue, red]
    answers += [of("cy", mark, dialogue=name) for name, mark in zip(names, wrong, strict=True)]
    answers += [of(who, dialogue="e") for who in ("ann", "bo")] + [of("cy", Mark(2, "new_topic"), dialogue="e")]
    groups = feedback(*answers)["cy"].groups
    assert [(group.slot, group.kind, len(group.differences)) for group in groups] == [
        ("color", "another value", 3),
        ("", "marked on top", 1),
    ]
    assert groups[0].typical == [(("want blue",), ("want red",), 2)]
    assert [one.dialogue_id for one in groups[0].differences] == ["d1", "d2", "d0"]
