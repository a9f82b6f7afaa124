"""A language model behind an OpenAI-compatible address: one question and its reply, and many of them at once.

vLLM, Ollama, llama.cpp and most providers answer ``POST {address}/chat/completions``. What they do wrong is expected:
limits of the rate (``Retry-After`` is kept to), answers that are slow, cut, endless or something else, and fields of a
question that a server does not know. A question that stays without a reply is a :class:`NoReplyError`; a server that
cannot be asked at all, a :class:`~schemas.errors.ServiceError`.

No redirect is followed, no proxy sees a question to this machine, and the key is in no message.
"""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Queue
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx
import orjson

from annotate.label_studio.plain_http import is_key, is_loopback, origin, retry_after, server_address
from schemas.errors import ServiceError, UsageError
from schemas.progress import Progress, SilentProgress
from schemas.safe_text import guard, holds_secret

K = TypeVar("K")

_PATH = "/chat/completions"
_LARGEST_ANSWER = 1 << 20
"""Bytes, unpacked; a reply to one question has some hundred."""
_LONGEST_REPLY = 20_000
"""Characters; with as many tokens as it may have, a reply has at most some thousand."""
_LONGEST_PAUSE = 120.0
"""Seconds; where a server asks for a longer pause, a question is given up."""
_LONGEST_WAIT = 30.0
"""Seconds between two tries where the server says nothing of it."""
_SLOW_COUNTS = 3
"""A try that took all its time counts as so many: the next one is likely to take as long."""
_MOST_TOKENS = 10_000_000
"""A server that says that one question took more counts wrongly."""

_FORMATS = ("json_schema", "json_object", "text")
"""What is asked for, the strictest first; the next one where a server says that it does not know it."""
_NOT_KNOWN = re.compile(
    r"unsupported|not support|only support|unknown|unrecogni[sz]ed|unexpected|no such|not permitted|not allowed|"
    r"not available|unavailable|not implemented|unimplemented|invalid schema|failed to parse|must be (?:one of|either)|"
    r"extra (?:inputs?|fields?)"
)
_OF_FORMAT = re.compile(r"response_format|json_schema|json_object|json schema|structured output|grammar")


class Question(NamedTuple):
    """What is asked of the model."""

    messages: tuple[tuple[str, str], ...]  # role (system, user or assistant) and text
    schema: Mapping[str, Any]  # JSON schema of the reply


@dataclass(frozen=True)
class Reply:
    """What the model replied."""

    text: str
    is_whole: bool = True  # False where it reached the limit of its tokens
    tokens_in: int | None = None  # of the question and of the reply as the server counts them; None where it does not
    tokens_out: int | None = None


class NoReplyError(Exception):
    """A question got no reply.

    Args:
        reason: a short name to count by, such as ``rate limit``.
        detail: what the server said, without secrets.
        is_its_own: whether it is for what was asked, and says nothing of other questions.
    """

    def __init__(self, reason: str, detail: str = "", *, is_its_own: bool = False) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.is_its_own = is_its_own


class _AgainError(NoReplyError):
    """Asking once more may help.

    Args:
        pause: seconds that the server asks everybody to wait; None where it does not say.
        for_all: whether the other questions have to wait, too.
        counts: as how many tries.
    """

    def __init__(
        self, reason: str, detail: str = "", *, pause: float | None = None, for_all: bool = False, counts: int = 1
    ) -> None:
        super().__init__(reason, detail)
        self.pause = pause
        self.for_all = for_all
        self.counts = counts


class _PlainerError(Exception):
    """The server does not know a field of the question; it is left out from now on."""


class LlmServer:
    """One model at one address.

    Args:
        url: the address, as ``http://127.0.0.1:11434/v1``.
        model: its name there.
        key: sent with each question; empty where the server wants none.
        seconds: how long one try may take, from the connection to the last byte.
        tries: how often one question is asked, at most.
        reply_tokens: how long a reply may be.
        first_wait: seconds before the second try; about doubled for each further one.
        progress: is told what the server does not know.

    Raises:
        UsageError: it is no address, or the key is none that can be.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str = "",
        seconds: float = 120.0,
        tries: int = 7,
        reply_tokens: int = 300,
        first_wait: float = 1.0,
        progress: Progress = SilentProgress(),
    ) -> None:
        address = server_address(url, "a language model", form="http://HOST:PORT/v1")
        self.url = address.removesuffix(_PATH)
        self.model = model
        self.host = urlsplit(self.url).netloc
        self.is_here = is_loopback(origin(self.url)[1])
        self.reply_tokens = reply_tokens
        self._seconds, self._tries, self._first_wait = seconds, tries, first_wait
        self._progress = progress
        self._lock = threading.Lock()
        self._not_before = 0.0  # of the monotonic clock: when the server may be asked again
        self._has_replied = False
        self._format = 0  # of _FORMATS
        self._without: set[str] = set()  # fields that this server does not know
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}
        if key:
            if not is_key(key):
                raise UsageError("the key of the language model holds what no key does", fix="set SEMCTL_LLM_KEY anew")
            guard(key)
            headers["Authorization"] = f"Bearer {key}"
        # a connection for each try: only then does its clock know the socket
        limits = httpx.Limits(max_keepalive_connections=0)
        timeout = httpx.Timeout(seconds, connect=min(seconds, 10.0))
        self._client = httpx.Client(headers=headers, timeout=timeout, limits=limits, trust_env=not self.is_here)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, {self.model!r})"

    def ask(self, question: Question, stopped: threading.Event | None = None) -> Reply:
        """The reply to one question.

        Args:
            question: is asked again where that may help.
            stopped: once set, whoever waits to ask again gives up.

        Raises:
            NoReplyError: there was none, however often it was asked.
            ServiceError: the server cannot be asked: it does not answer, refuses the key, or does not know the model.
        """
        stopped = stopped or threading.Event()
        problem: NoReplyError = NoReplyError("stopped")
        number = 0
        while number < self._tries:
            if number:
                _wait(min(self._first_wait * 2 ** (number - 1), _LONGEST_WAIT) * random.uniform(0.5, 1.0), stopped)
            with self._lock:
                pause = self._not_before - time.monotonic()
            _wait(pause, stopped)
            try:
                reply = self._once(question)
            except _PlainerError:
                continue
            except _AgainError as again:
                problem = again
                if again.pause is not None and again.pause > _LONGEST_PAUSE:
                    break
                if again.for_all:
                    pause = min(self._first_wait * 2**number, _LONGEST_WAIT) if again.pause is None else again.pause
                    with self._lock:
                        self._not_before = max(self._not_before, time.monotonic() + pause)
                number += again.counts
            else:
                self._has_replied = True
                return reply
        raise problem

    def _once(self, question: Question) -> Reply:
        fields, level = self._fields(question)
        content = orjson.dumps(fields)
        with _Clock(self._seconds) as clock:
            try:
                extensions = {"trace": clock.trace}
                with self._client.stream("POST", self.url + _PATH, content=content, extensions=extensions) as response:
                    answer = _read(response)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if self._has_replied:
                    raise _AgainError("no connection") from None
                what = "the language model's server does not answer"
                raise ServiceError(what, where=self.url, fix="start it, or check SEMCTL_LLM_URL") from None
            except (httpx.HTTPError, OSError, ValueError) as problem:  # what reading a socket that is shut raises, too
                if clock.is_over or isinstance(problem, httpx.TimeoutException):
                    raise _AgainError("too slow", counts=_SLOW_COUNTS) from None
                raise _AgainError("cut off", type(problem).__name__) from None
        if response.is_success:
            return _reply(answer)
        raise self._refusal(response, _said(answer), fields, level)

    def _fields(self, question: Question) -> tuple[dict[str, Any], int]:
        """The question as the server takes it, and the place of its format."""
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in question.messages],
            "max_tokens": self.reply_tokens,
            "temperature": 0,
            "stream": False,
        }
        with self._lock:
            level, without = self._format, frozenset(self._without)
        if "max_tokens" in without:
            fields["max_completion_tokens"] = fields.pop("max_tokens")
        if "temperature" in without:
            del fields["temperature"]
        if _FORMATS[level] == "json_schema":
            schema = {"name": "update", "strict": True, "schema": question.schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif _FORMATS[level] == "json_object":
            fields["response_format"] = {"type": "json_object"}
        return fields, level

    def _refusal(self, response: httpx.Response, said: str, fields: Mapping[str, Any], level: int) -> Exception:
        """What an answer that is no success means; what the server does not know is left out from now on."""
        status = response.status_code
        if status in (400, 422, 501) and self._is_plainer(said.casefold(), fields, level):
            return _PlainerError()
        detail = f"status {status}{f', {said}' if said else ''}"
        if status == 429 and "insufficient_quota" in said:
            what = f"the account at the language model has nothing left ({detail})"
            return ServiceError(what, where=self.url, fix="top it up, then run this again")
        if status in (408, 409, 425, 429) or status >= 500:
            reason = "rate limit" if status == 429 else "server failed"
            pause = retry_after(response.headers.get("retry-after", ""))
            return _AgainError(reason, detail, pause=pause, for_all=status == 429 or pause is not None)
        if not self._has_replied:
            if status in (401, 403):  # later it may be one question that a filter does not let through
                what = f"the language model's server refuses the key ({detail})"
                return ServiceError(what, where=self.url, fix="check SEMCTL_LLM_KEY")
            if status == 402:
                what = f"the language model's server wants to be paid first ({detail})"
                return ServiceError(what, where=self.url, fix="pay there, or set SEMCTL_LLM_URL to another")
            if status in (404, 405):
                what = f"no model '{self.model}' is there, or the address is no language model's ({detail})"
                return ServiceError(what, where=self.url, fix="check the model's name; most addresses end in /v1")
            if 300 <= status < 400:
                what = f"the language model's server sends to another address, which is not asked (status {status})"
                return ServiceError(what, where=self.url, fix="set SEMCTL_LLM_URL to the address meant")
        return NoReplyError("refused", detail, is_its_own=status in (400, 403, 413, 422))

    def _is_plainer(self, said: str, fields: Mapping[str, Any], level: int) -> bool:
        """Whether the server says that it does not know a field, which is left out from now on."""
        if not _NOT_KNOWN.search(said):
            return False
        with self._lock:
            for name in ("max_tokens", "temperature"):
                if name in fields and re.search(rf"['\"`]{name}['\"`]", said) and not _OF_FORMAT.search(said):
                    if name not in self._without:
                        self._without.add(name)
                        self._progress.log(f"{self.host} does not know {name}: asking without it from now on")
                    return True
            if "response_format" not in fields or not _OF_FORMAT.search(said):
                return False
            if self._format == level:
                self._format += 1
                self._progress.log(
                    f"{self.host} does not know the format {_FORMATS[level]}: asking for {_FORMATS[self._format]} from "
                    "now on; what is no value of the ontology is dropped all the same"
                )
            return True


class _Clock:
    """Ends a try after some seconds, whatever it is waiting for: the socket is shut. A timeout alone would begin anew
    with each byte that arrives.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._socket: socket.socket | None = None

    def __enter__(self) -> _Clock:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by the HTTP library for all that it does; here for the socket that it connects."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.is_over:
                self._end()

    def _end(self) -> None:
        self.is_over = True
        if self._socket is not None:
            with suppress(OSError, ValueError):
                self._socket.shutdown(socket.SHUT_RDWR)


def ask_all(
    server: LlmServer, questions: Iterable[tuple[K, Question]], *, parallel: int
) -> Iterator[tuple[K, Reply | NoReplyError]]:
    """The reply to each question, or why there is none, as they come in; ``parallel`` are asked at once.

    Questions are taken one by one, a few ahead of the replies. Whoever stops early leaves nothing running that would
    keep the program.

    Raises:
        ServiceError: as :meth:`LlmServer.ask`.
    """
    todo: Queue[tuple[K, Question] | None] = Queue()
    done: Queue[tuple[K, Reply | Exception]] = Queue()
    stopped = threading.Event()

    def work() -> None:
        while (item := todo.get()) is not None and not stopped.is_set():
            key, question = item
            try:
                done.put((key, server.ask(question, stopped)))
            except Exception as problem:
                done.put((key, problem))

    for _ in range(parallel):
        # daemons, for nobody should wait for a slow server once all is decided
        threading.Thread(target=work, daemon=True, name=f"ask {server.host}").start()
    waiting = 0
    try:
        for item in questions:
            if waiting == 2 * parallel:
                yield _taken(done)
                waiting -= 1
            todo.put(item)
            waiting += 1
        for _ in range(waiting):
            yield _taken(done)
    finally:
        stopped.set()
        for _ in range(parallel):
            todo.put(None)


def _taken(done: Queue[tuple[K, Reply | Exception]]) -> tuple[K, Reply | NoReplyError]:
    key, found = done.get()
    if isinstance(found, Reply | NoReplyError):
        return key, found
    raise found


def _wait(seconds: float, stopped: threading.Event) -> None:
    if stopped.wait(max(seconds, 0.0)):
        raise NoReplyError("stopped")


def _read(response: httpx.Response) -> bytes:
    blocks: list[bytes] = []
    size = 0
    for block in response.iter_bytes():
        size += len(block)
        if size > _LARGEST_ANSWER:
            raise NoReplyError("too large", is_its_own=True)
        blocks.append(block)
    return b"".join(blocks)


def _reply(content: bytes) -> Reply:
    """The reply that an answer holds.

    Raises:
        NoReplyError: it holds none.
    """
    try:
        body = orjson.loads(content)
        choice = body["choices"][0]
        message = choice["message"]
        text = message["content"]
        usage = body.get("usage") or {}
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        is_whole = choice.get("finish_reason") != "length"
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _AgainError("no completion") from None
    if text is None and (message.get("refusal") or not is_whole):
        text = ""  # it will not, or thought for too long: a reply, if an empty one
    if not isinstance(text, str):
        raise _AgainError("no completion")
    if len(text) > _LONGEST_REPLY:
        raise NoReplyError("too large", is_its_own=True)
    return Reply(text, is_whole, *map(_count, tokens))


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
        return value
    return None


def _said(content: bytes) -> str:
    """What the body of a refusal says, in at most 200 characters; nothing of one that repeats the key."""
    try:
        body = orjson.loads(content)
    except ValueError:
        body = content.decode("utf-8", "replace")
    if isinstance(body, Mapping):
        error = body.get("error", body.get("detail", body.get("message", body)))
        if isinstance(error, Mapping):
            error = " ".join(str(error[name]) for name in ("code", "message") if error.get(name)) or error
        body = error
    text = " ".join(str(body).split())
    return "its answer is not shown: it repeats the key" if holds_secret(text) else text[:200]
