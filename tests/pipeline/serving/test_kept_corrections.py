"""``semctl serve --keep-corrections``: from a correction over HTTP through an ingest to what a run learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from annotate.annotations.annotation import is_of_page
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.page_corrections import read_kept
from pipeline.modelling.train import TrainRequest, plan_run, train
from pipeline.modelling.training_data import named_for_training, partial_states, prepare
from pipeline.serving.app import AppSettings
from pipeline.workspace import Workspace
from schemas.progress import SilentProgress
from schemas.tables import D_F, D_P, TURNS, read_table
from tests.served import client, in_thread, said, served, trained_workspace

JSON = {"Content-Type": "application/json"}
KEEPING = AppSettings(look_every=60, keep_corrections=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return trained_workspace(tmp_path)


def talk(*texts: str) -> dict[str, Any]:
    turns = [part for text in texts for part in ({"speaker": "user", "text": text}, {"speaker": "system", "text": "?"})]
    return {"turns": turns[:-1]}


def corrected(slot: str, *like: str, dislike: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"correction": {"slot": slot, "like": list(like), "dislike": list(dislike)}}


def test_nothing_is_kept_without_the_option(workspace: Workspace):
    with in_thread(workspace) as (address, _), client(address) as us:
        before = sorted(path for path in workspace.root.rglob("*") if "features" not in path.parts)
        assert us.get("/version").json()["keeps_corrections"] is False
        refused = us.post("/corrections", json=talk("A thing that is blue, maybe") | corrected("colors", "blue"))
        assert refused.status_code == 404
        assert "/corrections" not in us.get("/openapi.json").json()["paths"]
        answer = us.post(
            "/recommend", json=said("A blue thing", corrections=[corrected("colors", "blue")["correction"]])
        )
        assert answer.status_code == 200
        assert sorted(path for path in workspace.root.rglob("*") if "features" not in path.parts) == before


def test_from_a_correction_over_http_to_what_a_run_learns(workspace: Workspace):
    first, second = talk("Zwei bunte Dinge für mich"), talk("Zwei bunte Dinge für mich", "Nothing dear")
    with served(workspace, "--keep-corrections") as address, client(address) as us:
        version = us.get("/version").json()
        assert version["keeps_corrections"]
        offered = {each["slot"]: each["values"] for each in version["slots"]}
        (colors, one, other), (slot, value) = ("colors", *offered["colors"][:2]), next(
            (name, values[0]) for name, values in offered.items() if name != "colors" and values
        )  # fmt: skip
        for form in (
            first | corrected(colors, one),
            first | corrected(colors, other, dislike=(one,)),
            first | corrected(slot, value) | {"as_read": [value]},
            second | corrected(slot),
        ):
            assert us.post("/corrections", json=form).status_code == 200
    report = ingest_labels(workspace, IngestRequest()).as_json()
    assert report["page"] == {"corrections": 4, "dialogues": 1, "dropped_lines": 0}
    rows = [row for row in read_table(workspace.d_p, D_P).to_pylist() if is_of_page(row["dialogue_id"])]
    assert [(row["turn"], row["labelled_slots"], row["annotators"]) for row in rows] == [
        (0, [colors], ["page"]),
        (2, [slot], ["page"]),
    ]
    assert [{(each["value"], each["polarity"]) for each in row["state"]} for row in rows] == [
        {(other, "like"), (one, "dislike")},
        set(),
    ]
    (name,) = {row["dialogue_id"] for row in rows}
    some = partial_states(workspace)
    assert some.known_slots[name] == {0: {colors}, 2: {slot}}
    # the share is of the corpus's dialogues, and all of them are labelled still
    plan, config = plan_run(workspace, TrainRequest(labeled_ratio=1.0, preset="tiny"))
    data = prepare(workspace, plan, config, SilentProgress())
    assert (len(data.labelled), data.unlabelled_dialogues) == (20, 0)
    assert not any(map(is_of_page, data.labelled))
    named = workspace.root / "named.txt"
    full = list(
        dict.fromkeys(read_table(workspace.d_f, D_F, filters=[("split", "==", "train")])["dialogue_id"].to_pylist())
    )
    named.write_text("".join(f"{each}\n" for each in (*full, name)))

    settings = ("model.kind=grounded", "grounding.tracker=true")
    made = train(
        workspace,
        TrainRequest(labelled=named_for_training(workspace, named), preset="tiny", epochs=1, settings=settings),
    )
    assert made.labelled_dialogues == 20
    (tracker,) = Path(made.path).rglob("tracker.json")
    assert "+21dialogues:" in json.loads(tracker.read_bytes())[0]["version"]


def test_what_cannot_be_kept_is_told_and_not_kept(workspace: Workspace):
    with in_thread(workspace, settings=KEEPING) as (address, service), client(address) as us:
        path = service.workspace.page_corrections
        image = next(iter(service.shop.recommender.corpus.image_files))
        for wrong, status, what in (
            (talk("hi there, you") | corrected("no_such_slot"), 422, "unknown slot"),
            (talk("hi there, you") | corrected("colors", "no such colour"), 422, "has no value"),
            (talk("hi there, you") | corrected("colors", "x" * 1001), 422, "at most 1000"),
            (talk("hi there, you") | corrected("colors") | {"key": "../../etc"}, 422, "pattern"),
            (talk("hi there, you") | corrected("colors") | {"images": {"mine.png": "aaaa"}}, 422, "extra"),
            ({"turns": [{"speaker": "system", "text": "?"}]} | corrected("colors"), 422, "the user says nothing"),
            (
                {"turns": [{"speaker": "user", "text": "this", "images": ["mine.png"]}]} | corrected("colors"),
                422,
                "neither are corrections after one",
            ),
            ({"turns": [{"speaker": "user", "text": "x" * 4000}] * 20} | corrected("colors"), 422, "too long"),
        ):
            answer = us.post("/corrections", json=wrong)
            assert (answer.status_code, what in answer.text) == (status, True), answer.text
        assert not path.exists()
        hostile = json.dumps(talk("\x00 \u202e <script> A thing") | corrected("colors")).replace(
            "A thing", "\\ud800 thing"
        )
        shown = {"turns": [{"speaker": "user", "text": "like it", "images": [image]}]} | corrected("colors")
        assert us.post("/corrections", content=hostile, headers=JSON).status_code == 422
        assert us.post("/corrections", json=shown | {"key": "the-same-key"}).json() == {"key": "the-same-key"}
        assert us.get("/health").json()["status"] == "ok"
    kept = read_kept(path)
    assert kept.dropped == 0
    assert kept.corrections[-1].key == "the-same-key"
    assert [turn.images for turn in kept.dialogues[kept.corrections[-1].dialogue_id]] == [(image,)]


def test_a_dialogue_of_the_corpus_can_be_gone_on_with_but_none_that_models_are_measured_on(workspace: Workspace):
    rows = read_table(workspace.turns, TURNS).to_pylist()
    began: dict[str, dict[str, Any]] = {}
    for row in rows:
        turn = {"speaker": row["speaker"], "text": row["text"], "images": row["image_ids"]}
        began.setdefault(row["dialogue_id"], {"split": row["split"], "turns": []})["turns"].append(turn)
    with in_thread(workspace, settings=KEEPING) as (address, _), client(address) as us:
        for split in ("train", "valid", "test"):
            turns = next(each["turns"] for each in began.values() if each["split"] == split)
            assert us.post("/corrections", json={"turns": turns} | corrected("colors")).status_code == 200
    report = ingest_labels(workspace, IngestRequest())
    assert report.quarantined == {"held_out_dialogue": 2}
    assert report.accepted == 30 + 1, "those of the corpus, and one of the page"
    here = {row["dialogue_id"]: row["split"] for row in read_table(workspace.turns, TURNS).to_pylist()}
    assert [split for name, split in here.items() if is_of_page(name)] == ["train"]
