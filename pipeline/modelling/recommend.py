"""``semctl recommend``: the best products of the whole catalogue for one dialogue, as far as it has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.modelling.runs import find_run, load_corpus, open_ranker
from pipeline.workspace import Workspace
from schemas.errors import CorpusError, UsageError
from schemas.folding import fold
from schemas.json_form import json_form
from schemas.progress import Progress
from schemas.validation import did_you_mean
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import FloatArray, Product, Query, Utterance

if TYPE_CHECKING:
    from semantic_model.ranking.ranker import Ranker

_CELLS = 1 << 22  # scores held at a time


def not_in_name(name: str, attributes: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The attributes that a product's name does not say already."""
    said = fold(name)
    return {key: values for key, values in attributes.items() if any(fold(value) not in said for value in values)}


@dataclass(frozen=True)
class RecommendedProduct:
    """One recommended product."""

    rank: int  # from 1
    product_id: str  # its id
    name: str  # its display name
    score: float  # the ranker's; comparable within one recommendation only
    images: tuple[str, ...]  # its image files
    attributes: Mapping[str, tuple[str, ...]]  # attribute -> values
    positive: bool | None  # whether the dialogue's system recommends it in the next turn; None when that is not known

    def not_in_name(self) -> dict[str, tuple[str, ...]]:
        """The attributes that the name does not say already."""
        return not_in_name(self.name, self.attributes)


@dataclass(frozen=True)
class Recommendation:
    """The products for a dialogue after a turn."""

    run: str  # the run that ranked
    dialogue_id: str  # the dialogue
    turn: int  # the last turn that was read
    history: tuple[Utterance, ...]  # all utterances up to that turn
    # product ids that the dialogue's system recommends in the next turn; None when that is not known
    positives: tuple[str, ...] | None
    products: tuple[RecommendedProduct, ...]  # best first

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return json_form(self, "history")


@dataclass(frozen=True)
class RecommendRequest:
    """What to recommend products for.

    Raises:
        UsageError: ``top`` below 1.
    """

    dialogue: str  # a dialogue's id, or the part after its split when that is unique
    run: str = "latest"  # a run's id, or ``latest``
    turn: int | None = None  # the last merged turn to read, counted from 0; the user's last when left out
    top: int = 10  # how many products
    images: bool = True  # False leaves every image out
    # how exactly the run keeps encoded products: float32, or bfloat16 in half the memory
    product_table: str = "float32"

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UsageError(f"--top must be at least 1, got {self.top}")


def recommend(workspace: Workspace, request: RecommendRequest, *, progress: Progress | None = None) -> Recommendation:
    """Rank the whole catalogue for a dialogue after one of its turns.

    Raises:
        UsageError: a turn that the dialogue does not have.
        CorpusError: no such dialogue; names the nearest.
        WorkspaceError: not a workspace, or nothing was imported.
        ModelError: no such run, or one that cannot be used.
    """
    del progress  # it is too short for a bar
    workspace.require()
    folder = find_run(workspace, request.run)
    corpus = load_corpus(workspace, images=request.images)
    dialogue_id = find_dialogue(corpus, request.dialogue)
    last = _last_turn(corpus, dialogue_id, request.turn)
    split = corpus.splits[dialogue_id]
    history = corpus.history(dialogue_id, last + 1)
    known = _positives(corpus, dialogue_id, split, last + 1)
    ranker = open_ranker(folder, corpus, product_table=request.product_table)
    contexts = ranker.encode_contexts([Query(dialogue_id, last + 1, split, history, known or (), ())])
    scores = ranker.score(contexts, ranker.encode_products(corpus.products))[0]
    products = []
    for rank, row in enumerate(top_rows(scores, request.top), start=1):
        product = corpus.products[row]
        products.append(
            RecommendedProduct(
                rank=rank,
                product_id=product.product_id,
                name=product.name,
                score=float(scores[row]),
                images=() if product.image_file is None else (str(product.image_file),),
                attributes=product.attributes,
                positive=None if known is None else row in known,
            )
        )
    ids = None if known is None else tuple(corpus.products[row].product_id for row in known)
    return Recommendation(folder.name, dialogue_id, last, history, ids, tuple(products))


def top_products(
    ranker: Ranker, products: Sequence[Product], queries: Sequence[Query], top: int, progress: Progress
) -> list[list[int]]:
    """Rows of the ``top`` best products of the whole catalogue for each query, best first."""
    table = ranker.encode_products(products)
    step = max(1, _CELLS // max(1, len(products)))
    found: list[list[int]] = []
    with progress.task(f"ranking with {ranker.name}", total=len(queries)) as task:
        for start in range(0, len(queries), step):
            contexts = ranker.encode_contexts(queries[start : start + step])
            found += [top_rows(scores, top) for scores in ranker.score(contexts, table)]
            task.advance(len(contexts))
    return found


def top_rows(scores: FloatArray, top: int) -> list[int]:
    """Rows of the ``top`` highest scores, best first; equal scores in the catalogue's order."""
    top = min(top, len(scores))
    last = -np.partition(-scores, top - 1)[top - 1] if top else np.inf
    rows = np.flatnonzero(scores >= last)  # few but for ties: a million products need not be sorted
    order: list[int] = rows[np.argsort(-scores[rows], kind="stable")][:top].tolist()
    return order


def find_dialogue(corpus: Corpus, name: str) -> str:
    """The id of a dialogue named in full, or without its split where that leaves no doubt.

    Raises:
        CorpusError: no such dialogue (names the nearest), or several.
    """
    if name in corpus.splits:
        return name
    ends = [dialogue for dialogue in corpus.splits if dialogue.partition("/")[2] == name]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise CorpusError(f"'{name}' names {len(ends)} dialogues", fix=f"say which: {', '.join(sorted(ends))}")
    raise CorpusError(
        f"there is no dialogue '{name}' in this workspace",
        fix=did_you_mean(name, corpus.splits, f"ids look like '{next(iter(corpus.splits), '')}'"),
    )


def _last_turn(corpus: Corpus, dialogue_id: str, turn: int | None) -> int:
    said = corpus.utterances(dialogue_id)
    if turn is None:
        asked = [index for index, utterance in said if utterance.speaker == "user"]
        if not asked:
            raise UsageError(f"the user says nothing in dialogue '{dialogue_id}'", fix="name a turn with --turn")
        return asked[-1]
    if turn not in {index for index, _ in said}:
        raise UsageError(
            f"dialogue '{dialogue_id}' has no turn {turn}", fix=f"its turns are {said[0][0]} to {said[-1][0]}"
        )
    return turn


def _positives(corpus: Corpus, dialogue_id: str, split: str, turn: int) -> tuple[int, ...] | None:
    for query in corpus.queries(split):
        if (query.dialogue_id, query.turn) == (dialogue_id, turn):
            return query.positives
    return None
