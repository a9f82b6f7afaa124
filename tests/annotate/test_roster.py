"""Who annotators are: projects dealt to somebody, e-mail addresses learned, and what is stored already."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.annotations import Annotation
from annotate.roster import Roster
from schemas.errors import LabelError

HERE, THERE = "http://here", "http://there"
USERS = {1: "owner@shop", 2: "Ann@x", 3: "bo@x"}


@pytest.fixture
def roster() -> Roster:
    roster = Roster()
    roster.learn(HERE, USERS, {7: "ann@x", 8: "bo@x", 9: None})
    return roster


def test_answers_of_a_project_dealt_to_somebody_are_theirs_whoever_was_logged_in(roster: Roster):
    assert roster.annotator("7", "2") == "ann@x"
    assert roster.annotator("7", "1") == "ann@x"
    assert roster.annotator("7", "unknown") == "ann@x"


def test_an_annotator_who_answers_in_anothers_project_stays_themselves(roster: Roster):
    assert roster.annotator("7", "3") == "bo@x"


def test_elsewhere_the_e_mail_address_names_them_in_small_letters(roster: Roster):
    assert roster.annotator("9", "2") == "ann@x"
    assert roster.annotator("9", "1") == "owner@shop"
    assert roster.annotator("9", "44") == "user:44"
    assert roster.annotator("9", "Cy@X") == "cy@x"


def test_a_project_nobody_knows_is_named_by_the_only_server_there_is(roster: Roster):
    assert roster.annotator("100", "3") == "bo@x"
    roster.learn(THERE, {3: "someone@else"}, {})
    assert roster.annotator("100", "3") == "user:3"  # two servers, two people
    assert roster.annotator("8", "3") == "bo@x"  # of that project only one server knows


def test_the_same_number_dealt_to_two_people_on_two_servers_says_nothing(roster: Roster):
    roster.learn(THERE, {}, {7: "cy@x"})
    assert roster.annotator("7", "5") == "user:5"
    assert roster.annotator("7", "5", dealt_to="cy@x") == "cy@x"  # the task itself says so


def test_what_is_learned_is_kept_and_written_once(roster: Roster, tmp_path: Path):
    roster.write(tmp_path)
    before = (tmp_path / "annotators.json").stat().st_mtime_ns
    again = Roster.read(tmp_path)
    assert again.annotator("7", "1") == "ann@x"
    assert again.annotator("9", "3") == "bo@x"
    again.write(tmp_path)
    assert (tmp_path / "annotators.json").stat().st_mtime_ns == before
    assert Roster.read(tmp_path / "nothing").annotator("7", "1") == "user:1"


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"semctl_annotators": 2}', '{"semctl_annotators": 1, "servers": {"a": 1}}']
)
def test_a_file_that_is_no_roster_is_refused(text: str, tmp_path: Path):
    (tmp_path / "annotators.json").write_text(text)
    with pytest.raises(LabelError, match="not a list of annotators"):
        Roster.read(tmp_path)


def test_a_stored_annotation_gets_its_name_and_keeps_what_label_studio_said(roster: Roster):
    stored = Annotation("ls:9:a", "d", "user:3", "2026", project="9", completed_by="3")
    named = roster.named(stored)
    assert (named.annotator, named.completed_by, named.key) == ("bo@x", "3", stored.key)
    first_version = Annotation("ls:9:a", "d", "user:3", "2026", project="9")  # a table of version 1 has no completed_by
    assert roster.named(first_version).annotator == "bo@x"
    corpus = Annotation("corpus:d", "d", "corpus")
    assert roster.named(corpus) is corpus
    named_before = Annotation("ls:9:a", "d", "cy@x", project="9", completed_by="3")
    assert roster.named(named_before) is named_before
