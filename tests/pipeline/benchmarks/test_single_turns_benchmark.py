"""Single turns against whole dialogues, on a generated corpus; the labels that are kept come back as the gold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.benchmarks import run_benchmark, tables_of
from pipeline.benchmarks.measure import Options
from pipeline.benchmarks.single_turns import PER_DIALOGUE, WAYS, _Shop
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.runs import load_corpus
from pipeline.modelling.train import TrainRequest, plan_run, train
from pipeline.modelling.training_data import gold_states, partial_states, prepare
from pipeline.workspace import Workspace
from schemas.belief import TurnUpdate
from schemas.errors import InputError, UsageError
from schemas.progress import SilentProgress
from semantic_model.grounded.tracking import CrossFittedTracker
from semantic_model.states import tracker
from tests.generated_workspace import generated_workspace
from tests.label_exports import marked, states_in
from tests.labelling_corpus import ONTOLOGY, dialogue, write_workspace

RED, BLACK = (ONTOLOGY.link(ONTOLOGY.slot("color"), value) for value in ("red", "black"))
THIRTY = ONTOLOGY.link(ONTOLOGY.slot("price"), "30")


class Measured(NamedTuple):
    corpus: Path
    gold: Workspace
    out: Path
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("turns")
    gold = generated_workspace(folder)
    options = Options(rounds=1, sizes=(12, 30), workspace=gold.root, out=folder / "out")
    return Measured(folder / "corpus", gold, folder / "out", run_benchmark("turns", options)["benchmarks"])


def test_every_way_is_measured_at_as_many_actions_as_are_allowed(measured: Measured):
    assert [(each["way"], each["budget"]) for each in measured.rows] == [(way, n) for way in WAYS for n in (12, 30)]
    for each in measured.rows:
        assert 0 < each["actions"] <= each["budget"]
        assert each["tasks"] <= each["actions"]  # a submit each
        assert 0 < each["f1"] < 1
        if each["way"] == "dialogues":
            assert each["ratio"] == 1
        else:
            assert each["tasks"] == each["turns"] <= PER_DIALOGUE * each["dialogues"]
    titles = [title for title, _, lines in tables_of("turns", measured.rows) if len(lines) == len(WAYS)]
    assert len(titles) == 3


@pytest.mark.parametrize("way", WAYS)
def test_labels_that_are_kept_are_an_export_that_ingests_as_the_gold(measured: Measured, tmp_path: Path, way: str):
    file = measured.out / f"{way.replace(' ', '-')}-30-seed0.json"
    asked = {
        (task["data"]["dialogue_id"], turn["turn"])
        for task in json.loads(file.read_text())
        for turn in task["data"]["user_turns"]
    }
    shop = Workspace(tmp_path / "shop")
    import_corpus(shop, ImportRequest(measured.corpus, "mmd", ignore_states=True))
    shutil.copy(measured.gold.ontology_file, shop.ontology_file)  # whose slots the answers name
    report = ingest_labels(shop, IngestRequest(export=file)).as_json()
    assert report["annotations"]["quarantined"] == 0
    gold, found = states_in(measured.gold), states_in(shop)
    assert {at for at, state in found.items() if state is not None} == asked
    assert {at: marked(found[at]) for at in asked} == {at: marked(gold[at]) for at in asked}


@pytest.mark.slow
def test_runs_that_learn_from_the_labels_are_measured_on_the_valid_part(measured: Measured):
    """Oracle: the same export ingested, trained on and evaluated by the commands' own functions."""
    options = Options(rounds=1, sizes=(30,), workspace=measured.gold.root, ranking=True, out=measured.out / "ranking")
    rows = run_benchmark("turns", options)["benchmarks"]
    shop = Workspace(measured.out / "shop")
    import_corpus(shop, ImportRequest(measured.corpus, "mmd", ignore_states=True))
    shutil.copy(measured.gold.ontology_file, shop.ontology_file)
    ingest_labels(shop, IngestRequest(export=measured.out / "ranking" / "dialogues-30-seed0.json"))
    named = tuple(gold_states(shop))
    assert named
    assert set(named) <= set(load_corpus(shop).dialogues("train"))

    def ndcg(request: TrainRequest) -> float:
        run = train(shop, request).run
        report = evaluate(shop, EvaluateRequest(run, "valid", "all"))
        return report.rows[0].means["ndcg@5"]

    of = {each["way"]: each for each in rows}
    assert of["dialogues"]["ndcg_by_seed"] == [ndcg(TrainRequest(None, preset="default", labelled=named))]
    assert of["dialogues"]["ndcg_unlabelled_by_seed"] == [ndcg(TrainRequest(0.0, preset="default"))]
    assert len({each["ndcg"] for each in rows}) > 1
    titles = [title for title, _, _ in tables_of("turns", rows)]
    assert any(title.startswith("NDCG@5 of a run; ") for title in titles)


def test_actions_worked_by_hand():
    """Of a whole state: one value is right, one to take away, one to pick, and the page is sent: 3 actions."""
    shop = _Shop(None, {}, ONTOLOGY, {}, {}, None, frozenset({"color=red", "color=black"}))  # type: ignore[arg-type]
    shown = TurnUpdate(want={"color": ("red",), "price": ("30",)})
    assert shop.actions([shown], [(RED,)], 1) == 2
    assert shop.actions([shown], [(BLACK, THIRTY)], 1) == 3
    # two turns of one page: the second changes nothing any more, but says so wrongly
    assert shop.actions([shown, TurnUpdate(drop=frozenset({"color"}))], [(RED, THIRTY), (RED, THIRTY)], 1) == 2


def test_without_enough_labels_it_says_what_to_do(tmp_path: Path):
    with pytest.raises(UsageError, match="semctl -w FOLDER"):
        run_benchmark("turns")
    shop = write_workspace(tmp_path / "shop", [dialogue("d1")])
    with pytest.raises(UsageError, match="0 wholly labelled dialogues to choose from and 0 to measure on are too few"):
        run_benchmark("turns", Options(workspace=shop.root))


def test_single_turns_teach_the_tracker_of_a_run_that_names_their_dialogues(
    measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracker, "FEWEST_DIALOGUES", 2)
    shop = Workspace(tmp_path / "shop")
    import_corpus(shop, ImportRequest(measured.corpus, "mmd", ignore_states=True))
    shutil.copy(measured.gold.ontology_file, shop.ontology_file)
    ingest_labels(shop, IngestRequest(export=measured.out / "doubtful-turns-30-seed0.json"))
    known = partial_states(shop).states
    gold = states_in(measured.gold)
    assert known
    for name, turns in known.items():
        assert [marked(state) for _, state in turns] == [marked(gold[name, at]) for at, _ in turns]
    names = tuple(name for name in known if name in load_corpus(shop).dialogues("train"))
    plan, config = plan_run(shop, TrainRequest(labelled=names, preset="default"))
    data = prepare(shop, plan, config, SilentProgress())
    assert (data.labelled, data.queries, isinstance(data.fitted, CrossFittedTracker)) == ([], [], True)
    assert set(data.fitted.held_out) == set(names)
    assert f"+{len(names)}dialogues:" in data.fitted.tracker.version
    # a run that names none of them learns from no label, and one whose model has no tracker cannot use them
    plan, config = plan_run(shop, TrainRequest(labeled_ratio=0.0, preset="default"))
    assert not prepare(shop, plan, config, SilentProgress()).fitted.held_out
    plan, config = plan_run(shop, TrainRequest(labelled=names, preset="default", settings=("grounding.tracker=false",)))
    with pytest.raises(InputError, match="not labelled throughout"):
        prepare(shop, plan, config, SilentProgress())
