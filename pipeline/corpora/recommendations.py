"""Recommendation turns: which products a system turn shows, and which it was chosen over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.corpora.catalogue import Catalogue
from pipeline.corpora.ledger import Ledger, LedgerLine
from pipeline.corpora.records import Dialogue, Reader, Utterance

__all__ = ["Recommendations"]


class _Memo(dict[str | int, str | None]):
    """Looks a reference up once."""

    def __init__(self, look_up: Callable[[str | int], str | None]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, reference: str | int) -> str | None:
        found = self[reference] = self._look_up(reference)
        return found


class Recommendations:
    """Resolves the references of dialogues to pictures and products.

    Args:
        reader: says what candidates are named by, and maps pictures.
        catalogue: the products, their pictures linked.
        ledger: lines ``recommendation_turns``, ``positives`` and ``negatives`` are filled.
    """

    def __init__(self, reader: Reader, catalogue: Catalogue, ledger: Ledger) -> None:
        pictures = reader.pictures
        self._images = _Memo(lambda reference: pictures.resolve(reference).image_id)
        if reader.candidates == "pictures":
            self._products = _Memo(
                lambda reference: self._images[reference] and catalogue.of_picture(reference, pictures)
            )
        else:
            self._products = _Memo(lambda reference: str(reference) if str(reference) in catalogue.by_id else None)
        self._negatives_needed = reader.negatives_needed
        self._turns = ledger["recommendation_turns"]
        self._positives, self._negatives = ledger["positives"], ledger["negatives"]

    def image_ids(self, utterance: Utterance) -> list[str | None]:
        """Ids of the pictures an utterance shows, each once, in order."""
        return list(dict.fromkeys(map(self._images.__getitem__, utterance.images))) if utterance.images else []

    def of(self, dialogue: Dialogue) -> Iterator[dict[str, Any]]:
        """Rows of the table ``recommendations``: system turns that keep a positive and, where needed, a negative.

        A candidate is kept when its product is in the catalogue, whether or not its picture can still be had. Kept
        candidates are distinct, and none is on both sides.
        """
        for turn, utterance in enumerate(dialogue.utterances):
            if utterance.speaker != "system" or not (utterance.positives or utterance.negatives):
                continue
            positives = self._known(utterance.positives)
            right = set(positives)
            known = self._known(utterance.negatives)
            negatives = [product for product in known if product not in right]
            reason = self._refusal(utterance, positives, negatives)
            if reason is not None:
                self._turns.drop(reason)
                self._positives.drop("in_dropped_recommendation_turn", len(utterance.positives))
                self._negatives.drop("in_dropped_recommendation_turn", len(utterance.negatives))
                continue
            self._turns.keep()
            self._count(self._positives, utterance.positives, positives)
            self._count(self._negatives, utterance.negatives, known)
            self._negatives.take_back("also_positive", len(known) - len(negatives))
            yield {
                "dialogue_id": dialogue.dialogue_id,
                "turn": turn,
                "positives": positives,
                "negatives": negatives,
                "positives_listed": _texts(utterance.positives),
                "negatives_listed": _texts(utterance.negatives),
                "split": dialogue.split,
            }

    def _known(self, references: Sequence[str | int]) -> list[str]:
        return [found for found in dict.fromkeys(map(self._products.__getitem__, references)) if found is not None]

    def _refusal(self, utterance: Utterance, positives: Sequence[str], negatives: Sequence[str]) -> str | None:
        if not utterance.positives:
            return "no_positive_listed"
        if not positives:
            return "no_positive_with_a_known_product"
        if self._negatives_needed and not utterance.negatives:
            return "no_negative_listed"
        if self._negatives_needed and not negatives:
            return "no_negative_with_a_known_product"
        return None

    def _count(self, line: LedgerLine, listed: Sequence[str | int], known: Sequence[str]) -> None:
        unknown = sum(self._products[reference] is None for reference in listed)
        line.keep(len(known))
        line.drop("unknown_product", unknown)
        line.drop("listed_twice", len(listed) - unknown - len(known))


def _texts(references: Sequence[str | int]) -> list[str]:
    return list(map(str, references))
