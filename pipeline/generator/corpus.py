"""Makes a whole corpus in a folder, in MMD's file layout, and the record of what was made.

``dialogues/<split>/<n>.json``, ``products/``, ``images/``, ``url2img.txt``.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

import orjson

from pipeline.generator.catalogue import FAULTS, CatalogueProduct, RealCatalogue, drawn_catalogue, plant_faults
from pipeline.generator.colloquial import CataloguePhrases, ColloquialUser, Rewording
from pipeline.generator.drawing import draw_product
from pipeline.generator.user_goal import ProductIndex
from pipeline.generator.user_policy import UserPolicy
from pipeline.generator.user_simulator import Conversation, Dialogue, Recommendation, Utterance
from pipeline.generator.vocabulary import load
from schemas.errors import UsageError
from schemas.files import remove_left_over, temporary_files, temporary_folder, write_json
from schemas.folding import ENTITY
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.validation import known_name

Corruption = Literal[
    "no_negatives",
    "one_negative",
    "three_negatives",
    "positives_among_negatives",
    "null_utterance",
    "nested_utterances",
]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
"""One of them a dialogue at most.

``no_negatives``, ``one_negative``, ``three_negatives``: so few are listed in the first recommendation;
``positives_among_negatives``: its negatives hold up to three of its own positives;
``null_utterance``: a null among the utterances; ``nested_utterances``: two utterances in a list of their own.
"""


def plan_corruptions(dialogues: Mapping[str, int], each: int, rng: Random) -> dict[tuple[str, int], Corruption]:
    """Which dialogue, by split and number from 0, has which corruption; each corruption ``each`` times."""
    places = [(split, number) for split, count in dialogues.items() for number in range(count)]
    chosen = rng.sample(places, min(len(places), each * len(CORRUPTIONS)))
    return {place: CORRUPTIONS[index % len(CORRUPTIONS)] for index, place in enumerate(chosen)}


def list_negatives(
    negatives: Sequence[int], positives: Sequence[int], sound: Sequence[bool], corruption: Corruption | None
) -> list[int]:
    """The negatives as the corruption has them listed; the few that are left have sound files."""
    if corruption == "positives_among_negatives":
        return [*positives[:3], *negatives]
    few = {"no_negatives": 0, "one_negative": 1, "three_negatives": 3}.get(corruption or "")
    if few is None:
        return list(negatives)
    return list(dict.fromkeys(number for number in negatives if sound[number]))[:few]


def shape_utterances(utterances: list[Any], corruption: Corruption | None) -> list[Any]:
    """The list of utterances with a null in it, or with two of them in a list of their own."""
    if corruption == "null_utterance":
        return [*utterances[:2], None, *utterances[2:]]
    if corruption == "nested_utterances":
        return [*utterances[:2], utterances[2:4], *utterances[4:]]
    return utterances


_PLAIN_KEYS = ("brand", "color", "print", "material", "care", "style", "type", "fit", "neck", "length", "sleeves")
_QUESTIONS = frozenset(("greeting", "user-info", "exit-message", "buy", "give-part-criteria", "switch-synset"))


def product_json(product: CatalogueProduct) -> dict[str, Any]:
    """A product in MMD's catalogue keys: one flat dict, "" where something is unknown."""
    record: dict[str, Any] = {
        "id": product.stem,
        "name": product.name,
        "taxonomy": product.taxonomy,
        "site": "semctl",
        "currency": product.currency,
        "price": "" if product.price is None else product.price,
        "gender": _written(product, "gender"),
    }
    record |= {key: _written(product, key) for key in _PLAIN_KEYS}
    record |= {
        key: _written(product, key) for key in product.attributes if key not in record and key != "available_sizes"
    }
    record |= {
        "available_sizes": list(product.attributes.get("available_sizes", ())),
        "size_fit": "",
        "details": list(product.details),
        "review": [],
        "reviewStars": [],
        "avgStars": [],
        "bestSellerRank": "",
        "similar_items": [],
        "model_worn": "no",
        "image_type": "front",
        "image_filename": product.url,
        "image_url": product.url,
        "image_filename_all": {"front": [product.url], "back": [], "left": [], "right": [], "look": []},
    }
    return record


_ENTITY = re.compile(rf"(?={ENTITY})&".encode())


def _encoded(value: Any, option: int) -> bytes:
    """A value as JSON; what its texts spell like HTML entities is escaped, as who reads the corpus resolves these."""
    return _ENTITY.sub(b"&amp;", orjson.dumps(value, option=option))


def _written(product: CatalogueProduct, attribute: str) -> str:
    return "" if attribute in product.unwritten else (product.value(attribute) or "")


def write_product(folder: Path, product: CatalogueProduct, seed: str) -> None:
    """Write a product's JSON file and its image, drawn or copied, each as its fault has it."""
    if product.fault != "missing_json":
        content = _encoded(product_json(product), orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        if product.fault == "broken_json":
            content = content[: len(content) // 2]
        (folder / "products" / f"{product.stem}.json").write_bytes(content)
    if product.fault in ("dead_link", "missing_image"):
        return
    target = folder / "images" / product.image
    if product.fault == "broken_image":
        target.write_bytes(b"this is no picture\n")
    elif product.photo is not None:
        shutil.copyfile(product.photo, target)
    else:
        look = {name: values[0] for name, values in product.attributes.items()}
        image = draw_product(look, Random(seed))
        if target.suffix == ".png":
            image.save(target, optimize=False)
        else:
            image.save(target, quality=92, subsampling=0)


class DialogueWriter:
    """Writes dialogue files and counts what is in them."""

    def __init__(self, products: Sequence[CatalogueProduct]) -> None:
        self._products = products
        self._urls = [product.url for product in products]
        self._encoded = [orjson.dumps(url) for url in self._urls]
        self._sound = [not product.fault for product in products]
        self.counts: Counter[str] = Counter()
        self.references: dict[str, Counter[str]] = {}

    def write(self, path: Path, dialogue: Dialogue, corruption: Corruption | None, rng: Random) -> None:
        """Write one dialogue file; ``rng`` chooses how absent values are written (null, [] or no key)."""
        path.write_bytes(self.encode(dialogue, corruption, rng))
        self._count(dialogue)

    def encode(self, dialogue: Dialogue, corruption: Corruption | None, rng: Random) -> bytes:
        written = []
        pending = corruption
        for utterance in dialogue.utterances:
            here = pending if utterance.recommendation is not None else None
            if here is not None:
                pending = None
            written.append(self._utterance(utterance, here, rng))
        return _encoded(shape_utterances(written, corruption), orjson.OPT_APPEND_NEWLINE)

    def _utterance(self, utterance: Utterance, corruption: Corruption | None, rng: Random) -> dict[str, Any]:
        record: dict[str, Any] = {"type": utterance.act, "speaker": utterance.speaker}
        if utterance.subtype and utterance.act not in _QUESTIONS:
            record["question-type"] = utterance.act
            record["question-subtype"] = utterance.subtype
        said: dict[str, Any] = {"nlg": utterance.text}
        record["utterance"] = said
        recommendation = utterance.recommendation
        if recommendation is not None:
            self._list_candidates(said, recommendation, corruption, rng)
        else:
            _absent(said, "false nlg", rng)
            _absent(said, "false images", rng)
            if utterance.images:
                said["images"] = [self._urls[number] for number in utterance.images]
                self._refer("shown_by_user", utterance.images)
            else:
                _absent(said, "images", rng)
        if utterance.wants is not None:
            record["ds"] = utterance.wants.written()
        return record

    def _list_candidates(
        self, said: dict[str, Any], recommendation: Recommendation, corruption: Corruption | None, rng: Random
    ) -> None:
        positives = recommendation.positives
        negatives = list_negatives(recommendation.negatives.tolist(), positives, self._sound, corruption)
        said["false nlg"] = ""
        if negatives:
            listed = b",".join([self._encoded[number] for number in negatives])
            said["false images"] = orjson.Fragment(b"[" + listed + b"]")
        else:
            _absent(said, "false images", rng)
        said["images"] = [self._urls[number] for number in positives]
        self._refer("positives", positives)
        self._refer("negatives", negatives)
        counts = self.counts
        counts["recommendation_turns"] += bool(negatives)
        counts["recommendation_turns_without_negatives"] += not negatives
        counts["positives"] += len(positives)
        counts["negatives"] += len(negatives)
        counts["repeated_negatives"] += len(negatives) - len(set(negatives))
        counts["negatives_equal_to_a_positive"] += len(set(negatives) & set(positives))

    def _refer(self, role: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            if not self._sound[number]:
                self.references.setdefault(self._products[number].fault, Counter())[role] += 1

    def _count(self, dialogue: Dialogue) -> None:
        before = ""
        for utterance in dialogue.utterances:
            self.counts["utterances"] += 1
            if utterance.speaker != before:
                self.counts["user_turns" if utterance.speaker == "user" else "system_turns"] += 1
            before = utterance.speaker
            self.counts["typographic_quotes"] += (utterance.text or "").startswith("‘")
            self.counts["images_sent_by_user"] += len(utterance.images) if utterance.speaker == "user" else 0


def _absent(said: dict[str, Any], key: str, rng: Random) -> None:
    chance = rng.random()
    if chance < 0.8:
        said[key] = None
    elif chance < 0.9:
        said[key] = []


def write_links(path: Path, products: Sequence[CatalogueProduct]) -> None:
    """Write ``url2img.txt``: a link, a space and a file name on each line; dead links are not in it."""
    lines = [f"{product.url} {product.image}\n" for product in products if product.fault != "dead_link"]
    path.write_text("".join(sorted(lines)))


def only_in_images(products: Sequence[CatalogueProduct]) -> Mapping[str, Mapping[str, list[str]]]:
    """Stem -> attribute -> values, for what a product's JSON file does not say and its image shows."""
    return {
        product.stem: {name: list(product.attributes[name]) for name in sorted(product.unwritten)}
        for product in products
        if product.unwritten
    }


MARKER = "generated.json"
"""Written last: a folder that holds it was made whole by ``semctl generate``."""

_MOST_PRODUCTS = 1_000_000
_PARTS = ("products", "images", "url2img.txt", "only_in_pictures.json", "dialogues")
"""In the order in which they are put there: a folder without dialogues is no corpus to any reader."""


@dataclass(frozen=True)
class Size:
    """How much to make."""

    dialogues: Mapping[str, int]  # split -> readable dialogues
    products: int  # products of the drawn catalogue
    pool: Mapping[str, int]  # split -> negatives listed for a topic
    faults: int  # products with each fault
    corruptions: int  # dialogues with each corruption
    broken: int  # dialogue files that are no JSON, in the training split, on top of the readable ones


SIZES: Mapping[str, Size] = {name: Size(**size) for name, size in load("sizes.toml").items()}
"""The sizes by name; ``mmd-v3`` has the dialogues and candidates of the paper's Table 1."""


WordingName = Literal["catalogue", "colloquial"]
WORDINGS: tuple[WordingName, ...] = get_args(WordingName)
"""How users name what they want: in the catalogue's words and some synonyms, or as people do who do not know these."""


@dataclass(frozen=True)
class GenerateRequest:
    """What to make; the same request gives the same bytes.

    Raises:
        UsageError: an unknown size or wording, or too few products or too many.
    """

    size: str = "demo"  # a name in :data:`SIZES`
    seed: int = 0  # of all chance
    products: int | None = None  # how many products to draw instead of the size's own number
    catalogue: RealCatalogue | None = None  # real products to use instead of drawn ones
    force: bool = False  # replace a corpus that was made in the folder before
    wording: str = "catalogue"  # one of :data:`WORDINGS`; changes nothing but what users say

    def __post_init__(self) -> None:
        known_name("wording", self.wording, WORDINGS)
        if self.size not in SIZES:
            raise UsageError(f"unknown size '{self.size}'", fix=f"one of: {', '.join(SIZES)}")
        least = max(42, self.plan.faults * len(FAULTS) * 4)
        if self.count < least:
            raise UsageError(f"{self.count} products are too few for the size '{self.size}'", fix=f"at least {least}")
        if self.count > _MOST_PRODUCTS:
            raise UsageError(f"{self.count} products are too many", fix=f"at most {_MOST_PRODUCTS}")

    @property
    def plan(self) -> Size:
        return SIZES[self.size]

    @property
    def count(self) -> int:
        if self.catalogue is not None:
            return len(self.catalogue.products)
        return self.plan.products if self.products is None else self.products


@dataclass(frozen=True)
class GeneratedCorpus:
    """What was made, and every corruption planted, as ``generated.json`` keeps it."""

    size: str
    seed: int
    # where the products are from; of given ones, which columns were read and which rows were dropped
    catalogue: dict[str, Any]
    dialogues: dict[str, int]  # split -> readable dialogues
    utterances: int
    user_turns: int
    system_turns: int
    recommendation_turns: int
    positives: int
    positives_per_recommendation: float
    negatives: int
    negatives_per_recommendation: float
    images_sent_by_user: int
    products: int
    images: dict[str, int]  # status -> images, as an import finds them
    faulty_products: int  # products with a fault in their files
    only_in_images: dict[str, int]  # attribute -> products that show it and do not write it
    moves: dict[str, int]  # what users did -> how often
    corruptions: dict[str, Any]  # what was planted -> how often
    made_by: str = "semctl generate"
    version: int = 1
    # how users' turns are worded, and what they have only the catalogue's word for; None: all in the catalogue's words
    wording: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The content of ``generated.json``."""
        return json_form(self, *(() if self.wording else ("wording",)))


def generate_corpus(folder: Path, request: GenerateRequest, *, progress: Progress | None = None) -> GeneratedCorpus:
    """Make a corpus in MMD's layout, in a folder that is empty or absent.

    Everything is made in a temporary folder inside, which is there until the corpus is whole. So an interrupted run
    leaves nothing that looks whole, and a folder that one left unfinished is known by it and made anew.

    Raises:
        UsageError: a folder that holds something else or is being written, or a catalogue with too few kinds.
    """
    progress = progress or SilentProgress()
    absent = not folder.exists()
    _check_folder(folder, request.force)
    try:
        with temporary_folder(folder / "generate") as staging:
            _check_alone(folder, staging)
            report = _make(staging, request, progress)
            _publish(staging, folder, report)
    except OSError as problem:
        raise UsageError(f"cannot write the corpus: {problem.strerror}", where=problem.filename or folder) from None
    finally:
        if absent and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return report


def _check_folder(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError("not a folder", where=folder, fix="name a folder that is empty or does not exist yet")
    if not folder.is_dir():
        return
    temporary = {path.name for path in temporary_files(folder)}
    found = {path.name for path in folder.iterdir()} - temporary
    if MARKER in found:
        if not force:
            remove_left_over(folder)
            raise UsageError("there is a generated corpus in it already", where=folder, fix="replace it with --force")
    elif found and not (temporary and found <= set(_PARTS)):  # else it is a corpus that a killed run left unfinished
        raise UsageError("the folder is not empty", where=folder, fix="name one that is empty or does not exist yet")


def _check_alone(folder: Path, staging: Path) -> None:
    """Those that nobody holds are gone by now."""
    remove_left_over(folder)
    if any(not staging.name.startswith(path.name) for path in temporary_files(folder)):
        raise UsageError(
            "another semctl is writing a corpus here", where=folder, fix="wait for it, or name another folder"
        )


def _make(folder: Path, request: GenerateRequest, progress: Progress) -> GeneratedCorpus:
    plan, seed, given = request.plan, request.seed, request.catalogue
    # the names of the streams of random numbers stay as they are, or a seed would make another corpus
    made = list(given.products) if given else drawn_catalogue(request.count, Random(f"{seed}/catalogue"))
    made = plant_faults(made, plan.faults, Random(f"{seed}/faults"))
    for part in ("products", "images", *(f"dialogues/{split}" for split in plan.dialogues)):
        (folder / part).mkdir(parents=True)
    for product in progress.track(made, "products", total=len(made)):
        write_product(folder, product, f"{seed}/picture/{product.stem}")
    write_links(folder / "url2img.txt", made)
    write_json(folder / "only_in_pictures.json", only_in_images(made))
    policy = UserPolicy(ProductIndex(made))
    if len(policy.types) < 2:
        raise UsageError("the catalogue has too few products of a kind", fix="dialogues need 3 or more of two kinds")
    corruptions = plan_corruptions(plan.dialogues, plan.corruptions, Random(f"{seed}/quirks"))
    writer = DialogueWriter(made)
    moves: Counter[str] = Counter()
    phrases = CataloguePhrases(policy.index) if request.wording == "colloquial" else None
    rewording = Rewording()

    def hold(name: str, pool: int, rng: Random, counts: Rewording) -> Dialogue:
        user = None if phrases is None else ColloquialUser(phrases, Random(f"{name}/colloquial"), counts)
        return Conversation(policy, rng, pool, user).hold()

    with progress.task("dialogues", sum(plan.dialogues.values())) as task:
        for split, dialogues in plan.dialogues.items():
            for number in range(dialogues):
                name = f"{seed}/{split}/{number}"
                rng = Random(name)
                dialogue = hold(name, plan.pool[split], rng, rewording)
                moves += dialogue.moves
                path = folder / "dialogues" / split / f"{number + 1}.json"
                writer.write(path, dialogue, corruptions.get((split, number)), rng)
                task.advance()
    for extra in range(plan.broken):
        name = f"{seed}/broken/{extra}"
        dialogue = hold(name, 20, Random(name), Rewording())
        content = DialogueWriter(made).encode(dialogue, None, Random(0))
        path = folder / "dialogues" / "train" / f"{plan.dialogues['train'] + 1 + extra}.json"
        path.write_bytes(content[: len(content) * 2 // 3])
    report = _report(request, made, writer, moves, Counter(corruptions.values()))
    return report if phrases is None else replace(report, wording=rewording.as_json())


def _report(
    request: GenerateRequest,
    products: Sequence[CatalogueProduct],
    writer: DialogueWriter,
    moves: Mapping[str, int],
    corruptions: Mapping[str, int],
) -> GeneratedCorpus:
    plan = request.plan
    counts = writer.counts
    turns = counts["recommendation_turns"] + counts["recommendation_turns_without_negatives"]
    faults = Counter(product.fault for product in products)
    hidden = Counter(name for product in products for name in product.unwritten)
    names = ("utterances", "user_turns", "system_turns", "recommendation_turns", "positives", "negatives")
    counted: dict[str, Any] = {name: counts[name] for name in (*names, "images_sent_by_user")}
    return GeneratedCorpus(
        size=request.size,
        seed=request.seed,
        catalogue=_origin(request.catalogue),
        dialogues=dict(plan.dialogues),
        **counted,
        positives_per_recommendation=round(counts["positives"] / turns, 3),
        negatives_per_recommendation=round(counts["negatives"] / turns, 3),
        products=len(products),
        images={
            "ok": faults[""] + faults["missing_json"] + faults["broken_json"],
            "missing": faults["missing_image"],
            "dead": faults["dead_link"],
            "broken": faults["broken_image"],
        },
        faulty_products=len(products) - faults[""],
        only_in_images=dict(sorted(hidden.items())),
        moves=dict(sorted(moves.items())),
        corruptions={
            "broken_dialogues": plan.broken,
            **{corruption: corruptions.get(corruption, 0) for corruption in CORRUPTIONS},
            **{f"products_with_{fault}": faults[fault] for fault in FAULTS},
            "references_to": {
                fault: {role: writer.references.get(fault, Counter())[role] for role in ("positives", "negatives")}
                for fault in FAULTS
            },
            **{name: counts[name] for name in ("recommendation_turns_without_negatives", "repeated_negatives")},
            **{name: counts[name] for name in ("negatives_equal_to_a_positive", "typographic_quotes")},
        },
    )


def _origin(catalogue: RealCatalogue | None) -> dict[str, Any]:
    if catalogue is None:
        return {"kind": "drawn"}
    columns, dropped = dict(catalogue.columns), dict(catalogue.dropped)
    return {"kind": "given", "columns": columns, "rows": catalogue.rows, "dropped": dropped}


def _publish(staging: Path, folder: Path, report: GeneratedCorpus) -> None:
    (folder / MARKER).unlink(missing_ok=True)
    for part in reversed(_PARTS):
        old = folder / part
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for part in _PARTS:
        (staging / part).replace(folder / part)
    write_json(folder / MARKER, report.as_json())
