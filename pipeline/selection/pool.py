"""Which dialogues there are to choose from, and what the labels of some show: by this, strategies compare exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from annotate.annotations.dialogue_index import read_dialogue_index
from annotate.assignment.selection_strategies import DialogueFeatures, OntologyValues, seeded_order
from pipeline.batches import dialogue_of, read_batches
from pipeline.chosen_dialogues import SPLITS
from pipeline.workspace import Workspace
from schemas.errors import LabelError
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.tables import D_F, RECOMMENDATIONS, TURNS, dialogue_rows, read_table
from schemas.validation import known_name


@dataclass(frozen=True)
class Pool:
    """The dialogues of a split, sorted by what became of them."""

    candidates: list[str]  # those to choose from, in the seeded order
    turns: list[int]  # how many user turns each of these has, in the same order
    known: list[str]  # those labelled, or on their way to annotators, that are no candidates; ascending
    labelled: int
    exported: int  # how many others were exported for labelling
    silent: int
    unlisted: int  # how many have an id that cannot stand on a line of a list

    def as_json(self) -> dict[str, int]:
        return {
            "candidates": len(self.candidates),
            "labelled": self.labelled,
            "exported": self.exported,
            "without_user_turns": self.silent,
            "unlisted_ids": self.unlisted,
        }


def find_pool(
    workspace: Workspace, split: str, seed: int, *, include_labelled: bool = False, include_exported: bool = False
) -> Pool:
    """Sort the dialogues of a split."""
    known_name("split", split, SPLITS)
    index = read_dialogue_index(workspace.turns, with_hashes=False)
    labelled = _labelled(workspace)
    exported = {dialogue_of(uid) for batch in read_batches(workspace.labelling) for uid in batch.uids}
    candidates, known = list[str](), list[str]()
    counts: Counter[str] = Counter()
    for name, dialogue in index.items():
        if split not in ("all", dialogue.split):
            continue
        if not dialogue.user_turns:
            counts["silent"] += 1
        elif name.strip() != name or name.splitlines() != [name]:
            counts["unlisted"] += 1
        else:
            kind = "labelled" if name in labelled else "exported" if name in exported else "free"
            counts[kind] += 1
            allowed = {"free": True, "labelled": include_labelled, "exported": include_exported}[kind]
            (candidates if allowed else known).append(name)
    if not candidates:
        raise LabelError(
            f"no dialogue of the split '{split}' is left to choose: {counts['labelled']} are labelled, "
            f"{counts['exported']} are with annotators",
            fix="import more dialogues, or choose among these with --include-labelled or --include-exported",
        )
    ordered = seeded_order(candidates, seed)
    turns = [len(index[name].user_turns) for name in ordered]
    return Pool(ordered, turns, known, *(counts[kind] for kind in ("labelled", "exported", "silent", "unlisted")))


def _labelled(workspace: Workspace) -> set[str]:
    if not workspace.d_f.is_file():
        return set()
    return set(read_table(workspace.d_f, D_F, columns=["dialogue_id"]).column("dialogue_id").to_pylist())


def look_at(
    workspace: Workspace, dialogues: Sequence[str], values: OntologyValues, progress: Progress
) -> list[DialogueFeatures]:
    """Features of some dialogues, in their order."""
    wanted = set(dialogues)
    asked = Counter(
        read_table(workspace.recommendations, RECOMMENDATIONS, columns=["dialogue_id"])["dialogue_id"].to_pylist()
    )
    rows = dialogue_rows(workspace.turns, TURNS, ["dialogue_id", "speaker", "text"])
    chosen = ((name, turns) for name, turns in rows if name in wanted)
    found: dict[str, DialogueFeatures] = {}
    for name, turns in progress.track(chosen, "looking at dialogues", total=len(wanted)):
        texts = [row["text"] for row in turns if row["speaker"] == "user"]
        found[name] = values.look_at(texts, asked[name])
    return [found[name] for name in dialogues]


class LabelCoverage(NamedTuple):
    """What labels show."""

    values: int  # values of the ontology, slot by slot, that the labels of the chosen dialogues want or refuse
    in_labels: int  # that the labels of all dialogues do that could be chosen
    in_ontology: int  # that there are

    def as_json(self) -> dict[str, Any]:
        """The JSON form; ``share`` is of the values that could be shown."""
        return {**self._asdict(), "share": self.values / self.in_labels if self.in_labels else None}


def label_coverage(workspace: Workspace, chosen: Collection[str], candidates: Collection[str]) -> LabelCoverage:
    """Count the values in the labels of chosen dialogues, out of all candidates; dialogues without labels show none."""
    ontology = workspace.ontology()
    inside, possible = set(chosen), set(candidates)
    shown, there = set[tuple[str, str]](), set[tuple[str, str]]()
    for name, rows in dialogue_rows(workspace.d_f, D_F, ["dialogue_id", "state"]):
        if name in possible:
            items = (item for row in rows for item in row["state"] or ())
            values = {found for item in items if (found := _value(item, ontology))}
            there |= values
            if name in inside:
                shown |= values
    return LabelCoverage(len(shown), len(there), sum(len(slot.values) for slot in ontology.slots))


def _value(item: Mapping[str, Any], ontology: Ontology) -> tuple[str, str] | None:
    slot = ontology.find(item["slot"])
    if slot is None:
        return None
    found = slot.find(item["value"])
    return None if found is None else (slot.name, found.value)
