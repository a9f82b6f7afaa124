"""The lexicon as a source of pre-labels: rules where nothing is labelled yet, taught as soon as enough is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from annotate.prelabels.dialogue_context import dialogue_turns
from annotate.prelabels.prelabels import Prelabel, TurnPrelabel
from annotate.prelabels.rules import category_slot, rule_update
from annotate.prelabels.taught_lexicon import LabelledDialogue, TaughtLexicon
from annotate.prelabels.turn_reading import Choice, TurnReader
from schemas.ontology import Ontology

__all__ = ["FEWEST_DIALOGUES", "Lexicon", "product_choices"]

_VERSION = "lexicon-v1"

FEWEST_DIALOGUES = 20
"""Labelled dialogues from which the lexicon learns; fewer teach it less than its rules know."""

_SURE_OF_SOMETHING = 0.5
_SURE_OF_NOTHING = 0.85
"""Shares of turns that the rules get wholly right where they mark something, and where they mark nothing: 0.66 and 0.89
on the real gold states of SIMMC 2, 0.35 and 0.84 on those of SIMMC 1; rounded means."""


class Lexicon:
    """Pre-labels from words.

    Args:
        dialogues: rows of ``turns.parquet`` of each dialogue to label.
        attributes: of each image, the slots and values of the product in it, see :func:`product_choices`.
        labelled: dialogues that people, or the corpus, have labelled; those to be labelled now are left out.
    """

    def __init__(
        self,
        dialogues: Mapping[str, Sequence[Mapping[str, Any]]],
        ontology: Ontology,
        attributes: Mapping[str, frozenset[Choice]],
        labelled: Mapping[str, LabelledDialogue],
    ) -> None:
        self._dialogues = dialogues
        self._attributes = attributes
        self._reader = TurnReader(ontology)
        others = [labelled[name] for name in sorted(labelled) if name not in dialogues]
        self._taught: TaughtLexicon | None = None
        self.version = f"{_VERSION}@ontology{ontology.version}"
        if len(others) >= FEWEST_DIALOGUES:
            self._taught = TaughtLexicon.fit(others, ontology, attributes)
            self.version += f"+{len(others)}dialogues:{_fingerprint(others)}"

    def prelabel(self, dialogue_id: str) -> Prelabel:
        """What each of the dialogue's turns changes."""
        rows = self._dialogues[dialogue_id]
        if self._taught is not None:
            return {turn: TurnPrelabel(*said) for turn, said in self._taught.updates(rows).items()}
        return dict(self._by_rule(rows))

    def _by_rule(self, rows: Sequence[Mapping[str, Any]]) -> Prelabel:
        found: dict[int, TurnPrelabel] = {}
        topic: frozenset[str] = frozenset()
        category = category_slot(self._reader)
        for turn in dialogue_turns(rows, self._reader, self._attributes):
            update = rule_update(turn, self._reader, topic)
            if category is not None and category in update.want:
                topic = frozenset(update.want[category])
            marks = update.want or update.dislike or update.drop or update.new_topic
            found[turn.number] = TurnPrelabel(update, _SURE_OF_SOMETHING if marks else _SURE_OF_NOTHING)
        return found


def _fingerprint(dialogues: Sequence[LabelledDialogue]) -> str:
    """Six digits that differ where the dialogues, or their labels, do."""
    digest = hashlib.sha256()
    for dialogue in dialogues:
        digest.update(repr([(row["turn"], row["text"]) for row in dialogue.rows]).encode())
        digest.update(repr(sorted(dialogue.states.items())).encode())
    return digest.hexdigest()[:6]


def product_choices(ontology: Ontology, attributes: Mapping[str, Sequence[str]]) -> frozenset[Choice]:
    """The slots and values of a product with these attributes; numbers as the product has them."""
    found: set[Choice] = set()
    for slot in ontology.slots:
        for text in attributes.get(slot.attribute, ()):
            value = slot.find(text)
            if value is not None and not value.split_into:
                found.add((slot.name, text if slot.kind == "numeric" else value.value))
    return frozenset(found)
