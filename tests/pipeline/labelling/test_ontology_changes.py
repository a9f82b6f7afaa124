"""``semctl ontology`` on a workspace: labels, files, another import; what is refused and what is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from annotate.annotations.migration import InterfaceVersions, Switch
from pipeline.batches import Batch, Destination
from pipeline.cli import _run
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.live_configuration import (
    move_interface_versions,
    note_interface_version,
    read_interface_versions,
)
from pipeline.modelling.training_data import gold_states
from pipeline.workspace import Workspace
from schemas.errors import LabelError, OntologyError, WorkspaceError
from schemas.ontology import Ontology, Slot, Value
from schemas.tables import ANNOTATIONS, D_F, FINDINGS, PRODUCTS, STATES, read_table, write_table
from tests.label_exports import answer, answered, hashes, marked, pick, save, states_in, tasks_of, typed
from tests.labelling_corpus import dialogue, write_workspace

OLD = Ontology(
    version=3,
    slots=(
        Slot(
            name="color",
            attribute="color",
            values=(
                Value(value="red", count=2),
                Value(value="black", count=5),
                Value(value="jet black", count=1),
                Value(value="blue", count=5),
            ),
        ),
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            values=(Value(value="cheap", count=1, high=25), Value(value="25-50", count=9, low=25, high=50)),
        ),
    ),
)
DIALOGUES = [dialogue(name) for name in ("d1", "d2", "d3")]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return with_products(write_workspace(tmp_path / "shop", DIALOGUES, ontology=OLD))


def with_products(workspace: Workspace) -> Workspace:
    shared = {"name": "", "description": "", "price": None, "currency": None, "image_ids": [], "source": "test"}
    colors = ["red"] * 2 + ["black"] * 5 + ["jet black"] + ["blue"] * 5
    rows = [
        {"product_id": f"p{i:02}", "attributes": [("color", [color]), ("fit", [("slim", "wide")[i % 2]])], **shared}
        for i, color in enumerate(colors)
    ]
    write_table(workspace.products, PRODUCTS, rows)
    return workspace


def semctl(workspace: Workspace, *arguments: str) -> int:
    return _run(["-w", str(workspace.root), "-q", *arguments])


def change(workspace: Workspace, *arguments: str) -> None:
    assert semctl(workspace, "ontology", *arguments) == 0


Answers = Mapping[str, Sequence[dict[str, Any]]]

IN_OLD_WORDS: Answers = {
    "d1": [pick("want_0", "color=black", "price=cheap"), pick("dislike_1", "color=red")],
    "d2": [pick("want_0", "color=jet black"), typed("free_1", "!Color=Black", "price=30")],
    "d3": [pick("want_0", "color=blue"), pick("op_1", "drop=price")],
}
IN_NEW_WORDS: Answers = {
    "d1": [pick("want_0", "shade=black", "price=low"), pick("dislike_1", "shade=crimson")],
    "d2": [pick("want_0", "shade=black"), typed("free_1", "!Shade=Black", "price=30")],
    "d3": [pick("want_0", "shade=blue"), pick("op_1", "drop=price")],
}
CHANGES = (
    ("rename", "color=red", "crimson"),
    ("merge", "color=black", "color=jet black", "--into", "black"),
    ("rename", "color", "shade"),
    ("rename", "price=cheap", "low"),
)


def export(path: Path, answers: Answers, version: int, *, at: str = "2026-02-03T10:00:00Z") -> Path:
    tasks = tasks_of([rows for rows in DIALOGUES if rows[0]["dialogue_id"] in answers])
    for task in tasks:
        task["data"]["ontology_version"] = version
    filled = [
        answered(task, answer(number, answers[task["data"]["dialogue_id"]], at=at), id=number)
        for number, task in enumerate(tasks, start=1)
    ]
    return save(path, filled)


def test_answers_in_old_and_in_new_words_give_the_same_states(tmp_path: Path, workspace: Workspace):
    for arguments in CHANGES:
        change(workspace, *arguments)
    other = Workspace(tmp_path / "other")
    shutil.copytree(workspace.root, other.root)
    old = ingest_labels(workspace, IngestRequest(export=export(tmp_path / "old.json", IN_OLD_WORDS, 3)))
    new = ingest_labels(other, IngestRequest(export=export(tmp_path / "new.json", IN_NEW_WORDS, 7)))
    assert old.quarantined == new.quarantined == {}
    assert old.refused_turns == new.refused_turns == {}
    assert states_in(workspace) == states_in(other)
    assert {key: marked(state) for key, state in states_in(workspace).items()} == {
        ("d1", 0): {"shade=black", "price=low"},
        ("d1", 2): {"shade=black", "price=low", "!shade=crimson"},
        ("d2", 0): {"shade=black"},
        ("d2", 2): {"!shade=black", "price=30"},
        ("d3", 0): {"shade=blue"},
        ("d3", 2): {"shade=blue"},
    }
    state = states_in(workspace)["d1", 2]
    assert state is not None
    assert {(item.value, item.attribute, item.catalogue_value) for item in state} == {
        ("black", "color", "black"),
        ("crimson", "color", "red"),
        ("low", "price", "low"),
    }
    assert D_F_dialogues(workspace) == {"d1", "d2", "d3"}


def D_F_dialogues(workspace: Workspace) -> set[str]:  # noqa: N802
    return set(read_table(workspace.d_f, D_F)["dialogue_id"].to_pylist())


def test_a_change_after_the_ingest_migrates_what_is_stored_and_leaves_it_as_it_was_marked(
    tmp_path: Path, workspace: Workspace
):
    ingest_labels(workspace, IngestRequest(export=export(tmp_path / "old.json", IN_OLD_WORDS, 3)))
    stored = read_table(workspace.annotations, ANNOTATIONS)
    for arguments in CHANGES:
        change(workspace, *arguments)
    ingest_labels(workspace, IngestRequest())
    migrated = states_in(workspace)
    assert read_table(workspace.annotations, ANNOTATIONS) == stored
    assert set(stored["ontology_version"].to_pylist()) == {3}
    assert marked(migrated["d1", 2]) == {"shade=black", "price=low", "!shade=crimson"}
    before = hashes(workspace.root)
    ingest_labels(workspace, IngestRequest(export=export(tmp_path / "old.json", IN_OLD_WORDS, 3)))
    assert read_table(workspace.annotations, ANNOTATIONS) == stored
    assert hashes(workspace.root)["labels/states.parquet"] == before["labels/states.parquet"]


def test_answers_of_both_words_merge_within_one_dialogue(tmp_path: Path, workspace: Workspace):
    change(workspace, "rename", "color=red", "crimson")
    tasks = tasks_of([DIALOGUES[0]], window=1)
    tasks[1]["data"]["ontology_version"] = 4
    filled = [
        answered(tasks[0], answer(1, [pick("want_0", "color=red")]), id=1),
        answered(tasks[1], answer(2, [pick("dislike_0", "color=crimson")]), id=2),
    ]
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "both.json", filled)))
    states = states_in(workspace)
    assert [marked(states["d1", turn]) for turn in (0, 2)] == [{"color=crimson"}, {"!color=crimson"}]


def test_a_split_leaves_its_slot_unknown_and_names_the_dialogues_to_look_at(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
):
    ingest_labels(
        workspace, IngestRequest(export=export(tmp_path / "old.json", IN_OLD_WORDS, 3), server="http://studio")
    )
    assert semctl(workspace, "ontology", "split", "color=blue", "--into", "navy,sky blue", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["touched"] == {"annotations": 1, "turns": 1, "dialogues": 1}
    assert said["unclear"] == {"turns": 1, "dialogues": 1}
    assert said["products_left"] == 5
    assert said["marks"] == [{"before": "color=blue", "after": None, "marks": 1}]
    requeue = Path(said["requeue"])
    assert requeue.read_text() == "d3\n"
    ingest_labels(workspace, IngestRequest())
    assert D_F_dialogues(workspace) == {"d1", "d2"}
    rows = {(row["dialogue_id"], row["turn"]): row for row in read_table(workspace.states, STATES).to_pylist()}
    assert rows["d3", 0]["labelled_slots"] == ["price"]
    findings = read_table(workspace.findings, FINDINGS).to_pylist()
    outdated = [row for row in findings if row["code"] == "outdated_answer"]
    assert [(row["dialogue_id"], row["turn"], row["slot"]) for row in outdated] == [("d3", 0, "color")]
    assert "d3" in workspace.requeue.read_text().split()
    assert rows["d3", 0]["state"] == []
    tasks = tmp_path / "again.json"
    assert semctl(workspace, "export-for-labelling", "--to-file", str(tasks), "--dialogues", str(requeue)) == 0
    assert [task["data"]["dialogue_id"] for task in json.loads(tasks.read_text())] == ["d3"]
    again = {"d3": [pick("want_0", "color=navy"), pick("op_1", "drop=price")]}
    # another project of the same server: its user 1 is the same person
    for task in (filled := json.loads(export(tmp_path / "new.json", again, 4, at="2026-03-03T10:00:00Z").read_text())):
        task["project"] = 8
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "new.json", filled), server="http://studio/"))
    assert D_F_dialogues(workspace) == {"d1", "d2", "d3"}
    assert marked(states_in(workspace)["d3", 2]) == {"color=navy"}


def test_a_new_slot_takes_older_dialogues_out_of_d_f_unless_told_otherwise(tmp_path: Path, workspace: Workspace):
    ingest_labels(workspace, IngestRequest(export=export(tmp_path / "old.json", IN_OLD_WORDS, 3)))
    kept = Workspace(tmp_path / "kept")
    shutil.copytree(workspace.root, kept.root)
    change(workspace, "add", "fit", "--attribute", "fit")
    assert [(value.value, value.count) for value in workspace.ontology().slot("fit").values] == [
        ("slim", 7),
        ("wide", 6),
    ]
    ingest_labels(workspace, IngestRequest())
    assert D_F_dialogues(workspace) == set()
    assert (workspace.root / "labels" / "requeue-ontology-4.txt").read_text() == "d1\nd2\nd3\n"
    change(kept, "add", "fit", "--assume-none")
    ingest_labels(kept, IngestRequest())
    assert D_F_dialogues(kept) == {"d1", "d2", "d3"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("rename", "color=red", "crimson"),
        ("merge", "color=black", "color=jet black", "--into", "black"),
        ("split", "color=blue", "--into", "navy,sky"),
        ("add", "color=teal", "--alias", "petrol"),
        ("add", "fit"),
    ],
)
def test_a_dry_run_says_what_would_change_and_writes_nothing(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
):
    ingest_labels(workspace, IngestRequest(export=export(tmp_path / "old.json", IN_OLD_WORDS, 3)))
    before = hashes(workspace.root)
    assert semctl(workspace, "ontology", *arguments, "--dry-run", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["version"] == {"before": 3, "after": 4}
    assert hashes(workspace.root) == before
    assert semctl(workspace, "ontology", *arguments, "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert {**made, "dry_run": True} == said
    again = hashes(workspace.root)
    assert semctl(workspace, "ontology", *arguments) == 0
    assert "nothing to change" in capsys.readouterr().out
    assert hashes(workspace.root) == again


def test_labels_older_than_a_change_are_not_trained_on(tmp_path: Path, workspace: Workspace):
    ingest_labels(workspace, IngestRequest(export=export(tmp_path / "old.json", IN_OLD_WORDS, 3)))
    assert len(gold_states(workspace)) == 3
    change(workspace, "add", "color=teal")  # nothing reads differently
    assert len(gold_states(workspace)) == 3
    change(workspace, "rename", "color", "shade")
    with pytest.raises(WorkspaceError, match=r"since the labels were ingested: color is now shade .*ingest-labels"):
        gold_states(workspace)
    ingest_labels(workspace, IngestRequest())
    assert len(gold_states(workspace)) == 3


def test_show_prints_slots_values_and_steps(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    change(workspace, "rename", "color=red", "crimson")
    change(workspace, "split", "color=blue", "--into", "navy,sky")
    capsys.readouterr()
    assert semctl(workspace, "ontology", "show") == 0
    shown = capsys.readouterr().out
    assert "version 5" in shown
    assert "color=red is now color=crimson" in shown
    assert semctl(workspace, "ontology", "show", "colour") == 2
    assert "did you mean 'color'" in capsys.readouterr().err
    assert semctl(workspace, "ontology", "show", "color") == 0
    assert "navy, sky" in capsys.readouterr().out
    assert semctl(workspace, "ontology", "show", "--json") == 0
    assert Ontology.model_validate(json.loads(capsys.readouterr().out)) == workspace.ontology()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("merge", "color=red", "--into", "red"), "two or more"),
        (("merge", "color=red", "price", "--into", "x"), "cannot be merged with a value"),
        (("merge", "color=red", "price=cheap", "--into", "x"), "values of color and price"),
        (("split", "color", "--into", "a,b"), "only a value can be split"),
        (("rename", "color=", "x"), "names nothing"),
        (("add", "style", "--attribute", "fitt"), "no product has the attribute 'fitt'; did you mean 'fit'?"),
        (("add", "fit", "--alias", "x"), "--alias is for values"),
        (("add", "color=x", "--attribute", "fit"), "--attribute and --assume-none are for slots"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
):
    before = hashes(workspace.root)
    assert semctl(workspace, "ontology", *arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert {name: sha for name, sha in hashes(workspace.root).items() if not name.endswith(".lock")} == before


def test_steps_edited_into_something_invalid_say_where(workspace: Workspace):
    change(workspace, "rename", "color=red", "crimson")
    value = json.loads(workspace.ontology_file.read_text())
    value["history"][0]["op"] = "renamed"
    workspace.ontology_file.write_text(json.dumps(value))
    with pytest.raises(OntologyError, match=r"history\.0"):
        workspace.ontology()
    value["history"][0] |= {"op": "rename_value", "version": 9}
    workspace.ontology_file.write_text(json.dumps(value))
    with pytest.raises(OntologyError, match="order of their versions"):
        workspace.ontology()


def corpus(folder: Path, *colors: str) -> Path:
    folder.mkdir(exist_ok=True)
    products = [
        {"product_id": f"p{i}", "name": f"n{i}", "attributes": {"type": ("coat", "hat")[i % 2], "color": color}}
        for i, color in enumerate(colors)
    ]
    turns = [
        {"speaker": "user", "text": "a red coat", "state": {"like": {"color": ["red"], "type": "coat"}}},
        {"speaker": "system", "text": "this?", "positives": ["p0"], "negatives": ["p1"]},
        {"speaker": "user", "text": "or grey", "state": {"like": {"color": ["grey"], "type": "coat"}}},
    ]
    (folder / "products.jsonl").write_text("".join(json.dumps(product) + "\n" for product in products))
    (folder / "dialogues.jsonl").write_text(json.dumps({"dialogue_id": "a", "turns": turns}) + "\n")
    return folder


def test_importing_again_keeps_steps_names_titles_and_added_values(tmp_path: Path):
    workspace = Workspace(tmp_path / "ws")
    folder = corpus(tmp_path / "corpus", "red", "red", "grey", "black", "jet black", "black")
    import_corpus(workspace, ImportRequest(folder, "jsonl"))
    value = json.loads(workspace.ontology_file.read_text())
    slot = next(slot for slot in value["slots"] if slot["name"] == "color")
    slot |= {"title": "Colour of it", "hint": "as seen by daylight"}
    workspace.ontology_file.write_text(json.dumps(value))
    change(workspace, "rename", "color=grey", "charcoal")
    change(workspace, "merge", "color=black", "color=jet black", "--into", "black")
    change(workspace, "split", "color=red", "--into", "crimson,rust")
    change(workspace, "add", "color=teal", "--alias", "petrol")
    change(workspace, "rename", "color", "shade")
    changed = workspace.ontology()
    import_corpus(workspace, ImportRequest(folder, "jsonl"))
    assert workspace.ontology() == changed
    ingest_labels(workspace, IngestRequest())
    states = states_in(workspace)
    assert [marked(states["a", turn]) for turn in (0, 2)] == [{"type=coat"}, {"type=coat", "shade=charcoal"}]
    assert gold_states(workspace) == {}  # what the corpus calls red may be crimson or rust

    grown = corpus(tmp_path / "more", "red", "grey", "Gray", "jet black", "teal", "pink", "pink")
    import_corpus(workspace, ImportRequest(grown, "jsonl"))
    after = workspace.ontology()
    assert after.history[:-1] == changed.history
    assert (after.version, after.history[-1].op, str(after.history[-1])) == (
        7,
        "import",
        "an import added values to older slots: 1",
    )
    shade = after.slot("color")
    assert (shade.name, shade.title, shade.hint) == ("shade", "Colour of it", "as seen by daylight")
    assert {value.value: (value.count, value.catalogue) for value in shade.values} == {
        "red": (1, ()),
        "crimson": (0, ()),
        "rust": (0, ()),
        "charcoal": (2, ("Gray", "grey")),
        "black": (1, ("jet black",)),
        "teal": (1, ()),
        "pink": (2, ()),
    }
    assert after.link(shade, "black").catalogue_value == "jet black"


def test_answers_count_as_of_the_screen_they_were_given_on():
    switches = [Switch("2026-03-01T12:00:00.000000Z", 4), Switch("2026-03-02T12:00:00.000000Z", 6)]
    screens = InterfaceVersions({("http://x", "7"): switches})
    assert screens.version("7", 3, "2026-03-01T11:59:59.000000Z", 5.0) == 3
    assert screens.version("7", 3, "2026-03-01T12:00:04.000000Z", 5.0) == 3  # the page was open before
    assert screens.version("7", 3, "2026-03-01T12:00:06.000000Z", 5.0) == 4
    assert screens.version("7", 5, "2026-03-01T12:00:06.000000Z", None) == 5
    assert screens.version("7", 3, "2026-03-05T12:00:00.000000Z", 1e9) == 3
    assert screens.version("8", 3, "2026-03-05T12:00:00.000000Z", 1.0) == 3
    assert screens.version(None, 3, "", None) == 3
    later, two = (
        ("7", 3, "2026-03-01T12:00:06.000000Z", 5.0),
        InterfaceVersions({("http://x", "7"): switches, ("http://y", "7"): []}),
    )
    assert [two.version(*later, server=server) for server in ("http://x", "http://y", None)] == [4, 3, 3]


def test_a_screen_is_noted_once_and_only_where_older_tasks_are(tmp_path: Path):
    def batch(number: int, version: int, project: int) -> Batch:
        return Batch(number, Destination("p", project, "http://x"), "c", 2, (), ontology_version=version)

    batches = [batch(1, 1, 7), batch(2, 3, 8)]
    for project, version in ((7, 3), (7, 3), (8, 3), (9, 3), (7, 2)):
        note_interface_version(tmp_path, project, "http://x", version, batches)
    found = read_interface_versions(tmp_path).switches
    assert {project: [switch.ontology_version for switch in switches] for project, switches in found.items()} == {
        ("http://x", "7"): [3]
    }
    note_interface_version(tmp_path, 7, "http://x", 4, batches)
    note_interface_version(tmp_path, 7, "http://y", 4, batches)  # no batch went there
    move_interface_versions(tmp_path, 7, "http://x", "http://z")
    found = read_interface_versions(tmp_path).switches
    assert {of: [switch.ontology_version for switch in switches] for of, switches in found.items()} == {
        ("http://z", "7"): [3, 4]
    }
    (tmp_path / "screens.json").write_text('{"screens": [{"since": "yesterday"}]}')
    with pytest.raises(LabelError, match="not a record of screens"):
        read_interface_versions(tmp_path)
