"""A language model's server that is slow, cut, limited, or something else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest

from annotate.prelabels.llm_server import LlmServer, NoReplyError, Question, Reply, ask_all
from schemas.errors import ServiceError, UsageError
from schemas.progress import SilentProgress
from tests.fake_llm import Act, FakeLlm, Request, fake_llm

QUESTION = Question((("system", "label it as JSON"), ("user", "red please")), {"type": "object"})
LIMITED = Act(status=429, body=b'{"error": {"message": "slow down"}}')
FAILED = Act(status=500, body=b"<html>oops</html>")


@pytest.fixture
def fake() -> Iterator[FakeLlm]:
    with fake_llm() as made:
        yield made


class Listening(SilentProgress):
    """Keeps the lines of the log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


def asking(fake: FakeLlm, **more: Any) -> LlmServer:
    return LlmServer(fake.address, "small", **{"first_wait": 0.01, "seconds": 5.0, **more})


def test_a_question_is_asked_as_openai_has_it(fake: FakeLlm):
    fake.does([Act("{}", usage=(12, 3))])
    assert asking(fake, key="sk-1234567890", reply_tokens=77).ask(QUESTION) == Reply("{}", True, 12, 3)
    (request,) = fake.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer sk-1234567890"
    assert request.body == {
        "model": "small",
        "messages": [{"role": "system", "content": "label it as JSON"}, {"role": "user", "content": "red please"}],
        "max_tokens": 77,
        "temperature": 0,
        "stream": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "update", "strict": True, "schema": {"type": "object"}},
        },
    }


def test_without_a_key_none_is_sent(fake: FakeLlm):
    asking(fake).ask(QUESTION)
    assert "Authorization" not in fake.requests[0].headers


@pytest.mark.parametrize("more", ["", "/", "/chat/completions"])
def test_an_address_may_be_written_in_several_ways(fake: FakeLlm, more: str):
    LlmServer(fake.address + more, "small").ask(QUESTION)
    assert fake.requests[0].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://h/v1", "http://", "http://user:secret99@h/v1", "http://h/?k=1"]
)
def test_what_is_no_address_is_refused_and_no_password_repeated(url: str):
    with pytest.raises(UsageError, match="address of a language model") as problem:
        LlmServer(url, "small")
    assert "http://HOST:PORT/v1" in str(problem.value)
    assert "secret99" not in str(problem.value)


def test_a_key_with_a_line_end_is_refused():
    with pytest.raises(UsageError, match="SEMCTL_LLM_KEY") as problem:
        LlmServer("http://h/v1", "small", key="sk-12345\n6789")
    assert "12345" not in str(problem.value)


@pytest.mark.parametrize(
    "bad",
    [
        FAILED,
        Act(status=503),
        Act(how="cut"),
        Act(how="short"),
        Act(how="gone"),
        Act(body=b"<html>login</html>"),
        Act(body=b'{"choices": []}'),
        Act(body=b"[" * 100_000),
        Act(body=b'{"choices": [{"message": {"content": 7}}]}'),
        Act(body=b"\xff\xfe"),
        Act(body=b"null"),
        LIMITED,
    ],
    ids=lambda act: act.how or f"{act.status} {act.content()[:20]!r}",
)
def test_what_may_pass_is_asked_again(fake: FakeLlm, bad: Act):
    fake.does([bad, bad, Act("yes")])
    assert asking(fake).ask(QUESTION).text == "yes"
    assert len(fake.requests) == 3


def test_what_does_not_pass_is_given_up(fake: FakeLlm):
    fake.does([FAILED])
    with pytest.raises(NoReplyError, match="server failed: status 500, <html>oops</html>"):
        asking(fake, tries=3).ask(QUESTION)
    assert len(fake.requests) == 3


@pytest.mark.parametrize("pause", ["0.6", "date"])
def test_a_pause_that_the_server_asks_for_is_kept_to_by_all(fake: FakeLlm, pause: str):
    def limited_once(request: Request) -> Act:
        fake.does([Act()])
        in_three_seconds = formatdate(time.time() + 3, usegmt=True)  # whole ones: two of them are left
        return Act(status=429, headers={"Retry-After": in_three_seconds if pause == "date" else pause})

    fake.script = limited_once
    server = asking(fake, tries=1)
    with pytest.raises(NoReplyError, match="rate limit"):  # the first learns of the pause
        server.ask(QUESTION)
    found = dict(ask_all(server, ((n, QUESTION) for n in range(4)), parallel=4))
    assert [type(each) for each in found.values()] == [Reply] * 4
    first, *others = [request.at for request in fake.requests]
    assert min(others) - first >= 0.55


def test_a_pause_of_an_hour_is_not_waited_for(fake: FakeLlm):
    fake.does([Act(status=429, headers={"Retry-After": "3600"})])
    began = time.monotonic()
    with pytest.raises(NoReplyError, match="rate limit"):
        asking(fake).ask(QUESTION)
    assert len(fake.requests) == 1
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("pause", ["-5", "nan", "inf", "soon", "Mon, 99 Foo 2026", ""])
def test_a_pause_that_is_none_is_not_kept_to(fake: FakeLlm, pause: str):
    fake.does([Act(status=429, headers={"Retry-After": pause}), Act("yes")])
    assert asking(fake).ask(QUESTION).text == "yes"


@pytest.mark.parametrize("how", ["stall", "drip", "drip head"])
def test_a_server_that_dawdles_is_cut_off_by_the_clock(fake: FakeLlm, how: str):
    """Each of its bytes comes before any timeout of reading."""
    fake.does([Act(how=how)])
    began = time.monotonic()
    with pytest.raises(NoReplyError, match="too slow"):
        asking(fake, seconds=0.5).ask(QUESTION)
    assert 0.5 * 3 <= time.monotonic() - began < 10
    assert len(fake.requests) == 3  # of seven tries: each of these counts as three


@pytest.mark.parametrize(
    "act", [Act(how="endless"), Act("a" * (2 << 20)), Act("a" * (50 << 20), how="packed"), Act("a" * 30_000)]
)
def test_an_answer_without_end_is_not_read(fake: FakeLlm, act: Act):
    fake.does([act])
    with pytest.raises(NoReplyError, match="too large"):
        asking(fake).ask(QUESTION)
    assert len(fake.requests) == 1


def refusal(message: str) -> bytes:
    return json.dumps({"error": {"message": message}}).encode()


UNKNOWN_FORMATS = [
    refusal("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."),
    refusal('"response_format" type must be one of "text" or "json_object", but got: json_schema'),
    b'{"error": "This response_format type is unavailable now"}',
    b'{"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]}',
    refusal("JSON schema conversion failed: Unrecognized schema"),
]


@pytest.mark.parametrize("said", UNKNOWN_FORMATS)
def test_a_format_that_the_server_does_not_know_is_given_up_with_a_line(fake: FakeLlm, said: bytes):
    def knows_objects(request: Request) -> Act:
        is_schema = request.body.get("response_format", {}).get("type") == "json_schema"
        return Act(status=400, body=said) if is_schema else Act("{}")

    fake.script = knows_objects
    listening = Listening()
    server = asking(fake, progress=listening)
    found = dict(ask_all(server, ((n, QUESTION) for n in range(8)), parallel=4))
    assert {reply.text for reply in found.values() if isinstance(reply, Reply)} == {"{}"}
    assert len(found) == 8
    assert listening.lines == [
        f"{server.host} does not know the format json_schema: asking for json_object from now on; what is no value of "
        "the ontology is dropped all the same"
    ]
    assert fake.requests[-1].body["response_format"] == {"type": "json_object"}


def test_a_server_that_knows_no_format_is_asked_without(fake: FakeLlm):
    def knows_none(request: Request) -> Act:
        return Act(status=422, body=UNKNOWN_FORMATS[3]) if "response_format" in request.body else Act("{}")

    fake.script = knows_none
    assert asking(fake, tries=1).ask(QUESTION).text == "{}"
    assert len(fake.requests) == 3


def test_names_that_newer_models_do_not_take_are_replaced(fake: FakeLlm):
    def is_new(request: Request) -> Act:
        for name, instead in (("max_tokens", " Use 'max_completion_tokens' instead."), ("temperature", "")):
            if name in request.body:
                said = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
                return Act(status=400, body=refusal(said))
        return Act("{}")

    fake.script = is_new
    listening = Listening()
    assert asking(fake, tries=1, progress=listening).ask(QUESTION).text == "{}"
    assert fake.requests[-1].body["max_completion_tokens"] == 300
    assert "response_format" in fake.requests[-1].body
    assert len(listening.lines) == 2


def test_other_refusals_cost_the_question_and_nothing_else(fake: FakeLlm):
    too_long = refusal(
        "This model's maximum context length is 512 tokens. However, you requested 900 tokens (600 in the messages, "
        "300 in the completion: 'max_tokens'). Please reduce."
    )
    fake.does([Act(status=400, body=too_long), Act("yes")])
    server = asking(fake)
    with pytest.raises(NoReplyError, match="maximum context length") as problem:
        server.ask(QUESTION)
    assert problem.value.is_its_own
    assert server.ask(QUESTION).text == "yes"
    assert "response_format" in fake.requests[1].body
    assert fake.requests[1].body["max_tokens"] == 300


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            Act(status=401, body=b'{"error": {"message": "wrong key sk-1234567890"}}'),
            "refuses the key .*repeats the key",
        ),
        (Act(status=403, body=b""), "refuses the key .status 403"),
        (Act(status=402, body=b'{"error": {"message": "Insufficient balance"}}'), "wants to be paid .*Insufficient"),
        (Act(status=404, body=b'{"error": "model \'small\' not found"}'), "no model 'small' is there"),
        (Act(status=429, body=b'{"error": {"code": "insufficient_quota", "message": "x"}}'), "has nothing left"),
    ],
)
def test_a_server_that_cannot_be_asked_ends_it_at_once(fake: FakeLlm, act: Act, message: str):
    fake.does([act])
    with pytest.raises(ServiceError, match=message) as problem:
        asking(fake, key="sk-1234567890").ask(QUESTION)
    assert len(fake.requests) == 1
    assert "1234567890" not in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_filter_that_stops_one_question_does_not_stop_the_others(fake: FakeLlm):
    fake.does([Act("yes"), Act(status=403, body=b"blocked by a firewall"), Act("yes")])
    server = asking(fake)
    assert server.ask(QUESTION).text == "yes"
    with pytest.raises(NoReplyError, match="refused: status 403, blocked"):
        server.ask(QUESTION)
    assert server.ask(QUESTION).text == "yes"


def test_no_redirect_is_followed(fake: FakeLlm):
    with fake_llm() as elsewhere:
        fake.does([Act(status=307, headers={"Location": f"{elsewhere.url}/v1/chat/completions"})])
        with pytest.raises(ServiceError, match="sends to another address"):
            asking(fake, key="sk-1234567890").ask(QUESTION)
        assert elsewhere.requests == []


def test_nobody_there_is_said_at_once(fake: FakeLlm):
    with fake_llm() as gone:
        address = gone.address
    began = time.monotonic()
    with pytest.raises(ServiceError, match=r"does not answer .*SEMCTL_LLM_URL"):
        LlmServer(address, "small").ask(QUESTION)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("usage", [(-1, 5), (10**9, "7"), (True, None), (1.5, [])])
def test_what_is_no_count_of_tokens_is_none(fake: FakeLlm, usage: Any):
    fake.does([Act("{}", usage=usage)])
    reply = asking(fake).ask(QUESTION)
    assert (reply.tokens_in, reply.tokens_out) == (None, 5 if usage[1] == 5 else None)


def test_a_model_that_will_not_or_thought_too_long_has_replied_nothing(fake: FakeLlm):
    refusal = b'{"choices": [{"message": {"content": null, "refusal": "I cannot"}, "finish_reason": "stop"}]}'
    thought = b'{"choices": [{"message": {"content": null, "reasoning": "Hmm"}, "finish_reason": "length"}]}'
    fake.does([Act(body=refusal), Act(body=thought)])
    assert asking(fake).ask(QUESTION) == Reply("")
    assert asking(fake).ask(QUESTION) == Reply("", is_whole=False)


def test_many_are_asked_at_once_and_no_more(fake: FakeLlm):
    def slowly(request: Request) -> Act:
        return Act(request.asked)

    fake.script = slowly
    taken = []

    def questions() -> Iterator[tuple[int, Question]]:
        for number in range(40):
            taken.append(number)
            yield number, Question((("user", str(number)),), {})

    answers = ask_all(asking(fake), questions(), parallel=3)
    next(answers)
    assert len(taken) == 7  # a few ahead, not all of them
    found = dict(answers)
    assert {key: reply.text for key, reply in found.items() if isinstance(reply, Reply)}.items() >= {
        (9, "9"),
        (39, "39"),
    }
    assert len(found) == 39
    assert fake.at_once <= 3


def test_whoever_stops_early_waits_for_nothing(fake: FakeLlm):
    fake.does([Act("yes"), Act(how="stall")])
    answers = ask_all(asking(fake, seconds=60.0), ((n, QUESTION) for n in range(9)), parallel=2)
    next(answers)
    began = time.monotonic()
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 1
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("ask "))


def test_an_error_of_the_server_ends_all(fake: FakeLlm):
    fake.does([Act(status=401)])
    with pytest.raises(ServiceError, match="refuses the key"):
        list(ask_all(asking(fake), ((n, QUESTION) for n in range(9)), parallel=2))
