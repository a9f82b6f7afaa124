"""A small trained run of the preset ``default``, asked about conversations that it never saw."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.cli import _run
from pipeline.modelling.conversation import Conversation, dialogue_of_corpus, read_conversation
from pipeline.modelling.product_filter import FilterError
from pipeline.modelling.recommend import BatchRequest, RecommendRequest, recommend, recommend_batch
from pipeline.modelling.recommender import BelievedValue, Correction, Recommender, outcomes_of, state_of_corrections
from pipeline.modelling.train import TrainRequest, train
from pipeline.modelling.training_data import gold_states, state_before
from pipeline.workspace import Workspace
from schemas.errors import CorpusError, ModelError, OntologyError, UsageError
from schemas.ontology import Ontology, Slot, Value
from semantic_model.grounded.model import SHOWN
from semantic_model.grounded.values import SlotValues
from semantic_model.ranking.network_ranker import NetworkRanker, TeacherRanker
from semantic_model.registry import BASELINES, MODELS
from semantic_model.speed.systems import MadeUpShop, SystemCase
from tests.generated_workspace import generated_workspace

SMALL = ("model.width=8", "model.heads=2", "model.inner=8", "text.product_max_tokens=10")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = generated_workspace(tmp_path_factory.mktemp("recommender"))
    train(made, TrainRequest(labeled_ratio=0.5, preset="default", settings=SMALL, epochs=1))
    return made


@pytest.fixture(scope="module")
def recommender(workspace: Workspace) -> Recommender:
    return Recommender.open(workspace)


def told_anew(asked: Conversation) -> dict[str, object]:
    """A conversation as somebody would send it."""
    turns = [{"speaker": said.speaker, "text": said.text, "images": [*said.image_ids]} for said in asked.history]
    return {"dialogue_id": asked.dialogue_id, "turns": turns}


def says(recommender: Recommender, text: str, *images: str, **photos: bytes) -> Conversation:
    value = {"turns": [{"speaker": "user", "text": text, "images": [*images, *photos]}]}
    return read_conversation(value, recommender.corpus, where="a test", photos=photos.get)


def dialogues(recommender: Recommender, split: str = "test") -> Iterator[Conversation]:
    return (dialogue_of_corpus(recommender.corpus, name) for name in recommender.corpus.dialogues(split))


def test_a_dialogue_told_anew_is_read_and_answered_as_that_of_the_corpus(recommender: Recommender):
    asked = list(dialogues(recommender))
    anew = [read_conversation(told_anew(one), recommender.corpus, where="a test") for one in asked]
    assert [one.history for one in anew] == [one.history for one in asked]
    assert any(said.image_ids for one in anew for said in one.history)
    found = [
        [[(product.product_id, product.score) for product in each.products] for each in recommender.recommend(ones)]
        for ones in (asked, anew)
    ]
    assert found[0] == found[1]
    assert recommender.states(anew) == recommender.states(asked)


def test_many_together_score_as_each_by_itself_but_for_rounding(recommender: Recommender):
    asked = list(dialogues(recommender))
    size = len(recommender.corpus.products)
    alone = [recommender.recommend([one], top=size)[0] for one in asked]
    assert recommender.recommend(asked, top=size, together=False) == alone
    for many, one in zip(recommender.recommend(asked, top=size), alone, strict=True):
        scores = {product.product_id: product.score for product in one.products}
        found = {product.product_id: product.score for product in many.products}
        assert found == pytest.approx(scores, abs=1e-4)


def test_several_may_ask_at_once(recommender: Recommender):
    asked = list(dialogues(recommender))
    expected = [recommender.recommend([one])[0] for one in asked]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda one: recommender.recommend([one])[0], asked)) == expected


def test_a_photo_is_seen_as_the_same_image_of_the_catalogue_is(recommender: Recommender, workspace: Workspace):
    product = next(each for each in recommender.corpus.products if each.image_file is not None)
    assert product.image_id is not None
    assert product.image_file is not None
    content = product.image_file.read_bytes()
    copy = io.BytesIO()
    Image.open(product.image_file).convert("RGB").save(copy, "PNG")
    kept = {path: path.stat().st_mtime_ns for path in workspace.features.iterdir()}
    of_corpus = recommender.ranker.reader.features
    by_id, by_product, by_file, by_copy, nothing = recommender.recommend(
        [
            says(recommender, "hello", product.image_id),
            says(recommender, "hello", product.product_id),
            says(recommender, "hello", photo=content),
            says(recommender, "hello", photo=copy.getvalue()),
            says(recommender, "hello"),
        ],
        where=f"product_id = '{product.product_id}'",
        explain=True,
        together=False,
    )
    assert by_id.products == by_product.products == by_file.products
    (known,), (seen,), (blind,) = by_id.products, by_copy.products, nothing.products
    assert known.explanation is not None
    assert seen.explanation is not None
    assert blind.explanation is not None
    # only that it was shown before is not known of a copy
    expected = {name: part for name, part in known.explanation.parts.items() if name != SHOWN}
    assert {name: part for name, part in seen.explanation.parts.items() if name != SHOWN} == pytest.approx(expected)
    assert seen.explanation.parts[SHOWN] == 0 != known.explanation.parts[SHOWN]
    assert blind.explanation.images_of_conversation is None
    assert seen.explanation.images_of_conversation == pytest.approx(seen.score - blind.score, abs=1e-4)
    # nothing of it stays
    assert recommender.ranker.reader.features is of_corpus
    assert {path: path.stat().st_mtime_ns for path in workspace.features.iterdir()} == kept


def test_a_photo_that_is_none_is_refused_by_its_name(recommender: Recommender, tmp_path: Path):
    with pytest.raises(CorpusError, match=r"cannot be decoded.*\(photo\)"):
        recommender.recommend([says(recommender, "hello", photo=b"no image")])
    gone = replace(says(recommender, "hello", photo=b""), photos={"photo": tmp_path / "gone.jpg"})
    with pytest.raises(CorpusError, match=r"cannot read the image: No such file.*gone\.jpg"):
        recommender.recommend([gone])


def test_what_is_believed_is_a_state_with_probabilities(recommender: Recommender):
    ontology = recommender.ontology
    assert ontology is not None
    value = ontology.slots[0].values[0].value
    (state,) = recommender.states([says(recommender, f"i want {value}")]) or []
    assert any(item.value == value and item.polarity == "like" for item in state.state)
    assert set(state.sure) == {slot.name for slot in ontology.slots}
    assert all(0 <= sure <= 1 for sure in state.sure.values())
    for slot in ontology.slots:
        of_slot = [belief for belief in state.beliefs if belief.slot == slot.name]
        assert sum(belief.probability for belief in of_slot) <= 1 + 1e-5
        assert [belief.probability for belief in of_slot] == sorted((b.probability for b in of_slot), reverse=True)


def test_a_state_corrected_throughout_ranks_as_the_teacher_who_is_told_it(recommender: Recommender):
    ranker, ontology = recommender.ranker, recommender.ontology
    assert isinstance(ranker, NetworkRanker)
    assert ontology is not None
    asked = next(dialogues(recommender, "train"))
    gold = state_before(gold_states(recommender.workspace)[asked.dialogue_id], asked.turn + 1)
    assert gold
    corrections = [
        Correction(
            slot.name,
            tuple(item.value for item in gold if (item.slot, item.polarity) == (slot.name, "like")),
            tuple(item.value for item in gold if (item.slot, item.polarity) == (slot.name, "dislike")),
        )
        for slot in ontology.slots
    ]
    teacher = TeacherRanker(ranker, lambda queries: [state_of_corrections(corrections, ontology)])
    with recommender._asking([asked]) as queries:
        expected = teacher.score(teacher.encode_contexts(queries), recommender.table)[0]
    (found,) = recommender.recommend([asked], top=len(expected), corrections=[corrections])
    scores = {product.product_id: product.score for product in found.products}
    assert [scores[product.product_id] for product in recommender.corpus.products] == expected.tolist()
    (unchanged,) = recommender.recommend([asked], corrections=[[]])
    assert unchanged == recommender.recommend([asked])[0]


def test_one_slot_is_corrected_and_the_others_stay(recommender: Recommender):
    ontology = recommender.ontology
    assert ontology is not None
    slot = ontology.slots[0]
    first, other = slot.values[0].value, slot.values[1].value
    asked = says(recommender, f"i want {first}")
    (before,) = recommender.states([asked]) or []
    for correction, state in (
        (Correction(slot.name, (other.upper(),)), [(other, "like", 1.0)]),
        (Correction(slot.name, dislike=(first,)), [(first, "dislike", 1.0)]),
        (Correction(slot.name), []),
    ):
        (after,) = recommender.states([asked], corrections=[[correction]]) or []
        for part in ("state", "beliefs"):
            mine = [item for item in getattr(after, part) if item.slot == slot.name]
            assert [tuple(item[1:]) for item in mine] == state
            others = [item for item in getattr(after, part) if item.slot != slot.name]
            assert others == [item for item in getattr(before, part) if item.slot != slot.name]
    size = len(recommender.corpus.products)
    (dropped,) = recommender.recommend([asked], top=size, explain=True, corrections=[[Correction(slot.name)]])
    parts = [product.explanation.parts[slot.name] for product in dropped.products if product.explanation]
    assert parts == pytest.approx([0.0] * size, abs=1e-6)
    (wanted,) = recommender.recommend([asked], top=size, explain=True, corrections=[[Correction(slot.name, (other,))]])
    has = {
        product.product_id: any(
            slot.find(text) == slot.find(other) for text in product.attributes.get(slot.attribute, ())
        )
        for product in wanted.products
    }
    outcomes = {
        product.product_id: {item.outcome for item in product.explanation.values if item.slot == slot.name}
        for product in wanted.products
        if product.explanation
    }
    assert {name for name, found in outcomes.items() if found == {"matched"}} == {name for name in has if has[name]}
    least = min(p.explanation.parts[slot.name] for p in wanted.products if p.explanation and has[p.product_id])
    most = max(p.explanation.parts[slot.name] for p in wanted.products if p.explanation and not has[p.product_id])
    assert least > most


def test_corrections_that_cannot_be_are_refused(recommender: Recommender):
    ontology = recommender.ontology
    assert ontology is not None
    slot = ontology.slots[0]
    asked = says(recommender, "hello")
    for correction, error, message in (
        ([Correction("nonsense")], OntologyError, "unknown slot 'nonsense'"),
        ([Correction(slot.name, ("nonsense",))], OntologyError, f"'{slot.name}' has no value 'nonsense'"),
        ([Correction(slot.name), Correction(slot.name)], UsageError, "corrected twice"),
        ([Correction(slot.name, (slot.values[0].value,), (slot.values[0].value,))], UsageError, "twice"),
    ):
        with pytest.raises(error, match=message):
            recommender.recommend([asked], corrections=[correction])
    with pytest.raises(UsageError, match="1 corrections for 2 conversations"):
        recommender.recommend([asked, asked], corrections=[[]])


def test_explanations_add_up_and_say_what_the_catalogue_says(recommender: Recommender):
    ontology = recommender.ontology
    assert ontology is not None
    for found in recommender.recommend(list(dialogues(recommender)), top=4, explain=True):
        assert found.explanation is not None
        assert found.explanation.state is not None
        assert found.explanation.note == ""
        assert (any(said.image_ids for said in found.history)) == all(
            product.explanation is not None and product.explanation.images_of_conversation is not None
            for product in found.products
        )
        for product in found.products:
            assert product.explanation is not None
            assert sum(product.explanation.parts.values()) == pytest.approx(product.score, abs=1e-3)
            assert (product.explanation.image_of_product is None) == (not product.images)
            for item in product.explanation.values:
                slot = ontology.slot(item.slot)
                known = {slot.find(text) for text in product.attributes.get(slot.attribute, ())} - {None}
                right = (slot.find(item.value) in known) == (item.polarity == "like")
                assert item.outcome == ("not known" if not known else "matched" if right else "contradicted")


def test_what_a_product_has_of_a_state_worked_out_by_hand():
    colours = Slot(name="color", attribute="color", values=tuple(Value(value=v) for v in ("red", "blue", "black")))
    sizes = Slot(name="size", attribute="size", values=(Value(value="M"), Value(value="L")))
    values = SlotValues(Ontology(slots=(colours, sizes)))
    state = [
        BelievedValue("color", "red", "like", 0.4),
        BelievedValue("color", "blue", "like", 0.4),
        BelievedValue("color", "black", "dislike", 0.9),
        BelievedValue("size", "M", "like", 0.9),
        BelievedValue("color", "mauve", "like", 0.9),  # the ontology does not know it
    ]

    def outcomes(**attributes: str) -> list[tuple[str, str]]:
        said = {name: tuple(text.split("/")) for name, text in attributes.items()}
        return [(item.value, item.outcome) for item in outcomes_of(state, said, values)]

    assert outcomes(color="Red", size="M") == [("red", "matched"), ("black", "matched"), ("M", "matched")]
    assert outcomes(color="black/blue", size="L") == [
        ("blue", "matched"),
        ("black", "contradicted"),
        ("M", "contradicted"),
    ]
    assert outcomes(color="black") == [
        ("red", "contradicted"),
        ("blue", "contradicted"),
        ("black", "contradicted"),
        ("M", "not known"),
    ]
    assert outcomes(color="beige") == [(name, "not known") for name in ("red", "blue", "black", "M")]


def test_a_filter_goes_before_the_ranking_and_keeps_its_order(recommender: Recommender):
    asked = list(dialogues(recommender))[:2]
    ontology = recommender.workspace.ontology()
    slot = next(each for each in ontology.slots if each.kind == "categorical")
    value = slot.values[0].value
    size = len(recommender.corpus.products)
    whole = recommender.recommend(asked, top=size)
    for all_of_them, found in zip(
        whole, recommender.recommend(asked, top=3, where=f"{slot.name} = '{value}'"), strict=True
    ):
        fitting = [
            replace(product, rank=0)
            for product in all_of_them.products
            if any(slot.find(text) == slot.find(value) for text in product.attributes.get(slot.attribute, ()))
        ]
        assert found.fitting == len(fitting)
        assert [replace(product, rank=0) for product in found.products] == fitting[:3]
        assert [product.rank for product in found.products] == [1, 2, 3][: len(fitting)]
    (none,) = recommender.recommend(asked[:1], where="price < 0", explain=True, diversify=0.5)
    assert (none.fitting, none.products) == (0, ())
    with pytest.raises(FilterError, match="no product has an attribute 'nonsense'"):
        recommender.recommend(asked, where="nonsense = 1")


def test_different_products_begin_with_the_best_one_and_repeat_less(recommender: Recommender):
    asked = list(dialogues(recommender))[:3]
    plain = recommender.recommend(asked, top=6)
    assert recommender.recommend(asked, top=6, diversify=0) == plain
    moved = 0
    for before, after in zip(plain, recommender.recommend(asked, top=6, diversify=0.6), strict=True):
        assert after.products[0] == before.products[0]
        assert len({product.product_id for product in after.products}) == 6
        moved += [product.product_id for product in after.products] != [p.product_id for p in before.products]
    assert moved
    for wrong in (-0.1, 1.1):
        with pytest.raises(UsageError, match="--diversify lies between 0 and 1"):
            recommender.recommend(asked, diversify=wrong)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_recommend_without_a_run_and_say_what_they_cannot_tell(name: str, workspace: Workspace):
    opened = Recommender.open(workspace, name)
    assert opened.states([]) is None
    photo = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(photo, "PNG")
    (found,) = opened.recommend([says(opened, "a red dress", photo=photo.getvalue())], explain=True, top=3)
    assert len(found.products) == 3
    assert found.explanation is not None
    assert found.explanation.note == f"{name} predicts no states: what it believes cannot be told"
    for product in found.products:
        assert product.explanation is not None
        assert (product.explanation.values, product.explanation.parts) == ((), {})
        assert product.explanation.images_of_conversation == product.explanation.image_of_product == 0
    with pytest.raises(ModelError, match=f"{name} does not rank by beliefs of values; train with --preset default"):
        opened.recommend([says(opened, "hello")], corrections=[[Correction("color")]])
    with pytest.raises(UsageError, match="has a float32 product table only"):
        Recommender.open(workspace, name, product_table="bfloat16")


@pytest.mark.parametrize("name", [name for name in MODELS if name != "clip"])
def test_every_kind_of_model_is_asked_alike(name: str, tmp_path: Path):
    shop = MadeUpShop(3, 5, 40)
    opened = Recommender(name, shop.corpus, SystemCase(name, shop, 16).ranker, Workspace(tmp_path))
    asked = [Conversation(query.dialogue_id, 4, query.history) for query in shop.queries]
    alone = [opened.recommend([one], top=5, explain=True, diversify=0.3)[0] for one in asked]
    assert opened.recommend(asked, top=5, explain=True, diversify=0.3, together=False) == alone
    believes = name == "grounded"
    assert opened.reads_states == opened.takes_corrections == believes
    assert (opened.states(asked) is not None) == believes
    for found in alone:
        assert found.explanation is not None
        assert ("predicts no states" in found.explanation.note) == (not believes)
        assert all(
            product.explanation and product.explanation.image_of_product is not None for product in found.products
        )
    if not believes:
        with pytest.raises(ModelError, match="does not rank by beliefs"):
            opened.recommend(asked, corrections=[[Correction("x")], [], []])


def test_without_images_what_conversations_show_is_left_out(workspace: Workspace):
    blind = Recommender.open(workspace, images=False)
    photo = read_conversation(
        {"turns": [{"speaker": "user", "text": "hello", "images": ["nowhere.jpg"]}]}, blind.corpus, where="a test"
    )
    assert photo.history[0].image_ids == ()
    (found,) = blind.recommend([photo], explain=True, top=2)
    assert all(product.images == () for product in found.products)


def lines(recommender: Recommender) -> list[dict[str, object]]:
    return [told_anew(one) for one in dialogues(recommender)]


def test_a_batch_is_to_the_last_bit_what_is_recommended_one_by_one(
    workspace: Workspace, recommender: Recommender, tmp_path: Path
):
    asked = lines(recommender)
    file, out = tmp_path / "asked.jsonl", tmp_path / "out.parquet"
    file.write_text("\n\n".join(map(json.dumps, asked)))
    report = recommend_batch(workspace, BatchRequest(file, out, top=4, where="price >= 0", diversify=0.2))
    assert (report.conversations, report.rows, report.rejected) == (len(asked), 4 * len(asked), {})
    assert report.problem is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked.jsonl", "out.parquet"]
    rows = pq.read_table(out).to_pylist()
    assert sorted({row["line"] for row in rows}) == [1 + 2 * number for number in range(len(asked))]
    for number, one in enumerate(asked):
        single = tmp_path / "one.json"
        single.write_text(json.dumps(one))
        request = RecommendRequest(conversation=single, top=4, where="price >= 0", diversify=0.2)
        found = recommend(workspace, request) if number < 1 else _again(recommender, one)
        assert [
            (row["dialogue_id"], row["turn"], row["rank"], row["product_id"], row["name"], row["score"], row["images"])
            for row in rows
            if row["line"] == 1 + 2 * number
        ] == [
            (found.dialogue_id, found.turn, p.rank, p.product_id, p.name, p.score, list(p.images))
            for p in found.products
        ]
    again = tmp_path / "again.parquet"
    recommend_batch(workspace, BatchRequest(file, again, top=4, where="price >= 0", diversify=0.2))
    assert again.read_bytes() == out.read_bytes()


def _again(recommender: Recommender, one: dict[str, object]):
    asked = read_conversation(one, recommender.corpus, where="a test")
    return recommender.recommend([asked], top=4, where="price >= 0", diversify=0.2)[0]


def test_lines_that_are_no_conversations_are_counted_and_written_beside(
    workspace: Workspace, recommender: Recommender, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    good = json.dumps(lines(recommender)[0])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no")
    user = '{"turns": [{"speaker": "user", "text": "hi", "images": ["%s"]}]}'
    bad = {
        2: ("not_json", b'{"turns": [\xff'),
        3: ("not_json", b"[1]"),
        4: ("not_a_conversation", b'{"turns": []}'),
        5: ("not_a_conversation", b'{"turns": [{"speaker": "user", "txet": "hi"}]}'),
        6: ("user_says_nothing", b'{"turns": [{"speaker": "system", "text": "hi"}]}'),
        7: ("user_says_nothing", b'{"turns": [{"speaker": "user", "text": "  "}]}'),
        8: ("image_not_there", (user % "../../etc/nothing.jpg").encode()),
        9: ("image_not_read", (user % "broken.jpg").encode()),
        10: ("not_json", b"[" * 100_000),
        11: ("too_long", b'{"turns": "' + b"x" * (17 << 20) + b'"}'),
    }
    file, out = tmp_path / "asked.jsonl", tmp_path / "out.parquet"
    file.write_bytes(b"\n".join([good.encode(), *(line for _, line in bad.values()), good.encode()]))
    command = ["-w", str(workspace.root), "recommend", "--batch", str(file), "--out", str(out), "--top", "2", "--json"]
    assert _run(command) == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed["conversations"] == 2
    assert printed["rows"] == 4
    assert printed["rejected"] == {
        reason: sum(code == reason for code, _ in bad.values()) for reason in sorted({code for code, _ in bad.values()})
    }
    refused = [json.loads(line) for line in Path(printed["rejected_file"]).read_text().splitlines()]
    assert {each["line"]: each["reason"] for each in refused} == {line: code for line, (code, _) in bad.items()}
    assert all(f"line {each['line']}" in each["error"] for each in refused)
    assert refused[3]["content"] == bad[5][1].decode()
    assert "did you mean 'text'?" in refused[3]["error"]
    assert sorted({row["line"] for row in pq.read_table(out).to_pylist()}) == [1, 12]
    # once they are corrected, no list of them is left
    file.write_text(good)
    assert _run(command) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked.jsonl", "broken.jpg", "out.parquet"]


def test_a_batch_with_nothing_in_it_writes_nothing(workspace: Workspace, tmp_path: Path):
    file, out = tmp_path / "asked.jsonl", tmp_path / "out.parquet"
    for content, message in (("", "no conversations in this file"), ("nope\n", "no line is a conversation; not valid")):
        file.write_text(content)
        with pytest.raises(CorpusError, match=message):
            recommend_batch(workspace, BatchRequest(file, out, "tfidf"))
        assert [path.name for path in tmp_path.iterdir()] == ["asked.jsonl"]
    with pytest.raises(FilterError, match="attribute 'nonsense'"):
        recommend_batch(workspace, BatchRequest(file, out, "tfidf", where="nonsense = 1"))
    with pytest.raises(CorpusError, match="cannot read the conversations: No such file"):
        recommend_batch(workspace, BatchRequest(tmp_path / "gone.jsonl", out, "tfidf"))
    with pytest.raises(UsageError, match="--out is the file of conversations itself"):
        BatchRequest(file, file)


def test_the_command_answers_a_message_with_the_agreed_object(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    photo = tmp_path / "seen.png"
    Image.new("RGB", (40, 40), "red").save(photo)
    shop = ["-w", str(workspace.root), "recommend"]
    asked = ["--message", "like this one", "--image", str(photo), "--explain", "--top", "2", "--where", "price > 0"]
    assert _run([*shop, *asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["dialogue_id"], found["turn"], len(found["products"])) == ("message", 0, 2)
    for rank, each in enumerate(found["products"], start=1):
        assert {"rank", "product_id", "name", "score", "images"} <= set(each)
        assert each["rank"] == rank
        assert isinstance(each["explanation"]["images_of_conversation"], float)
    assert found["explanation"]["state"]["sure"]
    assert _run([*shop, *asked]) == 0
    printed = capsys.readouterr().out
    assert "What is believed to be wanted" in printed
    assert "like this one  [1 images]" in printed
    assert _run([*shop, "--message", "a dress", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert set(plain) == {"run", "dialogue_id", "turn", "positives", "products"}
    assert "explanation" not in plain["products"][0]


def test_a_mistake_in_a_filter_is_marked_beneath_the_error(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    assert _run(["-w", str(workspace.root), "recommend", "tfidf", "--message", "x", "--where", "price < 5 and"]) == 2
    error, typed, mark = capsys.readouterr().err.splitlines()
    assert error.startswith("error: the name of an attribute is expected")
    assert (typed, mark) == ("  price < 5 and", "               ^")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to recommend for; give --dialogue, --conversation, or --message and --image"),
        (["--dialogue", "1", "--message", "x"], "one thing to recommend for at a time"),
        (["--message", "x", "--turn", "1"], "a message has no turns"),
        (["--message", " "], "the user says and shows nothing"),
        (["--message", "x", "--image", "gone.jpg"], "there is no image 'gone.jpg'"),
        (["--message", "x", "--out", "y"], "--out is for --batch"),
        (["--batch", "x"], "--batch needs a file to write"),
        (["--batch", "x", "--out", "y", "--message", "z"], "--message does not go with --batch"),
        (["--batch", "x", "--out", "y", "--explain"], "--explain does not go with --batch"),
        (["--conversation", "gone.json"], "cannot read the conversation: No such file"),
    ],
)
def test_options_that_do_not_fit_are_one_line_of_error(
    arguments: list[str], message: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
):
    assert _run(["-w", str(workspace.root), "recommend", "tfidf", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_a_conversation_is_read_as_an_import_reads_it(recommender: Recommender):
    corpus = recommender.corpus
    product = next(each for each in corpus.products if each.image_id is not None)
    value = {
        "split": "test",
        "turns": [
            {"speaker": "shopper", "text": "hello"},
            {"speaker": "USER", "text": "a dress", "state": {"like": {"type": "dress"}}},
            {"speaker": "system", "text": "this?", "positives": [product.product_id, "gone"], "negatives": ["gone"]},
            {"speaker": "user", "text": "yes"},
            {"speaker": "system", "text": "bye"},
        ],
    }
    read = read_conversation(value, corpus, where="a test")
    assert [said.text for said in read.history] == ["hello a dress", "this?", "yes"]
    assert read.history[1].image_ids == (product.image_id,)
    assert (read.dialogue_id, read.turn, read.positives) == ("conversation", 2, None)
    assert read_conversation(value, corpus, where="a test", turn=3).history[-1].text == "bye"
    with pytest.raises(UsageError, match="has no turn 4; its turns are 0 to 3"):
        read_conversation(value, corpus, where="a test", turn=4)
    for wrong, message in (
        (["turns"], "a JSON object is expected"),
        ({}, "'turns': Field required"),
        ({"turns": [{"speaker": "nobody", "text": "hi"}]}, "'turns.0.speaker'"),
        ({"turns": [{"speaker": "user", "text": {"a": 1}}]}, "'turns.0.text'"),
        ({"truns": []}, "unknown key 'truns' .*did you mean 'turns'"),
    ):
        with pytest.raises(CorpusError, match=message):
            read_conversation(wrong, corpus, where="a test")


def test_the_scores_of_a_filter_with_ties_stay_in_the_catalogues_order(workspace: Workspace):
    opened = Recommender.open(workspace, "popularity")
    (found,) = opened.recommend([says(opened, "anything")], top=len(opened.corpus.products), where="price > 0")
    order = [(-product.score, opened.corpus.product_rows[product.product_id]) for product in found.products]
    assert order == sorted(order)
    assert len(order) == np.count_nonzero(opened.filters.mask("price > 0"))
