"""Four tasks and one turn with the same list twice, and answers to them as Label Studio exports them."""

from __future__ import annotations

from typing import Any

from annotate.exports.reader import ExportedTask
from annotate.judging.answers import Vote
from annotate.judging.key import JudgingPlace, Key, KeyedTask, SameTurn
from annotate.judging.screen import CHOICES
from annotate.judging.tasks import ShownProduct, judging_task, shown_sha256
from annotate.tasks.dialogue_tasks import TaskStyle
from tests.labelling_corpus import turn

SIDES = ("A", "B", "A", "B")
RED, BLUE = ShownProduct("red coat", "price: 49", "red"), ShownProduct("blue coat", "", None)


def task_data(number: int, judgement: str = "j1", annotator: str | None = None) -> dict[str, Any]:
    rows = [turn(0, "user", "a coat please", dialogue=f"d{number}")]
    style = TaskStyle(1, 0, "", lambda image: f"/data/local-files/?d={image}")
    made = judging_task(judgement, f"{judgement}-{number:04d}", rows, [RED], [BLUE], style, annotator=annotator)
    data: dict[str, Any] = made["data"]
    return data


def key(annotators: tuple[str, ...] = (), dialogues: tuple[str, ...] = ("d1", "d2", "d3", "d4")) -> Key:
    tasks = [
        KeyedTask(f"j1-{n:04d}", dialogue, 3, SIDES[(n - 1) % 4], shown_sha256(task_data(n)), ["p1"], ["p2"])
        for n, dialogue in enumerate(dialogues, start=1)
    ]
    places = [JudgingPlace(annotator, project=f"which ({annotator})") for annotator in annotators]
    return Key(1, "j1", "which", "run-a", "run-b", "test", 5, 0, 10, tasks, [SameTurn("d5", 1)], places)


def side(*chosen: str) -> dict[str, Any]:
    return {"from_name": "better", "to_name": "context", "type": "choices", "value": {"choices": list(chosen)}}


def remark(text: str) -> dict[str, Any]:
    return {"from_name": "comment", "to_name": "context", "type": "textarea", "value": {"text": [text]}}


def exported(data: dict[str, Any], *answers: Any, drafts: int = 0) -> ExportedTask:
    return ExportedTask(0, "35", "7", data, list(answers), drafts)


def vote(of: Key, number: int, judge: str, choice: str) -> Vote:
    return Vote(of.tasks[number - 1], judge, CHOICES[CHOICES.index(choice)])  # type: ignore[arg-type]
