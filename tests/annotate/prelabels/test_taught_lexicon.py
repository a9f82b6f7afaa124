from __future__ import annotations

import re

import numpy as np
import pytest

from annotate.prelabels.features import AliasTable
from annotate.prelabels.lexicon import FEWEST_DIALOGUES, LabelledDialogue, Lexicon, TaughtLexicon, product_choices
from annotate.prelabels.logistic import Logistic
from annotate.states.accumulate import accumulate
from schemas.belief import SlotValue, TurnUpdate
from schemas.mentions import Words
from tests.annotate.prelabels.shop import ATTRIBUTES, SHOP, turns


def state(**values: str) -> tuple[SlotValue, ...]:
    return tuple(SHOP.link(SHOP.slot(slot), value) for slot, value in sorted(values.items()))


COLORS = ("black", "white", "red", "blue")
KINDS = ("dress", "coat", "shoes", "tshirt")


def labelled(number: int) -> LabelledDialogue:
    """In this shop "posh" means expensive things are welcome, and whoever names a thing in passing wants nothing."""
    color, kind, other = COLORS[number % 4], KINDS[number % 3], KINDS[(number + 1) % 3]
    rows = turns(
        ("user", f"I need a {color} {kind}"),
        ("system", "How about this?", "a"),
        ("user", f"Who makes that {other}?" if number % 2 else "Something posh, please"),
        ("system", "There you are."),
        ("user", f"Show me {other}"),
        dialogue=f"d{number}",
    )
    first = state(color=color, type=kind)
    second = first if number % 2 else state(color=color, type=kind, price="40 and over")
    return LabelledDialogue(rows, {0: first, 2: second, 4: state(type=other)})


TEACHERS = [labelled(number) for number in range(24)]
TAUGHT = TaughtLexicon.fit(TEACHERS, SHOP, ATTRIBUTES)


def predicted(*said: str) -> list[TurnUpdate]:
    rows = turns(*(part for text in said for part in (("user", text), ("system", "How about this?", "a"))))
    return [update for update, _ in TAUGHT.updates(rows).values()]


def test_labels_teach_other_words_for_values():
    assert predicted("I need a red coat", "Something posh, please")[1] == TurnUpdate(want={"price": ("40 and over",)})
    assert TAUGHT.aliases.values["posh"] == {("price", "40 and over"): 1.0}


def test_labels_teach_which_mentions_people_mark():
    assert predicted("I need a blue dress", "Who makes that coat?") == [
        TurnUpdate(want={"color": ("blue",), "type": ("dress",)}),
        TurnUpdate(),
    ]


def test_labels_teach_that_another_kind_starts_over():
    update = predicted("I need a blue dress", "Show me shoes")[1]
    assert update.want == {"type": ("shoes",)}
    assert update.new_topic or update.drop == {"color"}


def test_the_same_labels_teach_the_same_lexicon():
    again = TaughtLexicon.fit(TEACHERS, SHOP, ATTRIBUTES)
    assert again.wanted.weights == TAUGHT.wanted.weights
    rows = labelled(77).rows
    assert again.updates(rows) == TAUGHT.updates(rows)


def test_a_score_is_a_probability_and_higher_where_the_words_are_known():
    scores = [score for _, score in TAUGHT.updates(labelled(5).rows).values()]
    assert all(0 < score <= 1 for score in scores)
    strange = TAUGHT.updates(turns(("user", "black or blue, coat, dress or striped shoes, who knows")))
    assert strange[0][1] < scores[0]


def test_turns_without_gold_teach_nothing():
    holes = [LabelledDialogue(each.rows, {**each.states, 2: None}) for each in TEACHERS]
    assert "posh" not in TaughtLexicon.fit(holes, SHOP, ATTRIBUTES).aliases.values


def test_a_lexicon_learns_from_twenty_dialogues_on_and_never_from_those_to_label():
    others = {f"d{number}": labelled(number) for number in range(24)}
    asked = {f"d{number}": others[f"d{number}"].rows for number in range(5)}
    few = Lexicon(asked, SHOP, ATTRIBUTES, others)
    assert few.version == "lexicon-v1@ontology1"  # 19 others
    enough = Lexicon({name: asked[name] for name in ("d0", "d1", "d2", "d3")}, SHOP, ATTRIBUTES, others)
    assert re.fullmatch(rf"lexicon-v1@ontology1\+{FEWEST_DIALOGUES}dialogues:[0-9a-f]{{6}}", enough.version)
    relabelled = {**others, "d9": LabelledDialogue(others["d9"].rows, {**others["d9"].states, 4: ()})}
    assert Lexicon({"d0": asked["d0"]}, SHOP, ATTRIBUTES, relabelled).version != enough.version
    assert few.prelabel("d0")[4].update == TurnUpdate(want={"type": ("coat",)}, new_topic=True)
    assert few.prelabel("d0")[2].score == 0.85
    right = [said.update for said in enough.prelabel("d0").values()]
    assert [known.state for known in accumulate(right, SHOP)] == list(others["d0"].states.values())


def test_numbers_of_products_stay_numbers():
    found = product_choices(SHOP, {"type": ["Dress"], "price": ["19.99"], "color": ["mauve"], "weight": ["3"]})
    assert found == {("type", "dress"), ("price", "19.99")}


def test_aliases_worked_by_hand():
    posh, cheap = ("price", "expensive"), ("price", "cheap")
    said = [
        ("d1", "something posh", {posh}),
        ("d2", "a posh one", {posh}),
        ("d3", "posh", set()),
        ("d4", "a bargain", {cheap}),
        ("d4", "a bargain", {cheap}),
    ]
    table = AliasTable.mine((name, Words.of(text), frozenset(wanted)) for name, text, wanted in said)
    assert table.values == {"posh": {posh: pytest.approx(2 / 3)}}  # "bargain" is of one dialogue only
    assert table.find(Words.of("Very posh!")) == {posh: {"posh": pytest.approx(2 / 3)}}


def test_logistic_regression_agrees_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(0)
    matrix = random.random((80, 6)) < 0.4
    answers = (matrix @ [2.0, -1.0, 0.5, 0.0, 1.0, -2.0] + random.normal(size=80)) > 0
    examples = [
        ([f"f{at}" for at in np.flatnonzero(row)], bool(answer)) for row, answer in zip(matrix, answers, strict=True)
    ]
    mine = Logistic.fit(examples, penalty=0.5)
    oracle = sklearn.LogisticRegression(C=2.0, fit_intercept=False, tol=1e-8).fit(matrix, answers)
    assert [mine.weights[f"f{at}"] for at in range(6)] == pytest.approx(oracle.coef_[0].tolist(), abs=2e-3)
    assert mine.probability(["f0", "never seen"]) == pytest.approx(1 / (1 + np.exp(-mine.weights["f0"])))


def test_features_seen_once_and_no_examples_weigh_nothing():
    assert Logistic.fit([]).probability(["a"]) == 0.5
    assert Logistic.fit([(["a", "b"], True), (["a"], False)]).weights.keys() == {"a"}
