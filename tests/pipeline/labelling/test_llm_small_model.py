"""``--prelabel llm`` with a real language model, if one of 135 million weights; what it says is worth little."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from annotate.prelabels.llm_prelabels import estimated_tokens
from annotate.prelabels.llm_server import Question
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.workspace import Workspace
from schemas.files import read_json
from tests.fake_llm import FakeLlm, fake_llm
from tests.labelling_corpus import turn, write_workspace
from tests.small_llm import SmallLlm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def model() -> SmallLlm:
    return SmallLlm()


@pytest.fixture
def served(model: SmallLlm, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLlm]:
    with fake_llm(model.answer) as made:
        monkeypatch.setenv("SEMCTL_LLM_URL", made.address)
        monkeypatch.setenv("SEMCTL_LLM_MODEL", "smollm2")
        yield made
    model.knows_schemas = True


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    said = [
        turn(0, "user", "I want a red one, under 25 please"),
        turn(1, "system", "Here."),
        turn(2, "user", "Thanks!"),
    ]
    shop = write_workspace(tmp_path / "shop", [said])
    shop.settings_file.write_text("[llm]\nparallel = 1\nreply_tokens = 60\nseconds = 600.0\n")
    return shop


def test_its_replies_keep_to_the_schema_and_fill_in_tasks(shop: Workspace, served: FakeLlm):
    file = shop.root / "tasks.json"
    result = export_for_labelling(shop, ExportRequest(Selection(), to_file=file, prelabel="llm"))
    assert result.llm is not None
    assert set(result.llm.dropped) <= {"contradiction"}  # all else the schema rules out
    assert result.llm.asked == len(served.requests) == 2
    replies = [json.loads(path.read_bytes()) for path in shop.llm_replies.rglob("*.json")]
    whole = [reply for reply in replies if reply["is_whole"]]
    assert len(whole) + result.llm.blank["cut off"] == 2
    for reply in whole:
        jsonschema.validate(
            json.loads(reply["text"]), served.requests[0].body["response_format"]["json_schema"]["schema"]
        )
    (task,) = read_json(file, error=AssertionError)
    assert task["predictions"][0]["model_version"] == "llm:smollm2@ontology3"
    assert result.llm.tokens.sent == sum(reply["tokens_in"] for reply in replies)
    assert 0 < result.llm.tokens.sent < result.llm.estimate.sent
    assert 0 < result.llm.tokens.received <= result.llm.estimate.received


def test_without_a_schema_it_says_what_it_likes_and_only_values_are_taken(
    shop: Workspace, served: FakeLlm, model: SmallLlm
):
    model.knows_schemas = False
    file = shop.root / "tasks.json"
    result = export_for_labelling(shop, ExportRequest(Selection(), to_file=file, prelabel="llm"))
    assert result.llm is not None
    assert [request.body.get("response_format", {}).get("type") for request in served.requests[:3]] == [
        "json_schema",
        "json_object",
        None,
    ]
    known = {f"{slot.name}={value.value}" for slot in shop.ontology().slots for value in slot.values}
    known |= {f"drop={slot.name}" for slot in shop.ontology().slots} | {"flag=new_topic"}
    (task,) = read_json(file, error=AssertionError)
    marked = {
        entry
        for result_ in task["predictions"][0]["result"]
        for path in result_["value"].get("taxonomy", [])
        for entry in path
    }
    assert marked <= known


TEXTS = (
    "I'm looking for a maroon Downtown Stylists coat, size XL or XXL, for under $149.99 – do you have any?",
    "Zeig mir bitte grüne Kleider, höchstens 40 €!",
    "红色的裙子有吗?便宜一点的",
    "привет, покажи чёрные ботинки",
    "أريد فستاناً أحمر",
    "🎉🎉 luv it!!! 😍",
)


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_takes_more_tokens_than_are_estimated(model: SmallLlm, text: str):
    """With this model's tokens, of which other languages and emoji take many; without what a schema adds."""
    question = Question((("system", "Label this."), ("user", text)), {})
    messages = [{"role": role, "content": said} for role, said in question.messages]
    assert model.tokens(messages).shape[1] <= estimated_tokens(question, 0).sent
