"""``semctl export-model``: what leaves the workspace ranks as the run does, to the last bit, without the workspace."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import ModelCard

import semantic_model
from pipeline.cli import _run
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.run_record import read_record
from pipeline.modelling.runs import load_corpus, open_ranker
from pipeline.modelling.train import TrainRequest, train
from pipeline.modelling.training_data import gold_states, state_before
from pipeline.sharing import export_model as module
from pipeline.sharing.export_model import ExportModelRequest, export_model
from pipeline.sharing.folders import MANIFEST
from pipeline.workspace import Workspace
from schemas.errors import ModelError, UsageError
from schemas.files import sha256_file
from schemas.tables import PRODUCTS, read_table
from semantic_model.exported import history_of
from semantic_model.registry import MODELS
from tests.generated_workspace import generated_workspace
from tests.semantic_model.tiny_towers import clip, sentence_encoder

ROOT = Path(__file__).resolve().parents[3]
SMALL = ("model.width=8", "model.heads=2", "model.layers=1", "model.inner=8", "train.batch_size=64")
PIXELS = ("image.encoder=pixels", "image.finetune=false")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return generated_workspace(tmp_path_factory.mktemp("travel"))


@pytest.fixture(scope="module")
def run(shop: Workspace) -> str:
    """A run of the preset ``default``, one epoch long."""
    return train(shop, TrainRequest(labeled_ratio=0.5, settings=SMALL, epochs=1)).run


@pytest.fixture
def exported(shop: Workspace, run: str, tmp_path: Path) -> Path:
    export_model(shop, ExportModelRequest(tmp_path / "given", run))
    return tmp_path / "given"


@contextmanager
def out_of_reach(*places: Path) -> Iterator[None]:
    """As on a machine where these have never been."""
    for place in places:
        place.rename(place.with_name(f"{place.name}.hidden"))
    try:
        yield
    finally:
        for place in places:
            place.with_name(f"{place.name}.hidden").rename(place)


def assert_ranks_as_its_run(shop: Workspace, run: str, folder: Path, *beside: Path) -> None:
    """Scores of every product for every test query are the same bits, without the workspace and ``beside``."""
    corpus = load_corpus(shop)
    queries = corpus.queries("test")
    ranker = open_ranker(shop.runs / run, corpus)
    told = read_record(shop.runs / run).ds_input
    expected = ranker.score(ranker.encode_contexts(queries), ranker.encode_products(corpus.products))
    export_model(shop, ExportModelRequest(folder, run))
    states = None
    if told:
        gold = gold_states(shop)
        found = [state_before(gold[query.dialogue_id], query.turn) for query in queries]
        states = [[(item.slot, item.value, item.polarity) for item in reversed(state)] for state in found]
    with out_of_reach(shop.root, *beside):
        model = semantic_model.load(folder)
        scores = model.scores([query.history for query in queries], states=states)
    assert [product.product_id for product in model.products] == [product.product_id for product in corpus.products]
    np.testing.assert_array_equal(scores, expected)
    assert len({row.tobytes() for row in scores}) > 1  # dialogues are told apart
    texts = [path.read_text() for path in folder.rglob("*") if path.suffix in (".json", ".md")]
    assert [place for place in (shop.root, *beside) for text in texts if str(place) in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name != "clip"])
def test_every_kind_of_model_travels(shop: Workspace, tmp_path: Path, name: str):
    words = () if name == "grounded" else ("text.embeddings=corpus",)
    image = PIXELS if name != "grounded" else ()
    presets = {"semantic": "tiny"}
    ratio = 0.5 if name in ("semantic", "grounded") else None
    request = TrainRequest(
        labeled_ratio=ratio, model=name, preset=presets.get(name), settings=(*SMALL, *words, *image), epochs=1
    )
    assert_ranks_as_its_run(shop, train(shop, request).run, tmp_path / "given")


@pytest.mark.parametrize("trained_along", ["", "text", "image"])
def test_towers_that_are_still_asked_travel_along(shop: Workspace, tmp_path: Path, trained_along: str):
    tower = shutil.copytree(clip(), tmp_path / "a-clip")
    settings = [f"text.embeddings={tower}", f"image.encoder={tower}", *SMALL]
    settings += [f"text.finetune={str(trained_along == 'text').lower()}"]
    settings += [f"image.finetune={str(trained_along == 'image').lower()}", "image.standardize=false"]
    run = train(shop, TrainRequest(labeled_ratio=None, model="clip", settings=tuple(settings), epochs=1)).run
    assert_ranks_as_its_run(shop, run, tmp_path / "given", tower)
    weights = tmp_path / "given" / "parts" / "a-clip" / "model.safetensors"
    assert weights.is_file() == (trained_along != "text")
    with out_of_reach(tower):
        assert "stand-in" not in semantic_model.load(tmp_path / "given").ranker.name


def test_a_sentence_encoder_in_the_place_of_a_clip_stays_called_so(shop: Workspace, tmp_path: Path):
    tower = shutil.copytree(sentence_encoder(), tmp_path / "a-bert")
    settings = (f"text.embeddings={tower}", *PIXELS, *SMALL)
    run = train(shop, TrainRequest(labeled_ratio=None, model="clip", settings=settings, epochs=1)).run
    assert_ranks_as_its_run(shop, run, tmp_path / "given", tower)
    with out_of_reach(tower):
        name = semantic_model.load(tmp_path / "given").ranker.name
    assert name == "clip (stand-in: sentence vectors of a-bert and image features of pixels)"


def test_a_whole_bert_travels_as_its_shape(shop: Workspace, tmp_path: Path):
    bert = shutil.copytree(sentence_encoder(), tmp_path / "a-bert")
    settings = (f"text.embeddings={bert}", "text.full_bert=true", *PIXELS, *SMALL)
    run = train(shop, TrainRequest(labeled_ratio=None, model="dual-encoder", settings=settings, epochs=1)).run
    assert_ranks_as_its_run(shop, run, tmp_path / "given", bert)
    assert [path.name for path in (tmp_path / "given" / "parts" / "a-bert").iterdir()] == ["config.json"]


def test_features_that_came_along_travel_instead_of_their_folder(shop: Workspace, tmp_path: Path):
    images = sorted(load_corpus(shop).image_files)
    brought = tmp_path / "brought"
    brought.mkdir()
    np.save(brought / "vectors.npy", np.random.default_rng(0).normal(size=(len(images), 12)).astype(np.float16))
    (brought / "images.txt").write_text("\n".join(images))
    settings = (f"image.features={brought}", *SMALL)
    run = train(shop, TrainRequest(labeled_ratio=0.5, settings=settings, epochs=1)).run
    assert_ranks_as_its_run(shop, run, tmp_path / "given", brought)


def test_a_model_that_is_told_states_is_told_them_by_whoever_asks(shop: Workspace, tmp_path: Path):
    settings = (*SMALL, *PIXELS, "text.embeddings=corpus")
    request = TrainRequest(labeled_ratio=1.0, model="dual-encoder", settings=settings, epochs=1, ds_input=True)
    assert_ranks_as_its_run(shop, train(shop, request).run, tmp_path / "given")
    model = semantic_model.load(tmp_path / "given")
    said = [("user", "show me something")]
    with pytest.raises(UsageError, match="has to be told the state"):
        model.rank(said)
    assert model.rank(said, state=[("color", "red")])[0].score != model.rank(said, state=[("color", "blue")])[0].score
    with pytest.raises(UsageError, match="not a"):
        model.rank(said, state=[("color", "red", "maybe")])


def test_two_lines_of_python_recommend_what_the_command_does(
    shop: Workspace, run: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    query = load_corpus(shop).queries("test")[0]
    asked = ["recommend", run, "--dialogue", query.dialogue_id, "--turn", str(query.turn - 1), "--top", "7", "--json"]
    assert _run(["-q", "-w", str(shop.root), *asked]) == 0
    expected = json.loads(capsys.readouterr().out)["products"]
    said = json.dumps([(each.speaker, each.text, each.image_ids) for each in query.history])
    code = f"""
import json, sys
import semantic_model
light = 'torch' not in sys.modules
model = semantic_model.load({str(exported)!r})
found = model.rank(json.loads(sys.argv[1]), top=7)
strange = [name for name in sys.modules if name.partition('.')[0] in ('pipeline', 'annotate')]
print(json.dumps([light, strange, found]))
"""
    with out_of_reach(shop.root):
        done = subprocess.run(
            [sys.executable, "-c", code, said],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
    light, strange, found = json.loads(done.stdout)
    assert light
    assert strange == []
    assert found == [[each["rank"], each["product_id"], each["name"], each["score"]] for each in expected]


def test_products_of_ones_own_are_ranked_instead(shop: Workspace, run: str, exported: Path, tmp_path: Path):
    corpus = load_corpus(shop)
    records: list[dict[str, Any]] = [
        {"product_id": p.product_id, "name": p.name, "attributes": p.attributes, "description": p.description}
        | ({} if p.image_file is None else {"image": p.image_file})
        for p in reversed(corpus.products)
    ]
    said = [("user", "i want a red shirt"), ("system", "sure"), ("user", "in cotton, please")]
    whole = semantic_model.load(exported).rank(said, top=len(records))
    assert semantic_model.load(exported, products=records).rank(said, top=len(records)) == whole
    export_model(shop, ExportModelRequest(tmp_path / "bare", run, products=False))
    assert not (tmp_path / "bare" / "products.parquet").exists()
    assert semantic_model.load(tmp_path / "bare", products=records).rank(said, top=len(records)) == whole
    few = semantic_model.load(tmp_path / "bare", products=records[:3]).rank(said)
    assert {each.product_id for each in few} == {record["product_id"] for record in records[:3]}
    with pytest.raises(UsageError, match="the folder has no catalogue"):
        semantic_model.load(tmp_path / "bare")
    for wrong, told in (
        ([{"product_id": "1"}], "without product_id and name"),
        ([{"product_id": "1", "name": "a", "colour": "red"}], "unknown key 'colour'"),
        ([{"product_id": "1", "name": "a", "image": tmp_path / "none.jpg"}], "no such image"),
        ([{"product_id": "1", "name": "a"}] * 2, "a product twice"),
        ([], "no products"),
    ):
        with pytest.raises(UsageError, match=told):
            semantic_model.load(exported, products=wrong)


def test_dialogues_are_merged_as_an_import_merges_them_and_nonsense_is_refused(exported: Path):
    said = history_of([("user", "red"), ("user", "shirt", ["a"]), ("system", ""), ("user", "", ["b"]), ("user", "ok")])
    assert [tuple(each) for each in said] == [("user", "red shirt", ("a",)), ("system", "", ()), ("user", "ok", ("b",))]
    model = semantic_model.load(exported)
    for wrong, told in (
        ([], "nothing was said"),
        (["a red shirt"], "utterance 1 is no"),
        ([("user", "hello"), ("shop", "hello")], "utterance 2 is not of a user or system"),
        ([("user", "hello", "image")], "utterance 1 is not"),
    ):
        with pytest.raises(UsageError, match=told):
            model.rank(wrong)
    with pytest.raises(UsageError, match="reads states itself"):
        model.rank([("user", "hello")], state=[("color", "red")])
    with pytest.raises(UsageError, match="top must be"):
        model.rank([("user", "hello")], top=0)


def test_the_card_says_what_is_known_and_nothing_else(shop: Workspace, run: str, tmp_path: Path):
    report = evaluate(shop, EvaluateRequest(run, split="test", candidates="all"))
    export_model(shop, ExportModelRequest(tmp_path / "given", run))
    card = ModelCard.load(tmp_path / "given" / "README.md")
    assert (card.data.license, card.data.to_dict()["license_name"]) == ("other", "unknown")
    assert "None was given, and none is implied" in card.text
    means = report.rows[0].means
    row = next(line for line in card.text.splitlines() if line.startswith("| semantic |"))
    assert f" {100 * means['ndcg@5']:.2f} |" in row
    assert f" {100 * means['recall@10']:.2f} |" in row
    assert f"Split test, {len(report.rows[0].queries)} queries" in card.text
    assert "Not measured on a test split" not in card.text
    record = read_record(shop.runs / run)
    assert f"{record.labelled_dialogues} dialogues with belief states (ratio 0.5), {record.unlabelled_dialogues}" in (
        card.text
    )
    assert "labelled by 0 people; the states of 30 dialogues came with the corpus" in card.text
    assert "changed since it was trained" not in card.text
    before = shop.ontology_file.read_bytes()
    shop.ontology_file.write_bytes(before + b" ")
    try:
        export_model(shop, ExportModelRequest(tmp_path / "given", run, licence="apache-2.0"))
    finally:
        shop.ontology_file.write_bytes(before)
    card = ModelCard.load(tmp_path / "given" / "README.md")
    assert card.data.license == "apache-2.0"
    assert "- ontology changed since it was trained" in card.text


def test_the_same_run_is_the_same_bytes_and_the_manifest_names_them(shop: Workspace, run: str, exported: Path):
    before = {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    export_model(shop, ExportModelRequest(exported, run))
    assert {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()} == before
    manifest = json.loads((exported / MANIFEST).read_text())
    named = {exported / name: digest for name, digest in manifest["files"].items()}
    assert named == {path: sha256_file(path) for path in before if path.name != MANIFEST}
    assert manifest["semctl_export"] == "model"
    assert not [path for path in before if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]


def test_other_folders_are_left_alone_and_a_failure_leaves_the_old_one(
    shop: Workspace, run: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty"):
        export_model(shop, ExportModelRequest(mine, run))
    with pytest.raises(UsageError, match="no folder"):
        export_model(shop, ExportModelRequest(mine / "letter.txt", run))
    with pytest.raises(ModelError, match="there is no run"):
        export_model(shop, ExportModelRequest(exported, "no-such-run"))
    (exported / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"no export wrote: letter\.txt"):
        export_model(shop, ExportModelRequest(exported, run))
    (exported / "letter.txt").unlink()
    before = {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()}

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "model_card", full)
    with pytest.raises(OSError, match="No space"):
        export_model(shop, ExportModelRequest(exported, run))
    assert {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "mine"]


def test_damaged_folders_are_said_to_be_so(exported: Path, tmp_path: Path):
    def damaged(name: str, content: bytes | None) -> Path:
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(exported, folder)
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
        return folder

    config = (exported / "config.json").read_bytes()
    for name, content, told in (
        ("config.json", None, "no such file"),
        ("config.json", config.replace(b'"told_states"', b'"states"'), "not a model that was exported"),
        ("model.safetensors", (exported / "model.safetensors").read_bytes()[:-9], "safetensors"),
        ("features/images.npy", (exported / "features" / "images.npy").read_bytes()[:-9], "not a plain array"),
        ("features/images.json", b'{"a": 3}', "features of another shape"),
        ("features/images.json", None, "no such file"),
        ("tokenizer.json", None, "tokenizer of the model is missing"),
        ("tracker.json", None, "state tracker"),
    ):
        folder = damaged(name, content)
        with pytest.raises(ModelError, match=told):
            semantic_model.load(folder).rank([("user", "hello")])
    with pytest.raises(ModelError, match="no such folder"):
        semantic_model.load(tmp_path / "nowhere")


def test_a_vector_store_finds_what_a_cosine_ranker_ranks_first(shop: Workspace, tmp_path: Path):
    settings = (*SMALL, *PIXELS, "text.embeddings=corpus")
    run = train(shop, TrainRequest(labeled_ratio=None, model="dual-encoder", settings=settings, epochs=1)).run
    export_model(shop, ExportModelRequest(tmp_path / "given", run, vectors=True))
    model = semantic_model.load(tmp_path / "given")
    table = pq.read_table(tmp_path / "given" / "product_vectors.parquet")
    assert table["product_id"].to_pylist() == [product.product_id for product in model.products]
    vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
    said = [query.history for query in load_corpus(shop).queries("test")]
    np.testing.assert_allclose(model.query_vectors(said) @ vectors.T, model.scores(said), atol=1e-6)
    assert model.exact_vectors is True


def test_vectors_of_grounded_models_are_what_slots_and_cosines_add_up_to(shop: Workspace, run: str, tmp_path: Path):
    export_model(shop, ExportModelRequest(tmp_path / "given", run, vectors=True))
    model = semantic_model.load(tmp_path / "given")
    assert model.exact_vectors is False
    said = [query.history for query in load_corpus(shop).queries("test")][:4]
    contexts, network = model.encode(said), model.ranker.model
    rows = torch.arange(len(model.products)).expand(len(said), -1)
    with torch.inference_mode():
        parts = network.score_parts(contexts, model.table, rows)
    values = len(network.values)
    by_value = model.query_vectors(said)[:, :values] @ model.product_vectors()[:, :values].T
    slots = [slot.name for slot in network.values.slots]
    expected = sum(parts[name] for name in slots).numpy()
    several = np.array(
        [
            max(np.bincount(network.values.slot_of[row > 0], minlength=1)) > 1
            for row in model.product_vectors()[:, :values]
        ]
    )
    assert not several.all()
    np.testing.assert_allclose(by_value[:, ~several], expected[:, ~several], rtol=1e-4, atol=1e-4)
    ids = [product.product_id for product in model.products]
    best = model.rank(said[0], top=5)
    again = model.rank(said[0], top=5, candidates=ids)
    assert [each.product_id for each in again] == [each.product_id for each in best]
    few = model.rank(said[0], candidates=[best[4].product_id, best[1].product_id])
    assert [each.product_id for each in few] == [best[1].product_id, best[4].product_id]
    with pytest.raises(UsageError, match="no product 'none'"):
        model.rank(said[0], candidates=["none"])


def test_models_whose_products_depend_on_the_dialogue_have_no_vectors(shop: Workspace, tmp_path: Path):
    settings = (*SMALL, *PIXELS, "text.embeddings=corpus")
    run = train(shop, TrainRequest(labeled_ratio=None, model="enteract", settings=settings, epochs=1)).run
    with pytest.raises(UsageError, match="no vectors of products"):
        export_model(shop, ExportModelRequest(tmp_path / "given", run, vectors=True))
    assert not (tmp_path / "given").exists()


def test_the_table_of_vectors_needs_products(shop: Workspace, run: str, tmp_path: Path):
    with pytest.raises(UsageError, match="--vectors are of products"):
        export_model(shop, ExportModelRequest(tmp_path / "given", run, products=False, vectors=True))


def test_the_command_says_what_it_wrote(shop: Workspace, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "given"
    assert _run(["-q", "-w", str(shop.root), "export-model", run, str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["folder"], found["url"]) == (run, str(folder), None)
    assert found["files"] == sum(path.is_file() for path in folder.rglob("*"))
    assert found["products"] == read_table(shop.products, PRODUCTS).num_rows
    assert _run(["-q", "-w", str(shop.root), "export-model", run, str(folder)]) == 0
    assert re.search(r'model = semantic_model\.load\(".*given"\)', capsys.readouterr().out.replace("\n", ""))
