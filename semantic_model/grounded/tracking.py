"""The state tracker as evidence: what it believes after each history, read by one that did not learn from the dialogue.

Not in the paper. Labels teach the tracker turn by turn and to convergence, which a ranker's few epochs do not; what it
reads is evidence of the student's beliefs, beside mentions (:mod:`semantic_model.grounded.beliefs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

from schemas.belief import BeliefState
from schemas.errors import ModelError
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import Utterance
from semantic_model.grounded.settings import Settings
from semantic_model.ranking.model_spec import Sources
from semantic_model.states.taught import load_tracker, save_tracker
from semantic_model.states.tracker import (
    MOST_DIALOGUES,
    Beliefs,
    LabelledDialogue,
    StateTracker,
    fit_tracker,
    product_choices,
)
from semantic_model.states.turn_reading import Choice

_FILE = "tracker.json"
_PARTS = 5


class ImageChoices(Mapping[str, frozenset[Choice]]):
    """Of each image of the catalogue, the slots and values of the product in it; looked up when asked for."""

    def __init__(self, corpus: Corpus, ontology: Ontology) -> None:
        self.corpus, self.ontology = corpus, ontology
        self._known: dict[int, frozenset[Choice]] = {}

    def __getitem__(self, image: str) -> frozenset[Choice]:
        row = self.corpus.image_products[image]
        if row not in self._known:
            self._known[row] = product_choices(self.ontology, self.corpus.products[row].attributes)
        return self._known[row]

    def __iter__(self) -> Iterator[str]:
        return iter(self.corpus.image_products)

    def __len__(self) -> int:
        return len(self.corpus.image_products)


class Read(NamedTuple):
    """What a tracker makes of a history."""

    state: BeliefState = ()  # the likeliest
    beliefs: Beliefs = MappingProxyType({})  # of single values


@dataclass(frozen=True)
class CrossFittedTracker:
    """A state tracker and, for each dialogue that taught it, one that had not learned from that dialogue."""

    tracker: StateTracker | None  # None where the settings ask for none
    held_out: Mapping[str, StateTracker] = field(default_factory=dict)  # dialogue -> its reader in training

    @classmethod
    def fit(cls, config: Settings, sources: Sources) -> Self:
        """Learn from the labelled dialogues, at most a thousand of them, and from all but a fifth, five times."""
        if not config.grounding.tracks:
            return cls(None)
        corpus, ontology, states, known = sources
        images = ImageChoices(corpus, ontology)
        names = sorted(states)[:MOST_DIALOGUES]
        labelled = {
            name: LabelledDialogue(rows_of(corpus.utterances(name)), dict(states[name]), known.get(name, {}))
            for name in names
        }
        held_out: dict[str, StateTracker] = {}
        for part in range(_PARTS):
            mine = names[part::_PARTS]
            others = [labelled[name] for name in names if name not in {*mine}]
            held_out.update(dict.fromkeys(mine, fit_tracker(others, ontology, images)))
        return cls(fit_tracker(list(labelled.values()), ontology, images), held_out)

    def save(self, folder: Path) -> None:
        """Write ``tracker.json``, if there is a tracker."""
        if self.tracker is not None:
            save_tracker(folder / _FILE, self.tracker)

    @classmethod
    def load(cls, folder: Path, sources: Sources) -> Self:
        """Read :meth:`save` back; every dialogue is read by the whole tracker.

        Raises:
            ModelError: damaged.
        """
        if not (folder / _FILE).is_file():
            return cls(None)
        return cls(load_tracker(folder / _FILE, sources.ontology, ImageChoices(sources.corpus, sources.ontology)))

    def read(
        self, dialogues: Sequence[str], histories: Sequence[Sequence[Utterance]], progress: Progress | None = None
    ) -> list[Read]:
        """The states after each history; the longest one of a dialogue is read for all that are its beginning.

        Raises:
            ModelError: there is no tracker.
        """
        longest: dict[str, Sequence[Utterance]] = {}
        for name, history in zip(dialogues, histories, strict=True):
            if len(history) > len(longest.get(name, ())):
                longest[name] = history
        shown = (progress or SilentProgress()).track(longest.items(), "reading states", len(longest))
        read = {name: self._after_each(name, history) for name, history in shown}
        found: list[Read] = []
        for name, history in zip(dialogues, histories, strict=True):
            begins = not history or tuple(history) == tuple(longest[name][: len(history)])
            after = (read.get(name) if begins else self._after_each(name, history)) or [Read()]
            found.append(after[len(history)])
        return found

    def _after_each(self, dialogue: str, history: Sequence[Utterance]) -> list[Read]:
        """What is read after none of its utterances, after the first, and so on."""
        tracker = self.held_out.get(dialogue, self.tracker)
        if tracker is None:
            raise ModelError(f"the state tracker ({_FILE}) that the model reads is missing", fix="train again")
        turns = tracker.track(rows_of(enumerate(history)))
        read = {turn.turn: Read(turn.state, turn.beliefs) for turn in turns}
        found = [Read()]
        for number in range(len(history)):
            found.append(read.get(number, found[-1]))
        return found


def rows_of(turns: Iterable[tuple[int, Utterance]]) -> list[dict[str, object]]:
    """Utterances with their turn as rows of ``turns.parquet``, as far as a tracker reads them."""
    return [{"turn": turn, **said._asdict()} for turn, said in turns]
