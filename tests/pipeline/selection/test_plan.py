"""What a round costs, worked by hand; what it brings, against planted curves; and the command on the tiny shop."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import variance
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from annotate.annotations.annotation import CORPUS, Annotation, Mark
from pipeline import cli
from pipeline.benchmarks import run_benchmark, tables_of
from pipeline.benchmarks.measure import Options
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.progress import LabellingProgress
from pipeline.selection.plan import Asking, Gain, PlanRequest, Round, _gains, plan_round
from pipeline.selection.round_cost import Estimate, Turns, TurnTime, amount, answers_per_dialogue
from pipeline.selection.state_curve import FEWEST, fold_curve, state_curves
from pipeline.selection.stop_signal import Curve, StopSignal
from pipeline.workspace import Workspace
from schemas.accumulate import difference
from schemas.belief import BeliefState
from schemas.errors import LabelError, UsageError
from schemas.files import write_json
from schemas.progress import SilentProgress
from schemas.tables import ANNOTATIONS, RECOMMENDATIONS, write_table
from semantic_model.evaluation.metrics import Interval
from tests.label_exports import answer, save
from tests.labelling_corpus import dialogue, write_workspace
from tests.semantic_model.states.shop import ATTRIBUTES, SHOP, labelled

SIZES = np.array([0.0, 20.0, 38.0, 72.0])


def test_a_round_takes_the_mean_of_all_turns_timed():
    # 100 s for 4 turns, 20 s for 1, 60 s for 3: 22.5 s a turn; left over 10, -2.5, -7.5
    time = TurnTime.measured([(100.0, 4), (20.0, 1), (60.0, 3), (None, 2), (9_000.0, 2), (0.0, 1)])
    assert time is not None
    assert (time.mean, time.tasks, time.turns, time.left_open) == (22.5, 3, 8, 1)
    v = (10**2 + 2.5**2 + 7.5**2) / 2 / (8 / 3)
    assert time.variance == pytest.approx(v)
    mean = student.ppf(0.975, 2) * math.sqrt(v / 8)  # of three answers
    assert time.estimate == (22.5, (pytest.approx(max(0, 22.5 - mean)), pytest.approx(22.5 + mean)))
    round_ = time.of_round(Turns(40, 16.0))
    half = student.ppf(0.975, 2) * math.sqrt(v * 40 + v * 40**2 / 8 + 22.5**2 * 16)
    assert round_.value == pytest.approx(900)
    assert round_.interval == (max(0, 900 - half), pytest.approx(900 + half))


def test_turns_of_a_round_are_drawn_from_the_dialogues_left():
    each = [4, 6, 6, 8]
    assert Turns.drawn(4, each) == (24, 0)  # all of them
    assert Turns.drawn(2, each) == (12, pytest.approx(2 * (1 - 2 / 4) * variance(each)))
    assert Turns.drawn(2, each, answers_per_dialogue(0.5, 3)).mean == 24  # half of them by three: two each
    assert Turns.drawn(1, [5]) == (5, 0)


def test_a_time_given_spreads_as_the_turns_do():
    assert TurnTime.given(30).of_round(Turns(120, 0)) == Estimate(3600, Interval(3600, 3600))
    spread = TurnTime.given(30).of_round(Turns(120, 100)).interval
    assert spread == (pytest.approx(3600 - 30 * 10 * 1.959964), pytest.approx(3600 + 30 * 10 * 1.959964))


def test_one_answer_alone_has_no_spread_and_none_no_time():
    alone = TurnTime.measured([(30.0, 3)])
    assert alone is not None
    assert alone.of_round(Turns(40, 16.0)) == Estimate(400, None)
    assert alone.estimate.text == "10"
    assert TurnTime.measured([(None, 3), (-1.0, 2), (1e6, 1)]) is None


TIMES = st.lists(st.tuples(st.floats(0.5, 500), st.integers(1, 20)), min_size=2, max_size=20)


@given(times=TIMES, each=st.lists(st.integers(1, 30), min_size=2, max_size=30), wage=st.floats(0, 200), data=st.data())
def test_more_dialogues_never_cost_less_and_an_interval_holds_its_figure(
    times: list[tuple[float, int]], each: list[int], wage: float, data: st.DataObject
):
    time = TurnTime.measured(times)
    few = data.draw(st.integers(1, len(each)))
    many = data.draw(st.integers(few, len(each)))
    if time is None:
        return
    costs = [time.of_round(Turns.drawn(number, each)).times(wage / 3600) for number in (few, many)]
    assert costs[0].value <= costs[1].value * (1 + 1e-9)
    for cost in costs:
        assert cost.interval is not None
        assert 0 <= cost.interval.low <= cost.value * (1 + 1e-9)
        assert cost.value <= cost.interval.high * (1 + 1e-9)
    assert costs[1].value == pytest.approx(time.mean * sum(each) / len(each) * many * wage / 3600)


def a_round(**changes: Any) -> Round:
    gains = {
        "value_f1": Gain(0.019, Interval(0.007, 0.031)),
        "jga": None,
        "ndcg@5": Gain(0.001, Interval(-0.01, 0.012)),
    }
    costs: dict[str, Any] = {
        "turns": Estimate(300, Interval(280, 320)),
        "hours": Estimate(3, Interval(2.5, 3.5)),
        "wages": Estimate(60, Interval(50, 70)),
        "asking": None,
    }
    return Round(**{"dialogues": 50, "gains": gains, "currency": "EUR", **costs, **changes})


def test_the_sentence_says_it_all():
    assert a_round().sentence == (
        "50 dialogues, 3.0 (2.5 to 3.5) hours, 60 (50 to 70) EUR, +1.9 (0.7 to 3.1) value F1, "
        "no visible change of NDCG@5 (+0.1, -1.0 to 1.2)"
    )
    worse = a_round(gains={"value_f1": Gain(-0.02, Interval(-0.03, -0.01)), "jga": None, "ndcg@5": None})
    assert worse.sentence.endswith("EUR, -2.0 (-3.0 to -1.0) value F1")
    free = a_round(wages=Estimate(60, None).times(0), currency="CHF")
    assert "hours, 0 CHF, +1.9" in free.sentence
    assert a_round(dialogues=1, hours=Estimate(3, Interval(3, 3))).sentence.startswith("1 dialogue, 3.0 hours, 60")


def test_what_a_language_model_takes_is_part_of_the_cost():
    priced = a_round(asking=Asking(1_000_000, 200_000, 1.5) + Asking(1_000_000, 200_000, 2.5))
    assert priced.cost == Estimate(64, Interval(54, 74))
    assert "64 (54 to 74) EUR" in priced.sentence
    unpriced = a_round(asking=Asking(1_000_000, 200_000, None))
    assert unpriced.cost == unpriced.wages
    assert "60 (50 to 70) EUR, up to 1,200,000 tokens" in unpriced.sentence
    assert "up to 4.0 EUR for the language model" in a_round(wages=None, asking=Asking(1, 1, 4.0)).sentence


def test_numbers_have_the_digits_that_say_something():
    assert [amount(value) for value in (1234.5, 12.0, 2.64, 0.0421, 0.0)] == ["1,234", "12", "2.6", "0.042", "0"]


def folds(curve: Curve, generator: np.random.Generator, *, noise: float, hard: float = 0.05) -> tuple[Any, Any]:
    """Ten folds of fifty turns at each size, some of them harder throughout."""
    said = np.full((10, len(SIZES)), 50.0)
    level = generator.normal(scale=hard, size=(10, 1))
    read = [curve.at(size) for size in SIZES] + level + generator.normal(scale=noise, size=said.shape)
    return said * read, said


def test_folds_that_are_hard_throughout_are_no_gain():
    planted = Curve(0.7, 0.2, 40.0)
    found = fold_curve(SIZES, *folds(planted, np.random.default_rng(0), noise=0.0), least=20)
    gain, interval = found.gain(80, 130)
    assert gain == pytest.approx(0.2 * (130 / 170 - 80 / 120), abs=0.001)
    assert interval.high - interval.low < 1e-6
    assert (found.largest, found.runs) == (72, 40)
    assert found.curve.half >= 20


def test_the_interval_covers_the_planted_gain():
    planted, covered = Curve(0.7, 0.15, 60.0), 0
    true = planted.at(130) - planted.at(80)
    for seed in range(100):
        right, said = folds(planted, np.random.default_rng(seed), noise=0.03)
        gain, (low, high) = fold_curve(SIZES, right, said, least=20, samples=300, seed=seed).gain(80, 130)
        assert low <= gain <= high
        covered += low <= true <= high
    assert covered >= 95  # wider than these need, whose folds err each by itself


def marks(states: dict[int, BeliefState | None]) -> list[Mark]:
    found, before = [], ()
    for turn, after in sorted(states.items()):
        update = difference(before, after or ())
        before = after or ()
        found += [Mark(turn, "new_topic")] * update.new_topic + [Mark(turn, "drop", slot) for slot in update.drop]
        found += [Mark(turn, "want", slot, value) for slot, values in update.want.items() for value in values]
        if not (update.want or update.drop or update.new_topic):
            found.append(Mark(turn, "none"))
    return found


def shop_of(root: Path, known: int, every: int) -> Workspace:
    """The small shop with some of its dialogues labelled."""
    rows = [[{**row, "act": "", "split": "train"} for row in labelled(number).rows] for number in range(every)]
    workspace = write_workspace(root, rows, ontology=SHOP)
    write_table(workspace.recommendations, RECOMMENDATIONS, [])
    said = [
        Annotation(f"{CORPUS}:d{number}", f"d{number}", CORPUS).with_marks(marks(dict(labelled(number).states)))
        for number in range(known)
    ]
    said.sort(key=lambda each: each.annotation_id)
    write_table(workspace.annotations, ANNOTATIONS, [row for each in said for row in each.rows()])
    ingest_labels(workspace, IngestRequest())
    return workspace


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """44 of 60 dialogues labelled, and runs with 0, 20 and 40 of them."""
    workspace = shop_of(tmp_path_factory.mktemp("plan") / "shop", 44, 60)
    for number in (0, 20, 40):
        for seed in range(3):
            record = {
                "model": "semantic",
                "preset": "tiny",
                "images": True,
                "config": {},
                "inputs": {"D_F": "x"},
                "labelled_dialogues": number,
                "seed": seed,
                "fold": None,
                "best": {"epoch": 1, "ndcg@5": 0.4 + 0.2 * number / (number + 20) + 0.002 * seed},
            }
            write_json(workspace.runs / f"n{number}-s{seed}" / "record.json", record)
    return workspace


def run(workspace: Workspace, *arguments: str) -> int:
    return cli._run(["-w", str(workspace.root), "-q", "plan", *arguments])


def test_curves_of_states_rest_on_dialogues_that_did_not_teach():
    gold = {f"d{number}": labelled(number) for number in range(FEWEST)}
    found = state_curves(gold, SHOP, ATTRIBUTES, SilentProgress(), samples=50)
    assert found.sizes == (0, 20, 27, 36)  # 36 of 40 teach beside a fold of four
    assert found.dialogues == 40
    assert found.figures["value_f1"][0] < found.figures["value_f1"][-1]  # labels teach the words of this shop
    assert state_curves(gold, SHOP, ATTRIBUTES, SilentProgress(), samples=50).as_json() == found.as_json()
    del gold["d0"]
    with pytest.raises(LabelError, match="39 wholly labelled dialogues are too few for a learning curve, it takes 40"):
        state_curves(gold, SHOP, ATTRIBUTES, SilentProgress())


def test_the_command_answers_in_one_object(shop: Workspace, capsys: pytest.CaptureFixture[str]):
    assert run(shop, "--dialogues", "16,4", "--wage", "30", "--seconds-per-turn", "24", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["labelled"], said["with_annotators"], said["unlabelled"]) == (44, 0, 16)
    small, large = said["rounds"]
    assert (small["dialogues"], large["dialogues"]) == (4, 16)
    turns = sum(len(labelled(number).states) for number in range(44, 60))
    assert large["turns"] == {"value": turns, "interval": [turns, turns]}  # all that is left
    assert large["hours"]["value"] == pytest.approx(turns * 24 / 3600)
    assert large["cost"]["value"] == pytest.approx(turns * 24 / 3600 * 30)
    assert small["cost"]["value"] == pytest.approx(large["cost"]["value"] / 4)
    assert set(small["gains"]) == {"value_f1", "jga", "ndcg@5"}
    for gain in small["gains"].values():
        assert gain["interval"][0] <= gain["gain"] <= gain["interval"][1]
    assert small["gains"]["ndcg@5"]["gain"] == pytest.approx(0.2 * (48 / 68 - 44 / 64), abs=0.004)
    assert small["sentence"].startswith("4 dialogues, ")
    assert said["states"]["sizes"][0] == 0
    assert said["missing"] == []


def test_the_command_says_it_in_words(shop: Workspace, capsys: pytest.CaptureFixture[str]):
    assert run(shop, "-n", "4", "--seconds-per-turn", "24", "--overlap", "0.5", "--redundancy", "3") == 0
    said = capsys.readouterr().out
    assert "44 dialogues labelled, 16 left" in said
    assert "not known: cost: give --wage" in said
    assert "2.00 answers to each dialogue" in said
    assert "hours: 24 seconds a turn, as given" in said
    assert "that did not teach it" in said


def test_without_times_labels_or_runs_it_says_what_would_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    workspace = shop_of(tmp_path / "shop", 2, 6)
    assert run(workspace, "--wage", "20") == 0
    said = capsys.readouterr().out
    assert "\n4 dialogues\n" in said  # those left, as 50 are not
    assert "not known: hours and cost: no answer was timed yet; give --seconds-per-turn S" in said
    assert "2 wholly labelled dialogues are too few for a learning curve, it takes 40" in said
    assert "not known: NDCG@5: no run has been trained here; to know it: semctl" in said
    assert "experiment grid --ratios" in said


def test_a_guess_is_called_one(shop: Workspace):
    states = plan_round(shop, PlanRequest((4,), seconds_per_turn=1)).states
    assert states is not None
    assert states.sizes[-1] == 39
    nothing = StopSignal(44, 78)
    gains, guesses = _gains(states, nothing, 44, 34)
    assert guesses == []  # 78 labelled are no more than twice 39
    further, guesses = _gains(states, nothing, 44, 35)
    assert "79 labelled dialogues are more than twice the 39 that taught the tracker" in guesses[0]
    assert gains["ndcg@5"] is None
    near, far = gains["jga"], further["jga"]
    assert near is not None
    assert far is not None
    assert far.interval.high - far.interval.low >= near.interval.high - near.interval.low


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-n", "17"], "only 16 dialogues are left to label, not 17"),
        (["-n", "0"], "a round of 0 dialogues is none"),
        (["-n", "many"], "--dialogues many is no number"),
        (["--wage", "-1"], "--wage -1 is no wage"),
        (["--wage", "nan"], "--wage nan is no wage"),
        (["--seconds-per-turn", "0"], "--seconds-per-turn 0 is no time"),
        (["--overlap", "2"], "--overlap 2 is no share"),
        (["--redundancy", "0"], "--redundancy 0 is nobody"),
        (["--prelabel", "lexicon"], "--prelabel lexicon costs nothing to plan"),
        (["--price-in", "1"], "--price-in is for --prelabel llm"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    shop: Workspace, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
):
    assert run(shop, *arguments) == 2
    assert says in capsys.readouterr().err


def test_where_all_is_labelled_there_is_nothing_to_plan(tmp_path: Path):
    with pytest.raises(LabelError, match="no dialogue of the split 'train' is left"):
        plan_round(shop_of(tmp_path / "shop", 2, 2), PlanRequest())


def test_tokens_are_counted_without_asking_anybody(shop: Workspace, capsys: pytest.CaptureFixture[str]):
    prices = ("--prelabel", "llm", "--price-in", "1", "--price-out", "2")
    assert run(shop, "-n", "4,8", "--seconds-per-turn", "24", "--wage", "0", *prices, "--json") == 0
    four, eight = json.loads(capsys.readouterr().out)["rounds"]
    for each in (four, eight):
        llm = each["llm"]
        assert each["cost"]["value"] == pytest.approx((llm["sent"] + 2 * llm["received"]) / 1e6)
    assert four["llm"]["sent"] < eight["llm"]["sent"]
    assert four["llm"]["received"] % 300 == 0  # a reply of full length for each turn


def test_the_time_of_ingested_answers_counts(tmp_path: Path):
    workspace = write_workspace(tmp_path / "shop", [dialogue(f"d{number}") for number in range(4)])
    write_table(workspace.recommendations, RECOMMENDATIONS, [])
    assert LabellingProgress(workspace).label_times() == []
    tasks = tmp_path / "tasks.json"
    export_for_labelling(workspace, ExportRequest(Selection(limit=2), to_file=tasks, window=2))
    said = [
        {**task, "id": number, "project": 1, "annotations": [answer(number, [], lead_time=seconds)]}
        for number, (task, seconds) in enumerate(zip(json.loads(tasks.read_text()), (30.0, 50.0), strict=True), start=1)
    ]
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "answers.json", said)))
    assert sorted(LabellingProgress(workspace).label_times()) == [(30.0, 2), (50.0, 2)]
    found = plan_round(workspace, PlanRequest((2,), wage=36.0))
    assert found.time is not None
    assert (found.time.mean, found.time.tasks) == (20.0, 2)
    assert found.rounds[0].cost is not None
    assert found.rounds[0].cost.value == pytest.approx(2 * 2 * 20 / 3600 * 36)


def test_a_benchmark_holds_plans_against_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.benchmarks.plan.MORE", (4, 8))
    monkeypatch.setattr("pipeline.benchmarks.plan._READ", 4)
    workspace = shop_of(tmp_path / "shop", 60, 60)
    rows = run_benchmark("plan", Options(rounds=1, sizes=(40,), workspace=workspace.root))["benchmarks"]
    assert [(row["labelled"], row["more"], row["measure"]) for row in rows] == [
        (40, more, measure) for measure in ("value_f1", "jga") for more in (4, 8)
    ]
    for row in rows:
        low, high = row["interval"]
        assert low <= row["gain"] <= high
        assert row["covered"] == (low <= row["measured"] <= high)
    assert [len(lines) for _, _, lines in tables_of("plan", rows)] == [2, 2]
    with pytest.raises(UsageError, match="60 wholly labelled dialogues"):
        run_benchmark("plan", Options(sizes=(60,), workspace=workspace.root))
    with pytest.raises(UsageError, match="plans are made in a workspace"):
        run_benchmark("plan")
