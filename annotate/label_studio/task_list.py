"""How Label Studio lists tasks: the columns people see, and the filters that find tasks by their uid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

__all__ = ["TASK_LIST_VIEW", "uid_queries"]

_QUERY_CHARACTERS = 6000

_BULKY = (
    "past_html",
    "tail_html",
    "user_turns",
    "dialogue_sha256",
    "config_sha256",
    "semctl_schema",
    "ontology_version",
)
_UNUSED = (
    "annotations_ids",
    "annotations_results",
    "created_at",
    "draft_exists",
    "file_upload",
    "inner_id",
    "predictions_model_versions",
    "predictions_results",
    "predictions_score",
    "storage_filename",
    "total_predictions",
    "updated_at",
    "updated_by",
)
_NOT_WHILE_LABELLING = ("id", "completed_at", "cancelled_annotations", "annotators", "avg_lead_time")

TASK_LIST_VIEW: Mapping[str, Any] = {
    "title": "Dialogues",
    "type": "list",
    "target": "tasks",
    "hiddenColumns": {
        "explore": [*(f"tasks:data.{name}" for name in _BULKY), *(f"tasks:{name}" for name in _UNUSED)],
        "labeling": [
            *(f"tasks:data.{name}" for name in (*_BULKY, "dialogue_id", "window", "windows")),
            *(f"tasks:{name}" for name in (*_UNUSED, *_NOT_WHILE_LABELLING)),
        ],
    },
}
"""Without a view of its own, a project's task list is full of the tasks' HTML."""


def uid_queries(uids: Sequence[str]) -> Iterator[str]:
    """Filters for some uids each, short enough for any server's limit on the length of an address."""
    batch: list[str] = []
    length = 0
    for uid in uids:
        cost = len(quote(uid)) + 9
        if batch and length + cost > _QUERY_CHARACTERS:
            yield _uid_query(batch)
            batch, length = [], 0
        batch.append(uid)
        length += cost
    if batch:
        yield _uid_query(batch)


def _uid_query(uids: list[str]) -> str:
    item = {"filter": "filter:tasks:data.uid", "operator": "in_list", "type": "String", "value": uids}
    query = json.dumps({"filters": {"conjunction": "and", "items": [item]}}, ensure_ascii=False, separators=(",", ":"))
    return query.replace("%", "%25")  # the server decodes it once more than HTTP does
