from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semantic_model.grounded.beliefs import Beliefs, SlotSums
from semantic_model.grounded.matching import NothingShown, Shown, ValueMatch
from semantic_model.grounded.scoring import Patterns

SIZES = (3, 0, 2, 1)
SLOT_OF = torch.tensor([slot for slot, size in enumerate(SIZES) for _ in range(size)])
SUMS = SlotSums(SLOT_OF, 4)
B, N, V, n = 4, 9, 6, 4


def matcher(*, seed: int | None = 0, sharpness: float = 3.0, apart: bool = False) -> ValueMatch:
    made = ValueMatch(SUMS, n, V, sharpness, apart=apart).requires_grad_(False)
    if seed is not None:
        torch.manual_seed(seed)
        made.meaning += 0.1 * torch.randn(V, V)
        made.gamma += 0.2 * torch.rand(n)
    return made


def any_beliefs(seed: int = 1, scale: float = 2.0) -> Beliefs:
    torch.manual_seed(seed)
    none, like, dislike = ((scale * torch.randn(B, size)).exp() for size in (n, V, V))
    total = none + SUMS(like + dislike)
    return Beliefs(none / total, like / SUMS.spread(total), dislike / SUMS.spread(total))


def some_products(seed: int = 2, *shape: int) -> Tensor:
    torch.manual_seed(seed)
    return torch.rand(*(shape or (N,)), V) < 0.4


def sure(*, like: tuple[int, ...] = (), dislike: tuple[int, ...] = ()) -> Beliefs:
    """One context that is sure of one value a slot."""
    made = Beliefs(torch.ones(1, n), torch.zeros(1, V), torch.zeros(1, V))
    for columns, field in ((like, made.like), (dislike, made.dislike)):
        for column in columns:
            field[0, column], made.none[0, SLOT_OF[column]] = 1.0, 0.0
    return made


def plain(match: ValueMatch, beliefs: Beliefs, b: int, attributes: list[bool]) -> float:
    """L of one product, number by number."""
    found = 0.0
    for s in range(n):
        none = beliefs.none[b, s].item()
        fits = none
        sides = {side: [none, none] for side in ("like", "dislike")}  # of one side alone: what fits, and all
        for v in range(V):
            if SLOT_OF[v] == s:
                has = sum(5 * match.meaning[v, w].item() for w in range(V) if SLOT_OF[w] == s and attributes[w])
                a = min(max(5 * match.gamma[s].item() * has, -10.0), 10.0)
                for (side, counted), sign in zip(sides.items(), (1, -1), strict=True):
                    belief = getattr(beliefs, side)[b, v].item()
                    fits += belief * math.exp(sign * a)
                    counted[0] += belief * math.exp(sign * a)
                    counted[1] += belief
        found += sum(math.log(one / all_) for one, all_ in sides.values()) if match.apart else math.log(fits)
    return found


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("sharpness", [0.5, 3.0, 20.0])
def test_l_of_all_products_equals_a_twin_in_plain_loops(sharpness: float, apart: bool):
    match, beliefs, products = matcher(sharpness=sharpness, apart=apart), any_beliefs(), some_products()
    found = match(beliefs, match.affinity(products))
    expected = [[plain(match, beliefs, b, row) for row in products.tolist()] for b in range(B)]
    assert found.shape == (B, N)
    assert torch.allclose(found, torch.tensor(expected), atol=1e-4)


@pytest.mark.parametrize("apart", [False, True])
def test_l_of_candidates_is_l_of_those_products(apart: bool):
    match, beliefs, products = matcher(apart=apart), any_beliefs(), some_products(3, B, 5)
    found = match(beliefs, match.affinity(products))
    expected = [[plain(match, beliefs, b, row) for row in products[b].tolist()] for b in range(B)]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.booleans())
def test_l_by_patterns_is_l(seed: int, products: int, apart: bool):
    match, beliefs, attributes = matcher(seed=seed, apart=apart), any_beliefs(seed), some_products(seed, products)
    patterns = Patterns(SUMS.columns)
    half = products // 2
    numbers = [torch.from_numpy(patterns.number(part.numpy())) for part in (attributes[:half], attributes[half:])]
    rows = torch.tensor([row.tolist() for row in patterns.rows])
    assert len(rows) <= 8 + 1 + 4 + 2
    fits = match.of_patterns(beliefs, rows, torch.tensor(patterns.slots))
    found = fits[torch.cat(numbers).long()].sum(dim=1).T
    assert torch.allclose(found, match(beliefs, match.affinity(attributes)), atol=1e-5)


def test_what_is_liked_and_what_is_disliked_of_one_slot_both_count_where_they_are_apart():
    """ "A red dress, nothing black": red, black, and neither."""
    beliefs = sure()
    beliefs.none[0, 0], beliefs.like[0, 0], beliefs.dislike[0, 1] = 0.05, 0.6, 0.35
    products = torch.zeros(3, V, dtype=torch.bool)
    products[0, 0] = products[1, 1] = True
    together, apart = (
        match(beliefs, match.affinity(products))[0] for match in (matcher(seed=None), matcher(seed=None, apart=True))
    )
    gain, loss = math.exp(3), math.exp(-3)
    assert together.tolist() == pytest.approx([math.log(0.4 + 0.6 * gain), math.log(0.65 + 0.35 * loss), 0], abs=1e-5)
    red, black = math.log((0.05 + 0.6 * gain) / 0.65), math.log((0.05 + 0.35 * loss) / 0.4)
    assert apart.tolist() == pytest.approx([red, black, 0], abs=1e-5)
    assert black < -1.7 < -0.5 < together[1].item()


def test_a_certain_wish_leaves_no_room_for_noise_where_they_are_apart():
    certain = sure(like=(0,))
    match = matcher(seed=None, apart=True)
    products = torch.zeros(2, V, dtype=torch.bool)
    products[0, 0] = True
    assert match(certain, match.affinity(products))[0].tolist() == pytest.approx([3, 0], abs=1e-5)
    refused = sure(dislike=(0,))
    assert match(refused, match.affinity(products))[0].tolist() == pytest.approx([-3, 0], abs=1e-5)


def test_patterns_are_told_apart_by_slot_and_kept():
    patterns = Patterns(SUMS.columns)
    products = torch.zeros(3, V, dtype=torch.bool)
    products[1, [0, 3]] = True
    first = patterns.number(products.numpy())
    assert first[0].tolist() == first[2].tolist()
    assert (first[0] == first[1]).tolist() == [False, True, False, True]
    assert len(set(first[0].tolist())) == 4  # nothing, in each of four slots
    assert patterns.number(products.numpy()[1:]).tolist() == first[1:].tolist()
    assert len(patterns.rows) == 6
    rebuilt = [sum(patterns.rows[at] for at in row).astype(bool).tolist() for row in first]
    assert rebuilt == products.tolist()


def test_a_wanted_value_raises_and_an_unwanted_one_lowers():
    match = matcher(seed=None)
    has, lacks = torch.zeros(2, V, dtype=torch.bool), None
    has[0, 3] = True
    for beliefs, expected in (
        (sure(like=(3,)), [3.0, 0.0]),
        (sure(dislike=(3,)), [-3.0, 0.0]),
        (sure(like=(4,)), [0.0, 0.0]),
        (sure(), [0.0, 0.0]),
        (sure(like=(3, 0)), [3.0, 0.0]),
    ):
        assert match(beliefs, match.affinity(has))[0].tolist() == pytest.approx(expected, abs=1e-5)
    assert lacks is None


def test_no_single_slot_decides_alone_however_sharp():
    match = matcher(seed=None, sharpness=1000.0)
    has = torch.zeros(1, V, dtype=torch.bool)
    has[0, 3] = True
    assert match(sure(like=(3,)), match.affinity(has)).item() == pytest.approx(10)
    assert match(sure(dislike=(3,)), match.affinity(has)).item() == pytest.approx(-10)
    assert match(sure(like=(3,), dislike=(0,)), match.affinity(~has)).item() == pytest.approx(-10)


def test_under_uniform_beliefs_products_with_as_many_values_a_slot_are_equal():
    match = matcher(seed=None)
    count = 1 + 2 * SUMS(torch.ones(V))
    uniform = Beliefs(1 / count[None], *[SUMS.spread(1 / count)[None]] * 2)
    one_each = torch.zeros(3, V, dtype=torch.bool)
    one_each[0, [0, 3]] = one_each[1, [2, 4]] = one_each[2, [1, 3]] = True
    found = match(uniform, match.affinity(one_each))[0]
    assert torch.allclose(found, found[0].expand(3))
    like_and_not = math.exp(3) + math.exp(-3)
    expected = math.log((1 + 4 + like_and_not) / 7) + math.log((1 + 2 + like_and_not) / 5)
    assert found[0].item() == pytest.approx(expected, rel=1e-5)


def test_a_value_means_nothing_in_other_slots():
    match = matcher()
    assert torch.equal(match.same_slot.bool(), SLOT_OF[:, None] == SLOT_OF)
    only = torch.zeros(1, V, dtype=torch.bool)
    only[0, 3] = True
    assert (match.affinity(only)[0, SLOT_OF != 2] == 0).all()
    assert (match.affinity(only)[0, SLOT_OF == 2] != 0).all()


def test_what_a_value_means_is_learned():
    """Value 0, which no product has, is meant by those who choose products with value 2."""
    match = ValueMatch(SUMS, n, V, 3.0)
    products = torch.zeros(3, V, dtype=torch.bool)
    products[1, 1] = products[2, 2] = True
    adam = torch.optim.Adam(match.parameters(), lr=0.02)
    for _ in range(60):
        adam.zero_grad()
        scores = match(sure(like=(0,)), match.affinity(products))
        torch.nn.functional.cross_entropy(scores, torch.tensor([2])).backward()
        adam.step()
    with torch.no_grad():
        found = match(sure(like=(0,)), match.affinity(products))[0]
    assert found.argmax() == 2
    assert match.meaning[0, 2] > 0 > match.meaning[0, 1]
    assert (match.meaning.detach()[SLOT_OF[:, None] != SLOT_OF] == 0).all()


def test_an_ontology_without_values_finds_all_products_equal():
    for slots in (0, 2):
        sums = SlotSums(torch.zeros(0, dtype=torch.int64), slots)
        match = ValueMatch(sums, slots, 0, 3.0)
        nothing = Beliefs(torch.ones(2, slots), torch.zeros(2, 0), torch.zeros(2, 0))
        assert match(nothing, match.affinity(torch.zeros(5, 0, dtype=torch.bool))).tolist() == [[0.0] * 5] * 2
        patterns = Patterns(sums.columns)
        assert patterns.number(torch.zeros(5, 0, dtype=torch.bool).numpy()).shape == (5, slots)


def plainly_added(worth: Tensor, shown: Tensor, last: Tensor, image_row: Tensor) -> Tensor:
    rows = image_row.expand(len(shown), -1)
    found = torch.zeros(rows.shape)
    for b, products in enumerate(rows.tolist()):
        for at, row in enumerate(products):
            when = [is_last for image, is_last in zip(shown[b].tolist(), last[b].tolist(), strict=True) if image == row]
            if row >= 0 and when:
                found[b, at] = worth[b, 0] if any(when) else worth[b, 1]
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.integers(0, 6))
def test_what_was_shown_is_added_as_in_plain_loops(seed: int, candidates: bool, images: int):
    torch.manual_seed(seed)
    shown, last = torch.randint(-1, 6, (B, images)), torch.rand(B, images) < 0.5
    image_row = torch.randint(-1, 8, (B, 5) if candidates else (N,))
    worth = torch.randn(B, 2)
    assert torch.equal(Shown.add(worth, shown, last, image_row), plainly_added(worth, shown, last, image_row))


def test_padding_is_not_the_image_of_products_without_one():
    nowhere = torch.full((1, 3), -1)
    assert not Shown.add(torch.ones(1, 2), nowhere, torch.ones(1, 3, dtype=torch.bool), torch.tensor([-1, -1, 0])).any()


def test_products_that_share_an_image_were_all_shown():
    found = Shown.add(
        torch.tensor([[2.0, 7.0]]), torch.tensor([[4, -1]]), torch.tensor([[True, False]]), torch.tensor([4, 4, 5])
    )
    assert found.tolist() == [[2.0, 2.0, 0.0]]


def test_what_being_shown_is_worth_depends_on_the_turns_and_begins_at_nothing():
    shown = Shown(D := 4, 0.0)
    turns = torch.randn(3, 2 * D)
    assert torch.equal(shown(turns), torch.zeros(3, 2))
    assert torch.equal(NothingShown()(turns), torch.zeros(3, 2))
    assert not list(NothingShown().parameters())
    with torch.no_grad():
        shown.worth.weight[1, 0] = 1.0
    assert shown(turns)[:, 1].tolist() == pytest.approx((5 * turns[:, 0]).tolist())


@pytest.mark.parametrize("values", [0, 1, 8, 63, 64, 65, 200])
def test_patterns_of_slots_of_any_size_are_told_apart(values: int):
    rng = np.random.default_rng(values)
    few = rng.random((7, values)) < 0.3
    products = few[rng.integers(0, 7, 50)]
    patterns = Patterns((slice(0, values),))
    numbers = patterns.number(products)[:, 0]
    assert len(patterns.rows) == len({row.tobytes() for row in products})
    assert np.array_equal(np.array(patterns.rows)[numbers], products)
    assert patterns.number(products[:0]).shape == (0, 1)
