"""A run that recommends: opened once, then asked about any number of conversations, of the corpus or not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.modelling.conversation import Conversation, Photo
from pipeline.modelling.runs import find_run, load_corpus, open_ranker
from pipeline.workspace import Workspace
from schemas.belief import BeliefState, SlotValue
from schemas.errors import CorpusError, ModelError, OntologyError, UsageError
from schemas.files import sha256_bytes
from schemas.folding import fold
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.validation import did_you_mean
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import FloatArray, Product, Query, Utterance

if TYPE_CHECKING:
    from semantic_model.data.batch import Reader
    from semantic_model.data.image_features import FeatureEncoder
    from semantic_model.ranking.network_ranker import NetworkRanker
    from semantic_model.ranking.ranker import Belief, Ranker

_CELLS = 1 << 22  # scores held at a time
_PHOTOS = 256  # features of so many photos are remembered


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
    products: tuple[RecommendedProduct, ...]  # best first

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return json_form(self, "history")


class Recommender:
    """A ranker with its catalogue, ready to answer; may be asked by several threads, one at a time.

    Attributes:
        run: what it is called: a run's id.
        corpus: the catalogue, and the dialogues.
        ranker: what ranks.
        table: the encoded catalogue.
    """

    def __init__(self, run: str, corpus: Corpus, ranker: Ranker) -> None:
        self.run = run
        self.corpus = corpus
        self.ranker = ranker
        self.table = ranker.encode_products(corpus.products)
        self._lock = Lock()
        self._encoder: FeatureEncoder | None = None
        self._features: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()  # of photos, by their hashes
        self._image_of_hash: Mapping[str, str] | None = None

    @classmethod
    def open(
        cls,
        workspace: Workspace,
        run: str = "latest",
        *,
        images: bool = True,
        product_table: str = "float32",
        progress: Progress | None = None,
    ) -> Self:
        """A run of a workspace, with the catalogue as it is there now.

        Args:
            run: a run's id, or ``latest``.
            images: False leaves every image out, of the catalogue and of conversations.
            product_table: how exactly encoded products are kept: float32, or bfloat16 in half the memory.

        Raises:
            WorkspaceError: not a workspace, or nothing was imported.
            ModelError: no such run, or one that cannot be used.
            MissingPartError: the image encoder's weights are not here.
        """
        workspace.require()
        folder = find_run(workspace, run)
        corpus = load_corpus(workspace, images=images)
        if progress is not None:
            progress.log(f"opening {folder.name}: {len(corpus.products)} products")
        return cls(folder.name, corpus, open_ranker(folder, corpus, product_table=product_table))

    def recommend(
        self,
        conversations: Sequence[Conversation],
        *,
        top: int = 10,
        corrections: Sequence[Sequence[Correction]] | None = None,
    ) -> list[Recommendation]:
        """The best products of the catalogue for each conversation.

        Args:
            conversations: any number; they are encoded and scored together.
            top: how many products.
            corrections: of each conversation, slots of its state that are known better.

        Raises:
            UsageError: ``top`` below 1.
            CorpusError: a photo that cannot be read.
            MissingPartError: the weights of the encoder of photos are not here.
            ModelError: photos, where the run's features were brought along; corrections, where no beliefs rank.
            OntologyError: a correction of a slot or value that the run does not know; names the nearest.
        """
        if top < 1:
            raise UsageError(f"--top must be at least 1, got {top}")
        if corrections is not None and len(corrections) != len(conversations):
            raise UsageError(f"{len(corrections)} corrections for {len(conversations)} conversations")
        found: list[Recommendation] = []
        step = max(1, _CELLS // max(1, len(self.corpus.products)))
        for start in range(0, len(conversations), step):
            some = conversations[start : start + step]
            with self._encoded(some, corrections and corrections[start : start + step]) as contexts:
                scores = self.ranker.score(contexts, self.table)
            found += [self._answer(one, line, top) for one, line in zip(some, scores, strict=True)]
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
        with self._encoded(conversations, corrections) as contexts:
            return self._states(contexts)

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

    @contextmanager
    def _encoded(
        self, conversations: Sequence[Conversation], corrections: Sequence[Sequence[Correction]] | None = None
    ) -> Iterator[Any]:
        """Encoded contexts; while the block runs, nobody else asks."""
        with self._lock:
            queries, photos = self._queries(conversations)
            with self._seeing(photos):
                contexts = self.ranker.encode_contexts(queries)
            yield contexts if corrections is None else self._corrected(contexts, corrections)

    def _queries(self, conversations: Sequence[Conversation]) -> tuple[list[Query], dict[str, npt.NDArray[Any]]]:
        """Conversations as rankers are asked about them, and features of their photos by image id."""
        photos: dict[str, npt.NDArray[Any]] = {}
        queries = []
        for one in conversations:
            ids = {name: self._photo(name, photo, photos) for name, photo in one.photos.items()}
            history = tuple(
                said._replace(image_ids=tuple(ids.get(image, image) for image in said.image_ids)) if ids else said
                for said in one.history
            )
            queries.append(Query(one.dialogue_id, one.turn + 1, one.split, history, one.positives or (), ()))
        return queries, photos

    def _photo(self, name: str, photo: Photo, photos: dict[str, npt.NDArray[Any]]) -> str:
        """The image id of a photo: the catalogue's, where the very same file is in the catalogue."""
        try:
            content = photo if isinstance(photo, bytes) else photo.read_bytes()
        except OSError as problem:
            raise CorpusError(f"cannot read the image: {problem.strerror}", where=photo) from None
        where = name if isinstance(photo, bytes) else photo
        key = sha256_bytes(content)
        if self._image_of_hash is None:
            self._image_of_hash = {sha: image for image, sha in reversed(list(self.corpus.image_hashes.items()))}
        known = self._image_of_hash.get(key)
        if known is not None:
            return known
        image_id = f"sha256:{key}"
        if key not in self._features:
            self._features[key] = self._encode(content, where)
            while len(self._features) > _PHOTOS:
                self._features.popitem(last=False)
        self._features.move_to_end(key)
        photos[image_id] = self._features[key]
        return image_id

    def _encode(self, content: bytes, where: object) -> npt.NDArray[Any]:
        """The features of a photo [F]."""
        from semantic_model.data.image_decoding import UndecodableImageError, decode_image
        from semantic_model.data.image_features import open_encoder

        try:
            image = decode_image(content)
        except UndecodableImageError as problem:
            raise CorpusError(problem.what, where=where, fix="give a JPEG, PNG or WebP file") from None
        reader = self._reader
        if reader is None:
            return np.zeros(0, dtype=np.float32)  # a ranker that reads no images
        if self._encoder is None:
            self._encoder = open_encoder(reader.config.image)
        features: npt.NDArray[Any] = self._encoder.encode([image])[0]
        return features

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

    def _answer(self, conversation: Conversation, scores: FloatArray, top: int) -> Recommendation:
        """The best products by the scores of the catalogue [N]."""
        known = conversation.positives
        products = []
        for rank, row in enumerate(top_rows(scores, top), start=1):
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
        ids = None if known is None else tuple(self.corpus.products[row].product_id for row in known)
        return Recommendation(
            self.run, conversation.dialogue_id, conversation.turn, conversation.history, ids, tuple(products)
        )


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
    return tuple(sorted(state, key=lambda item: (item.slot, item.polarity == "dislike", item.value)))


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
