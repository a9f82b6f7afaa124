"""Which single turns to label next: those in whose predicted state most mistakes are to be expected.

One order for all: by score, at most so many turns of a dialogue, ties in a seeded order. The same turns and seed give
the same list, and the first 20 of 100 are the 20 that were chosen alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from annotate.assignment.selection_strategies import place_in_order
from pipeline.modelling.state_tracking import image_choices, known_states, labelled_dialogues
from pipeline.selection.pool import Pool
from pipeline.selection.select_dialogues import Selected, SelectRequest
from pipeline.workspace import Workspace
from schemas.progress import Progress
from schemas.tables import TURNS, dialogue_rows
from semantic_model.states.tracker import TurnState, fit_tracker

_MOST_NAMED = 3
_READ = ["dialogue_id", "turn", "speaker", "text", "image_ids"]


def doubtful(dialogue_id: str, read: TurnState) -> Selected:
    """A turn, with how many mistakes are to be expected in the state that was read after it."""
    doubts = sorted(read.doubts.items(), key=lambda each: (-each[1], each[0]))
    named = ", ".join(
        f"{'' if polarity == 'like' else 'not '}{slot}={value} {doubt:.2f}"
        for (slot, value, polarity), doubt in doubts[:_MOST_NAMED]
    )
    mistakes = sum(doubt for _, doubt in doubts)
    return Selected(dialogue_id, mistakes, f"mistakes expected: {named or 'none'}", 1, read.turn)


def drawn(dialogue_id: str, turn: int, seed: int) -> Selected:
    """A turn at random: its score is its place in the seeded order, from 1 to 0."""
    place = int.from_bytes(place_in_order(f"{dialogue_id}\t{turn}", seed)[:8]) / 2**64
    return Selected(dialogue_id, 1.0 - place, f"drawn at random, seed {seed}", 1, turn)


def in_order(turns: Iterable[Selected], per_dialogue: int, seed: int) -> Iterator[Selected]:
    """The turns with the highest score first, at most so many of a dialogue."""
    taken: Counter[str] = Counter()
    for each in sorted(turns, key=lambda each: (-each.score, place_in_order(each.line, seed))):
        if taken[each.dialogue_id] < per_dialogue:
            taken[each.dialogue_id] += 1
            yield each


def choose_turns(workspace: Workspace, request: SelectRequest, pool: Pool, progress: Progress) -> tuple[Selected, ...]:
    """The first turns of the order, of the dialogues of the pool; without those that are labelled, unless the request
    takes them, too. The lexicon that reads the states is taught by all labels there are.
    """
    ontology = workspace.ontology()
    known = known_states(workspace) if workspace.states.is_file() and not request.include_labelled else {}
    tracker = None
    if request.strategy != "random":
        labelled = labelled_dialogues(workspace, without={}, wholly=False)
        progress.log(f"the lexicon reads {len(labelled)} labelled dialogues")
        tracker = fit_tracker(list(labelled.values()), ontology, image_choices(workspace, ontology))
    candidates = set(pool.candidates)
    dialogues = ((name, rows) for name, rows in dialogue_rows(workspace.turns, TURNS, _READ) if name in candidates)
    found: list[Selected] = []
    for name, rows in progress.track(dialogues, "reading states", total=len(candidates)):
        if tracker is None:
            of_dialogue = [drawn(name, row["turn"], request.seed) for row in rows if row["speaker"] == "user"]
        else:
            of_dialogue = [doubtful(name, read) for read in tracker.track(rows)]
        found += [each for each in of_dialogue if known.get(name, {}).get(each.turn or 0) is None]
    return tuple(islice(in_order(found, request.per_dialogue or 1, request.seed), request.count))
