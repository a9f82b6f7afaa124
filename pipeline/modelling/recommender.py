"""A run that recommends: opened once, then asked about any number of conversations, of the corpus or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from pkgutil import resolve_name
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.modelling.conversation import Conversation
from pipeline.modelling.photos import Photos
from pipeline.modelling.product_filter import ProductFilters
from pipeline.modelling.runs import find_run, load_corpus, open_ranker
from pipeline.workspace import Workspace
from schemas.belief import BeliefState, SlotValue, belief_state
from schemas.errors import ModelError, OntologyError, UsageError
from schemas.files import sha256_file
from schemas.folding import fold
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.validation import did_you_mean
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import FloatArray, Product, Query, Utterance
from semantic_model.grounded.values import SlotValues
from semantic_model.ranking.top_products import marginal_relevance, same_values, top_rows
from semantic_model.registry import BASELINES

if TYPE_CHECKING:
    from semantic_model.data.batch import Reader
    from semantic_model.ranking.network_ranker import NetworkRanker
    from semantic_model.ranking.ranker import Belief, ProductTable, Ranker

_CELLS = 1 << 22  # scores held at a time
_POOL = 100  # products, at least, among which different ones are looked for


def not_in_name(name: str, attributes: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The attributes that a product's name does not say already."""
    said = fold(name)
    return {key: values for key, values in attributes.items() if any(fold(value) not in said for value in values)}


class BelievedValue(NamedTuple):
    """A value of a state."""

    slot: str  # as the ontology writes them
    value: str
    polarity: str  # like, or dislike: to be avoided
    probability: float  # 0 to 1


@dataclass(frozen=True)
class BelievedState:
    """What a run takes a conversation to want."""

    state: tuple[
        BelievedValue, ...
    ]  # the likeliest state; of each value, how sure the run is of what it read of the slot
    sure: Mapping[
        str, float
    ]  # slot -> that probability; of a slot that is not in the state, that nothing is wanted of it
    # what the ranking goes by, of values above a hundredth: slot by slot, the likeliest first; empty where it goes by
    # no probabilities of values
    beliefs: tuple[BelievedValue, ...]

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return json_form(self)


Outcome = Literal["matched", "contradicted", "not known"]
"""What a product has of a value that is wanted, or to be avoided: that or the opposite, or nothing of its slot."""


class ValueOutcome(NamedTuple):
    """A value of the believed state beside what a product has."""

    slot: str
    value: str
    polarity: str
    outcome: Outcome


class ProductExplanation(NamedTuple):
    """Why a product is where it is, as far as the run can tell."""

    values: tuple[ValueOutcome, ...]  # of several wanted values of a slot, those that it has, if it has any
    parts: Mapping[str, float]  # what its score is the sum of, by slot; empty where the run's scores are no sums
    # how much lower its score is when images are left out, the conversation's or its own; None where there is none
    images_of_conversation: float | None
    image_of_product: float | None


class Explanation(NamedTuple):
    """What a run makes of a conversation."""

    state: BelievedState | None  # None where its states cannot be read
    note: str  # what cannot be told, in a line; empty where nothing is missing


class Correction(NamedTuple):
    """What is really wanted of a slot, whatever the run believes; without values, nothing is."""

    slot: str
    like: tuple[str, ...] = ()
    dislike: tuple[str, ...] = ()


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
    explanation: ProductExplanation | None = None  # where it was asked for

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return json_form(self, *(["explanation"] if self.explanation is None else []))

    def not_in_name(self) -> dict[str, tuple[str, ...]]:
        """The attributes that the name does not say already."""
        return not_in_name(self.name, self.attributes)


@dataclass(frozen=True)
class Recommendation:
    """The products for a conversation after a turn."""

    run: str  # the run that ranked
    dialogue_id: str  # the dialogue
    turn: int  # the last turn that was read
    history: tuple[Utterance, ...]  # all utterances up to that turn
    # product ids that the dialogue's system recommends in the next turn; None when that is not known
    positives: tuple[str, ...] | None
    products: tuple[RecommendedProduct, ...]  # best first, or as they were picked to be different
    fitting: int | None = None  # how many products the filter lets through; None without one
    explanation: Explanation | None = None  # where it was asked for

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        unasked = [name for name in ("fitting", "explanation") if getattr(self, name) is None]
        return json_form(self, "history", *unasked)


class Recommender:
    """A ranker with its catalogue, ready to answer; may be asked by several threads, one at a time.

    Attributes:
        workspace: where the run and the catalogue are.
        run: what it is called: a run's id, or a baseline's name.
        corpus: the catalogue, and the dialogues.
        ranker: what ranks.
        table: the encoded catalogue.
    """

    def __init__(
        self, run: str, corpus: Corpus, ranker: Ranker, workspace: Workspace, table: ProductTable | None = None
    ) -> None:
        self.workspace = workspace
        self.run = run
        self.corpus = corpus
        self.ranker = ranker
        self.table = ranker.encode_products(corpus.products) if table is None else table
        self._lock = Lock()
        self._photos = Photos(corpus, self._reader)

    @classmethod
    def open(
        cls,
        workspace: Workspace,
        run: str = "latest",
        *,
        images: bool = True,
        product_table: str = "float32",
        keep_table: bool = False,
    ) -> Self:
        """A run of a workspace, with the catalogue as it is there now.

        Args:
            run: a run's id, or ``latest``; or the name of a baseline, which needs no training.
            images: False leaves every image out, of the catalogue and of conversations.
            product_table: how exactly encoded products are kept: float32, or bfloat16 in half the memory.
            keep_table: keep the encoded catalogue in the workspace, and take it from there when it is the same.

        Raises:
            WorkspaceError: not a workspace, or nothing was imported.
            ModelError: no such run, or one that cannot be used.
            MissingPartError: the image encoder's weights are not here.
            UsageError: a kind of product table that the run does not have.
        """
        workspace.require()
        folder = None if run in BASELINES else find_run(workspace, run)
        corpus = load_corpus(workspace, images=images)
        if folder is not None:
            ranker = open_ranker(folder, corpus, product_table=product_table)
            table = _kept_table(workspace, folder, corpus, ranker) if keep_table else None
            return cls(folder.name, corpus, ranker, workspace, table)
        if product_table != "float32":
            raise UsageError(f"a {run} has a float32 product table only", fix="leave --product-table out")
        return cls(run, corpus, resolve_name(BASELINES[run]).fit(corpus), workspace)

    def recommend(
        self,
        conversations: Sequence[Conversation],
        *,
        top: int = 10,
        where: str | None = None,
        diversify: float = 0.0,
        explain: bool = False,
        states: bool = False,
        corrections: Sequence[Sequence[Correction]] | None = None,
        together: bool = True,
    ) -> list[Recommendation]:
        """The best products of the catalogue for each conversation.

        Args:
            conversations: any number.
            top: how many products.
            where: a filter of products (:mod:`pipeline.modelling.product_filter`), which goes before the ranking.
            diversify: how much less a product counts for being like those above it, 0 to 1
                (:mod:`semantic_model.ranking.top_products`).
            explain: tell what the run believes, and of each product why it is there.
            states: tell what the run believes, also where nothing is to be explained.
            corrections: of each conversation, slots of its state that are known better.
            together: encode and score them together, which is faster; rounding then moves scores by a few millionths.
                False: each by itself, so that its answer is the same to the last bit whatever else is asked.

        Raises:
            UsageError: ``top`` below 1, ``diversify`` not between 0 and 1.
            FilterError: a filter that cannot be read or speaks of what is not there; points at the word.
            CorpusError: a photo that cannot be read.
            MissingPartError: the weights of the encoder of photos are not here.
            ModelError: photos, where the run's features were brought along; corrections, where no beliefs rank.
            OntologyError: a correction of a slot or value that the run does not know; names the nearest.
        """
        check_request(top, diversify)
        if corrections is not None and len(corrections) != len(conversations):
            raise UsageError(f"{len(corrections)} corrections for {len(conversations)} conversations")
        fitting = None if where is None else np.flatnonzero(self.filters.mask(where))
        found: list[Recommendation] = []
        step = max(1, _CELLS // max(1, len(self.corpus.products))) if together else 1
        for start in range(0, len(conversations), step):
            some = conversations[start : start + step]
            told = None if corrections is None else corrections[start : start + step]
            with self._asking(some) as queries:
                contexts = self._contexts(queries, told)
                scores = self.ranker.score(contexts, self.table)
                chosen = [self._chosen(line, top, fitting, diversify) for line in scores]
                answers = [
                    self._answer(one, line, rows, fitting) for one, line, rows in zip(some, scores, chosen, strict=True)
                ]
                if explain:
                    answers = self._explained(answers, queries, contexts, chosen, told)
                elif states:
                    believed = self._told_states(contexts)
                    answers = [replace(one, explanation=each) for one, each in zip(answers, believed, strict=True)]
                found += answers
        return found

    def states(
        self, conversations: Sequence[Conversation], *, corrections: Sequence[Sequence[Correction]] | None = None
    ) -> list[BelievedState] | None:
        """What the run takes each conversation to want; None where its states cannot be read.

        Args:
            corrections: of each conversation, slots of its state that are known better.

        Raises:
            CorpusError, MissingPartError, ModelError, OntologyError: as :meth:`recommend`.
        """
        if not self.reads_states:
            return None
        with self._asking(conversations) as queries:
            return self._states(self._contexts(queries, corrections))

    @property
    def reads_states(self) -> bool:
        """Whether :meth:`states` has an answer."""
        from semantic_model.ranking.network_ranker import network_of
        from semantic_model.ranking.ranker import PredictsStates

        return isinstance(network_of(self.ranker), PredictsStates)

    @property
    def takes_corrections(self) -> bool:
        """Whether corrections change the ranking."""
        from semantic_model.ranking.network_ranker import network_of
        from semantic_model.ranking.ranker import TakesCorrections

        return isinstance(network_of(self.ranker), TakesCorrections)

    @property
    def ontology(self) -> Ontology | None:
        """The slots and values that the run learned with; None of a ranker that learned none."""
        reader = self._reader
        return None if reader is None else reader.ontology

    @property
    def _reader(self) -> Reader | None:
        from semantic_model.ranking.network_ranker import NetworkRanker

        return self.ranker.reader if isinstance(self.ranker, NetworkRanker) else None

    @cached_property
    def filters(self) -> ProductFilters:
        """What filters ask of the catalogue, by the ontology that the workspace has now."""
        return ProductFilters(self.corpus.products, self.workspace.ontology())

    @cached_property
    def _values(self) -> SlotValues:
        return SlotValues(self.ontology or self.workspace.ontology())

    @contextmanager
    def _asking(self, conversations: Sequence[Conversation]) -> Iterator[list[Query]]:
        """Conversations as the ranker is asked about them; while the block runs it sees their photos, and nobody else
        asks.
        """
        with self._lock:
            queries, photos = self._queries(conversations)
            with self._seeing(photos):
                yield queries

    def _contexts(self, queries: Sequence[Query], corrections: Sequence[Sequence[Correction]] | None) -> Any:
        contexts = self.ranker.encode_contexts(queries)
        return contexts if corrections is None else self._corrected(contexts, corrections)

    def _queries(self, conversations: Sequence[Conversation]) -> tuple[list[Query], dict[str, npt.NDArray[Any]]]:
        """Conversations as rankers are asked about them, and features of their photos by image id."""
        seen: dict[str, npt.NDArray[Any]] = {}
        queries = []
        for one in conversations:
            ids = {name: self._photos.image_id(name, photo, seen) for name, photo in one.photos.items()}
            history = tuple(
                said._replace(image_ids=tuple(ids.get(image, image) for image in said.image_ids)) if ids else said
                for said in one.history
            )
            queries.append(Query(one.dialogue_id, one.turn + 1, one.split, history, one.positives or (), ()))
        return queries, seen

    @contextmanager
    def _seeing(self, photos: Mapping[str, npt.NDArray[Any]]) -> Iterator[None]:
        """Let the ranker's reader know photos, too."""
        from semantic_model.data.image_features import ExtendedFeatures

        reader = self._reader
        if reader is None:
            yield
            return
        of_corpus = reader.features
        reader.features = ExtendedFeatures.of(of_corpus, photos)
        try:
            yield
        finally:
            reader.features = of_corpus

    def _corrected(self, contexts: Any, corrections: Sequence[Sequence[Correction]]) -> Any:
        if not any(corrections):
            return contexts
        reader = self._reader
        if reader is None or not self.takes_corrections:
            raise ModelError(
                f"the state cannot be corrected: {self.run} does not rank by beliefs of values",
                fix="train with --preset default",
            )
        told = [state_of_corrections(each, reader.ontology) for each in corrections]
        slots = np.array([[slot in {item.slot for item in each} for slot in reader.slots] for each in corrections])
        ranker: NetworkRanker = self.ranker  # type: ignore[assignment]
        return ranker.corrected(contexts, told, slots)

    def _states(self, contexts: Any) -> list[BelievedState]:
        from semantic_model.ranking.network_ranker import network_of
        from semantic_model.ranking.ranker import HoldsBeliefs

        model = network_of(self.ranker)
        believed: Sequence[Sequence[Belief]] = [()] * len(contexts)
        if isinstance(model, HoldsBeliefs):
            believed = model.beliefs(contexts)
        return [
            BelievedState(
                tuple(BelievedValue(i.slot, i.value, i.polarity, read.sure[i.slot]) for i in read.state),
                read.sure,
                tuple(BelievedValue(*belief) for belief in beliefs),
            )
            for read, beliefs in zip(model.predicted_states(contexts), believed, strict=True)
        ]

    def _chosen(
        self, scores: FloatArray, top: int, fitting: npt.NDArray[np.int64] | None, diversify: float
    ) -> list[int]:
        """Product rows to show, in order, by the scores of the catalogue [N]."""
        rows = np.arange(len(scores)) if fitting is None else fitting
        if not diversify:
            return [int(rows[at]) for at in top_rows(scores[rows], top)]
        pool = [int(rows[at]) for at in top_rows(scores[rows], max(_POOL, 10 * top))]
        values = [self._values.of_attributes(self.corpus.products[row].attributes) for row in pool]
        alike = same_values(np.array(values, np.bool_).reshape(len(pool), len(self._values)), self._values.columns)
        return [pool[at] for at in marginal_relevance(scores[pool], alike, diversify, top)]

    def _answer(
        self, asked: Conversation, scores: FloatArray, rows: Sequence[int], fitting: npt.NDArray[np.int64] | None
    ) -> Recommendation:
        """The products ``rows`` by the scores of the catalogue [N]."""
        known = asked.positives
        products = []
        for rank, row in enumerate(rows, start=1):
            product = self.corpus.products[row]
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
        return Recommendation(
            run=self.run,
            dialogue_id=asked.dialogue_id,
            turn=asked.turn,
            history=asked.history,
            positives=None if known is None else tuple(self.corpus.products[row].product_id for row in known),
            products=tuple(products),
            fitting=None if fitting is None else len(fitting),
        )

    def _explained(
        self,
        answers: Sequence[Recommendation],
        queries: Sequence[Query],
        contexts: Any,
        chosen: Sequence[Sequence[int]],
        corrections: Sequence[Sequence[Correction]] | None,
    ) -> list[Recommendation]:
        found = []
        believed = self._told_states(contexts)
        for b, (answer, query, rows, about) in enumerate(zip(answers, queries, chosen, believed, strict=True)):
            told = None if corrections is None else corrections[b : b + 1]
            whole, bare, unseen, parts = self._scores_without_images(query, contexts[b : b + 1], rows, told)
            products = [
                replace(
                    product,
                    explanation=ProductExplanation(
                        () if about.state is None else outcomes_of(about.state.state, product.attributes, self._values),
                        {name: values[at] for name, values in parts.items()},
                        None if bare is None else float(whole[at] - bare[at]),
                        None if self.corpus.products[row].image_id is None else float(whole[at] - unseen[at]),
                    ),
                )
                for at, (product, row) in enumerate(zip(answer.products, rows, strict=True))
            ]
            found.append(replace(answer, products=tuple(products), explanation=about))
        return found

    def _told_states(self, contexts: Any) -> list[Explanation]:
        if self.reads_states:
            return [Explanation(state, "") for state in self._states(contexts)]
        note = f"{self.ranker.name} predicts no states: what it believes cannot be told"
        return [Explanation(None, note)] * len(contexts)

    def _scores_without_images(
        self, query: Query, context: Any, rows: Sequence[int], corrections: Sequence[Sequence[Correction]] | None
    ) -> tuple[FloatArray, FloatArray | None, FloatArray, Mapping[str, Sequence[float]]]:
        """Scores of products: as they are, without the conversation's images (None: it has none), without their own;
        and what they are the sum of.
        """
        if not rows:
            nothing = np.zeros(0, dtype=np.float32)
            return nothing, None, nothing, {}
        candidates = np.array([rows], dtype=np.int64)
        whole = self.ranker.score(context, self.table, candidates)[0]
        bare = None
        if any(said.image_ids for said in query.history):
            blind = query._replace(history=tuple(said._replace(image_ids=()) for said in query.history))
            bare = self.ranker.score(self._contexts([blind], corrections), self.table, candidates)[0]
        from semantic_model.evaluation.explanation import score_parts

        # what a baseline makes of a text depends on all other texts, so that it needs the whole catalogue
        alone = self._reader is not None
        products = [self.corpus.products[row] for row in rows] if alone else self.corpus.products
        table = self.ranker.encode_products([each._replace(image_id=None, image_file=None) for each in products])
        unseen = self.ranker.score(context, table, np.arange(len(rows))[None] if alone else candidates)[0]
        return whole, bare, unseen, score_parts(self.ranker, context, self.table, rows)


def outcomes_of(
    state: Sequence[BelievedValue], attributes: Mapping[str, Sequence[str]], values: SlotValues
) -> tuple[ValueOutcome, ...]:
    """What a product with these attributes has of a state; any one of several wanted values of a slot is enough.

    Args:
        values: the ontology's; others are passed over.
    """
    has = values.of_attributes(attributes)
    columns = [values.column(item.slot, item.value) for item in state]
    wanted_and_there = {
        item.slot
        for item, column in zip(state, columns, strict=True)
        if column is not None and item.polarity == "like" and has[column]
    }
    found = []
    for item, column in zip(state, columns, strict=True):
        if column is None:
            continue
        likes = item.polarity == "like"
        if likes and item.slot in wanted_and_there and not has[column]:
            continue
        outcome: Outcome = "matched" if bool(has[column]) == likes else "contradicted"
        if not has[values.slot_of == values.slot_of[column]].any():
            outcome = "not known"
        found.append(ValueOutcome(item.slot, item.value, item.polarity, outcome))
    return tuple(found)


def check_request(top: int, diversify: float) -> None:
    """Raises UsageError for numbers that no recommendation can be made with."""
    if top < 1:
        raise UsageError(f"--top must be at least 1, got {top}")
    if not 0 <= diversify <= 1:
        raise UsageError(f"--diversify lies between 0 and 1, got {diversify:g}")


def _kept_table(workspace: Workspace, run: Path, corpus: Corpus, ranker: Ranker) -> ProductTable:
    """The encoded catalogue, from the workspace's features where it was kept there."""
    from semantic_model.ranking.kept_table import kept_table

    files = [*sorted((run / "model").glob("*")), workspace.products, workspace.images]
    made_of = {file.name: sha256_file(file) for file in files if file.is_file()}
    about = {"images": str(not corpus.blank_images), "semctl": metadata.version("semctl")}
    return kept_table(ranker, corpus.products, workspace.features / "products" / run.name, made_of | about)


def state_of_corrections(corrections: Sequence[Correction], ontology: Ontology) -> BeliefState:
    """What corrections say, in the ontology's words.

    Raises:
        OntologyError: a slot or a value that the ontology does not have; names the nearest.
        UsageError: a slot that is corrected twice, or a value that is both wanted and to be avoided.
    """
    state: list[SlotValue] = []
    slots: set[str] = set()
    for slot_name, like, dislike in corrections:
        slot = ontology.slot(slot_name)
        if slot.name in slots:
            raise UsageError(f"the slot '{slot.name}' is corrected twice")
        slots.add(slot.name)
        for polarity, values in (("like", like), ("dislike", dislike)):
            for text in values:
                value = slot.find(text)
                if value is None:
                    known = [one.value for one in slot.offered]
                    some = ", ".join(known[:8])
                    raise OntologyError(
                        f"'{slot.name}' has no value '{text}'", fix=did_you_mean(text, known, f"values: {some}, ...")
                    )
                if any(item.slot == slot.name and item.value == value.value for item in state):
                    raise UsageError(f"'{slot.name}' is corrected to '{value.value}' twice")
                state.append(SlotValue(slot.name, value.value, "like" if polarity == "like" else "dislike"))
    return belief_state(state)


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
