"""Every kind of input, damaged at random: an error of semctl's own or a counted drop, and nothing half-written."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.corpus.web_addresses import AllowedHosts, RefusedError, checked_url
from pipeline.experiments.declaration import find_declared
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.modelling.product_filter import ProductFilters
from pipeline.modelling.recommend import BatchRequest, RecommendRequest, recommend, recommend_batch
from pipeline.modelling.runs import load_corpus
from pipeline.ontology.edits import add_value, merge_values, rename_slot, rename_value, split_value
from pipeline.settings import SETTINGS_TEMPLATE, Settings
from pipeline.workspace import Workspace
from schemas import tables
from schemas.errors import SemctlError
from schemas.ontology import Ontology
from schemas.tables import Table, read_table
from semantic_model.config.config import config_toml, flat_settings, load_config
from semantic_model.data.image_decoding import decode_image, examine_image, for_browser
from semantic_model.data.vector_files import read_vectors
from semantic_model.training.checkpoint import load_weights, save_weights
from tests.damage import ODD_VALUES, SHARES, damaged, damaged_json, lines_of, share_of
from tests.label_exports import answer, answered, hashes, pick, tasks_of, typed
from tests.labelling_corpus import ONTOLOGY, dialogue, write_workspace


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@contextmanager
def own_error() -> Iterator[list[SemctlError]]:
    """Around what may end with an error of semctl's own, which it yields; it is one line. All others are bugs."""
    refused: list[SemctlError] = []
    try:
        yield refused
    except SemctlError as problem:
        refused.append(problem)
    assert [str(each) for each in refused if "\n" in str(each) or len(str(each)) > 20_000] == []


def test_the_cases_are_shared_out_among_the_kinds() -> None:
    assert sum(SHARES.values()) == 100


# --- corpora

STATE = {"like": {"type": "dress", "color": ["red"]}}
OWN_TURNS = [
    {"speaker": "user", "text": "a red dress please", "state": STATE},
    {"speaker": "system", "text": "How about this?", "positives": ["p1"], "negatives": ["p2", "p3"]},
    {
        "speaker": "user",
        "text": "no",
        "images": ["me.jpg"],
        "update": {"dislike": {"color": "black"}, "drop": ["type"]},
    },
]
OWN_PRODUCTS = [
    {"product_id": f"p{n}", "name": f"dress {n}", "attributes": {"type": "dress", "color": [color]}, "price": 9.5 * n}
    for n, color in enumerate(("red", "black", "blue", "red"))
]
OWN = {
    "dialogues.jsonl": [{"dialogue_id": f"d{n}", "split": "train", "turns": OWN_TURNS} for n in range(2)],
    "products.jsonl": OWN_PRODUCTS,
}
CSV = "product_id,name,description,price,currency,images,type,color\n" + "".join(
    f'p{n},"dress, {n}",nice,{n}.50,EUR,p{n}.jpg;q.jpg,dress,"red, blue"\n' for n in range(4)
)
MMD_TURNS = [
    {"speaker": "user", "utterance": {"nlg": "a red dress"}, "dst": {"slot_values": {"color": "a", "type": "dress"}}},
    {
        "speaker": "system",
        "utterance": {"nlg": "this?", "images": ["http://x.invalid/0.jpg"], "false images": ["http://x.invalid/1.jpg"]},
    },
    {
        "speaker": "user",
        "utterance": {"nlg": "no", "images": None},
        "ds": {
            "informable": [{"slot": ["colors"], "values": ["b"], "sentiment": ["Dislike"]}],
            "requestable": [{"slot": ["price"]}],
        },
    },
]
MMD = {
    "dialogues/train/0.json": MMD_TURNS,
    "dialogues/train/1.json": MMD_TURNS,
    **{
        f"products/{n}.json": {"id": f"p{n}", "color": "abc"[n], "type": "dress", "price": "39,90 €",
                               "image_filename": f"http://x.invalid/{n}.jpg"}
        for n in range(3)
    },
    "url2img.txt": "".join(f"http://x.invalid/{n}.jpg {n}.jpg\n" for n in range(3)).encode(),
}  # fmt: skip
SIMMC1_TURNS = [
    {
        "user": "a black skirt",
        "system": "this?",
        "belief_state": [
            {"act": "DA:REQUEST:GET:CLOTHING", "slots": [["fashion-color", "black"], ["fashion-theme", "Skirts"]]},
            {"act": "DA:INFORM:DISPREFER:CLOTHING", "slots": [["fashion-color", "pink"]]},
        ],
        "action": "SearchDatabase",
        "action_supervision": {"focus": focus, "attributes": []},
    }
    for focus in (1, 2)
]
SIMMC1 = {
    "catalogue.json": {
        "1": {"type": "skirt", "color": ["black"], "availableSizes": "['S', 'XL']"},
        "2": {"type": "dress", "color": [], "price": "$120", "hemlength": ["short"]},
    },
    "fashion_train.json": {"split": "train", "dialogue_data": [{"dialog_id": 3, "turns": SIMMC1_TURNS}]},
}
SIMMC2_TURNS = [
    {
        "transcript": "a coat",
        "transcript_annotated": {
            "act": "REQUEST:GET",
            "act_attributes": {"slot_values": {"type": "coat", "availableSizes": ["S", "M"]}, "objects": []},
        },
        "system_transcript": "these",
        "system_transcript_annotated": {"act": "INFORM:GET", "act_attributes": {"slot_values": {}, "objects": [7, 8]}},
    }
]
SIMMC2 = {
    "catalogue.json": {str(n): {"type": kind, "color": "red, white", "price": "9.5"} for n, kind in enumerate("ab")},
    "dialogue_object_to_item.json": {"50": {"7": {"items": ["0"], "how": "attr"}, "8": {"items": ["1"]}}},
    "simmc2_dials_dstc10_train.json": {
        "split": "train",
        "dialogue_data": [{"dialogue_idx": 50, "dialogue": SIMMC2_TURNS}],
    },
}
CORPORA: dict[str, dict[str, Any]] = {
    "mmd": MMD,
    "simmc1": SIMMC1,
    "simmc2": SIMMC2,
    "jsonl": OWN,
    "csv": {"dialogues.jsonl": OWN["dialogues.jsonl"], "products.csv": CSV.encode()},
}


def as_bytes(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (lines_of(value) if name.endswith(".jsonl") else json.dumps(value)).encode()


@st.composite
def damaged_corpora(draw: st.DrawFn, form: str) -> dict[str, bytes]:
    """File -> content; one file is damaged."""
    corpus = CORPORA[form]
    chosen = "products.csv" if form == "csv" else draw(st.sampled_from(sorted(corpus)))
    value = corpus[chosen]
    if isinstance(value, bytes):
        content = draw(damaged(value))
    else:
        content = draw(damaged_json(value, lines_of if chosen.endswith(".jsonl") else json.dumps))
    return {**{name: as_bytes(name, value) for name, value in corpus.items()}, chosen: content}


def import_files(form: str, corpus: dict[str, bytes]) -> None:
    """Import them: the ledger adds up and the tables open, or there is no workspace."""
    with folder() as root:
        for name, content in corpus.items():
            path = root / "corpus" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        workspace = Workspace(root / "work")
        with own_error() as refused:
            report = import_corpus(workspace, ImportRequest(root / "corpus", "jsonl" if form == "csv" else form))
        if refused:
            assert not workspace.root.exists()
            return
        for line in report.ledger.as_json().values():
            assert line["in"] == line["kept"] + sum(line["dropped"].values())
        assert len(load_corpus(workspace).products) == report.products
        json.dumps(report.as_json())


@pytest.mark.parametrize("form", CORPORA)
def test_the_corpora_are_valid_before_they_are_damaged(form: str) -> None:
    with folder() as root:
        for name, value in CORPORA[form].items():
            path = root / "corpus" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(as_bytes(name, value))
        report = import_corpus(
            Workspace(root / "work"), ImportRequest(root / "corpus", "jsonl" if form == "csv" else form)
        )
        assert report.recommendation_turns > 0
        assert report.ledger["states"].kept > 0


@pytest.mark.parametrize("form", CORPORA)
def test_a_damaged_corpus(form: str) -> None:
    @share_of(form)
    @given(damaged_corpora(form))
    def check(corpus: dict[str, bytes]) -> None:
        import_files(form, corpus)

    check()


# --- labels

LABELLED = [dialogue("d1", users=3), dialogue("d2", users=2, split="valid")]
EXPORT = [
    answered(
        {**task, "id": number},
        answer(2 * number, [pick("want_0", "color=red"), typed("other_0", "brand=acme")], by=1),
        answer(2 * number + 1, [pick("dislike_0", "color=black")], by={"id": 2, "email": "b@x.org"}),
    )
    for number, task in enumerate(tasks_of(LABELLED))
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    space = write_workspace(tmp_path_factory.mktemp("damaged") / "shop", LABELLED)
    tables.write_table(space.recommendations, tables.RECOMMENDATIONS, [])
    export = space.root.parent / "first.json"
    export.write_text(json.dumps(EXPORT))
    ingest_labels(space, IngestRequest(export=export))
    return space


def test_a_damaged_export(shop: Workspace) -> None:
    @share_of("export")
    @given(damaged_json(EXPORT))
    def check(export: bytes) -> None:
        with folder() as root:
            copy = Workspace(root / "shop")
            shutil.copytree(shop.root, copy.root)
            (root / "export.json").write_bytes(export)
            before = labels_of(copy)
            with own_error() as refused:
                report = ingest_labels(copy, IngestRequest(export=root / "export.json")).as_json()
            if refused:
                assert labels_of(copy) == before
                return
            counted = dict(report["annotations"])
            assert counted.pop("received") == sum(counted.values())
            assert counted["quarantined"] == sum(report["quarantined"].values())

    check()


def labels_of(workspace: Workspace) -> dict[str, str]:
    return {name: sha for name, sha in hashes(workspace.root).items() if "lock" not in name}


# --- files of a workspace

TABLES = {
    "data/products.parquet": tables.PRODUCTS,
    "data/images.parquet": tables.IMAGES,
    "data/turns.parquet": tables.TURNS,
    "labels/annotations.parquet": tables.ANNOTATIONS,
    "labels/findings.parquet": tables.FINDINGS,
    "labels/states.parquet": tables.STATES,
    "splits/D_F.parquet": tables.D_F,
    "splits/D_P.parquet": tables.D_P,
}


def test_a_damaged_table(shop: Workspace, tmp_path: Path) -> None:
    contents = {name: (shop.root / name).read_bytes() for name in TABLES}
    rows = {name: read_table(shop.root / name, table).to_pylist() for name, table in TABLES.items()}

    @share_of("tables")
    @given(st.sampled_from(sorted(TABLES)).flatmap(lambda name: st.tuples(st.just(name), damaged(contents[name]))))
    def check(case: tuple[str, bytes]) -> None:
        name, content = case
        path = tmp_path / "table.parquet"
        path.write_bytes(content)
        table: Table = TABLES[name]
        with own_error():
            assert read_table(path, table).to_pylist() == rows[name]  # what is read is what was written

    check()


def toml_of(value: Any) -> str:
    """A value as TOML has it, tables in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {toml_of(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return {"None": '""', "True": "true", "False": "false"}.get(str(value), str(value))


def whole_toml(value: Any) -> str:
    if not isinstance(value, dict):
        return toml_of(value)
    return "".join(f"{json.dumps(str(key))} = {toml_of(each)}\n" for key, each in value.items())


def damaged_toml(text: str) -> st.SearchStrategy[bytes]:
    """TOML with damaged bytes, or with damaged values."""
    return st.one_of(damaged(text.encode()), damaged_json(tomllib.loads(text), whole_toml))


def read_settings(path: Path) -> None:
    Settings.read(path)


def read_preset(path: Path) -> None:
    flat_settings(load_config(str(path)))


def read_experiment(path: Path) -> None:
    found = find_declared(str(path))
    for scale in found.declaration.scales:
        found.grids(scale)


def declared(name: str) -> str:
    return (files("pipeline.experiments") / "declared" / f"{name}.toml").read_text()


@pytest.mark.parametrize(
    ("kind", "text", "read"),
    [
        ("semctl.toml", SETTINGS_TEMPLATE, read_settings),
        ("preset", config_toml(load_config("tiny"), title="tiny"), read_preset),
        ("experiment", declared("table2"), read_experiment),
    ],
    ids=["semctl.toml", "preset", "experiment"],
)
def test_damaged_toml(kind: str, text: str, read: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text(text)
    read(path)

    @share_of(kind)
    @given(damaged_toml(text))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        with own_error():
            read(path)

    check()


SETTING_KEYS = sorted(flat_settings(load_config("tiny")))


@share_of("preset")
@given(st.sampled_from(SETTING_KEYS), st.one_of(st.sampled_from(ODD_VALUES).map(str), st.text(max_size=20)))
def test_a_damaged_setting(key: str, value: str) -> None:
    with own_error():
        load_config("tiny", [f"{key}={value}"])


def rich_ontology() -> Ontology:
    """One with a step of each kind."""
    ontology = rename_slot(rename_value(ONTOLOGY, "color", "blue", "navy"), "price", "cost")
    ontology = merge_values(ontology, "color", ["red", "black"], "dark")
    ontology = split_value(ontology, "color", "navy", ["sea", "sky"], {})
    return add_value(ontology, "color", "lilac", aliases=("mauve",))


def test_a_damaged_ontology(tmp_path: Path) -> None:
    path, again = tmp_path / "ontology.json", tmp_path / "again.json"
    rich_ontology().write(path)
    value = json.loads(path.read_bytes())

    @share_of("ontology")
    @given(damaged_json(value))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        with own_error():
            found = Ontology.read(path)
            found.write(again)
            assert Ontology.read(again) == found

    check()


# --- what is asked

CONVERSATION = {"dialogue_id": "new", "turns": [*OWN_TURNS, {"speaker": "user", "text": "cheaper", "images": ["p1"]}]}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("asked")
    for name, value in OWN.items():
        (root / "corpus").mkdir(exist_ok=True)
        (root / "corpus" / name).write_text(lines_of(value))
    workspace = Workspace(root / "shop")
    import_corpus(workspace, ImportRequest(root / "corpus", "jsonl"))
    return workspace


def test_a_damaged_conversation(catalogue: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "asked.json"
    (tmp_path / "me.jpg").write_bytes(image_of("JPEG"))
    path.write_text(json.dumps(CONVERSATION))
    assert recommend(catalogue, RecommendRequest(conversation=path, run="tfidf")).products

    @share_of("conversation")
    @given(damaged_json(CONVERSATION))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        with own_error():
            recommend(catalogue, RecommendRequest(conversation=path, run="tfidf"))

    check()


def test_damaged_conversations_in_a_batch(catalogue: Workspace, tmp_path: Path) -> None:
    path, out = tmp_path / "asked.jsonl", tmp_path / "recommended.parquet"
    (tmp_path / "me.jpg").write_bytes(image_of("JPEG"))

    @share_of("batch")
    @given(damaged_json([CONVERSATION] * 3, lines_of))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        out.unlink(missing_ok=True)
        with own_error():
            recommend_batch(catalogue, BatchRequest(path, out, run="tfidf", top=2))
        if out.exists():
            read_table(out, tables.RECOMMENDED)

    check()


def test_a_damaged_filter(catalogue: Workspace) -> None:
    corpus = load_corpus(catalogue)
    filters = ProductFilters(corpus.products, catalogue.ontology())
    text = "(color = red or not price >= 9.50) and type in (dress, 'evening dress') and product_id != p3"
    assert not filters.mask("color = red").all()
    filters.mask(text.replace("'evening dress'", "dress"))

    @share_of("filter")
    @given(damaged(text.encode()))
    def check(content: bytes) -> None:
        with own_error():
            filters.mask(content.decode("utf-8", "surrogateescape"))

    check()


@share_of("address")
@given(damaged(b"https://images.example.org:443/a%20b/c.jpg?size=1&x=[1]#f"))
def test_a_damaged_address(content: bytes) -> None:
    text = content.decode("utf-8", "surrogateescape")
    with suppress(RefusedError):  # what a link is counted as
        checked_url(text, AllowedHosts())
    with own_error():
        AllowedHosts.parse([text])
    AllowedHosts.parse(["127.0.0.1:80"]).names(text)


# --- images, weights and vectors


def image_of(kind: str) -> bytes:
    made = io.BytesIO()
    Image.effect_noise((40, 30), 50).convert("RGB").save(made, kind)
    return made.getvalue()


IMAGES = {kind: image_of(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")}


@share_of("images")
@given(st.sampled_from(sorted(IMAGES)).flatmap(lambda kind: damaged(IMAGES[kind])))
def test_a_damaged_image(content: bytes) -> None:
    with own_error():
        assert examine_image(content).width > 0
    with own_error():
        assert decode_image(content, near=16).mode == "RGB"
    with own_error():
        _, convert = for_browser(content)
        if convert is not None:
            convert()


def test_damaged_word_vectors(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"

    @share_of("vectors")
    @given(damaged(b"3 4\nred 0.5 1 -2e-3 4\ndress 1 2 3 4\nblue 0 0 0 1\n"))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        with own_error():
            assert read_vectors(path, ("red", "blue"))

    check()


def test_damaged_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, torch.nn.Linear(3, 2))
    content = path.read_bytes()

    @share_of("weights")
    @given(damaged(content))
    def check(changed: bytes) -> None:
        path.write_bytes(changed)
        with own_error():
            load_weights(path, torch.nn.Linear(3, 2))

    check()
