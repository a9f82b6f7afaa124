"""A run and its catalogue as they are served: questions answered in batches, the catalogue kept up with its files."""

from __future__ import annotations

import binascii
import io
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple, Self

from pipeline.modelling.conversation import Conversation, read_conversation
from pipeline.modelling.recommender import (
    BelievedState,
    Correction,
    ProductExplanation,
    Recommendation,
    Recommender,
    state_of_corrections,
)
from pipeline.serving.forms import (
    OfferedSlotAnswer,
    ProductAnswer,
    RankedAnswer,
    ReasonAnswer,
    RecommendAnswer,
    RecommendForm,
    SlotAnswer,
    StateAnswer,
    StateForm,
    ValueAnswer,
    VersionAnswer,
)
from pipeline.workspace import Workspace
from schemas.errors import CorpusError, SemctlError, UsageError
from schemas.files import open_unlinked, sha256_bytes
from schemas.progress import Progress
from schemas.tables import PRODUCTS, open_table
from semantic_model.data.corpus import Corpus
from semantic_model.data.image_decoding import UndecodableImageError, decode_image, examine_image, for_browser
from semantic_model.data.records import Product

_VALUES_OFFERED = 200  # of a slot
_MOST_KEPT = 64 * 2**20  # bytes of copies of images, of those that are too large or that no browser shows as they are
_KINDS = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif", ".bmp": "image/bmp"}


_LEAST_PART = 0.05  # of a score, that is told
_MOST_REASONS = 8
_OUTCOMES = {
    ("like", "matched"): "{}",
    ("like", "contradicted"): "not {}",
    ("like", "not known"): "not known whether {}",
    ("dislike", "matched"): "not {}, as wished",
    ("dislike", "contradicted"): "{}, to be avoided",
    ("dislike", "not known"): "not known whether {}, to be avoided",
}
"""What is said of a value, by its polarity and what the product has of it."""


class Stamp(NamedTuple):
    """What a file is known by: when it was written, how large it is, which one it is."""

    written: int
    size: int
    number: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Of a file; None where there is none."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_mtime_ns, found.st_size, found.st_ino)


Stamps = tuple[Stamp | None, ...]


@dataclass(frozen=True)
class Shop:
    """A catalogue with what ranks it, as they were at one moment."""

    recommender: Recommender
    images: Mapping[str, tuple[str, ...]]  # product id -> ids of its images that can be read
    stamps: Stamps  # of the files that it was read from

    @property
    def catalogue(self) -> str:
        """Names this state of the catalogue."""
        return sha256_bytes(repr(self.stamps).encode())[:12]

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """Slot -> its name for people."""
        ontology = self.recommender.ontology
        return {} if ontology is None else {slot.name: slot.title or slot.name for slot in ontology.slots}


@dataclass(frozen=True)
class Question:
    """One request, as far as it could be checked without the model."""

    form: StateForm
    photos: Mapping[str, bytes]  # of images that the catalogue does not have


class _Manner(NamedTuple):
    """How products are asked for; what is asked for alike is asked for together."""

    top: int
    where: str | None
    diversify: float
    explain: bool

    @classmethod
    def of(cls, form: StateForm) -> Self | None:
        """None where the state alone is asked for."""
        if not isinstance(form, RecommendForm):
            return None
        return cls(form.top, form.where, form.diversify, form.explain)


Answer = StateAnswer | SemctlError
"""What came of a question: a :class:`RecommendAnswer` where products were asked for, or why there is none."""


@dataclass(frozen=True)
class Image:
    """An image as browsers get it."""

    content: bytes
    kind: str  # its media type


class Service:
    """Answers questions; :meth:`answer` is called by one thread at a time, all else by any.

    Args:
        workspace: where the run and the catalogue are.
        run: a run's id, or ``latest``, which is looked up once.
        images: False leaves every image out.
        product_table: how exactly encoded products are kept.
        progress: told of updates.
    """

    def __init__(self, workspace: Workspace, run: str, *, images: bool, product_table: str, progress: Progress) -> None:
        self.workspace = workspace
        self.images = images
        self.problem: str | None = None  # why the newest catalogue is not served
        self._product_table = product_table
        self._progress = progress
        self._tried: Stamps = ()
        self._copies: OrderedDict[tuple[str, int | None, Stamp | None], Image] = OrderedDict()
        self._lock = Lock()
        self.shop = self._open(run)
        self.run = self.shop.recommender.run

    def _open(self, run: str) -> Shop:
        stamps = self._tried = self.stamps()  # before they are read: what changes meanwhile is read again
        recommender = Recommender.open(
            self.workspace, run, images=self.images, product_table=self._product_table, keep_table=True,
        )  # fmt: skip
        return Shop(recommender, _images_of(self.workspace, recommender.corpus), stamps)

    def stamps(self) -> Stamps:
        """Of the files that the catalogue is read from, as they are now."""
        of = self.workspace
        return tuple(map(Stamp.of, (of.products, of.images, of.turns, of.recommendations)))

    def update(self) -> bool:
        """Serve the catalogue as it is now; when it cannot be read, the one before stays, and the reason is told.

        Returns:
            Whether another one is served now.
        """
        try:
            shop = self._open(self.run)
        except (SemctlError, OSError) as problem:
            self.problem = str(problem)
            self._progress.log(f"the catalogue was not updated: {problem}")
            return False
        self.shop, self.problem = shop, None
        self._progress.log(f"the catalogue was updated: {len(shop.recommender.corpus.products)} products")
        return True

    @property
    def is_outdated(self) -> bool:
        """Whether the files have changed since they were read last."""
        return self.stamps() != self._tried

    def question(self, form: StateForm) -> Question:
        """A request with its images, once they are known to be images.

        Raises:
            CorpusError: an image that is none, or cannot be decoded.
        """
        photos = {name: _photo(name, text) for name, text in form.images.items()}
        return Question(form, photos)

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers in order; questions that are alike but for their conversations are asked together."""
        shop = self.shop
        found: dict[int, Answer] = {}
        alike: dict[_Manner | None, list[tuple[int, Conversation, list[Correction]]]] = {}
        for number, question in enumerate(questions):
            try:
                conversation = self._conversation(shop, question)
                corrections = self._corrections(shop, question.form)
            except SemctlError as problem:
                found[number] = problem
                continue
            alike.setdefault(_Manner.of(question.form), []).append((number, conversation, corrections))
        for manner, group in alike.items():
            numbers, conversations, corrections_of = zip(*group, strict=True)
            found.update(zip(numbers, self._ask(shop, manner, conversations, corrections_of), strict=True))
        return [found[number] for number in range(len(questions))]

    def checked(self, form: StateForm) -> tuple[Conversation, list[Correction]]:
        """What a request without images of its own says, and corrects.

        Raises:
            InputError: an image that the catalogue lacks, a user who says nothing, an unknown slot or value.
        """
        shop = self.shop
        return self._conversation(shop, Question(form, {})), self._corrections(shop, form)

    def _conversation(self, shop: Shop, question: Question) -> Conversation:
        corpus = shop.recommender.corpus
        turns = [turn.model_dump() for turn in question.form.turns]
        if all(turn["speaker"] != "user" for turn in turns):
            raise UsageError("the user says nothing", where="turns", fix="add a turn whose speaker is `user`")
        for number, turn in enumerate(turns):
            for name in turn["images"]:
                known = (corpus.image_files, corpus.image_products, corpus.product_rows, question.photos)
                if self.images and not any(name in each for each in known):
                    raise CorpusError(
                        f"there is no image '{name[:80]}'",
                        where=f"turns.{number}.images",
                        fix="name an image or a product of the catalogue, or send the image's content under `images`; "
                        "addresses are not fetched",
                    )
        return read_conversation({"turns": turns}, corpus, where="turns", photos=question.photos.get)

    @staticmethod
    def _corrections(shop: Shop, form: StateForm) -> list[Correction]:
        given = [Correction(each.slot, tuple(each.like), tuple(each.dislike)) for each in form.corrections]
        ontology = shop.recommender.ontology
        if given and ontology is not None:
            state_of_corrections(given, ontology)  # a mistake in it is this request's alone
            return [one._replace(slot=ontology.slot(one.slot).name) for one in given]
        return given

    def _ask(
        self,
        shop: Shop,
        manner: _Manner | None,
        conversations: Sequence[Conversation],
        corrections: Sequence[Sequence[Correction]],
    ) -> list[Answer]:
        try:
            return [*self._asked(shop, manner, conversations, corrections)]
        except SemctlError as problem:
            if len(conversations) == 1:
                return [problem]
        return [
            answer
            for one, told in zip(conversations, corrections, strict=True)
            for answer in self._ask(shop, manner, [one], [told])
        ]

    def _asked(
        self,
        shop: Shop,
        manner: _Manner | None,
        conversations: Sequence[Conversation],
        corrections: Sequence[Sequence[Correction]],
    ) -> list[StateAnswer]:
        recommender = shop.recommender
        told = corrections if any(corrections) else None
        ranked: list[Recommendation] = []
        believed: Sequence[BelievedState | None] = [None] * len(conversations)
        if manner is not None:
            ranked = recommender.recommend(conversations, states=True, corrections=told, **manner._asdict())
            believed = [None if one.explanation is None else one.explanation.state for one in ranked]
        elif recommender.reads_states:
            believed = recommender.states(conversations, corrections=told) or believed
        by_itself: dict[int, BelievedState] = {}
        if told is not None:
            of = [number for number, each in enumerate(corrections) if each]
            read = recommender.states([conversations[number] for number in of])
            by_itself = dict(zip(of, read or (), strict=False))
        states = [
            None if state is None else _slots(shop, state, corrections[number], by_itself.get(number))
            for number, state in enumerate(believed)
        ]
        about = {"run": self.run, "catalogue": shop.catalogue}
        if manner is None:
            return [StateAnswer(**about, state=state) for state in states]
        return [
            RecommendAnswer(**about, state=state, products=_products(shop, one), fitting=one.fitting)
            for state, one in zip(states, ranked, strict=True)
        ]

    def product(self, product_id: str) -> ProductAnswer | None:
        """A product of the catalogue; None where there is none of that id."""
        shop = self.shop
        row = shop.recommender.corpus.product_rows.get(product_id)
        return None if row is None else ProductAnswer(**_facts(shop, shop.recommender.corpus.products[row]))

    def image(self, image_id: str, side: int | None = None) -> Image | None:
        """An image of the catalogue; None where there is none of that id, or it cannot be read any more.

        No symbolic link is followed.

        Args:
            side: of a smaller copy, in pixels, where the image is larger.
        """
        path = self.shop.recommender.corpus.image_files.get(image_id)
        if path is None:
            return None
        key = image_id, side, Stamp.of(path)
        with self._lock:
            if key in self._copies:
                self._copies.move_to_end(key)
                return self._copies[key]
        try:
            with open_unlinked(path) as file:
                content = file.read()
            made = _shown(content, side)
        except (OSError, UndecodableImageError):
            return None
        if made.content is not content and len(made.content) <= _MOST_KEPT // 16:
            with self._lock:
                self._copies[key] = made
                while sum(len(copy.content) for copy in self._copies.values()) > _MOST_KEPT:
                    self._copies.popitem(last=False)
        return made

    def version(self) -> VersionAnswer:
        """What runs here."""
        shop = self.shop
        ontology = shop.recommender.ontology
        return VersionAnswer(
            semctl=metadata.version("semctl"),
            run=self.run,
            catalogue=shop.catalogue,
            products=len(shop.recommender.corpus.products),
            images=self.images,
            reads_states=shop.recommender.reads_states,
            takes_corrections=shop.recommender.takes_corrections,
            slots=[]
            if ontology is None
            else [
                OfferedSlotAnswer(
                    slot=slot.name,
                    title=shop.titles[slot.name],
                    values=[value.value for value in slot.offered][:_VALUES_OFFERED],
                )
                for slot in ontology.slots
            ],
        )


def _photo(name: str, text: str) -> bytes:
    """An image of a request.

    Raises:
        CorpusError: not base64, or no image that can be decoded.
    """
    where = f"images.{name[:80]}"
    encoded = text.partition(",")[2] if text.startswith("data:") else text  # as browsers write a file's content
    try:
        content = b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        fix = "send the content of an image file in base64; addresses are not fetched"
        raise CorpusError("not base64", where=where, fix=fix) from None
    try:
        examine_image(content)
    except UndecodableImageError as problem:
        raise CorpusError(problem.what, where=where, fix="send a JPEG, PNG or WebP file of a usual size") from None
    return content


def _shown(content: bytes, side: int | None) -> Image:
    """An image file as browsers get it.

    Raises:
        UndecodableImageError: it cannot be decoded.
    """
    if side is not None:
        facts = examine_image(content)
        if max(facts.width, facts.height) > side:
            small = decode_image(content, near=2 * side)
            small.thumbnail((side, side))
            made = io.BytesIO()
            small.save(made, "JPEG", quality=85)
            return Image(made.getvalue(), "image/jpeg")
    suffix, copy = for_browser(content)
    return Image(content if copy is None else copy(), _KINDS[suffix])


def _images_of(workspace: Workspace, corpus: Corpus) -> dict[str, tuple[str, ...]]:
    """All images of each product that can be read; the corpus has its first one."""
    found: dict[str, tuple[str, ...]] = {}
    with open_table(workspace.products, PRODUCTS) as file:
        for batch in file.iter_batches(columns=["product_id", "image_ids"]):
            for row in batch.to_pylist():
                found[row["product_id"]] = tuple(image for image in row["image_ids"] if image in corpus.image_files)
    return found


def _facts(shop: Shop, product: Product) -> dict[str, Any]:
    """The fields of a :class:`ProductAnswer`."""
    return {
        "product_id": product.product_id,
        "name": product.name,
        "description": product.description,
        "price": product.price,
        "currency": product.currency,
        "attributes": {name: list(values) for name, values in product.attributes.items()},
        "images": list(shop.images.get(product.product_id, ())),
    }


def _slots(
    shop: Shop, believed: BelievedState, corrections: Sequence[Correction], by_itself: BelievedState | None
) -> list[SlotAnswer]:
    """The slots of a state in the ontology's order: those that something is wanted of, and those corrected."""
    corrected = {each.slot for each in corrections}
    values, read = _by_slot(believed), {} if by_itself is None else _by_slot(by_itself)
    return [
        SlotAnswer(
            slot=slot,
            title=title,
            values=values.get(slot, []),
            corrected=slot in corrected,
            read=read.get(slot, []) if slot in corrected else None,
        )
        for slot, title in shop.titles.items()
        if slot in values or slot in corrected
    ]


def _by_slot(believed: BelievedState) -> dict[str, list[ValueAnswer]]:
    found: dict[str, list[ValueAnswer]] = {}
    for item in believed.state:
        polarity: Literal["like", "dislike"] = "dislike" if item.polarity == "dislike" else "like"
        value = ValueAnswer(value=item.value, polarity=polarity, probability=item.probability)
        found.setdefault(item.slot, []).append(value)
    return found


def _products(shop: Shop, found: Recommendation) -> list[RankedAnswer]:
    corpus = shop.recommender.corpus
    return [
        RankedAnswer(
            **_facts(shop, corpus.products[corpus.product_rows[one.product_id]]),
            rank=one.rank,
            score=one.score,
            further={name: list(values) for name, values in one.not_in_name().items()},
            why=None if one.explanation is None else _reasons(shop, one.explanation),
        )
        for one in found.products
    ]


def _reasons(shop: Shop, explanation: ProductExplanation) -> list[ReasonAnswer]:
    """What speaks for a product and against it: parts of its score, and what it has of the values believed in."""
    said: dict[str, list[str]] = {}
    for outcome in explanation.values:
        said.setdefault(outcome.slot, []).append(_OUTCOMES[outcome.polarity, outcome.outcome].format(outcome.value))
    found = [
        ReasonAnswer(text=_told(shop, slot, said.get(slot, [])), weight=weight)
        for slot, weight in explanation.parts.items()
        if abs(weight) >= _LEAST_PART
    ]
    found.sort(key=lambda reason: -abs(reason.weight or 0))
    rest = [slot for slot in said if slot not in explanation.parts]
    return found[:_MOST_REASONS] + [ReasonAnswer(text=_told(shop, slot, said[slot]), weight=None) for slot in rest]


def _told(shop: Shop, slot: str, outcomes: Sequence[str]) -> str:
    title = shop.titles.get(slot) or slot[:1].upper() + slot[1:]  # a part that is no slot's
    return f"{title}: {', '.join(outcomes)}" if outcomes else title
