"""What judges answered: one vote of each judge and task, everything else counted with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from annotate.exports.reader import ExportedTask, name_of_number
from annotate.judging.key import Key, KeyedTask
from annotate.judging.screen import BETTER, CHOICES, COMMENT, Choice
from annotate.judging.tasks import shown_sha256

Reason = Literal[
    "foreign_task",
    "unknown_task",
    "changed_task",
    "skipped",
    "malformed_answer",
    "foreign_answer",
    "empty_choice",
    "several_choices",
    "unknown_choice",
    "unknown_judge",
    "superseded",
]
"""Why an answer is left out, in the order in which it is looked at."""

REASONS: Mapping[Reason, str] = {
    "foreign_task": "to a task of another human evaluation, or of none",
    "unknown_task": "to a task that the key does not hold",
    "changed_task": "to a task that shows something else than was exported",
    "skipped": "the judge skipped the task",
    "malformed_answer": "nothing that Label Studio's screen sends",
    "foreign_answer": "from a control that the screen does not have",
    "empty_choice": "no side chosen",
    "several_choices": "more than one side chosen",
    "unknown_choice": f"a choice other than {', '.join(CHOICES)}",
    "unknown_judge": "without the name or number of who gave it",
    "superseded": "the same judge answered the task again later",
}
"""What the reasons mean, for people."""

assert tuple(REASONS) == get_args(Reason)


@dataclass(frozen=True)
class Vote:
    """What a judge says of a task."""

    task: KeyedTask
    judge: str
    choice: Choice
    comment: str = ""
    at: str = ""  # when it was last sent, UTC in ISO 8601; "" where that is not known


@dataclass(frozen=True)
class LeftOut:
    """An answer that does not count."""

    reason: Reason
    where: str  # the task, by semctl's name or else Label Studio's number
    detail: str = ""


@dataclass
class JudgedAnswers:
    """The answers of some exports: received = votes + left out."""

    votes: list[Vote] = field(default_factory=list)  # one of each judge and task, in the order of the key
    left_out: list[LeftOut] = field(default_factory=list)
    received: int = 0
    drafts: int = 0  # answers begun and not sent; not among those received

    def counts(self) -> dict[Reason, int]:
        """Reason -> how many answers were left out for it; without those that did not occur."""
        found = Counter(each.reason for each in self.left_out)
        return {reason: found[reason] for reason in REASONS if found[reason]}


class _Refused(Exception):  # noqa: N818 - what happens to an answer, not an error of the program
    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.detail = detail


def read_answers(tasks: Iterable[ExportedTask], key: Key, users: Mapping[int, str] | None = None) -> JudgedAnswers:
    """The votes in exported tasks.

    A judge is who a task was assigned to (people share logins), unless another one of those to whom tasks were assigned
    sent the answer; else whoever sent it: by e-mail address where it is known, else ``user:NUMBER``. Of several answers
    of a judge to a task the one sent last counts.

    Args:
        tasks: of one export or several.
        key: of this human evaluation.
        users: e-mail addresses by the numbers that the server gives its users.
    """
    known = {task.uid: task for task in key.tasks}
    place = {task.uid: number for number, task in enumerate(key.tasks)}
    found = JudgedAnswers()
    last: dict[tuple[str, str], Vote] = {}
    for exported in tasks:
        found.drafts += exported.drafts
        found.received += len(exported.annotations)
        shown = str(exported.data.get("uid") or f"number {exported.task_id}")
        for answer in exported.annotations:
            try:
                vote = _vote(
                    answer, _task(exported.data, key, known), _assigned_to(exported.data, key), key, users or {}
                )
            except _Refused as refused:
                found.left_out.append(LeftOut(refused.reason, shown, refused.detail))
                continue
            before = last.get((vote.task.uid, vote.judge))
            if before is not None:
                found.left_out.append(LeftOut("superseded", shown, vote.judge))
            if before is None or vote.at >= before.at:
                last[vote.task.uid, vote.judge] = vote
    found.votes = sorted(last.values(), key=lambda vote: (place[vote.task.uid], vote.judge))
    return found


def _task(data: Mapping[str, Any], key: Key, known: Mapping[str, KeyedTask]) -> KeyedTask:
    if data.get("judgement") != key.judgement:
        raise _Refused("foreign_task")
    task = known.get(str(data.get("uid")))
    if task is None:
        raise _Refused("unknown_task")
    if shown_sha256(data) != task.shown_sha256:
        raise _Refused("changed_task")
    return task


def _assigned_to(data: Mapping[str, Any], key: Key) -> str | None:
    named = data.get("annotator")
    return named if isinstance(named, str) and named in key.annotators else None


def _vote(answer: Any, task: KeyedTask, assigned_to: str | None, key: Key, users: Mapping[int, str]) -> Vote:
    if not isinstance(answer, dict):
        raise _Refused("malformed_answer", f"no object but {type(answer).__name__}")
    if answer.get("was_cancelled"):
        raise _Refused("skipped")
    choice, comment = _said(answer.get("result"))
    judge = _judge(answer.get("completed_by"), assigned_to, key, users)
    return Vote(task, judge, choice, comment, str(answer.get("updated_at") or answer.get("created_at") or ""))


def _said(result: Any) -> tuple[Choice, str]:
    if not isinstance(result, list):
        raise _Refused("malformed_answer", f"'result' is no list but {type(result).__name__}")
    chosen: list[str] = []
    comments: list[str] = []
    for entry in result:
        name = entry.get("from_name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise _Refused("malformed_answer", "a result without 'from_name'")
        if name not in (BETTER, COMMENT):
            raise _Refused("foreign_answer", name[:80])
        value = entry.get("value")
        texts = value.get("choices" if name == BETTER else "text") if isinstance(value, dict) else None
        texts = [texts] if isinstance(texts, str) else [] if texts is None else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise _Refused("malformed_answer", f"'{name}' without a list of texts")
        (chosen if name == BETTER else comments).extend(texts)
    if not chosen:
        raise _Refused("empty_choice")
    if len(chosen) > 1:
        raise _Refused("several_choices", ", ".join(chosen)[:80])
    choice = next((each for each in CHOICES if each == chosen[0]), None)
    if choice is None:
        raise _Refused("unknown_choice", chosen[0][:80])
    return choice, " / ".join(text.strip() for text in comments if text.strip())


def _judge(by: Any, assigned_to: str | None, key: Key, users: Mapping[int, str]) -> str:
    email, number = None, by
    if isinstance(by, dict):
        email, number = by.get("email"), by.get("id")
    elif isinstance(by, str) and "@" in by:
        email = by
    named = name_of_number(number)
    if email is None and named is not None and named.isdecimal():
        email = users.get(int(named))
    email = email.strip().lower() if isinstance(email, str) and email.strip() else None
    if email is not None and (assigned_to is None or email in key.annotators):
        return email
    if assigned_to is not None:
        return assigned_to
    if named is None:
        raise _Refused("unknown_judge")
    return f"user:{named}"
