from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings

from annotate.exports.staging import prelabel_fields
from annotate.prelabels.prelabel_metrics import AcceptanceCounts
from annotate.prelabels.prelabels import TurnPrelabel, prediction, prelabelled_updates, update_results
from annotate.simulated_annotators import Annotator, fill_tasks, offered_choices
from annotate.tasks.label_config import build
from schemas.belief import TurnUpdate
from schemas.errors import LabelError
from schemas.folding import fold
from tests.annotate.belief_strategies import ONTOLOGY as ANY
from tests.label_exports import answer, pick, tasks_of, typed
from tests.labelling_corpus import ONTOLOGY, dialogue
from tests.schemas.test_corrections import updates

CONFIG = build(ONTOLOGY).xml
OFFERED = offered_choices(CONFIG)
DATA = tasks_of([dialogue("d", users=5)])[0]["data"]  # turns 0 and 2
RED = TurnUpdate(want={"color": ("red",)})


def shown(result: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The copy of a prediction that Label Studio keeps in an annotation."""
    return {"id": 3, "model_version": "lexicon-v1@ontology3", "score": 0.75, "result": result, **more}


def expanded(config: str, turns: int) -> str:
    """The configuration with its Repeater written out, as the screen has it."""
    head, rest = config.split("<Repeater", 1)
    body, tail = rest.split("</Repeater>", 1)
    index = body.split('indexFlag="', 1)[1].split('"', 1)[0]
    row = body.split(">", 1)[1]
    return head + "".join(row.replace(index, str(at)) for at in range(turns)) + tail


def test_a_prediction_says_what_the_window_needs_and_how_sure_it_is():
    prelabel = {
        0: TurnPrelabel(TurnUpdate(want={"color": ("red", "teal")}, dislike={"color": ("black",)}), 0.9),
        2: TurnPrelabel(TurnUpdate(drop=frozenset({"price"}), new_topic=True), 0.6),
        4: TurnPrelabel(RED, 0.1),
    }
    found = prediction(prelabel, "m-1", DATA, OFFERED)
    assert (found["model_version"], found["score"]) == ("m-1", 0.75)
    assert {entry["from_name"]: entry["value"] for entry in found["result"]} == {
        "want_0": {"taxonomy": [["color=red"]]},
        "dislike_0": {"taxonomy": [["color=black"]]},
        "free_0": {"text": ["color=teal"]},
        "op_1": {"taxonomy": [["drop=price"], ["flag=new_topic"]]},
    }
    assert {entry["to_name"] for entry in found["result"]} == {"u0", "u1"}


def test_a_turn_of_which_nothing_is_said_is_blank_and_scores_nothing():
    assert prediction({2: TurnPrelabel(RED, 0.8)}, "m", DATA, OFFERED)["score"] == 0.4
    assert prediction({}, "m", DATA, OFFERED) == {"model_version": "m", "score": 0.0, "result": []}


def test_a_task_of_somebody_else_has_no_prediction():
    with pytest.raises(LabelError, match="not a task that semctl made"):
        prediction({}, "m", {"text": "hello"}, OFFERED)


@given(updates(), updates())
@settings(deadline=None)  # the first call imports the SDK
def test_predictions_always_fit_the_configuration(first: TurnUpdate, second: TurnUpdate):
    from label_studio_sdk.label_interface import LabelInterface

    config = build(ANY).xml
    said = {0: TurnPrelabel(first, 0.5), 2: TurnPrelabel(second, 1.0)}
    found = prediction(said, "m", DATA, offered_choices(config))
    assert LabelInterface(expanded(config, 2)).validate_prediction(found, return_errors=True) == []
    assert 0 <= found["score"] <= 1


def test_the_check_of_predictions_can_fail():
    from label_studio_sdk.label_interface import LabelInterface

    wrong = {"model_version": "m", "score": 0.5, "result": list(update_results(RED, 5, "u", OFFERED))}
    assert LabelInterface(expanded(CONFIG, 2)).validate_prediction(wrong, return_errors=True)


@given(updates())
def test_a_prediction_reads_back_as_the_update_it_was_made_of(update: TurnUpdate):
    result = list(update_results(update, 1, "u", offered_choices(build(ANY).xml)))
    found = prelabelled_updates(shown(result), (0, 2), ANY)
    sides = [
        {(slot, fold(ANY.link(ANY.slot(slot), value).value)) for slot, values in side.items() for value in values}
        for side in (update.want, update.dislike)
    ]
    assume(not sides[0] & sides[1])  # an ingest refuses a turn that wants and dislikes one value
    assert found[0] == TurnUpdate()
    assert (found[2].drop, found[2].new_topic) == (update.drop, update.new_topic)
    for mine, theirs in ((found[2].want, update.want), (found[2].dislike, update.dislike)):
        assert {s: sorted(v) for s, v in mine.items()} == {s: sorted(v) for s, v in theirs.items()}


FILLED_IN = [pick("want_0", "color=red", "price=cheap"), typed("free_1", "color=teal")]


@pytest.mark.parametrize(
    ("result", "untouched"),
    [
        (FILLED_IN, True),
        # in another order, as the browser may send it
        ([typed("free_1", "color=teal", origin="prediction"), pick("want_0", "price=cheap", "color=red")], True),
        # a value taken away, a whole field emptied, a value added, one changed, moved to another turn or field
        ([pick("want_0", "color=red"), typed("free_1", "color=teal")], False),
        ([pick("want_0", "color=red", "price=cheap")], False),
        ([*FILLED_IN, pick("op_0", "flag=unsure")], False),
        ([*FILLED_IN, typed("note", "who knows")], False),
        ([pick("want_0", "color=red", "price=cheap"), typed("free_1", "color=navy")], False),
        ([pick("want_1", "color=red", "price=cheap"), typed("free_1", "color=teal")], False),
        ([pick("dislike_0", "color=red", "price=cheap"), typed("free_1", "color=teal")], False),
        ([], False),
        ("not a list", False),
        ([{"from_name": "want_0"}], False),
    ],
)
def test_untouched_is_exactly_the_prelabel(result: Any, untouched: bool):
    found = prelabel_fields(answer(1, result, prediction=shown(FILLED_IN)))
    assert found == {"prelabel": "lexicon-v1@ontology3", "prelabel_score": 0.75, "untouched": untouched}


def test_an_empty_prelabel_can_be_left_untouched():
    assert prelabel_fields(answer(1, [], prediction=shown([])))["untouched"]
    assert not prelabel_fields(answer(1, FILLED_IN, prediction=shown([])))["untouched"]


@pytest.mark.parametrize("prediction_", [{}, None, 7, [], {"result": []}, {"model_version": None, "result": []}])
def test_an_answer_that_started_from_nothing_has_no_prelabel(prediction_: Any):
    assert prelabel_fields(answer(1, FILLED_IN, prediction=prediction_)) == {}


@pytest.mark.parametrize("score", [None, "high", True, float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_left_out(score: Any):
    assert prelabel_fields(answer(1, [], prediction=shown([], score=score)))["prelabel_score"] is None


def test_simulated_annotators_correct_what_is_filled_in():
    gold = {("d", 0): (ONTOLOGY.link(ONTOLOGY.slot("color"), "red"),), ("d", 2): ()}
    tasks = tasks_of([dialogue("d")])
    right = {0: TurnPrelabel(RED, 1.0), 2: TurnPrelabel(TurnUpdate(new_topic=True), 1.0)}
    wrong = {0: TurnPrelabel(TurnUpdate(want={"color": ("red", "blue")}), 1.0)}
    for prelabel, untouched in ((right, True), (wrong, False)):
        filled_in = [{**tasks[0], "predictions": [prediction(prelabel, "m", tasks[0]["data"], OFFERED)]}]
        (task,) = fill_tasks(filled_in, gold, ONTOLOGY)
        (given_answer,) = task["annotations"]
        assert prelabel_fields(given_answer) == {
            "prelabel": "m",
            "prelabel_score": filled_in[0]["predictions"][0]["score"],
            "untouched": untouched,
        }
        origins = {entry["from_name"]: entry["origin"] for entry in given_answer["result"]}
        assert origins == (
            {"want_0": "prediction", "op_1": "prediction"}
            if untouched
            else {"want_0": "prediction-changed", "op_1": "manual"}
        )


def test_who_oversees_everything_sends_prelabels_on_as_they_are():
    gold = {("d", 0): (), ("d", 2): ()}
    blind = Annotator(ONTOLOGY, gold, OFFERED, oversight=1.0)
    wrong = prediction({0: TurnPrelabel(RED, 1.0)}, "m", DATA, OFFERED)
    assert prelabel_fields({"prediction": wrong, "result": blind.result(DATA, wrong)})["untouched"]
    assert blind.result(DATA) == []


def test_untouched_answers_are_counted_by_annotator():
    from annotate.annotations.annotation import Annotation, Mark

    def made(number: int, who: str, seconds: float | None, *, untouched: bool, prelabel: str | None = "m"):
        marks = (Mark(0, "none"), Mark(2, "none"))
        head = Annotation(f"a{number}", "d", who, marks=marks, lead_time=seconds)
        return [head.__class__(**{**head.__dict__, "prelabel": prelabel, "untouched": untouched})]

    counts = AcceptanceCounts()
    for answers in (
        made(1, "ann", 2.0, untouched=True),
        made(2, "ann", 6.0, untouched=True),
        made(3, "ann", 40.0, untouched=False),
        made(4, "ann", 9.0, untouched=False, prelabel=None),
        made(5, "bo", None, untouched=False),
    ):
        counts.add(answers)
    assert counts.as_json() == {
        "prelabelled": 4,
        "untouched": 2,
        "annotators": {
            "ann": {
                "prelabelled": 3,
                "untouched": 2,
                "rate": 2 / 3,
                "seconds_per_turn_untouched": 2.0,
                "seconds_per_turn_changed": 20.0,
            },
            "bo": {
                "prelabelled": 1,
                "untouched": 0,
                "rate": 0.0,
                "seconds_per_turn_untouched": None,
                "seconds_per_turn_changed": None,
            },
        },
    }
