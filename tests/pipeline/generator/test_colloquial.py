"""Users who do not speak the catalogue's words: they want the same, and say it otherwise."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.generator import colloquial
from pipeline.generator.catalogue import CatalogueProduct, drawn_catalogue
from pipeline.generator.colloquial import AS_IN_THE_CATALOGUE, PHRASES, CataloguePhrases, ColloquialUser, Rewording
from pipeline.generator.corpus import MARKER, GenerateRequest, generate_corpus
from pipeline.generator.user_goal import ProductIndex, UserGoal
from pipeline.generator.user_policy import ACTS, UserAction, UserPolicy
from pipeline.generator.user_simulator import Conversation
from pipeline.generator.vocabulary import BRANDS, CARE_OF, GARMENTS, PALETTE, PRINTS, SLOT_OF, STYLES, load
from pipeline.generator.wording import slip
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.mentions import MentionFinder, Words

SEED = 7
WANTS = frozenset(act for act, _ in ACTS.values())
"""MMD's intents of the turns that say something about what is wanted."""


@cache
def drawn() -> UserPolicy:
    return UserPolicy(ProductIndex(drawn_catalogue(84, Random(0))))


class Scripted(Random):
    """Takes the first of all choices, and the numbers given, then 0.99, which does nothing special."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(0)
        self._numbers = iter(numbers)

    def random(self) -> float:
        return next(self._numbers, 0.99)

    def choice(self, options: Sequence[Any]) -> Any:
        return options[0]


def said(move: UserAction | None, *numbers: float, act: str = "filter_results", compares: bool = False) -> str:
    user = ColloquialUser(CataloguePhrases(drawn().index), Scripted(*numbers), Rewording())
    return user.reword("AS IT WAS", "raw text", act, move, compares=compares, opening=True)


RED = UserAction("add", UserGoal({"color": ("red",)}), "color", ("red",))
BLACK = UserAction("dislike", UserGoal(), "color", ("black",))


def test_a_turn_may_be_said_as_in_the_catalogue() -> None:
    assert said(RED, 0.0999) == "AS IT WAS"
    assert said(RED, 0.1) != "AS IT WAS"


def test_a_want_is_said_by_a_thing_that_has_the_value() -> None:
    assert said(RED) == "something in the colour of a ripe tomato please"


def test_a_want_is_said_in_a_sentence_of_its_own() -> None:
    assert len(PHRASES["color"]["red"].said) == 5  # 2 sentences of 7 phrases: below 2/7
    assert said(RED, 0.5, 0.28) == "I want to stop traffic, like a stop sign"
    assert said(RED, 0.5, 0.29) == "something in the colour of a ripe tomato please"


def test_a_changed_want_is_said_to_be_changed() -> None:
    change = UserAction("change", UserGoal({"color": ("red",)}), "color", ("red",))
    assert said(change) == "actually scrap that, something in the colour of a ripe tomato"
    assert said(change, 0.5, 0.0) == "actually, I want to stop traffic, like a stop sign"


def test_a_want_is_compared_with_what_was_shown() -> None:
    assert said(RED, 0.5, 0.5, 0.29, compares=True) == "like those but in the colour of a ripe tomato"
    assert said(RED, 0.5, 0.5, 0.31, compares=True) == "something in the colour of a ripe tomato please"
    second = UserAction("nth_but", UserGoal({"color": ("red",)}), "color", ("red",), place=1)
    assert said(second, act="show_similar_to") == "like the 2nd one but in the colour of a ripe tomato"


def test_a_question_is_answered_in_short() -> None:
    assert said(RED, act="give-part-criteria", compares=True) == "in the colour of a ripe tomato"


def test_a_dislike_is_said_by_a_mood_or_of_things() -> None:
    assert said(BLACK, 0.5, 0.0) == "nothing too funereal"
    assert said(BLACK) == "nothing in something funereal please"


def test_two_values_are_said_one_after_the_other() -> None:
    either = UserAction("add", UserGoal(), "style", ("casual", "sporty"))
    assert said(either) == "something for lounging about or the gym please"


def test_a_topic_opens_with_all_that_is_mentioned() -> None:
    wants = UserGoal({"type": ("sneakers",), "color": ("yellow",), "style": ("casual",), "gender": ("men",)})
    move = UserAction("open", wants, "color", (), None, None, ("style", "color"))
    assert said(move) == "I'm after a pair of kicks in the colour of custard, for lounging about"
    after = UserAction("switch", wants, "color", (), 2, None, ())
    assert said(after) == "right, sorted. now a pair of kicks in the colour of the 3rd one"
    with_image = UserAction("open", wants, "color", (), None, 5, ("image:print",))
    assert said(with_image) == "I'm after a pair of kicks with the pattern on this snap"


def test_what_names_no_value_is_reworded_too() -> None:
    assert said(UserAction("drop", UserGoal(), "print")) == "not fussed about the pattern any more"
    assert said(UserAction("relax", UserGoal(), "style")) == "not fussed about the occasion any more"
    assert said(UserAction("more", UserGoal())) == "keep them coming"
    assert said(UserAction("like_nth", UserGoal(), "sleeves", (), 0)) == "loving the sleeves on the 1st one"
    assert said(UserAction("dislike_nth", UserGoal(), "color", (), 0)) == "not keen on the colour of the 1st one"
    assert said(UserAction("upload", UserGoal(), "color", (), None, 4)) == "see this? that shade please"
    assert said(UserAction("upload_dislike", UserGoal(), "print", (), None, 4)) == "anything but this pattern"
    assert said(UserAction("info", UserGoal(), "gender", ("women",))) == "I'm shopping for my mum"
    assert said(None, act="greeting") == "hiya"
    assert said(None, act="buy") == "raw text"


def test_misspelt_as_in_short_messages_or_by_a_slip() -> None:
    # capital, full stop, misspelt, in which way
    assert said(None, 0.9, 0.9, 0.19, 0.4, act="exit-message") == "cheers, thats me done"
    assert said(None, 0.9, 0.9, 0.21, act="exit-message") == "cheers, that's me done"
    assert said(None, 0.9, 0.9, 0.19, 0.6, act="exit-message") != "cheers, that's me done"
    assert said(None, 0.3, 0.2, act="exit-message") == "Cheers, that's me done."


def vocabulary() -> Iterator[tuple[str, str]]:
    """Every value that a product of the drawn catalogue can have."""
    given = {"color": PALETTE, "print": PRINTS, "style": STYLES, "brand": BRANDS, "care": CARE_OF.values()}
    yield from ((attribute, value) for attribute, values in given.items() for value in values)
    for garment in GARMENTS:
        lists = {"sleeves": garment.sleeves, "neck": garment.necks, "length": garment.lengths, "fit": garment.fits}
        lists |= {"material": garment.materials, "available_sizes": garment.sizes, "gender": garment.genders}
        yield from ((attribute, value) for attribute, values in lists.items() for value in values)
        yield "type", garment.type


def texts_of(given: Any) -> Iterator[str]:
    if isinstance(given, str):
        yield given
    else:
        for each in given.values() if isinstance(given, dict) else given:
            yield from texts_of(each)


def test_every_value_of_the_drawn_catalogue_has_several_phrases() -> None:
    values = set(vocabulary())
    assert len(values) > 90
    assert [each for each in values if len(PHRASES[each[0]][each[1]].said) < 2] == []
    hidden = {"gender", "available_sizes", "type"}  # which nobody dislikes
    dislikes = [each for each in values if not PHRASES[each[0]][each[1]].against and each[0] not in {*hidden, "brand"}]
    assert dislikes == []


def test_no_phrase_stands_for_two_values() -> None:
    phrases = Counter(
        Words.of(text).stems
        for values in PHRASES.values()
        for each in values.values()
        for text in (*each.said, *each.wish, *each.against)
    )
    assert [phrase for phrase, times in phrases.items() if times > 1] == []


def test_every_attribute_can_be_spoken_of() -> None:
    given = load("colloquial.toml")
    assert set(given["tails"]) == set(given["catalogue_word"]) == set(SLOT_OF)
    assert set(given["slot_words"]) == set(SLOT_OF) - {"type"}
    assert {attribute for attribute, _ in vocabulary()} <= set(PHRASES) <= set(SLOT_OF)


def test_no_text_spells_a_value_whatever_letter_slips() -> None:
    finder = MentionFinder(colloquial._spellings(value) for _, value in set(vocabulary()))
    given = load("colloquial.toml")
    texts = [text for key in given if key != "catalogue_word" for text in texts_of(given[key])]
    assert len(texts) > 600
    for template in texts:
        text = re.sub(r"\{\w+\}", "...", template)
        for word in re.findall(r"[A-Za-z]{5,}", text):
            for at in range(1, len(word) - 1):
                swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
                for misspelt in (word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:], swapped):
                    assert not finder.spans(Words.of(text.replace(word, misspelt))), (text, misspelt)
        assert not finder.spans(Words.of(text)), text


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_dialogue_takes_the_course_that_it_takes_in_the_catalogues_words(seed: int) -> None:
    plain, other = Random(seed), Random(seed)
    phrases, counts = CataloguePhrases(drawn().index), Rewording()
    before = Conversation(drawn(), plain, 20).hold()
    after = Conversation(drawn(), other, 20, ColloquialUser(phrases, Random(f"{seed}/colloquial"), counts)).hold()
    assert plain.getstate() == other.getstate()
    assert after.moves == before.moves
    assert len(after.utterances) == len(before.utterances)
    for a, b in zip(after.utterances, before.utterances, strict=True):
        assert (a.speaker, a.act, a.subtype, a.images, a.wants) == (b.speaker, b.act, b.subtype, b.images, b.wants)
        assert a.speaker == "user" or a.text == b.text
        assert (a.recommendation is None) == (b.recommendation is None)
        if a.recommendation is not None and b.recommendation is not None:
            assert a.recommendation.positives == b.recommendation.positives
            assert a.recommendation.negatives.tolist() == b.recommendation.negatives.tolist()


@given(st.text(alphabet="abcdefg ,'", max_size=30), st.integers(0, 10**6))
def test_a_slip_changes_one_word_by_one_letter(text: str, seed: int) -> None:
    slipped = slip(text, Random(seed))
    assert abs(len(slipped) - len(text)) <= 1
    changed = [(a, b) for a, b in zip(text.split(), slipped.split(), strict=True) if a != b]
    assert len(changed) <= 1
    assert all(len(a) >= 5 and a[0] == b[0] for a, b in changed if a.isalpha())


def user_turns(folder: Path) -> Iterator[tuple[tuple[str, ...], str, dict[str, Any]]]:
    """The user utterances of the readable dialogues, each with what is new in its state and was not seen in images."""
    for path in sorted(folder.glob("dialogues/*/*.json")):
        try:
            content = json.loads(path.read_text())
        except json.JSONDecodeError:
            continue
        before: set[tuple[str, str, str]] = set()
        for item in content:
            for utterance in item if isinstance(item, list) else [item] if item else []:
                if utterance["speaker"] != "user":
                    continue
                state = utterance["ds"]
                now = {(e["slot"][0], e["sentiment"][0], v) for e in state["informable"] for v in e["values"]}
                seen = {slot for image in state["requestable"] for slot in image["likes"] + image["dislikes"]}
                new = {value for slot, _, value in now - before if slot.split(" >>")[0] not in seen}
                before = now
                yield tuple(sorted(new)), utterance["utterance"]["nlg"], utterance


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """In the catalogue's words, and in colloquial ones."""
    root = tmp_path_factory.mktemp("wordings")
    for wording in ("catalogue", "colloquial"):
        generate_corpus(root / wording, GenerateRequest(size="test", seed=SEED, wording=wording))
    return root / "catalogue", root / "colloquial"


def digest(folder: Path) -> str:
    """Of all but the images, whose bytes are a matter of the library that encodes them."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "images"):
        found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def test_the_catalogues_words_are_the_default_and_its_bytes_stay(corpora: tuple[Path, Path], tmp_path: Path) -> None:
    generate_corpus(tmp_path / "default", GenerateRequest(size="test", seed=SEED))
    assert digest(tmp_path / "default") == digest(corpora[0])
    # of the version before there were two wordings
    assert digest(corpora[0]) == "01c30707fd0c599da3706947a3373657ac417b3f3bf04fb0b0c0e80ea4aac9cf"
    assert "wording" not in json.loads((corpora[0] / MARKER).read_text())


def test_one_seed_gives_one_colloquial_tree_in_another_process(corpora: tuple[Path, Path], tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from pipeline.generator.corpus import *; "
    code += f"generate_corpus(Path(sys.argv[1]), GenerateRequest(size='test', seed={SEED}, wording='colloquial'))"
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, env=environment)
    assert digest(tmp_path / "again") == digest(corpora[1]) != digest(corpora[0])


def test_only_what_users_say_differs(corpora: tuple[Path, Path]) -> None:
    files = [sorted(path.relative_to(each) for path in each.rglob("*") if path.is_file()) for each in corpora]
    assert files[0] == files[1]
    reworded = 0
    for name in files[0]:
        one, other = ((each / name).read_bytes() for each in corpora)
        if name.parts[0] == "dialogues" and other[-1:] == b"\n":  # else it is planted as broken
            one, other = json.loads(one), json.loads(other)
            for item_one, item_other in zip(one, other, strict=True):
                for a, b in zip(as_list(item_one), as_list(item_other), strict=True):
                    if a["speaker"] == "user":
                        reworded += a["utterance"].pop("nlg") != b["utterance"].pop("nlg")
            assert one == other
        elif name == Path(MARKER):
            one, other = json.loads(one), json.loads(other)
            other.pop("wording")
            for report in (one, other):
                report["corruptions"].pop("typographic_quotes")
            assert one == other
        elif name.parts[0] != "dialogues":
            assert one == other, name
    assert reworded > 200


def as_list(item: Any) -> list[Any]:
    return item if isinstance(item, list) else [item] if item else []


def test_the_report_counts_the_turns_that_are_reworded(corpora: tuple[Path, Path]) -> None:
    report = json.loads((corpora[1] / MARKER).read_text())["wording"]
    same = Counter(
        text == other
        for (_, text, a), (_, other, _) in zip(user_turns(corpora[0]), user_turns(corpora[1]), strict=True)
        if a["type"] in WANTS
    )
    assert report["name"] == "colloquial"
    assert report["turns"]["as_in_the_catalogue"] == same[True]
    # answers without a preference have the intent of a want
    assert 0 <= same[False] - report["turns"]["reworded"] <= 10
    assert same[True] / same.total() == pytest.approx(AS_IN_THE_CATALOGUE, abs=0.04)
    assert report["values"]["by_catalogue_word"] == 0
    assert report["values_without_phrases"] == {}


def test_the_imported_ontology_finds_values_in_no_turn_but_those_said_as_in_the_catalogue(
    corpora: tuple[Path, Path], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "shop")
    import_corpus(workspace, ImportRequest(corpora[1], "mmd"))
    slots = [(slot, value) for slot in workspace.ontology().slots for value in slot.values]
    finder = MentionFinder.of_slots(slots)
    named: Counter[str] = Counter()
    wanted = 0
    for (new, text, _), (_, other, _) in zip(user_turns(corpora[0]), user_turns(corpora[1]), strict=True):
        found, found_otherwise = ({slots[m.column][1].value for m in finder.mentions(each)} for each in (text, other))
        if text != other:
            assert not found_otherwise, other
        wanted += len(new)
        named["catalogue"] += len(found & set(new))
        named["colloquial"] += len(found_otherwise & set(new))
    assert wanted > 150
    assert named["catalogue"] / wanted > 0.6
    assert named["colloquial"] / named["catalogue"] == pytest.approx(AS_IN_THE_CATALOGUE, abs=0.05)


def product(number: int, **attributes: str) -> CatalogueProduct:
    values = {name: (value,) for name, value in attributes.items()}
    return CatalogueProduct(str(number), f"http://x/{number}", f"{number}.jpg", "thing", values)


def phrases_of(*values: tuple[str, str]) -> CataloguePhrases:
    return CataloguePhrases(ProductIndex([product(n, **{name: value}) for n, (name, value) in enumerate(values)]))


def test_values_of_another_catalogue_have_the_phrases_of_the_same_word() -> None:
    found = phrases_of(
        ("type", "Shirts"), ("color", "GRAY"), ("available_sizes", "Medium"), ("material", "100% Cotton")
    )
    assert found.find("type", "Shirts") == PHRASES["type"]["shirt"]
    assert found.find("color", "GRAY") == PHRASES["color"]["grey"]
    assert found.find("available_sizes", "Medium") == PHRASES["available_sizes"]["M"]
    assert found.find("material", "100% Cotton") is None
    assert phrases_of(("color", "Navy Blue"), ("color", "Off White")).find("color", "Navy Blue") is None


def test_a_phrase_that_spells_a_value_of_the_catalogue_is_not_said() -> None:
    kept = phrases_of(("color", "red"), ("brand", "Tomato")).find("color", "red")
    assert kept is not None
    assert kept.said == PHRASES["color"]["red"].said[1:]
    assert kept.wish == PHRASES["color"]["red"].wish


def test_two_values_that_would_have_the_same_phrases_have_none() -> None:
    found = phrases_of(("color", "gray"), ("color", "grey"), ("type", "Shirt"), ("type", "shirt"))
    assert found.find("color", "gray") is None
    assert found.find("color", "grey") is None
    # the ontology takes these for one value
    assert found.find("type", "Shirt") == found.find("type", "shirt") == PHRASES["type"]["shirt"]


def test_a_value_without_phrases_keeps_its_word_and_is_counted() -> None:
    counts = Rewording()
    index = ProductIndex([product(0, type="Kaftan", color="Off White", style="Casual")])
    user = ColloquialUser(CataloguePhrases(index), Scripted(), counts)
    wants = UserGoal({"type": ("Kaftan",), "color": ("Off White",), "style": ("Casual",)})
    move = UserAction("open", wants, "color", (), None, None, ("color", "style"))
    text = user.reword("", "", "give-criteria", move, compares=False, opening=True)
    assert text == "I'm after a kaftan in off white, for lounging about"
    assert counts.as_json() == {
        "name": "colloquial",
        "turns": {"reworded": 1, "as_in_the_catalogue": 0},
        "values": {"in_other_words": 1, "by_catalogue_word": 2},
        "values_without_phrases": {"color": {"Off White": 1}, "type": {"Kaftan": 1}},
    }


def test_an_unknown_wording_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown wording 'coloquial'; did you mean 'colloquial'\?"):
        GenerateRequest(wording="coloquial")
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "c"), "--wording", "slang"])
    assert isinstance(result.exception, UsageError)
    assert "one of catalogue, colloquial" in str(result.exception)
    assert not (tmp_path / "c").exists()


def test_the_command_says_how_turns_are_worded(tmp_path: Path) -> None:
    arguments = ["generate", str(tmp_path / "c"), "--size", "test", "--wording", "colloquial"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "user turns in colloquial words" in result.stdout
    assert "values without colloquial words" not in result.stdout
