"""Who annotators are: projects assigned to somebody, e-mail addresses learned, and what is stored already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from annotate.annotations.annotation import Annotation
from annotate.assignment.annotators import Annotators
from schemas.errors import LabelError

HERE, THERE = "http://here", "http://there"
USERS = {1: "owner@shop", 2: "Ann@x", 3: "bo@x"}


@pytest.fixture
def known_annotators() -> Annotators:
    known_annotators = Annotators()
    known_annotators.learn(HERE, USERS, {7: "ann@x", 8: "bo@x", 9: None})
    return known_annotators


def test_answers_of_a_project_assigned_to_somebody_are_theirs_whoever_was_logged_in(known_annotators: Annotators):
    assert known_annotators.annotator(HERE, "7", "2") == "ann@x"
    assert known_annotators.annotator(HERE, "7", "1") == "ann@x"
    assert known_annotators.annotator(HERE, "7", None) == "ann@x"


def test_an_annotator_who_answers_in_anothers_project_stays_themselves(known_annotators: Annotators):
    assert known_annotators.annotator(HERE, "7", "3") == "bo@x"
    assert known_annotators.annotator(HERE, "7", "44", email="bo@x") == "bo@x"


def test_elsewhere_the_e_mail_address_names_them_in_small_letters(known_annotators: Annotators):
    assert known_annotators.annotator(HERE, "9", "2") == "ann@x"
    assert known_annotators.annotator(HERE, "9", "1") == "owner@shop"
    assert known_annotators.annotator(HERE, "9", "44") is None
    assert known_annotators.annotator(HERE, "9", "44", email="cy@x") == "cy@x"


def test_numbers_mean_nothing_on_another_server_or_on_one_not_known(known_annotators: Annotators):
    known_annotators.learn(THERE, {3: "someone@else"}, {7: None})
    assert known_annotators.annotator(THERE, "7", "3") == "someone@else"
    assert known_annotators.annotator(THERE, "7", "2") is None
    assert known_annotators.annotator(None, "7", "3") is None
    assert known_annotators.annotator(None, "7", "3", email="bo@x") == "bo@x"
    assert known_annotators.annotator(None, "7", "5", assigned_to="cy@x") == "cy@x"  # the task itself says so


def test_what_is_learned_is_kept_and_written_once(known_annotators: Annotators, tmp_path: Path):
    known_annotators.write(tmp_path)
    before = (tmp_path / "annotators.json").stat().st_mtime_ns
    again = Annotators.read(tmp_path)
    assert again.annotator(HERE, "7", "1") == "ann@x"
    assert again.annotator(HERE, "9", "3") == "bo@x"
    again.write(tmp_path)
    assert (tmp_path / "annotators.json").stat().st_mtime_ns == before
    assert Annotators.read(tmp_path / "nothing").annotator(HERE, "7", "1") is None


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"semctl_annotators": 2}', '{"semctl_annotators": 1, "servers": {"a": 1}}']
)
def test_a_file_that_is_no_roster_is_refused(text: str, tmp_path: Path):
    (tmp_path / "annotators.json").write_text(text)
    with pytest.raises(LabelError, match="not a list of annotators"):
        Annotators.read(tmp_path)


def test_a_stored_annotation_gets_its_name_and_keeps_what_label_studio_said(known_annotators: Annotators):
    stored = Annotation("ls:9:a", "d", "user:3@here", "2026", project="9", completed_by="3", server=HERE)
    named = known_annotators.named(stored)
    assert (named.annotator, named.completed_by, named.key) == ("bo@x", "3", stored.key)
    for elsewhere in (replace(stored, server=None), replace(stored, server=THERE), replace(stored, server="export-1")):
        assert known_annotators.named(elsewhere) is elsewhere
    corpus = Annotation("corpus:d", "d", "corpus")
    assert known_annotators.named(corpus) is corpus
    named_before = Annotation("ls:9:a", "d", "cy@x", project="9", completed_by="3", server=HERE)
    assert known_annotators.named(named_before) is named_before
