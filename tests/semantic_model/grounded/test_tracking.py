from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schemas.belief import SlotValue
from schemas.errors import ModelError
from semantic_model.config.config import Config, config_from
from semantic_model.data.corpus import Corpus, _Turn, product_text
from semantic_model.data.records import Product, Query, Utterance
from semantic_model.grounded.reading import EVIDENCE, INPUTS, TRACKED, GroundedReader
from semantic_model.grounded.tracking import CrossFittedTracker, ImageChoices, rows_of
from semantic_model.ranking.model_spec import Sources
from semantic_model.states.taught import TaughtTracker
from semantic_model.states.tracker import LabelledDialogue, RuleTracker, fit_tracker
from semantic_model.states.turn_reading import TurnReader
from tests.semantic_model.states.shop import ATTRIBUTES, SHOP, labelled

DIALOGUES = {f"d{number:02}": labelled(number) for number in range(30)}
ON: Config = config_from({"model": {"kind": "grounded"}, "grounding": {"tracker": True}}, where="a test")
OFF: Config = config_from({"model": {"kind": "grounded"}}, where="a test")


def shop(dialogues=DIALOGUES) -> Corpus:
    products = []
    for image, has in ATTRIBUTES.items():
        attributes = {slot: (value,) for slot, value in sorted(has)}
        products.append(Product(image * 2, image, product_text(image, attributes), attributes, image, None))
    turns = {
        name: tuple(
            _Turn(row["turn"], Utterance(row["speaker"], row["text"], tuple(row["image_ids"]))) for row in each.rows
        )
        for name, each in dialogues.items()
    }
    images = {"a": 0, "b": 1}
    return Corpus(tuple(products), {}, {}, dict.fromkeys(turns, "train"), False, turns, (), image_products=images)


def sources(dialogues=DIALOGUES) -> Sources:
    return Sources(shop(dialogues), SHOP, {name: sorted(each.states.items()) for name, each in dialogues.items()})


@pytest.fixture(scope="module")
def fitted() -> CrossFittedTracker:
    return CrossFittedTracker.fit(ON, sources())


def history(name: str) -> tuple[Utterance, ...]:
    return tuple(said for _, said in shop().utterances(name))


def test_no_dialogue_is_read_by_a_tracker_that_learned_from_it(fitted):
    assert fitted.held_out.keys() == DIALOGUES.keys()
    names = sorted(DIALOGUES)
    for name, tracker in fitted.held_out.items():
        taught_by = [other for at, other in enumerate(names) if at % 5 != names.index(name) % 5]
        assert name not in taught_by
        expected = fit_tracker([DIALOGUES[other] for other in taught_by], SHOP, ATTRIBUTES)
        assert tracker.version == expected.version
        assert isinstance(tracker, TaughtTracker)
        assert isinstance(expected, TaughtTracker)
        assert tracker.wanted.weights == expected.wanted.weights
    assert fitted.tracker.version == fit_tracker(list(DIALOGUES.values()), SHOP, ATTRIBUTES).version


def test_a_word_that_only_their_own_labels_explain_is_not_known_when_they_are_read():
    """Of two dialogues held out together; the tracker that learned from them knows the word."""
    odd = dict(DIALOGUES)
    for name in ("d00", "d10"):
        rows = [{**row, "text": row["text"].replace("Something posh, please", "Swanky")} for row in odd[name].rows]
        odd[name] = LabelledDialogue(rows, odd[name].states)
    made = CrossFittedTracker.fit(ON, sources(odd))
    said = tuple(utterance for _, utterance in shop(odd).utterances("d00"))[:3]
    price = ("price", "40 and over", "like")
    assert made.read(["d00"], [said])[0].beliefs.get(price, 0.0) < 0.5
    assert made.read(["somebody else"], [said])[0].beliefs[price] > 0.5


def test_a_dialogue_that_taught_nothing_is_read_by_the_whole_tracker(fitted):
    said = history("d03")
    read = fitted.tracker.track(rows_of(enumerate(said)))
    assert fitted.read(["new"], [said]) == [(read[-1].state, read[-1].beliefs)]
    (mine,) = fitted.read(["d03"], [said])
    assert mine.beliefs == fitted.held_out["d03"].track(DIALOGUES["d03"].rows)[-1].beliefs


@given(st.lists(st.tuples(st.sampled_from(sorted(DIALOGUES)), st.integers(0, 5)), max_size=8))
def test_beginnings_of_a_dialogue_are_believed_as_if_each_were_read_alone(asked):
    found = _FITTED.read([name for name, _ in asked], [history(name)[:length] for name, length in asked])
    alone = [_FITTED.read([name], [history(name)[:length]])[0] for name, length in asked]
    assert found == alone


_FITTED = CrossFittedTracker.fit(ON, sources())


def test_another_history_of_the_same_name_is_read_for_itself(fitted):
    one, other = history("d00"), history("d01")[:3]
    assert fitted.read(["x", "x", "x"], [one, other, ()]) == [
        *fitted.read(["x"], [one]),
        *fitted.read(["x"], [other]),
        ((), {}),
    ]


def test_few_labels_leave_it_to_the_rules():
    few = {name: DIALOGUES[name] for name in sorted(DIALOGUES)[:19]}
    found = CrossFittedTracker.fit(ON, sources(few))
    assert isinstance(found.tracker, RuleTracker)
    assert {type(tracker) for tracker in found.held_out.values()} == {RuleTracker}


UNLISTED = {
    **DIALOGUES,
    "e": LabelledDialogue(
        [{**DIALOGUES["d00"].rows[0], "text": "I need a teal coat"}], {0: (SlotValue("color", "teal"),)}
    ),
}


@pytest.mark.parametrize("known", [DIALOGUES, {}, UNLISTED])
def test_a_tracker_is_read_back_as_it_was(tmp_path: Path, known):
    made = CrossFittedTracker.fit(ON, sources(known))
    made.save(tmp_path)
    again = CrossFittedTracker.load(tmp_path, Sources(shop(), SHOP))
    asked = [history(name) for name in DIALOGUES] + [(Utterance("user", "Show me teal shoes", ()),)]
    for said in asked:
        rows = rows_of(enumerate(said))
        assert again.tracker.track(rows) == made.tracker.track(rows)
    assert again.tracker.version == made.tracker.version
    assert not again.held_out
    teal = ("color", "teal", "like") in again.tracker.track(rows_of(enumerate(asked[-1])))[0].beliefs
    assert teal == (known is UNLISTED)
    first = (tmp_path / "tracker.json").read_bytes()
    again.save(tmp_path)
    assert (tmp_path / "tracker.json").read_bytes() == first


@pytest.mark.parametrize("damage", ["", "{", "{}", '[{"version": 1}]', "[[]]"])
def test_a_damaged_tracker_is_refused(tmp_path: Path, damage: str):
    (tmp_path / "tracker.json").write_text(damage)
    with pytest.raises(ModelError, match=r"tracker\.json.*train again"):
        CrossFittedTracker.load(tmp_path, Sources(shop(), SHOP))


def test_without_the_setting_there_is_no_tracker_and_no_file(tmp_path: Path):
    CrossFittedTracker.fit(OFF, sources()).save(tmp_path)
    assert not list(tmp_path.iterdir())
    missing = CrossFittedTracker.load(tmp_path, Sources(shop(), SHOP))
    with pytest.raises(ModelError, match=r"tracker\.json.*is missing"):
        missing.read(["d"], [history("d00")])


def test_images_are_looked_up_when_asked_for():
    images = ImageChoices(shop(), SHOP)
    assert images["a"] == ATTRIBUTES["a"]
    assert images.get("c") is None
    assert dict(images) == ATTRIBUTES
    assert len(images) == 2


@pytest.fixture
def reader_of(world) -> Callable[[Config, CrossFittedTracker], GroundedReader]:
    return lambda config, fitted: GroundedReader(config, world.words, world.features, SHOP, INPUTS, fitted)


def test_what_the_tracker_believes_is_evidence_of_the_value(reader_of, fitted):
    said = (Utterance("user", "I need a red coat", ()), Utterance("system", "ok", ()), Utterance("user", "not red", ()))
    reader = reader_of(ON, fitted)
    query = Query("new", 3, "valid", said, (0,), ())
    evidence = reader.contexts([query]).batch(slice(None), torch.device("cpu")).evidence[0]
    assert evidence.shape == (len(reader.values), len(EVIDENCE) + len(TRACKED))
    plain = reader_of(OFF, CrossFittedTracker(None)).contexts([query])
    mentions = plain.batch(slice(None), torch.device("cpu")).evidence[0]
    assert mentions.shape == (len(reader.values), len(EVIDENCE))
    assert torch.equal(evidence[:, : len(EVIDENCE)], mentions)
    told = {
        (slot, value, polarity): probability
        for (slot, value, polarity), probability in fitted.read(["new"], [said])[0].beliefs.items()
        if reader.values.column(slot, value) is not None
    }
    assert told
    expected = torch.zeros(len(reader.values), 2)
    for (slot, value, polarity), probability in told.items():
        expected[reader.values.column(slot, value), ("like", "dislike").index(polarity)] = probability
    assert torch.allclose(evidence[:, len(EVIDENCE) :], expected)


def test_the_state_that_the_tracker_reads_is_a_field_of_its_own(reader_of, fitted, monkeypatch):
    said = (
        Utterance("user", "I need a red coat", ()),
        Utterance("system", "ok", ()),
        Utterance("user", "not blue", ()),
    )
    reader = reader_of(ON, fitted)
    asked = []
    monkeypatch.setattr(
        CrossFittedTracker,
        "read",
        lambda self, *given, read=CrossFittedTracker.read: asked.append(1) or read(self, *given),
    )
    (held,) = reader.contexts([Query("new", 3, "valid", said, (0,), ())]).columns["held"].values
    assert asked == [1]  # once for both fields
    (read,) = fitted.read(["new"], [said])
    expected = {(item.slot, item.value): 1 if item.polarity == "like" else -1 for item in read.state}
    assert len(expected) >= 2
    values = [
        (reader.values.slots[slot].name, value.value)
        for slot, value in zip(reader.values.slot_of, reader.values.values, strict=True)
    ]
    assert {values[at]: held[at] for at in held.nonzero()[0]} == expected
    plain = reader_of(OFF, CrossFittedTracker(None)).contexts([Query("new", 3, "valid", said, (0,), ())])
    assert not plain.columns["held"].values.any()


def test_a_number_counts_as_the_range_it_lies_in(reader_of):
    reader = reader_of(ON, CrossFittedTracker(RuleTracker(TurnReader(SHOP), {})))
    column = reader.values.column("price", "under 40")
    assert reader.values.column("price", "25") == column
    assert reader.values.column("price", "a few") is None
    assert reader.values.column("size", "25") is None
    query = Query("new", 1, "valid", (Utterance("user", "I want something for $25", ()),), (0,), ())
    evidence = reader.contexts([query]).batch(slice(None), torch.device("cpu")).evidence[0]
    assert evidence[column, len(EVIDENCE)] == pytest.approx(0.85)
