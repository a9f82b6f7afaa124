from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from schemas.belief import SlotValue
from schemas.errors import UsageError
from semantic_model.config.config import Config, load_config
from semantic_model.grounded import scoring as tables
from semantic_model.grounded.model import State
from semantic_model.grounded.objective import grounded_objective
from semantic_model.ranking.chunked_scoring import Chunk
from semantic_model.ranking.model_spec import StepBatch
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.semantic.scoring import match_all

TERMS = ("rank", "js", "co_sim", "mse", "belief")
EVERY = {"rank_weight": 1.0, "js_weight": 1.0, "co_sim_weight": 1.0, "mse_weight": 1.0, "belief_weight": 1.0}


def only(term: str, **more: object) -> dict[str, object]:
    return {**{f"{name}_weight": float(name == term) for name in TERMS}, **more}


@pytest.fixture
def objective_of(grounded_config, grounded_inputs, stir) -> Callable:
    def build(
        part: str, grounding: dict[str, object] | None = None, labelled_share: float = 1.0, **loss: object
    ) -> SimpleNamespace:
        given = grounded_inputs(grounded_config(loss=loss, grounding=grounding or {}))
        model = stir(given.model)
        products = model.encode_products(given.products)
        states = given.states if part == "D_F" else None
        step = StepBatch(given.contexts, states, products, given.choices, labelled_share=labelled_share)
        found = grounded_objective(model, step)
        return SimpleNamespace(found=found, model=model, given=given)

    return build


def moved(made: SimpleNamespace) -> set[str]:
    """The parts of the network that a loss moves, as named below."""
    made.found.total.backward()
    grown = {name for name, p in made.model.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-9}
    return {next(part for part in PARTS if name.startswith(part)) for name in grown}


WORDS, CONTEXTS, PRODUCTS = "semantic.words", "semantic.context_encoder", "semantic.product_encoder"
TEACHER, STUDENT, DSI = "semantic.teacher", "semantic.student", "semantic.dsi"
PARTS = (WORDS, CONTEXTS, PRODUCTS, TEACHER, STUDENT, DSI, "semantic.log_scale", "semantic.modality_logits")
PARTS += ("predictor", "value_match", "shown", "semantic.slot_keys")
SCORE = {"semantic.log_scale", "value_match", "shown", WORDS, CONTEXTS, PRODUCTS, DSI}


@pytest.mark.parametrize(
    ("part", "loss", "expected"),
    [
        ("D_P", only("rank"), {*SCORE, STUDENT, "predictor"}),
        ("D_P", only("js"), {WORDS, CONTEXTS, PRODUCTS, STUDENT, DSI}),
        ("D_P", only("co_sim"), {WORDS, CONTEXTS, PRODUCTS, STUDENT, DSI}),
        ("D_F", only("rank", alpha=0.0), {*SCORE, STUDENT, "predictor"}),
        ("D_F", only("rank", alpha=1.0), {*SCORE, TEACHER}),
        ("D_F", only("js"), {WORDS, CONTEXTS, PRODUCTS, TEACHER, DSI}),  # the teacher's alone (section 4.2)
        ("D_F", only("co_sim"), {WORDS, CONTEXTS, PRODUCTS, TEACHER, DSI}),  # contexts have the encoder of images
        ("D_F", only("mse"), {WORDS, CONTEXTS, TEACHER, STUDENT}),
        ("D_F", only("mse", detach_teacher=True), {WORDS, CONTEXTS, STUDENT}),
        ("D_F", only("belief"), {WORDS, CONTEXTS, STUDENT, "predictor"}),
        ("D_F", only("belief", alpha=1.0), set()),
    ],
)
def test_each_loss_moves_its_own_part_of_the_network(objective_of, part, loss, expected):
    made = objective_of(part, **loss)
    found = moved(made) if made.found.total.requires_grad else set()
    assert found == expected


def test_on_d_p_beliefs_and_states_have_no_loss_of_their_own(objective_of):
    assert set(objective_of("D_P", **EVERY).found.terms) == {"student_rank", "student_js", "student_co_sim"}
    assert set(objective_of("D_F", **EVERY).found.terms) == {
        *("teacher_rank", "teacher_js", "teacher_co_sim"),
        *("student_rank", "student_mse", "student_beliefs"),
    }


@pytest.mark.parametrize("labelled_share", [1.0, 0.25])
def test_the_objective_is_the_weighted_sum_of_its_terms(objective_of, labelled_share):
    """With a quarter labelled, four passes of D_P see one of D_F: the loss of beliefs counts four times in it."""
    loss = {"alpha": 0.3, "rank_weight": 1.5, "js_weight": 0.2, "co_sim_weight": 0.7, "mse_weight": 2.0}
    found = objective_of("D_F", labelled_share=labelled_share, **loss, belief_weight=0.9).found
    t = {name: value.item() for name, value in found.terms.items()}
    teacher = 1.5 * t["teacher_rank"] + 0.2 * t["teacher_js"] + 0.7 * t["teacher_co_sim"]
    student = 1.5 * t["student_rank"] + 2.0 * t["student_mse"] + 0.9 / labelled_share * t["student_beliefs"]
    assert found.total.item() == pytest.approx(0.3 * teacher + 0.7 * student, rel=1e-5)


def test_the_rank_loss_is_the_softmax_over_the_catalogue(objective_of):
    made = objective_of("D_P", **only("rank"))
    model, given = made.model, made.given
    context = model.encode_contexts(given.contexts)
    scores = model.logits(context, model.encode_products(given.products), model.student_state(context).state)
    expected = torch.nn.functional.cross_entropy(scores, given.choices.positives[:, 0])
    assert made.found.total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_scores_are_values_and_cosines_and_what_was_shown(objective_of):
    model, given = (made := objective_of("D_P")).model, made.given
    context, products = model.encode_contexts(given.contexts), model.encode_products(given.products)
    state = model.student_state(context).state
    found = model.logits(context, products, state)
    L = model.value_match(state.beliefs, model.value_match.affinity(products.attributes))
    cosines = match_all(model.semantic, context.plain, products.plain, state.S)
    worth = context.worth
    for b in range(4):
        for row in range(12):
            rows = context.shown[b].tolist()
            image = products.image_row[row].item()
            extra = 0.0
            if image >= 0 and image in rows:
                extra = worth[b, 0 if context.shown_last[b, rows.index(image)] else 1].item()
            expected = L[b, row] + model.log_scale.exp() * cosines[b, row] + extra
            assert found[b, row].item() == pytest.approx(expected.item(), abs=1e-4)


def test_logits_of_candidates_are_those_of_the_catalogue(objective_of):
    model, given = (made := objective_of("D_P")).model, made.given
    context, products = model.encode_contexts(given.contexts), model.encode_products(given.products)
    for state in (model.student_state(context).state, model.teacher_state(given.states)):
        whole = model.logits(context, products, state)
        rows = torch.tensor([[3, 1], [0, 0], [11, 5], [2, 7]])
        assert torch.allclose(model.logits(context, products.take(rows), state), whole.gather(1, rows), atol=1e-5)


def test_the_teacher_is_sure_of_the_gold_values(objective_of, ontology):
    model, given = (made := objective_of("D_F")).model, made.given
    beliefs = model.teacher_state(given.states).beliefs
    assert torch.equal(beliefs.like, given.states.like.float())  # one value a slot
    assert not beliefs.dislike.any()
    assert beliefs.none.tolist() == [[0.0, 0.0, 1.0]] * 4


def test_similarity_switched_off_leaves_the_dsi_out(objective_of, monkeypatch):
    monkeypatch.setattr("semantic_model.grounded.model.match_all", None)
    for part in ("D_F", "D_P"):
        made = objective_of(part, {"similarity": False}, js_weight=0.0, co_sim_weight=0.0)
        assert not moved(made) & {DSI, "semantic.log_scale", "semantic.modality_logits", PRODUCTS}


@pytest.mark.parametrize(("switch", "gone"), [("shown", {"shown"}), ("evidence", set())])
def test_switched_off_parts_have_nothing_to_train(objective_of, switch: str, gone: set[str]):
    model = objective_of("D_F", {switch: False}).model
    names = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert names == {"semantic", "predictor", "value_match", "shown"} - gone
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert ("predictor.like" in trained) == (switch != "evidence")


@pytest.fixture(params=[{}, {"similarity": False}, {"shown": False}], ids=["all", "no similarity", "nothing shown"])
def ranker(request, grounded_config, grounded_inputs, stir) -> NetworkRanker:
    given = grounded_inputs(grounded_config(grounding=request.param))
    return NetworkRanker(stir(given.model), given.reader, "semantic")


def logits(ranker: NetworkRanker, world) -> np.ndarray:
    """Of the training queries and all products, by the network's own formula."""
    model, reader = ranker.model, ranker.reader
    arrays = reader.contexts(world.corpus.queries("train"))
    with torch.no_grad():
        context = model.encode_contexts(arrays.batch(slice(None), torch.device("cpu")))
        products = model.encode_products(reader.products(world.corpus.products))
        return model.logits(context, products, model.student_state(context).state).numpy()


def test_scores_of_the_catalogue_are_the_network_s(ranker, world):
    contexts = ranker.encode_contexts(world.corpus.queries("train"))
    expected = logits(ranker, world)
    found = ranker.score(contexts, ranker.encode_products(world.corpus.products))
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-4)
    with torch.inference_mode():
        vectors = ranker.model.encode_products(ranker.reader.products(world.corpus.products))
    assert np.allclose(ranker.score(contexts, vectors), expected, atol=1e-4)
    assert np.allclose(ranker.score(contexts[2:5], vectors), expected[2:5], atol=1e-4)


def test_scores_of_candidates_are_those_of_their_products(ranker, world, monkeypatch):
    contexts = ranker.encode_contexts(world.corpus.queries("train"))
    table = ranker.encode_products(world.corpus.products)
    expected = logits(ranker, world)
    monkeypatch.setattr(Chunk, "of", lambda *_: Chunk(1, 4))
    rows = np.random.default_rng(0).integers(-1, 12, (len(contexts), 9))
    found = ranker.score(contexts, table, rows)
    assert np.array_equal(found == -np.inf, rows == -1)
    assert np.allclose(found[rows >= 0], np.take_along_axis(expected, rows.clip(0), axis=1)[rows >= 0], atol=1e-4)
    assert ranker.score(contexts, table, rows[:, :0]).shape == (len(contexts), 0)


@pytest.mark.parametrize("chunk", [Chunk(1, 5), Chunk(3, 2), Chunk(100, 100)])
def test_scores_do_not_depend_on_chunks(ranker, world, monkeypatch, chunk):
    table = ranker.encode_products(world.corpus.products)
    whole = ranker.score(ranker.encode_contexts(world.corpus.queries("train")), table)
    monkeypatch.setattr(Chunk, "of", lambda *_: chunk)
    monkeypatch.setattr(ranker, "queries", 5)
    monkeypatch.setattr(ranker, "context_chunk", 3)
    assert np.allclose(ranker.score(ranker.encode_contexts(world.corpus.queries("train")), table), whole, atol=1e-5)


def test_a_table_made_of_parts_is_the_table_made_at_once(ranker, world):
    batch = ranker.reader.products(world.corpus.products)
    with torch.inference_mode():
        vectors = ranker.model.encode_products(batch)
        columns = ranker.model.sums.columns
        one = tables.GroundedTable.collect([vectors], 12, 8, columns, precision="float32", device=torch.device("cpu"))

        def parts() -> Iterator:
            for rows in (torch.arange(5), torch.arange(5, 12)):
                yield vectors.take(rows)

        two = tables.GroundedTable.collect(parts(), 12, 8, columns, precision="float32", device=torch.device("cpu"))
    contexts = ranker.encode_contexts(world.corpus.queries("train"))
    assert np.allclose(ranker.score(contexts, one), ranker.score(contexts, two), atol=1e-6)
    assert two.image_row.tolist() == batch.image_row.tolist()
    rows, _ = two.patterns
    assert len(rows) == 4 + 3 + 1  # colours, types, no sleeves
    rebuilt = rows[two.pattern_of.long()].any(dim=1)
    assert torch.equal(rebuilt, batch.attributes)


def test_a_bfloat16_table_gives_nearly_the_same_scores(ranker, world):
    contexts = ranker.encode_contexts(world.corpus.queries("train"))
    full = ranker.encode_products(world.corpus.products)
    ranker.precision = "bfloat16"
    half = ranker.encode_products(world.corpus.products)
    assert half.vectors.text.vectors.nbytes * 2 == full.vectors.text.vectors.nbytes
    difference = np.abs(ranker.score(contexts, half) - ranker.score(contexts, full)).max()
    assert difference < 2 * 2**-8 * ranker.model.log_scale.exp().item()
    assert (difference > 0) == ranker.model.similarity


@pytest.mark.slow
def test_a_large_catalogue_is_scored_in_little_memory(ranker, world, monkeypatch):
    """No tensor that is made in scoring is products x values or products x images of the whole catalogue."""
    contexts = ranker.encode_contexts(world.corpus.queries("train"))
    catalogue = [
        item._replace(product_id=f"{item.product_id} {copy}") for copy in range(50) for item in world.corpus.products
    ]
    table = ranker.encode_products(catalogue)
    monkeypatch.setattr(Chunk, "of", lambda *_: Chunk(4, 20))
    monkeypatch.setattr(ranker, "queries", 4)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor) and not any(
                found.data_ptr() == a.data_ptr() for a in args if isinstance(a, torch.Tensor)
            ):
                largest = max(largest, found.numel())
            return found

    with Watch():
        found = ranker.score(contexts, table)
    assert found.shape == (8, 600)
    assert largest <= 4 * 600  # the answer of four contexts
    assert np.allclose(found[:, :12], found[:, 588:], atol=1e-5)


def test_settings_that_a_kind_of_model_does_not_look_at_are_refused():
    for setting in ("grounding.shown=false", "grounding.sharpness=2.0", "loss.belief_weight=0.5"):
        with pytest.raises(UsageError, match=f"'{setting.partition('=')[0]}' does nothing in a model of kind semantic"):
            load_config("tiny", [setting])
        load_config("default", [setting])
    with pytest.raises(UsageError, match=r"'loss.margin' does nothing"):
        load_config("default", ["loss.margin=0.5"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["loss.rank=hinge"], "loss.rank.*should be 'softmax'"),
        (["grounding.similarity=false", "loss.js_weight=0.1"], "leaves the DSI out"),
        (["grounding.similarity=false", "loss.co_sim_weight=0.1"], "leaves the DSI out"),
        (["grounding.sharpness=0"], "grounding.sharpness"),
        (["grounding.dropout=1.0"], "grounding.dropout"),
        (["model.kind=grownded"], "did you mean 'grounded'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: list[str], message: str):
    with pytest.raises(UsageError, match=message):
        load_config("default", settings)


def test_the_preset_default_is_grounded():
    config = load_config("default")
    assert config.model.kind == "grounded"
    assert load_config("default", ["grounding.similarity=false"]).grounding.similarity is False
    assert Config().model.kind == "semantic"


def test_a_state_is_vectors_and_beliefs(objective_of):
    model, given = (made := objective_of("D_F")).model, made.given
    predicted = model.student_state(model.encode_contexts(given.contexts))
    state = predicted.state
    assert isinstance(state, State)
    assert state.S.shape == (4, 3, 8)
    assert torch.allclose(state.beliefs.none + model.sums(state.beliefs.like + state.beliefs.dislike), torch.ones(4, 3))
    assert torch.allclose(predicted.log_beliefs.exp().like, state.beliefs.like)


def test_beliefs_are_not_taught_what_the_ontology_has_no_word_for(grounded_config, grounded_inputs, stir):
    given = grounded_inputs(grounded_config(loss=only("belief", alpha=0.0)))
    model = stir(given.model)
    products = model.encode_products(given.products)

    def loss(value: str) -> float:
        states = given.reader.states([(SlotValue("color", value), SlotValue("type", "dress"))] * 4)
        return grounded_objective(model, StepBatch(given.contexts, states, products, given.choices)).total.item()

    context = model.encode_contexts(given.contexts)
    log = model.student_state(context)
    rest = -(log.like[:, 4] + log.none[:, 2]).mean().item()
    assert loss("mauve") == pytest.approx(rest, rel=1e-4)
    assert loss("red") == pytest.approx(rest - log.like[:, 0].mean().item(), rel=1e-4)
