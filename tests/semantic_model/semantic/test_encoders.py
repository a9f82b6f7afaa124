from __future__ import annotations

import torch

from semantic_model.config.sections import ModelConfig
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.layers.attention import AttentionStack, MultiHeadAttention
from semantic_model.semantic.encoders import Context
from semantic_model.semantic.reading import StateBatch


def test_attention_agrees_with_a_plain_loop():
    torch.manual_seed(0)
    attention = MultiHeadAttention(4, 2, 0.0)
    x, source = torch.randn(1, 2, 4), torch.randn(1, 3, 4)
    mask = torch.tensor([[True, False, True]])
    q, k, v = attention.query(x)[0], attention.key(source)[0], attention.value(source)[0]
    rows = []
    for i in range(2):
        heads = []
        for h in (slice(0, 2), slice(2, 4)):
            weights = torch.stack([(q[i, h] @ k[j, h] / 2**0.5).exp() * mask[0, j] for j in range(3)])
            heads.append(sum(weights[j] / weights.sum() * v[j, h] for j in range(3)))
        rows.append(torch.cat(heads))
    expected = attention.out(torch.stack(rows))
    assert torch.allclose(attention(x, source, mask)[0], expected, atol=1e-6)


def test_a_query_without_keys_gets_zeros_from_the_attention():
    attention = MultiHeadAttention(4, 2, 0.0)
    found = attention(torch.randn(2, 1, 4), torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert torch.equal(found, torch.zeros(2, 1, 4))


def test_cross_attention_reads_the_same_source_in_every_layer_and_ignores_what_is_masked():
    stack = AttentionStack(ModelConfig(width=4, layers=3, heads=2, inner=4, dropout=0.0))
    x, every = torch.randn(1, 2, 4), torch.ones(1, 2, dtype=torch.bool)
    source, mask = torch.randn(1, 3, 4), torch.tensor([[True, True, False]])
    other = source.clone()
    other[0, 2] = 99.0
    assert torch.equal(stack(x, every, source, mask), stack(x, every, other, mask))


def test_longer_padding_of_words_turns_and_images_changes_nothing(config_of, inputs_of):
    given = inputs_of(config_of())
    model, batch = given.model.eval(), given.contexts
    plain = model.encode_contexts(batch)
    B, T, L = batch.tokens.shape
    M, F = batch.images.shape[2:]
    tokens = torch.zeros(B, T + 2, min(L + 3, 8), dtype=torch.long)  # no longer than there are positions
    tokens[:, 2:, :L] = batch.tokens
    images = torch.full((B, T + 2, M + 2, F), 7.0)  # what is masked may hold anything
    images[:, 2:, :M] = batch.images
    image_mask = torch.zeros(B, T + 2, M + 2, dtype=torch.bool)
    image_mask[:, 2:, :M] = batch.image_mask
    turn_mask = torch.zeros(B, T + 2, dtype=torch.bool)
    turn_mask[:, 2:] = batch.turn_mask
    padded = model.encode_contexts(ContextBatch(tokens, images, image_mask, turn_mask))
    assert torch.allclose(padded.c_T, plain.c_T, atol=1e-5)
    assert torch.allclose(padded.c_I, plain.c_I, atol=1e-5)
    assert torch.equal(padded.C_T[:, :2], torch.zeros(B, 2, 8))
    S, padded_S = model.student_state(plain), model.student_state(padded)
    assert torch.allclose(S, padded_S, atol=1e-5)


def test_a_context_does_not_depend_on_the_others_of_its_batch(config_of, inputs_of):
    given = inputs_of(config_of())
    model = given.model.eval()
    together = model.encode_contexts(given.contexts)
    for b in range(4):
        alone = model.encode_contexts(ContextBatch(*(part[b : b + 1] for part in given.contexts)))
        assert torch.allclose(alone.c_T[0], together.c_T[b], atol=1e-5)
        assert torch.allclose(alone.c_I[0], together.c_I[b], atol=1e-5)


def test_text_is_summed_over_real_tokens_only(config_of, inputs_of):
    given = inputs_of(config_of(text={"layers": 0}))
    text = given.model.eval().product_encoder.text
    found = text(torch.tensor([[5, 9, 0, 0]]))
    expected = text.words.table.weight[5] + text.words.table.weight[9] + text.positions.weight[:2].sum(dim=0)
    assert torch.allclose(found[0], expected, atol=1e-6)


def test_a_product_without_an_image_has_a_zero_image_vector(config_of, inputs_of):
    given = inputs_of(config_of())
    vectors = given.model.eval().encode_products(given.products)
    missing = ~given.products.image_mask
    assert int(missing.sum()) == 1
    assert torch.equal(vectors.rho_I[missing], torch.zeros(1, 8))
    assert (vectors.rho_I[~missing].norm(dim=1) > 0).all()


def test_a_dialogue_without_any_turn_is_encoded_as_finite_numbers(config_of, inputs_of):
    given = inputs_of(config_of())
    empty = ContextBatch(*(torch.zeros_like(part) for part in given.contexts))
    model = given.model.eval()
    context = model.encode_contexts(empty)
    products = model.encode_products(given.products)
    found = model.score(
        model.interact(context, products.take(torch.zeros(4, 2, dtype=torch.long)), model.student_state(context))
    )
    assert torch.isfinite(found).all()


def test_the_value_none_is_attended_like_any_other_and_key_plus_value_is_what_the_teacher_reads(config_of, inputs_of):
    given = inputs_of(config_of(model={"layers": 0}))
    model = given.model.eval()
    S = model.teacher_state(given.states)
    words, values = model.words, given.states.values[0, 2]  # a slot the dialogue has not mentioned
    expected = model.slot_keys()[2] + words(values[values != 0]).mean(dim=0)
    assert torch.allclose(S[0, 2], expected, atol=1e-6)


def test_without_values_the_teacher_reads_keys_only(config_of, inputs_of):
    given = inputs_of(config_of(state={"use_values": False}))
    model = given.model.eval()
    other = StateBatch(given.states.values.flip(0), given.states.labelled)
    assert torch.equal(model.teacher_state(given.states), model.teacher_state(other))


def test_the_student_reads_all_turns_or_the_last_one_only(config_of, inputs_of):
    for setting, depends in (("sequence", True), ("last", False)):
        given = inputs_of(config_of(student={"context": setting}))
        model = given.model.eval()
        context = model.encode_contexts(given.contexts)
        other = Context(context.C_T.clone(), *context[1:])
        other.C_T[:, 0] += 1.0
        assert torch.equal(model.student_state(context), model.student_state(other)) is not depends


def test_encoders_are_shared_as_the_settings_say(config_of, inputs_of):
    apart = inputs_of(config_of(image={"share_encoder": False})).model
    shared = inputs_of(config_of(text={"share_encoder": True})).model
    assert apart.context_encoder.text is not apart.product_encoder.text
    assert apart.context_encoder.image is not apart.product_encoder.image
    assert apart.context_encoder.text.words is apart.product_encoder.text.words is apart.teacher.words
    assert shared.context_encoder.text is shared.product_encoder.text
    assert shared.context_encoder.image is shared.product_encoder.image


def test_images_are_standardised_over_the_catalogue(config_of, inputs_of):
    image = inputs_of(config_of()).model.context_encoder.image
    features = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0], [3.0, 2.0, 1.0, 0.0, -1.0]])
    image.standardize(features)
    standard = (features - image.mean) * image.scale
    assert torch.allclose(standard[:, 0], torch.tensor([-1.0, 1.0]) / 2**0.5)
    assert torch.equal(standard[:, 1], torch.zeros(2))  # the same in every image: tells nothing


def test_only_products_with_the_same_image_and_text_have_the_same_vectors(config_of, inputs_of):
    given = inputs_of(config_of())
    twice = ProductBatch(*(torch.cat([part, part[:1]]) for part in given.products))
    vectors = given.model.eval().encode_products(twice)
    same = (vectors.rho_T[:-1] - vectors.rho_T[-1]).abs().amax(dim=1) < 1e-6
    assert same.tolist() == [True] + [False] * 11
