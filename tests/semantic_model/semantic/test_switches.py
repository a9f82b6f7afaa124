"""Every reading of the paper that is a switch does something, and only where it should."""

from __future__ import annotations

import pytest
import torch

from schemas.ontology import Ontology, Slot
from semantic_model.config.config import Config, load_config
from semantic_model.data.image_features import NO_IMAGE
from semantic_model.data.records import Product, Query, Utterance
from semantic_model.ranking.candidates import Choices
from semantic_model.ranking.model_spec import StepBatch
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.objective import joint_objective
from semantic_model.semantic.reading import INPUTS, SlotReader
from semantic_model.training.trainer import Examples, Trainer
from tests.semantic_model.slots_of import slots_of

SLOTS = ("color", "type", "sleeve_length")
ONTOLOGY = Ontology(slots=tuple(Slot(name=name, attribute=name) for name in SLOTS))
TWO_IMAGES = ("red dress.jpg", "blue shirt.jpg")
SMALL = (
    *("text.embeddings=corpus", "text.vocabulary=200", "text.max_tokens=6", "text.product_max_tokens=8"),
    *("image.encoder=pixels", "image.max_per_turn=2", "context.window=3"),
    *("model.width=8", "model.heads=2", "model.inner=8", "model.layers=1", "model.dropout=0", "dsi.hops=2"),
    *("train.epochs=3", "train.batch_size=4", "train.warmup=0"),
)


def paper(*settings: str) -> Config:
    return load_config("paper", [*SMALL, *settings])


def reader_of(config: Config, world) -> SlotReader:
    return SlotReader(config, world.words, world.features, slots_of(*SLOTS), INPUTS)


def figures(world, config: Config) -> dict[str, list[float]]:
    """What the whole network says of a batch: the student's scores, and the terms on D_F and D_P."""
    reader = reader_of(config, world)
    queries = [
        # two images in the first turn, none in the last: what is said of images has something to work on
        query._replace(history=(query.history[0]._replace(image_ids=TWO_IMAGES), *query.history[1:]))
        for query in world.corpus.queries("train")[:4]
    ]
    torch.manual_seed(0)

    sizes = {"vocabulary": world.words.size, "word_width": 8, "feature_width": 5, "slot_keys": reader.slot_keys()}
    model = Semantic(config, **sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.manual_seed(parameter.numel())
                parameter += 0.2 * torch.randn_like(parameter)
        model.words.table.weight[0] = 0.0
    batch = reader.contexts(queries).batch(slice(None), torch.device("cpu"))
    states = reader.states([world.states[query.dialogue_id] for query in queries])
    products = model.encode_products(reader.products(world.corpus.products))

    choices = Choices(
        torch.tensor([[query.positives[0]] for query in queries]), torch.tensor([query.negatives for query in queries])
    )
    context = model.encode_contexts(batch)
    S = model.student_state(context)
    scores = model.score(model.interact(context, products.take(torch.arange(12).expand(4, -1)), S))
    on_d_f = joint_objective(model, StepBatch(batch, states, products, choices))
    on_d_p = joint_objective(model, StepBatch(batch, None, products, choices))
    return {
        "scores": scores.flatten().tolist(),
        "D_F": [value.item() for value in on_d_f.terms.values()] + [on_d_f.total.item()],
        "D_P": [value.item() for value in on_d_p.terms.values()] + [on_d_p.total.item()],
    }


@pytest.mark.parametrize(
    ("row", "setting", "changes"),
    [
        (2, "loss.divergence=jeffreys", {"D_F", "D_P"}),
        (3, "dsi.hops=1", {"scores", "D_F", "D_P"}),
        (5, "dsi.bias=false", {"scores", "D_F", "D_P"}),
        (6, "dsi.temperature=0.2", {"scores", "D_F", "D_P"}),
        (8, "student.context=last", {"scores", "D_F", "D_P"}),
        (10, "context.attend_imageless=false", {"scores", "D_F", "D_P"}),
        (11, "text.activation=leaky_relu", {"scores", "D_F", "D_P"}),
        (12, "image.turn_attention=false", {"scores", "D_F", "D_P"}),
        (16, "text.share_encoder=true", {"scores", "D_F", "D_P"}),
        (17, 'text.product_fields=["color"]', {"scores", "D_F", "D_P"}),
        (17, 'text.product_ignore=["color"]', {"scores", "D_F", "D_P"}),
        (17, "text.product_max_tokens=2", {"scores", "D_F", "D_P"}),
        (19, "state.value_pool=sum", {"D_F"}),
        (19, "state.value_pool=attn", {"D_F"}),
        (19, "state.value_pool=release", {"D_F"}),
        (20, "state.none=learned", {"D_F"}),
        (20, "state.none=mask", {"D_F"}),
        (22, "state.sentiment=false", {"D_F"}),
        (24, "context.window=2", {"scores", "D_F", "D_P"}),
        (24, "context.include_current=false", {"scores", "D_F", "D_P"}),
        (25, "image.max_per_turn=1", {"scores", "D_F", "D_P"}),
        (29, "loss.co_sim_reduce=mean", {"D_F", "D_P"}),
        (30, "loss.mse_weight=0.5", {"D_F"}),
        (32, "loss.student_on_labelled=all", {"D_F"}),
        (33, "loss.alpha=0.3", {"D_F"}),
        (41, "state.use_values=false", {"D_F"}),
        (41, "loss.co_sim_weight=0", {"D_F", "D_P"}),
        (41, "loss.js_weight=0", {"D_F", "D_P"}),
        (41, "loss.mse_weight=0", {"D_F"}),
    ],
)
def test_a_switch_changes_what_it_is_about_and_nothing_else(world, row: int, setting: str, changes: set[str]):
    before, after = figures(world, paper()), figures(world, paper(setting))
    if setting.startswith(("state.value_pool", "state.none=learned", "dsi.bias", "text.share", "image.turn")):
        # these have other parameters, so that later ones are drawn otherwise: only what they are about is looked at
        assert all(after[name] != before[name] for name in changes), row
    else:
        assert {name for name in before if after[name] != before[name]} == changes, row


def test_the_context_may_end_before_the_shoppers_last_utterance(world, config_of):
    told = tuple(Utterance("user", text, ()) for text in ("red", "blue", "green", "black dress"))
    query = Query("d", 4, "train", told, (), ())
    for include, texts in ((True, ["blue", "green", "black dress"]), (False, ["red", "blue", "green"])):
        reader = SlotReader(
            config_of(context={"include_current": include}), world.words, world.features, slots_of(*SLOTS), INPUTS
        )
        tokens = reader.contexts([query]).columns["tokens"].values[0]
        expected = reader.words.encode(texts, 6)
        assert tokens[:, : expected.shape[1]].tolist() == expected.tolist()
    alone = reader.contexts([query._replace(history=told[:1])])
    assert not alone.columns["turn_mask"].values.any()


def test_a_products_text_is_its_fields_without_those_left_out(world, config_of):
    item = Product("p", "coat", "", {"color": ("red",), "care": ("wash",), "type": ("dress",)}, None, None)

    def read(**text) -> list[int]:
        return (
            SlotReader(config_of(text=text), world.words, world.features, slots_of(*SLOTS), INPUTS)
            .products([item])
            .tokens[0]
            .tolist()
        )

    def pieces(text: str) -> list[int]:
        return world.words.encode([text], 8)[0].tolist()

    assert read() == pieces("coat. color red. type dress")[:8]  # care is on the release's list
    assert read(product_fields=["type", "care"]) == pieces("coat. type dress")
    assert read(product_ignore=["color", "type"]) == pieces("coat. care wash")[:8]


def test_only_the_first_images_of_a_turn_are_read(world, config_of):
    ids = tuple(list(world.features.rows)[:4])
    query = Query("d", 1, "train", (Utterance("user", "red", ids),), (), ())
    for most in (1, 3):
        reader = SlotReader(
            config_of(image={"max_per_turn": most}), world.words, world.features, slots_of(*SLOTS), INPUTS
        )
        rows = reader.contexts([query]).columns["images"].values[0, -1]
        assert [row for row in rows.tolist() if row != NO_IMAGE] == [world.features.row(name) for name in ids[:most]]


@pytest.fixture
def trained(world, tmp_path):
    def run(name: str, *settings: str, labelled: int = 8):
        train = world.corpus.queries("train")
        examples = Examples(
            train[:labelled],
            [world.states[query.dialogue_id] for query in train[:labelled]],
            train,
            world.corpus.queries("valid"),
        )
        trainer = Trainer(
            paper(*settings),
            examples,
            world.corpus,
            words=world.words,
            features=world.features,
            ontology=ONTOLOGY,
            folder=tmp_path / name,
            seed=0,
        )
        return trainer.fit()

    return run


def losses(line: dict) -> set[str]:
    return {name for name in line if name.startswith("D_") and not name.endswith(".loss")}


@pytest.mark.slow
def test_row_34_the_teacher_warms_up_alone_where_every_dialogue_is_labelled(trained):
    history = trained("all", "train.teacher_warmup_epochs=1").history
    assert not {name for name in losses(history[0]) if name.startswith("D_F.student")}
    assert {"D_F.student_rank", "D_F.student_mse"} <= losses(history[1])
    some = trained("some", "train.teacher_warmup_epochs=1", labelled=4).history
    assert "D_F.student_mse" in losses(some[0])


def test_rows_34_and_36_the_releases_run_with_all_labels_has_no_pass_over_d_p(trained):
    released = trained("released", "train.teacher_warmup_epochs=1", "train.when_all_labelled=labelled").history
    assert not any(name.startswith("D_P") for line in released for name in losses(line))
    both = trained("both").history
    assert {"D_P.student_rank", "D_P.student_js", "D_P.student_co_sim"} <= losses(both[0])
    some = trained("part", "train.when_all_labelled=labelled", labelled=4).history
    assert any(name.startswith("D_P") for name in losses(some[0]))


def test_row_37_without_labels_the_student_is_trained_alone(trained):
    history = trained("none", labelled=0).history
    assert losses(history[0]) == {"D_P.student_rank", "D_P.student_js", "D_P.student_co_sim"}


def test_row_39_the_epoch_to_keep_is_chosen_by_a_metric_or_is_the_last(trained):
    last = trained("last", "train.select=last")
    assert last.best_epoch == 3
    by_recall = trained("recall", "train.select=recall@10")
    recalls = [line["recall@10"] for line in by_recall.history]
    assert by_recall.best_epoch == 1 + recalls.index(max(recalls))
