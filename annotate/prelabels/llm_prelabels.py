"""Pre-labels by a language model: the estimate and the caps before anything is sent, replies kept, what is counted.

A reply is kept under the hash of what was asked (model, messages, schema, length), so that a run that was killed goes
on where it was, and the same pre-labels cost nothing the second time.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from annotate.prelabels.llm import Questions, read_reply
from annotate.prelabels.llm_server import LlmServer, Question, Reply, ask_all
from annotate.prelabels.prelabels import Prelabel, TurnPrelabel
from schemas.belief import TurnUpdate
from schemas.errors import ServiceError, UsageError
from schemas.files import sha256_bytes, write_json
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.progress import Progress

_log = logging.getLogger("semctl")

_SURE = 0.5
"""How sure a reply is: it does not say, and servers that tell probabilities are few."""
_CHARACTERS_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 8
_IN_A_ROW = 8
"""Questions without a reply, one after the other, after which the server is left alone."""


@dataclass(frozen=True)
class Terms:
    """What asking may cost."""

    price_in: float | None = None  # of a million tokens sent, and of a million received; None where it is not known
    price_out: float | None = None
    max_cost: float | None = None  # in the money of the prices; None: as much as it takes
    max_tokens: int | None = None  # sent and received; None: as many as it takes

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"{name} is {value}, which is no amount", fix="give a number from 0 on")
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise UsageError(
                "what the model costs is not known, so that no --max-cost can be kept to",
                fix="give --price-in and --price-out, of a million tokens (0 where it costs nothing), or price_in and "
                "price_out under [llm] in semctl.toml",
            )

    def cost(self, tokens: Tokens) -> float | None:
        """What so many tokens cost; None where no price is known."""
        if self.price_in is None or self.price_out is None:
            return None
        return (tokens.sent * self.price_in + tokens.received * self.price_out) / 1e6

    def allow(self, tokens: Tokens) -> bool:
        """Whether so many stay within the caps."""
        cost = self.cost(tokens)
        too_dear = self.max_cost is not None and cost is not None and cost > self.max_cost
        return not too_dear and (self.max_tokens is None or tokens.total <= self.max_tokens)


@dataclass(frozen=True)
class Tokens:
    """A number of tokens."""

    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        return self.sent + self.received

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.sent + other.sent, self.received + other.received)


def estimated_tokens(question: Question, reply_tokens: int) -> Tokens:
    """The tokens that a question takes, rather too many: a third of its ASCII characters, a token for each byte of all
    others, the schema as if it were shown to the model, and a reply of full length.

    English text has about four characters to a token; the figure is for texts, and for a wall of punctuation too small.
    """
    texts = [text for message in question.messages for text in message]
    texts.append(orjson.dumps(question.schema).decode())
    content = "".join(texts)
    plain = sum(letter.isascii() for letter in content)
    others = len(content.encode("utf-8", "replace")) - plain
    sent = math.ceil(plain / _CHARACTERS_PER_TOKEN) + others + _TOKENS_PER_MESSAGE * len(question.messages)
    return Tokens(sent, reply_tokens)


class Replies:
    """Replies kept in a folder, each in a file named by the hash of what was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def key(question: Question, server: LlmServer) -> str:
        """Hash of what is asked; where the model runs does not count."""
        asked = [server.model, server.reply_tokens, question.messages, question.schema]
        return sha256_bytes(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS))

    def get(self, key: str) -> Reply | None:
        """The reply kept; None where there is none that can be read."""
        try:
            kept = orjson.loads(self._file(key).read_bytes())
            text, is_whole = kept["text"], kept["is_whole"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return Reply(text, is_whole) if isinstance(text, str) and isinstance(is_whole, bool) else None

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply; it is there whole or not at all."""
        write_json(self._file(key), json_form(reply))

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


@dataclass
class LlmReport:
    """What asking a language model took, and what came of it."""

    model: str
    host: str  # where it runs
    turns: int = 0  # user turns to label
    kept: int = 0  # of them, those whose reply was kept from an earlier run
    asked: int = 0  # questions that the model replied to now; turns that read alike, with what is before, are one
    # those left blank for want of a reply that can be read, by reason
    blank: Counter[str] = field(default_factory=Counter)
    # marks of the replies left out, as the ontology has none such or they contradict each other, by reason
    dropped: Counter[str] = field(default_factory=Counter)
    estimate: Tokens = Tokens()  # of the questions asked now, before they were
    tokens: Tokens = Tokens()  # as the server counted them; as estimated where it does not count
    cost: float | None = None  # of these; None where no price is known

    def as_json(self) -> dict[str, Any]:
        return json_form(replace(self, blank=_counts(self.blank), dropped=_counts(self.dropped)))


def _counts(counted: Mapping[str, int]) -> Counter[str]:
    return Counter(dict(sorted(counted.items())))


class LlmPrelabels:
    """Pre-labels by a language model; :meth:`ask` asks about many dialogues at once.

    Args:
        questions: what is asked.
        server: who is asked.
        replies: those kept, and where new ones are.
        terms: what it may cost, of all that is asked by this.
        ontology: of the dialogues.
        examples: of what labelled dialogues examples are chosen, for the version: a number and a hash of them.
        parallel: questions asked at once.
        progress: shows a bar, and the estimate.
    """

    def __init__(
        self,
        questions: Questions,
        server: LlmServer,
        replies: Replies,
        terms: Terms,
        ontology: Ontology,
        *,
        examples: str,
        parallel: int,
        progress: Progress,
    ) -> None:
        self._questions, self._server, self._replies, self._terms = questions, server, replies, terms
        self._ontology, self._parallel, self._progress = ontology, parallel, progress
        self._found: dict[str, dict[int, TurnPrelabel]] = {}
        self.version = f"llm:{server.model}@ontology{ontology.version}{examples}"
        self.asked = LlmReport(server.model, server.host, cost=terms.cost(Tokens()))

    def prelabel(self, dialogue_id: str) -> Prelabel:
        """What each of the dialogue's turns changes; a turn without a reply that can be read is not there."""
        if dialogue_id not in self._found:
            self.ask([dialogue_id])
        return self._found[dialogue_id]

    def ask(self, dialogues: Collection[str]) -> None:
        """Ask about every user turn of these dialogues whose reply is not kept.

        Raises:
            UsageError: it may take more than the caps allow; nothing was sent.
            ServiceError: the server cannot be asked, or gives no replies; those that it gave are kept.
        """
        new = [name for name in dict.fromkeys(dialogues) if name not in self._found]
        keys: dict[tuple[str, int], str] = {}
        missing: dict[str, Tokens] = {}
        for name in new:
            for turn, question in self._questions.questions(name):
                key = keys[name, turn] = self._replies.key(question, self._server)
                if key not in missing and self._replies.get(key) is None:
                    missing[key] = estimated_tokens(question, self._server.reply_tokens)
        kept = sum(key not in missing for key in keys.values())
        without: dict[str, str] = {}
        if missing:
            self._agree(len(keys), kept, missing)
            without = self._ask(new, keys, missing, any_kept=kept > 0)
        self.asked.turns += len(keys)
        self.asked.kept += kept
        self._found |= {name: {} for name in new}
        for (name, turn), key in keys.items():
            update = self._read(key, without)
            if update is not None:
                self._found[name][turn] = TurnPrelabel(update, _SURE)

    def _agree(self, turns: int, kept: int, missing: Mapping[str, Tokens]) -> None:
        """Say what it may take and where texts go, or refuse."""
        estimate = sum(missing.values(), Tokens())
        self.asked.estimate += estimate
        cost = self._terms.cost(estimate)
        money = "" if cost is None else f", {_money(cost)} in all"
        about = f"{turns - kept:,} user turns" + (f" ({kept:,} more were asked before)" if kept else "")
        told = f"an estimated {estimate.sent:,} tokens sent and at most {estimate.received:,} received{money}"
        if not self._terms.allow(self.asked.tokens + estimate):
            most = [f"--max-tokens {self._terms.max_tokens}"] if self._terms.max_tokens is not None else []
            most += [f"--max-cost {self._terms.max_cost:g}"] if self._terms.max_cost is not None else []
            raise UsageError(
                f"asking {self._server.model} about {about} takes {told}: more than "
                f"{' and '.join(most)}; nothing was sent",
                fix="allow more, or export fewer dialogues (-n)",
            )
        self._progress.log(f"asking {self._server.model} about {about}: {told}")
        if not self._server.is_here:
            open_ = ", without encryption" if self._server.url.startswith("http:") else ""
            examples = ", and labelled examples" if self._questions.has_examples else ""
            sent = f"{turns - kept:,} user turns with what was said before them{examples}"
            _log.warning("dialogue text goes to %s%s: %s", self._server.host, open_, sent)

    def _ask(
        self,
        dialogues: Collection[str],
        keys: Mapping[tuple[str, int], str],
        missing: Mapping[str, Tokens],
        *,
        any_kept: bool,
    ) -> dict[str, str]:
        """Ask what is missing, each question once.

        Args:
            dialogues: whose turns it is about.
            keys: of the question about each turn.
            missing: key -> what the question may take.
            any_kept: whether this model has replied before.

        Returns:
            Key -> why there is no reply, of those that got none.
        """
        without: dict[str, str] = {}
        in_a_row = 0

        def questions() -> Iterator[tuple[str, Question]]:
            left = set(missing)
            for name in dialogues:
                for turn, question in self._questions.questions(name):
                    key = keys[name, turn]
                    if key not in left:
                        continue
                    left.remove(key)
                    if self._terms.allow(self.asked.tokens + missing[key]):
                        yield key, question
                    else:  # the server counts more than was estimated
                        without[key] = "cap reached"

        with self._progress.task(f"asking {self._server.model}", total=len(missing)) as bar:
            for key, found in ask_all(self._server, questions(), parallel=self._parallel):
                bar.advance()
                if isinstance(found, Reply):
                    in_a_row = 0
                    self._replies.put(key, found)
                    self._count(found, missing[key])
                    continue
                without[key] = found.reason
                has_replied = bool(self.asked.asked) or any_kept
                in_a_row += not (found.is_its_own and has_replied)
                if in_a_row == _IN_A_ROW or (len(without) == len(missing) and not has_replied):
                    raise ServiceError(
                        f"{self._server.model} gives no replies ({found})",
                        where=self._server.url,
                        fix=f"run this again once it does; {self.asked.asked:,} replies of this run are kept",
                    )
        return without

    def _count(self, reply: Reply, estimate: Tokens) -> None:
        sent = estimate.sent if reply.tokens_in is None else reply.tokens_in
        received = estimate.received if reply.tokens_out is None else reply.tokens_out
        self.asked.asked += 1
        self.asked.tokens += Tokens(sent, received)
        self.asked.cost = self._terms.cost(self.asked.tokens)

    def _read(self, key: str, without: Mapping[str, str]) -> TurnUpdate | None:
        reply = None if key in without else self._replies.get(key)
        if reply is None:
            self.asked.blank[without.get(key, "not kept")] += 1
            return None
        reading = read_reply(reply, self._ontology)
        self.asked.dropped += reading.dropped
        if reading.update is None:
            self.asked.blank[reading.problem] += 1
        return reading.update


def _money(cost: float) -> str:
    """An amount with two digits that say something: 12.30, 0.0042."""
    return f"{cost:,.2f}" if cost >= 1 or cost == 0 else f"{cost:.2g}"
