"""``semctl select`` on small workspaces written by hand, and with runs really trained on a generated corpus."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotate.assignment.selection_strategies import seeded_order
from pipeline import cli
from pipeline.chosen_dialogues import Selection, choose_dialogues
from pipeline.experiments.experiment import experiment
from pipeline.experiments.grid import ExperimentRequest
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.modelling.runs import load_corpus
from pipeline.modelling.train import TrainRequest, train
from pipeline.selection.pool import find_pool
from pipeline.selection.runs import OpenedRuns, _contexts
from pipeline.selection.select_dialogues import STRATEGIES, SelectRequest, select_dialogues
from pipeline.workspace import Workspace
from schemas.errors import InputError, LabelError, ModelError, UsageError
from schemas.progress import SilentProgress
from schemas.tables import D_F, RECOMMENDATIONS, STATES, write_table
from tests.generated_workspace import generated_workspace
from tests.labelling_corpus import dialogue, turn, write_workspace

SMALL = ("model.width=8", "model.heads=2", "model.inner=8", "model.layers=1", "text.embeddings=corpus")
SMALL = (*SMALL, "image.encoder=pixels", "train.batch_size=64")


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """Ten training dialogues, of which d3 alone names blue, one of validation, one in which only the shop speaks."""
    told = [dialogue(f"d{n}", text="I want black", users=2) for n in range(10) if n != 3]
    told += [dialogue("d3", text="something blue", users=2), dialogue("v1", split="valid")]
    told.append([turn(0, "system", "hello", dialogue="mute")])
    workspace = write_workspace(tmp_path / "shop", told)
    write_table(workspace.recommendations, RECOMMENDATIONS, [])
    return workspace


def label(workspace: Workspace, *dialogues: str) -> None:
    value = {"slot": "color", "attribute": "color", "value": "red", "polarity": "like"}
    state = [{**value, "catalogue_value": "red", "in_catalogue": True}]
    known = {"state": state, "labelled_slots": ["color", "price"], "annotators": ["ann"], "source_annotations": ["1"]}
    rows = [{"dialogue_id": name, "turn": n, "split": "train", **known} for name in dialogues for n in (0, 2)]
    write_table(workspace.d_f, D_F, rows)


def chosen(workspace: Workspace, strategy: str = "stratified", count: int = 100, **changes: Any) -> list[str]:
    request = SelectRequest(strategy=strategy, count=count, **changes)
    return [row.dialogue_id for row in select_dialogues(workspace, request).rows]


def run(workspace: Workspace, *arguments: str) -> int:
    return cli._run(["-w", str(workspace.root), "-q", *arguments])


def test_only_dialogues_that_are_neither_labelled_nor_exported_are_candidates(shop: Workspace):
    everyone = {f"d{n}" for n in range(10)}
    assert set(chosen(shop)) == everyone
    label(shop, "d1", "d2")
    (shop.root / "two.txt").write_text("d2\nd5\n")
    export_for_labelling(shop, ExportRequest(Selection(named=shop.root / "two.txt"), to_file=shop.root / "tasks.json"))
    pool = find_pool(shop, "train", 0)
    assert (sorted(pool.candidates), pool.known) == (sorted(everyone - {"d1", "d2", "d5"}), ["d1", "d2", "d5"])
    assert (pool.labelled, pool.exported, pool.silent, pool.unlisted) == (2, 1, 1, 0)
    assert pool.turns == [2] * 7
    assert set(chosen(shop)) == set(pool.candidates)
    assert set(chosen(shop, include_labelled=True)) == everyone - {"d5"}
    assert set(chosen(shop, include_exported=True)) == everyone - {"d1", "d2"}
    assert chosen(shop, split="valid") == ["v1"]


def test_the_rare_value_comes_first_until_it_is_labelled(shop: Workspace):
    assert chosen(shop, count=1) == ["d3"]
    row = select_dialogues(shop, SelectRequest(count=1)).rows[0]
    assert row.why.startswith("color=blue (0 of 1 covered)")
    label(shop, "d3")
    assert "d3" not in chosen(shop)


def test_random_is_the_order_in_which_an_export_would_take_them(shop: Workspace):
    as_exported = choose_dialogues(shop.turns, Selection(seed=4))
    assert chosen(shop, "random", seed=4) == [name for name in as_exported if name != "mute"]
    assert chosen(shop, "random", seed=4) == seeded_order([f"d{n}" for n in range(10)], 4)
    assert chosen(shop, "random", seed=5) != chosen(shop, "random", seed=4)


def test_nothing_left_to_choose_is_said_with_the_way_out(shop: Workspace):
    label(shop, *(f"d{n}" for n in range(10)))
    with pytest.raises(LabelError, match="'train' is left to choose: 10 are labelled, 0 are with annotators"):
        chosen(shop)
    report = select_dialogues(shop, SelectRequest(include_labelled=True, count=3))
    assert report.coverage is not None
    assert report.coverage._asdict() == {"values": 1, "in_labels": 1, "in_ontology": 5}


def test_ids_that_cannot_stand_on_a_line_are_left_out_and_counted(tmp_path: Path):
    shop = write_workspace(tmp_path, [dialogue("good"), dialogue("two\nlines"), dialogue(" spaced")])
    write_table(shop.recommendations, RECOMMENDATIONS, [])
    assert chosen(shop) == ["good"]
    assert find_pool(shop, "train", 0).unlisted == 2


@pytest.mark.parametrize("strategy", ["uncertainty", "diversity", "hybrid"])
def test_without_a_run_the_error_says_what_to_do(shop: Workspace, strategy: str, capfd):
    assert run(shop, "select", "--strategy", strategy) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "no run has been trained here to its end" in said
    assert "train --model dual-encoder" in said
    assert "--strategy stratified" in said


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (SelectRequest(strategy="stratifed"), "did you mean 'stratified'"),
        (SelectRequest(count=0), "-n 0 selects nothing"),
        (SelectRequest(split="trian"), "unknown split 'trian'"),
    ],
)
def test_bad_requests_are_refused(shop: Workspace, request_: SelectRequest, says: str):
    with pytest.raises(UsageError, match=says):
        select_dialogues(shop, request_)
    assert not (shop.labelling / "selection.txt").exists()


def test_the_list_is_what_an_export_takes_in_this_order(shop: Workspace, capfdbinary):
    assert run(shop, "select", "-n", "4", "--json") == 0
    value = json.loads(capfdbinary.readouterr().out)
    names = [row["dialogue_id"] for row in value["dialogues"]]
    assert (shop.labelling / "selection.txt").read_text() == "".join(f"{name}\n" for name in names)
    assert value["pool"]["candidates"] == 10
    assert value["user_turns"] == 8
    assert value["expected_gain"]["gain"] is None
    assert {"dialogue_id", "score", "why", "user_turns"} == value["dialogues"][0].keys()
    tasks = shop.root / "tasks.json"
    assert run(shop, "export-for-labelling", "--to-file", str(tasks), "--dialogues", value["file"]) == 0
    shown = [task["data"]["dialogue_id"] for task in json.loads(tasks.read_text())]
    assert list(dict.fromkeys(shown)) == names
    assert run(shop, "select", "-n", "100") == 0
    rest = (shop.labelling / "selection.txt").read_text().split()
    assert len(rest) == 6
    assert not set(rest) & set(names)


def test_the_table_says_why_and_what_to_expect(shop: Workspace, capfd):
    out = shop.root / "list.txt"
    assert run(shop, "select", "-n", "3", "--out", str(out)) == 0
    said = " ".join(capfd.readouterr().out.split())
    for part in ("3 of 10 dialogues, stratified", "d3", "color=blue (0 of 1 covered)", "expected gain from 0 to 3"):
        assert part in said
    assert len(out.read_text().split()) == 3
    assert not (shop.labelling / "selection.txt").exists()


# ---- single turns


def turns_of(workspace: Workspace, count: int = 100, **changes: Any) -> list[tuple[str, int | None]]:
    report = select_dialogues(workspace, SelectRequest(unit="turn", count=count, **changes))
    return [(row.dialogue_id, row.turn) for row in report.rows]


def known(workspace: Workspace, dialogue: str, turn: int) -> None:
    """A label of one turn alone."""
    row: dict[str, Any] = {"dialogue_id": dialogue, "turn": turn, "split": "train", "state": []}
    row |= {"labelled_slots": ["color", "price"], "annotators": [], "source_annotations": [], "disputed_slots": []}
    write_table(workspace.states, STATES, [{**row, "decided_by": "one"}])


@pytest.mark.parametrize("strategy", [None, "random"])
def test_at_most_k_turns_of_a_dialogue_and_larger_lists_begin_alike(shop: Workspace, strategy: str | None):
    both = turns_of(shop, per_dialogue=2, strategy=strategy)
    assert sorted(both) == sorted((f"d{n}", turn) for n in range(10) for turn in (0, 2))
    assert turns_of(shop, per_dialogue=2, strategy=strategy, count=7) == both[:7]
    one = turns_of(shop, strategy=strategy)
    assert len(one) == len({name for name, _ in one}) == 10
    assert set(one) <= set(both)
    if strategy == "random":
        assert turns_of(shop, strategy=strategy, seed=1) != one
        assert {turn for _, turn in one} == {0, 2}


def test_the_turns_with_most_mistakes_expected_come_first(shop: Workspace):
    """Rules doubt every value that they read by 0.15: "I want black" holds one of them, "something blue" none."""
    report = select_dialogues(shop, SelectRequest(unit="turn", per_dialogue=2))
    scores = {(row.dialogue_id, row.turn): row.score for row in report.rows}
    assert scores["d1", 0] == scores["d1", 2] == pytest.approx(0.15)
    assert [row.score for row in report.rows] == sorted(scores.values(), reverse=True)
    assert report.rows[0].why.startswith("mistakes expected: color=black 0.15")
    assert (report.signal, report.user_turns) == (None, 20)


def test_labelled_turns_are_not_chosen_again(shop: Workspace):
    known(shop, "d4", 0)
    assert ("d4", 0) not in turns_of(shop, per_dialogue=2)
    assert ("d4", 2) in turns_of(shop, per_dialogue=2)
    assert ("d4", 0) in turns_of(shop, per_dialogue=2, include_labelled=True)
    assert ("d4", 0) not in turns_of(shop, per_dialogue=2, strategy="random")


def test_the_list_of_turns_is_what_an_export_takes(shop: Workspace, capfdbinary):
    assert run(shop, "select", "--unit", "turn", "-k", "2", "-n", "3", "--json") == 0
    value = json.loads(capfdbinary.readouterr().out)
    lines = [f"{row['dialogue_id']}\t{row['turn']}" for row in value["turns"]]
    assert (shop.labelling / "selection.txt").read_text().splitlines() == lines
    assert (value["unit"], value["user_turns"], value["strategy"]) == ("turn", 3, "uncertainty")
    tasks = shop.root / "tasks.json"
    export = ExportRequest(Selection(named=shop.labelling / "selection.txt"), to_file=tasks)
    assert export_for_labelling(shop, export).tasks_new == 3
    exported = {row["dialogue_id"] for row in value["turns"]}
    assert exported.isdisjoint(name for name, _ in turns_of(shop))  # on their way to annotators
    assert run(shop, "select", "--unit", "turn", "-n", "3") == 0
    said = " ".join(capfdbinary.readouterr().out.decode().split())
    assert "turns of" in said
    assert "to label: 3 user turns" in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"unit": "turns"}, "unknown unit 'turns'; did you mean 'turn'"),
        ({"unit": "turn", "per_dialogue": 0}, "-k 0 selects nothing"),
        ({"per_dialogue": 2}, "-k 2 is of single turns; give it with --unit turn"),
        ({"unit": "turn", "strategy": "stratified"}, "unknown strategy of turns 'stratified'"),
        ({"unit": "turn", "strategy": "rando"}, "did you mean 'random'"),
        ({"unit": "turn", "runs": ("latest",)}, "--run and --measure choose whole dialogues"),
    ],
)
def test_bad_requests_for_turns_are_refused(shop: Workspace, changes: dict[str, Any], says: str):
    with pytest.raises(UsageError, match=says):
        select_dialogues(shop, SelectRequest(**changes))
    assert not (shop.labelling / "selection.txt").exists()


# ---- with trained runs


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("selecting")
    workspace = generated_workspace(folder)
    for seed in (0, 1):
        train(workspace, TrainRequest(preset="tiny", settings=SMALL, epochs=1, seed=seed))
        train(workspace, TrainRequest(preset="default", settings=SMALL, epochs=1, seed=seed, labeled_ratio=0.5))
    train(workspace, TrainRequest(model="dual-encoder", epochs=1, settings=SMALL))
    return workspace


def runs_of(workspace: Workspace, start: str) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in workspace.runs.glob(f"{start}*") if path.is_dir()))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_lists_are_the_same_again_begin_alike_and_name_nobody_twice(prepared: Workspace, strategy: str):
    runs = runs_of(prepared, "default")
    long, again = (chosen(prepared, strategy, 20, runs=runs, include_labelled=True) for _ in range(2))
    assert long == again
    assert len(set(long)) == 20
    for count in (1, 7, 15):
        assert chosen(prepared, strategy, count, runs=runs, include_labelled=True) == long[:count]


def test_uncertainty_says_which_kind_was_used(prepared: Workspace):
    def report(*runs: str, measure: str | None = None):
        request = SelectRequest("uncertainty", 5, runs, measure, include_labelled=True)
        return select_dialogues(prepared, request)

    taught, untaught = runs_of(prepared, "default"), runs_of(prepared, "tiny")
    assert (report(*taught).measure, report(*taught).runs) == ("seeds", taught)
    assert report(taught[0]).measure == "teacher"
    assert report(untaught[0]).measure == "margin"  # its teacher was never taught
    assert report(*runs_of(prepared, "dual")).measure == "margin"
    assert report(*taught, measure="margin").runs == taught[:1]
    with pytest.raises(UsageError, match="cannot tell 'teacher'; give a run trained with --labeled-ratio above 0"):
        report(untaught[0], measure="teacher")
    with pytest.raises(UsageError, match="cannot tell 'seeds'; give --run twice"):
        report(taught[0], measure="seeds")
    with pytest.raises(UsageError, match="did you mean 'margin'"):
        report(taught[0], measure="margins")
    with pytest.raises(ModelError, match="there is no run 'nothing'"):
        report("nothing")


def test_scores_fall_and_are_the_mean_over_a_dialogues_contexts(prepared: Workspace):
    report = select_dialogues(
        prepared, SelectRequest("uncertainty", 10_000, runs_of(prepared, "default"), include_labelled=True)
    )
    scores = [row.score for row in report.rows]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert "Jensen-Shannon" in report.rows[0].why
    alone = OpenedRuns.find(prepared, runs_of(prepared, "default")).uncertainty(
        [report.rows[3].dialogue_id], None, SilentProgress()
    )
    assert alone.scores == pytest.approx([report.rows[3].score], abs=1e-6)


def test_without_a_name_the_newest_run_and_its_other_seeds_are_asked(prepared: Workspace, tmp_path: Path):
    shutil.copytree(prepared.root, tmp_path / "shop")
    shop = Workspace(tmp_path / "shop")
    for name in (*runs_of(shop, "default"), *runs_of(shop, "dual")):
        (shop.runs / name / "record.json").touch()
    assert OpenedRuns.find(shop, ()).names == runs_of(shop, "dual")
    (shop.runs / runs_of(shop, "tiny")[0] / "record.json").touch()
    assert OpenedRuns.find(shop, ()).names == runs_of(shop, "tiny")


def test_a_dialogue_that_recommends_nothing_is_asked_about_what_comes_after_it(shop: Workspace):
    write_table(
        shop.recommendations,
        RECOMMENDATIONS,
        [
            {"dialogue_id": "d1", "turn": turn, "positives": ["p1"], "negatives": [], "split": "train"}
            | {"positives_listed": [], "negatives_listed": []}
            for turn in (1, 3)
        ],
    )
    queries, starts = _contexts(load_corpus(shop), ["d3", "d1", "v1"])
    assert starts == [0, 1, 3]
    assert [(query.dialogue_id, query.turn, len(query.history)) for query in queries] == [
        ("d3", 4, 4),
        ("d1", 1, 1),
        ("d1", 3, 3),
        ("v1", 4, 4),
    ]


def test_vectors_of_dialogues_are_directions(prepared: Workspace):
    shop = OpenedRuns.find(prepared, runs_of(prepared, "default"))
    pool = find_pool(prepared, "train", 0, include_labelled=True)
    vectors = shop.vectors(pool.candidates, SilentProgress())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_hybrid_scores_are_uncertainty_times_distance(prepared: Workspace):
    runs = runs_of(prepared, "default")
    report = select_dialogues(prepared, SelectRequest("hybrid", 6, runs, include_labelled=True))
    names = [row.dialogue_id for row in report.rows]
    opened = OpenedRuns.find(prepared, runs)
    x = opened.vectors(names, SilentProgress()).astype(np.float64)
    u = opened.uncertainty(names, None, SilentProgress()).scores
    for place in range(1, 6):
        nearest = np.linalg.norm(x[:place] - x[place], axis=1).min()
        assert report.rows[place].score == pytest.approx(u[place] * nearest, rel=1e-3)


def test_training_takes_the_list_and_uses_exactly_these_labels(prepared: Workspace, tmp_path: Path, capfdbinary):
    listed = chosen(prepared, "stratified", 6, include_labelled=True)
    file = tmp_path / "six.txt"
    file.write_text("\n".join(listed))
    options = ["--preset", "tiny", "--epochs", "1", *(f"--set={setting}" for setting in SMALL)]
    assert run(prepared, "train", "--labelled", str(file), *options, "--json") == 0
    record = json.loads(capfdbinary.readouterr().out)
    assert record["run"].startswith("tiny-n6-s0-")
    assert (record["labelled"], record["labelled_dialogues"], record["labelled_list"]) == (sorted(listed), 6, True)
    again = TrainRequest(preset="tiny", settings=SMALL, epochs=1, labelled=tuple(reversed(listed)))
    assert train(prepared, again).run == record["run"]  # the order does not matter to a run
    fewer = TrainRequest(preset="tiny", settings=SMALL, epochs=1, labelled=tuple(listed[:5]))
    assert train(prepared, fewer).run != record["run"]


def test_training_refuses_what_is_not_labelled_for_training(prepared: Workspace, tmp_path: Path, capfd):
    valid = find_pool(prepared, "valid", 0, include_labelled=True).candidates[0]
    file = tmp_path / "list.txt"
    file.write_text(valid)
    assert run(prepared, "train", "--labelled", str(file)) == 2
    assert f"not for training: the first is {valid}" in " ".join(capfd.readouterr().err.split())
    file.write_text("nobody\n")
    assert run(prepared, "train", "--labelled", str(file)) == 2
    assert "unknown dialogue 'nobody'" in " ".join(capfd.readouterr().err.split())
    with pytest.raises(InputError, match="said twice"):
        train(prepared, TrainRequest(labeled_ratio=0.5, labelled=(valid,)))
    with pytest.raises(InputError, match="reads no labels; leave --labelled out"):
        train(prepared, TrainRequest(model="dual-encoder", labelled=(valid,)))


@pytest.mark.slow
def test_the_runs_of_an_experiment_tell_what_the_next_batch_brings(prepared: Workspace, tmp_path: Path, capfd):
    shutil.copytree(prepared.root, tmp_path / "shop")
    shop = Workspace(tmp_path / "shop")
    grid = ExperimentRequest(presets=("tiny",), ratios=(0.0, 0.2, 0.6), seeds=2, settings=SMALL, epochs=1)
    experiment(shop, grid)
    signal = select_dialogues(shop, SelectRequest(count=5, include_labelled=True)).signal
    assert signal is not None
    assert signal.missing is None
    assert signal.interval is not None
    assert signal.interval.low <= signal.interval.high
    assert (signal.before, signal.after, len(signal.runs)) == (0, 5, 6)
    assert "with 0, 4, 12 labelled dialogues" in signal.notes[0]
    assert not any("other dialogues" in note for note in signal.notes)  # they were measured by query
    assert run(shop, "select", "-n", "5", "--include-labelled") == 0
    assert f"points of NDCG@5 (95 %: {100 * signal.interval.low:+.1f} to" in " ".join(capfd.readouterr().out.split())
