"""The generated corpus, checked from the files that were written."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.generator import corpus as corpus_module
from pipeline.generator.corpus import MARKER, GenerateRequest, generate_corpus
from schemas.errors import UsageError
from schemas.files import temporary_folder

ATTRIBUTE_OF = {
    "types": "type",
    "colors": "color",
    "materials": "material",
    "styles": "style",
    "sizes": "available_sizes",
}


def tree_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def utterances(content: Any) -> Iterator[dict[str, Any]]:
    for item in content:
        if isinstance(item, list):
            yield from utterances(item)
        elif item:
            yield item


class Files:
    """A corpus as a reader who knows nothing of the generator finds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report = json.loads((folder / MARKER).read_text())
        self.broken_dialogues, self.broken_products = [], []
        self.dialogues: dict[tuple[str, str], list[Any]] = {}
        for path in sorted(folder.glob("dialogues/*/*.json")):
            try:
                self.dialogues[path.parent.name, path.stem] = json.loads(path.read_text())
            except json.JSONDecodeError:
                self.broken_dialogues.append(path)
        hidden = json.loads((folder / "only_in_pictures.json").read_text())
        self.products: dict[str, dict[str, Any]] = {}
        self.written: dict[str, dict[str, Any]] = {}
        for path in sorted((folder / "products").iterdir()):
            try:
                record = json.loads(path.read_text())
            except json.JSONDecodeError:
                self.broken_products.append(path)
                continue
            self.written[record["image_filename"]] = record
            self.products[record["image_filename"]] = record | hidden.get(path.stem, {})
        lines = [line.split(" ") for line in (folder / "url2img.txt").read_text().splitlines()]
        self.links = {url: folder / "images" / name for url, name in lines}

    def turns(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Every recommendation with the state it answers."""
        for content in self.dialogues.values():
            state: dict[str, Any] = {}
            for utterance in utterances(content):
                state = utterance.get("ds", state)
                if utterance["speaker"] == "system" and utterance["utterance"].get("images"):
                    yield state, utterance["utterance"]


def has(product: dict[str, Any], entry: dict[str, Any]) -> bool:
    slot = entry["slot"][0].split(" >>")[0]
    value = product.get(ATTRIBUTE_OF.get(slot, slot), "")
    values = value if isinstance(value, list) else [value]
    return bool(set(values) & set(entry["values"]))


def satisfies(product: dict[str, Any], state: dict[str, Any]) -> bool:
    return all(has(product, entry) == (entry["sentiment"] == ["Like"]) for entry in state["informable"])


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("generated") / "corpus"
    generate_corpus(folder, GenerateRequest(size="test", seed=7))
    return Files(folder)


def test_every_positive_satisfies_the_whole_state(generated: Files) -> None:
    checked = 0
    for state, shown in generated.turns():
        for url in shown["images"]:
            if url in generated.products:
                assert satisfies(generated.products[url], state), (url, state)
                checked += 1
    assert checked > 300


def test_no_negative_satisfies_the_whole_state_but_the_planted_ones(generated: Files) -> None:
    fitting = 0
    for state, shown in generated.turns():
        listed = set(shown.get("false images") or []) - set(shown["images"])
        fitting += sum(satisfies(generated.products[url], state) for url in listed if url in generated.products)
    assert fitting == 0


def test_what_files_leave_out_makes_some_positives_unprovable_from_text(generated: Files) -> None:
    unprovable = sum(
        not satisfies(generated.written[url], state)
        for state, shown in generated.turns()
        for url in shown["images"]
        if url in generated.written
    )
    assert unprovable > 50


def test_names_and_details_do_not_tell_what_the_file_leaves_out(generated: Files) -> None:
    hidden = json.loads((generated.folder / "only_in_pictures.json").read_text())
    for record in generated.written.values():
        text = " ".join([record["name"], *record["details"]]).lower().split()
        for attribute, values in hidden.get(record["id"], {}).items():
            assert record[attribute] == ""
            assert values[0] not in text, record["name"]
    for attribute in ("color", "print", "sleeves"):
        having = [p for p in generated.products.values() if p[attribute]]
        share = sum(attribute in hidden.get(p["id"], {}) for p in having) / len(having)
        assert 0.25 < share < 0.7, attribute


def test_every_user_turn_has_a_state_and_no_system_turn_has(generated: Files) -> None:
    for content in generated.dialogues.values():
        for utterance in utterances(content):
            assert ("ds" in utterance) == (utterance["speaker"] == "user")


def test_topics_switch_and_forget_what_belonged_to_the_old_one(generated: Files) -> None:
    switches = 0
    for content in generated.dialogues.values():
        before: set[str] = set()
        for utterance in utterances(content):
            if "ds" not in utterance:
                continue
            kinds = {v for e in utterance["ds"]["informable"] if e["slot"] == ["types"] for v in e["values"]}
            if utterance["type"] == "switch-synset":
                assert kinds
                assert kinds != before
                assert not [e for e in utterance["ds"]["informable"] if e["sentiment"] == ["Dislike"]]
                switches += 1
            before = kinds
    assert switches == generated.report["moves"]["switch"] > 20


def test_wants_accumulate_are_dropped_and_are_disliked(generated: Files) -> None:
    seen: Counter[str] = Counter()
    for content in generated.dialogues.values():
        before: set[tuple[str, str]] = set()
        for utterance in utterances(content):
            if "ds" not in utterance:
                continue
            entries = utterance["ds"]["informable"]
            now = {(e["slot"][0].split(" >>")[0], e["sentiment"][0]) for e in entries}
            if utterance["type"] != "switch-synset":
                seen["kept"] += len(before & now) >= 2
                seen["added"] += bool({slot for slot, s in now - before if s == "Like"} and before)
                seen["dropped"] += bool({slot for slot, _ in before} - {slot for slot, _ in now})
                seen["disliked"] += bool({slot for slot, s in now - before if s == "Dislike"})
            before = now
    assert min(seen[kind] for kind in ("kept", "added", "dropped", "disliked")) >= 10, seen


def test_images_that_are_pointed_at_show_the_value_that_the_state_resolves_to(generated: Files) -> None:
    resolved: Counter[str] = Counter()
    for content in generated.dialogues.values():
        shown: list[str] = []
        for utterance in utterances(content):
            images = utterance["utterance"].get("images") or []
            if utterance["speaker"] == "system":
                shown = images or shown
                continue
            state = utterance["ds"]
            for reference in state["requestable"]:
                for sentiment in ("likes", "dislikes"):
                    for slot in reference[sentiment]:
                        wanted = {"likes": "Like", "dislikes": "Dislike"}[sentiment]
                        entry = next(
                            e for e in state["informable"] if (e["slot"][0], e["sentiment"][0]) == (slot, wanted)
                        )
                        assert has(generated.products[reference["object"]], entry)
            if utterance.get("question-subtype", "").endswith("in_n") and state["requestable"]:
                resolved["shown"] += any(r["object"] in shown for r in state["requestable"])
            resolved["sent along"] += any(r["object"] in images for r in state["requestable"])
    assert resolved["shown"] >= 10
    assert resolved["sent along"] >= 10


def test_the_report_counts_what_is_in_the_files(generated: Files) -> None:
    report, corruptions = generated.report, generated.report["corruptions"]
    assert Counter(split for split, _ in generated.dialogues) == report["dialogues"]
    assert len(generated.broken_dialogues) == corruptions["broken_dialogues"] == 1
    assert len(generated.broken_products) == corruptions["products_with_broken_json"] == 1
    turns = list(generated.turns())
    with_negatives = [shown for _, shown in turns if shown.get("false images")]
    assert len(with_negatives) == report["recommendation_turns"]
    assert len(turns) - len(with_negatives) == corruptions["recommendation_turns_without_negatives"] == 1
    assert sum(len(shown["images"]) for _, shown in turns) == report["positives"]
    assert sum(len(shown["false images"]) for shown in with_negatives) == report["negatives"]
    repeated = sum(len(s["false images"]) - len(set(s["false images"])) for s in with_negatives)
    assert repeated == corruptions["repeated_negatives"] > 0
    own = sum(len(set(s["false images"]) & set(s["images"])) for s in with_negatives)
    assert own == corruptions["negatives_equal_to_a_positive"] > 0
    sizes = Counter(len(shown["false images"]) for shown in with_negatives)
    assert (sizes[1], sizes[3]) == (corruptions["one_negative"], corruptions["three_negatives"]) == (1, 1)
    contents = generated.dialogues.values()
    assert sum(None in content for content in contents) == corruptions["null_utterance"] == 1
    assert sum(any(isinstance(u, list) for u in c) for c in contents) == corruptions["nested_utterances"] == 1
    spoken = [u for content in contents for u in utterances(content)]
    assert len(spoken) == report["utterances"]
    quoted = sum((u["utterance"]["nlg"] or "").startswith("‘") for u in spoken)
    assert quoted == corruptions["typographic_quotes"]
    merged: Counter[str] = Counter()
    for content in contents:
        speakers = [u["speaker"] for u in utterances(content)]
        merged += Counter(s for s, before in zip(speakers, ["", *speakers], strict=False) if s != before)
    assert merged == {"user": report["user_turns"], "system": report["system_turns"]}


def test_images_are_decodable_but_for_the_faults_reported(generated: Files) -> None:
    found: Counter[str] = Counter()
    listed = {url for _, s in generated.turns() for url in [*s["images"], *(s.get("false images") or [])]}
    for url in listed | set(generated.links) | set(generated.products):
        path = generated.links.get(url)
        if path is None:
            found["dead"] += 1
        elif not path.exists():
            found["missing"] += 1
        else:
            try:
                with Image.open(path) as image:
                    image.load()
                found["ok"] += 1
            except OSError:
                found["broken"] += 1
    assert found == generated.report["images"]


def test_references_to_faulty_products_are_counted(generated: Files) -> None:
    roles = {"positives": "images", "negatives": "false images"}
    dead = {url for url in generated.products if url not in generated.links}
    no_json = set(generated.links) - set(generated.products)
    expected = generated.report["corruptions"]["references_to"]
    for role, key in roles.items():
        urls = Counter(url for _, shown in generated.turns() for url in shown.get(key) or [])
        assert sum(urls[url] for url in dead) == expected["dead_link"][role]
        both = expected["missing_json"][role] + expected["broken_json"][role]
        assert sum(urls[url] for url in no_json) == both


def test_every_recommendation_keeps_a_positive_and_a_negative_with_sound_files(generated: Files) -> None:
    sound = {url for url in generated.products if url in generated.links and generated.links[url].exists()}
    for _, shown in generated.turns():
        assert sound & set(shown["images"])
        if shown.get("false images"):
            assert sound & (set(shown["false images"]) - set(shown["images"]))


def test_recommendations_split_into_images_and_text_as_in_mmd(generated: Files) -> None:
    silent = [shown["nlg"] is None for _, shown in generated.turns()]
    assert 0.6 < sum(silent) / len(silent) < 0.95


def test_one_seed_gives_one_tree_in_another_process_with_another_hash_seed(generated: Files, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    code = "import sys; from pathlib import Path; from pipeline.generator.corpus import *; "
    code += "generate_corpus(Path(sys.argv[1]), GenerateRequest(size='test', seed=7))"
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environment)
    assert tree_hash(folder) == tree_hash(generated.folder)


def test_another_seed_gives_another_corpus(generated: Files, tmp_path: Path) -> None:
    generate_corpus(tmp_path / "other", GenerateRequest(size="test", seed=8))
    assert tree_hash(tmp_path / "other") != tree_hash(generated.folder)


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="the folder is not empty"):
            generate_corpus(tmp_path, GenerateRequest(size="test", force=force))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_generated_corpus_is_replaced_only_with_force(tmp_path: Path) -> None:
    generate_corpus(tmp_path, GenerateRequest(size="test", seed=1))
    first = tree_hash(tmp_path)
    with pytest.raises(UsageError, match="--force"):
        generate_corpus(tmp_path, GenerateRequest(size="test", seed=2))
    assert tree_hash(tmp_path) == first
    generate_corpus(tmp_path, GenerateRequest(size="test", seed=2, force=True))
    assert tree_hash(tmp_path) != first
    generate_corpus(tmp_path, GenerateRequest(size="test", seed=1, force=True))
    assert tree_hash(tmp_path) == first


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = corpus_module.DialogueWriter.write

    def interrupted(self: Any, path: Path, *arguments: Any) -> None:
        if path.stem == "5":
            raise KeyboardInterrupt
        real(self, path, *arguments)

    monkeypatch.setattr(corpus_module.DialogueWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate_corpus(tmp_path / "corpus", GenerateRequest(size="test"))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_does_not_stand_in_the_way_of_the_next(tmp_path: Path) -> None:
    (tmp_path / ".generate.0123abcd.semctl.tmp.d" / "dialogues").mkdir(parents=True)
    (tmp_path / "products").mkdir()
    (tmp_path / "products" / "of-the-killed-run.json").write_text("{")
    generate_corpus(tmp_path, GenerateRequest(size="test"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dialogues",
        "generated.json",
        "images",
        "only_in_pictures.json",
        "products",
        "url2img.txt",
    ]
    assert not (tmp_path / "products" / "of-the-killed-run.json").exists()


def test_a_folder_of_somebody_else_is_not_taken_for_an_unfinished_corpus(tmp_path: Path) -> None:
    (tmp_path / "products").mkdir()
    with pytest.raises(UsageError, match="not empty"):
        generate_corpus(tmp_path, GenerateRequest(size="test"))
    (tmp_path / ".generate.0123abcd.semctl.tmp").touch()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not empty"):
        generate_corpus(tmp_path, GenerateRequest(size="test"))
    assert (tmp_path / "thesis.tex").exists()


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "generate"), pytest.raises(UsageError, match="another semctl"):
        generate_corpus(tmp_path, GenerateRequest(size="test"))


def test_an_unknown_size_and_too_few_products_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown size 'huge'.*test, demo, medium, mmd-v3"):
        generate_corpus(tmp_path / "a", GenerateRequest(size="huge"))
    for few in (-1, 0, 5):
        with pytest.raises(UsageError, match=f"{few} products are too few"):
            generate_corpus(tmp_path / "a", GenerateRequest(size="test", products=few))
    with pytest.raises(UsageError, match="too many"):
        generate_corpus(tmp_path / "a", GenerateRequest(size="test", products=10**9))
    assert not (tmp_path / "a").exists()


def test_the_command_prints_one_json_object_that_is_the_report(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "c"), "--size", "test", "--seed", "3", "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed.pop("folder") == str(tmp_path / "c")
    assert printed == json.loads((tmp_path / "c" / MARKER).read_text())


def test_the_command_prints_a_table_and_what_to_do_next(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "c"), "--size", "test"])
    assert result.exit_code == 0, result.output
    assert "recommendation turns" in result.stdout
    assert "--format mmd" in result.stdout
