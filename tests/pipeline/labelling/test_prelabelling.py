"""Pre-labels in exported tasks, and what an ingest says of answers that started from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from annotate.annotations.annotation import read_annotations
from annotate.simulated_annotators import fill_tasks
from pipeline.benchmarks import run_benchmark, tables_of
from pipeline.benchmarks.measure import Options
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.prelabelling import BeliefReading
from pipeline.labelling.simulated_labels import gold_states
from pipeline.workspace import Workspace
from schemas.belief import SlotValue
from schemas.errors import ModelError, UsageError, WorkspaceError
from tests.generated_workspace import generated_workspace
from tests.label_exports import gold_of, save, states_in
from tests.labelling_corpus import ONTOLOGY, dialogue, write_workspace

RED = ONTOLOGY.link(ONTOLOGY.slot("color"), "red")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [dialogue(name, users=3) for name in ("d1", "d2")])


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A generated corpus with its gold states ingested."""
    folder = tmp_path_factory.mktemp("generated")
    return generated_workspace(folder)


def exported(workspace: Workspace, prelabel: str | None, **selection: Any) -> list[dict[str, Any]]:
    file = workspace.root / "tasks.json"
    result = export_for_labelling(
        workspace, ExportRequest(Selection(split="all", **selection), to_file=file, window=2, prelabel=prelabel)
    )
    assert (result.prelabel is None) == (prelabel is None)
    tasks: list[dict[str, Any]] = json.loads(file.read_text())
    return tasks


def test_exported_tasks_hold_what_the_lexicon_says(workspace: Workspace):
    tasks = exported(workspace, "lexicon")
    assert [task["data"]["uid"] for task in tasks] == ["d1#0", "d1#1", "d2#0", "d2#1"] or len(tasks) == 4
    for task in tasks:
        (found,) = task["predictions"]
        assert found["model_version"] == "lexicon-v1@ontology3"
        assert 0 < found["score"] < 1
        assert {entry["from_name"] for entry in found["result"]} == {
            f"want_{index}" for index in range(len(task["data"]["user_turns"]))
        }
        assert all(entry["value"] == {"taxonomy": [["color=red"]]} for entry in found["result"])
    manifest = json.loads((workspace.labelling / "batch-0001" / "manifest.json").read_text())
    assert manifest["prelabel"] == "lexicon-v1@ontology3"
    batch = json.loads((workspace.labelling / "batch-0001" / "tasks.json").read_text())
    assert batch == tasks


def test_the_state_so_far_as_filled_in_is_shown_with_every_turn_but_the_first(workspace: Workspace):
    turns = {
        turn["turn"]: turn["html"]
        for task in exported(workspace, "lexicon")
        if task["data"]["dialogue_id"] == "d1"
        for turn in task["data"]["user_turns"]
    }
    assert "sem-state" not in turns[0]
    for turn in (2, 4):  # also in the second part, whose page does not hold the marks of the first
        assert turns[turn].endswith(
            '<b>so far, as filled in</b> <span class="sem-mark sem-like">color=red</span></div>'
        )


def test_without_prelabels_tasks_hold_none(workspace: Workspace):
    tasks = exported(workspace, None)
    assert "sem-state" not in json.dumps(tasks)
    assert all("predictions" not in task for task in tasks)
    assert "prelabel" not in json.loads((workspace.labelling / "batch-0001" / "manifest.json").read_text())


def test_the_same_labels_give_the_same_prelabels(generated: Workspace):
    assert exported(generated, "lexicon", limit=3) == exported(generated, "lexicon", limit=3)


def test_current_prelabels_say_what_the_labels_say_now(generated: Workspace):
    tasks = exported(generated, "current", limit=5)
    gold = states_in(generated)
    answers = fill_tasks(tasks, gold, generated.ontology())
    for task in answers:
        (answer,) = task["annotations"]
        assert answer["prediction"]["score"] == 1.0
        assert [(e["from_name"], e["value"]) for e in answer["result"]] == [
            (e["from_name"], e["value"]) for e in answer["prediction"]["result"]
        ]


def test_current_needs_labels(workspace: Workspace):
    with pytest.raises(WorkspaceError, match="states"):
        exported(workspace, "current")


@pytest.mark.parametrize(
    ("name", "message"),
    [("lexikon", "did you mean 'lexicon'"), ("run:", "did you mean"), ("gpt", "lexicon, run:ID, llm or current")],
)
def test_unknown_prelabels_are_refused_with_the_names_there_are(workspace: Workspace, name: str, message: str):
    with pytest.raises(UsageError, match="no pre-labels are called") as caught:
        exported(workspace, name)
    assert message in str(caught.value)
    assert not (workspace.labelling / "batch-0001").exists()


def test_a_run_that_is_not_there_is_an_error_of_one_line(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    arguments = ["-w", str(workspace.root), "export-for-labelling", "--to-file", str(workspace.root / "t.json")]
    assert _run([*arguments, "--prelabel", "run:latest"]) == 2
    assert "no run has been trained" in capsys.readouterr().err


def test_answers_left_as_they_were_are_counted_and_found(workspace: Workspace):
    tasks = exported(workspace, "lexicon")
    # d1 wants red throughout, as the lexicon says; d2 wants nothing
    gold = {**gold_of([(RED,)] * 3, "d1"), **gold_of([()] * 3, "d2")}
    export = fill_tasks(tasks, gold, ONTOLOGY, annotators=(1, 2))
    for task in export:
        for answer in task["annotations"]:
            answer["lead_time"] = 1.0 if task["data"]["dialogue_id"] == "d1" else 60.0
    report = ingest_labels(workspace, IngestRequest(export=save(workspace.root / "export.json", export)))
    who = {each.annotator for each in read_annotations(workspace.annotations) if each.untouched}
    (hasty,) = who
    counted = report.as_json()["untouched"]
    assert (counted["prelabelled"], counted["untouched"]) == (4, 2)
    assert counted["annotators"][hasty]["rate"] == 1.0
    assert counted["annotators"][hasty]["seconds_per_turn_untouched"] == 0.75  # half a second and a second
    ledger = json.loads(workspace.label_ledger.read_text())
    assert ledger["untouched"] == counted
    for each in read_annotations(workspace.annotations):
        assert each.prelabel == "lexicon-v1@ontology3"
        assert each.prelabel_score == export[0]["annotations"][0]["prediction"]["score"]
        assert each.untouched == (each.dialogue_id == "d1")
    assert report.as_json()["findings"]["untouched_fast"] == 2
    assert (workspace.root / "labels" / "requeue.txt").read_text() == "d1\n"
    assert states_in(workspace) == gold


def test_answers_from_nothing_count_for_nothing(workspace: Workspace):
    gold = {**gold_of([(RED,)] * 3, "d1"), **gold_of([()] * 3, "d2")}
    export = fill_tasks(exported(workspace, None), gold, ONTOLOGY)
    report = ingest_labels(workspace, IngestRequest(export=save(workspace.root / "export.json", export)))
    assert report.as_json()["untouched"] == {"prelabelled": 0, "untouched": 0, "annotators": {}}


def test_correcting_prelabels_ends_in_the_gold_of_every_dialogue(generated: Workspace, tmp_path: Path):
    """By way of tasks, a simulated annotator and an ingest, on a copy of the corpus without its states."""
    gold = gold_states(generated, generated.ontology())
    tasks = exported(generated, "lexicon", limit=12)
    names = {task["data"]["dialogue_id"] for task in tasks}
    export = fill_tasks(tasks, gold, generated.ontology(), annotators=(1, 2))
    ingest_labels(generated, IngestRequest(export=save(tmp_path / "export.json", export)))
    reached = states_in(generated)
    assert {key: state for key, state in reached.items() if key[0] in names} == {
        key: state for key, state in gold.items() if key[0] in names
    }


def test_the_benchmark_measures_actions_and_accuracy(generated: Workspace, capsys: pytest.CaptureFixture[str]):
    rows = run_benchmark("prelabels", Options(workspace=generated.root, sizes=(20,)))["benchmarks"]
    untaught, taught = rows
    assert (untaught["name"], taught["name"]) == (
        "lexicon, nothing labelled yet",
        "lexicon, taught by 20 labelled dialogues",
    )
    for row in rows:
        without, corrected = row["actions"], row["actions_with_prelabels"]
        assert without["removals"] == 0
        assert without["submits"] == corrected["submits"] >= row["dialogues"]
        for actions in (without, corrected):
            parts = sum(actions[name] for name in ("picks", "typed", "removals", "offers", "submits"))
            assert actions["total"] == parts
            assert actions["per_turn"] == parts / row["turns"]
            assert actions["per_dialogue"] == parts / row["dialogues"]
        assert row["ratio"] == corrected["total"] / without["total"]
        assert without["offers"] == 0
        assert row["ratio"] <= row["ratio_without_offers"]
        assert row["ratio_of_strokes"] == corrected["strokes"] / without["strokes"]
        assert row["reached"] == (row["ratio"] <= 0.3)
        assert 0 < row["f1_updates"] <= 1
        assert row["final_jga"]["careful"] == {"from_nothing": 1.0, "with_prelabels": 1.0}
        assert sum(slot["actions"] for slot in row["slots"]) == without["total"] - without["submits"]
        assert sum(slot["actions_with_prelabels"] for slot in row["slots"]) == corrected["total"] - corrected["submits"]
    assert taught["ratio"] < 1
    assert [title for title, _, _ in tables_of("prelabels", rows)][:2] == [
        "right before anybody corrects",
        "actions of annotators",
    ]
    for _, columns, lines in tables_of("prelabels", rows):
        assert all(len(line) == len(columns) for line in lines)


def test_the_benchmark_says_what_it_needs(workspace: Workspace):
    with pytest.raises(UsageError, match="a workspace"):
        run_benchmark("prelabels", Options())
    ingest_labels(workspace, IngestRequest())
    with pytest.raises(UsageError, match="too few"):
        run_benchmark("prelabels", Options(workspace=workspace.root))


def test_the_benchmark_of_states_says_what_it_needs(generated: Workspace):
    with pytest.raises(UsageError, match="in a workspace with labels"):
        run_benchmark("states", Options())
    with pytest.raises(UsageError, match="24 wholly labelled dialogues for training and validation are too few"):
        run_benchmark("states", Options(workspace=generated.root))


def test_the_benchmark_teaches_no_lexicon_with_too_few(generated: Workspace):
    with pytest.raises(UsageError, match="from 20 labelled dialogues on, not from 7"):
        run_benchmark("prelabels", Options(workspace=generated.root, sizes=(7,)))


class Read(NamedTuple):
    state: tuple[SlotValue, ...]
    sure: dict[str, float]


def test_beliefs_become_updates_once_they_are_sure_and_scores_say_how_sure():
    """By hand; from 0.7 on a value is taken over, from 0.95 on that there is none."""
    red, cheap = SlotValue("color", "red"), SlotValue("price", "cheap")
    not_blue = SlotValue("color", "blue", "dislike")
    states = [
        Read((red,), {"color": 0.9, "price": 0.96}),
        Read((SlotValue("color", "blue"),), {"color": 0.6, "price": 0.96}),  # wavers
        Read((), {"color": 0.8, "price": 0.96}),  # wavers, too
        Read((not_blue, cheap), {"color": 0.75, "price": 0.7}),
        Read((cheap,), {"color": 0.97, "price": 0.5}),
    ]
    found = BeliefReading(ONTOLOGY, ONTOLOGY.version).prelabel([0, 2, 4, 6, 8], states)
    updates = {turn: (each.update.want, each.update.dislike, set(each.update.drop)) for turn, each in found.items()}
    assert updates == {
        0: ({"color": ("red",)}, {}, set()),
        2: ({}, {}, set()),
        4: ({}, {}, set()),
        6: ({"price": ("cheap",)}, {"color": ("blue",)}, {"color"}),
        8: ({}, {}, {"color"}),
    }
    scores = {turn: each.score for turn, each in found.items()}
    assert scores == pytest.approx({0: 0.9 * 0.96, 2: 0.6 * 0.96, 4: 0.8 * 0.96, 6: 0.75 * 0.7, 8: 0.97 * 0.5})


@pytest.mark.slow
def test_a_trained_run_prelabels_and_one_without_readable_states_says_so(
    generated: Workspace, capsys: pytest.CaptureFixture[str]
):
    sizes = ("model.width=8", "model.heads=2", "model.inner=8", "text.product_max_tokens=10")
    small = [f"--set={each}" for each in sizes]
    runs = {}
    for preset in ("default", "dual-encoder"):
        train = ["train", "--preset", preset, "--epochs", "1"]
        made_small = ["--labeled-ratio=0.5", *small] if preset == "default" else ["--set=model.width=8"]
        assert _run(["-w", str(generated.root), *train, *made_small, "--json"]) == 0
        runs[preset] = json.loads(capsys.readouterr().out)["run"]
    tasks = exported(generated, f"run:{runs['default']}", limit=4)
    assert {task["predictions"][0]["model_version"] for task in tasks} == {f"run:{runs['default']}"}
    assert all(0 <= task["predictions"][0]["score"] <= 1 for task in tasks)
    with pytest.raises(ModelError, match="predicts no states that can be read"):
        exported(generated, f"run:{runs['dual-encoder']}", limit=4)
