"""Makes a whole corpus in a folder: catalogue, images, dialogues, and the record of what was made."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from pipeline.generator.catalogue import FAULTS, CatalogueProduct, drawn_catalogue, plant_faults
from pipeline.generator.mmd_layout import DialogueWriter, only_in_images, write_links, write_product
from pipeline.generator.real_catalogue import RealCatalogue
from pipeline.generator.user_goal import ProductIndex
from pipeline.generator.user_simulator import CORRUPTIONS, Simulator, plan_corruptions
from pipeline.generator.vocabulary import load
from schemas.errors import UsageError
from schemas.files import remove_left_over, temporary_files, temporary_folder, write_json
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress

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


@dataclass(frozen=True)
class GenerateRequest:
    """What to make; the same request gives the same bytes.

    Raises:
        UsageError: an unknown size, or too few products or too many.
    """

    size: str = "demo"  # a name in :data:`SIZES`
    seed: int = 0  # of all chance
    products: int | None = None  # how many products to draw instead of the size's own number
    catalogue: RealCatalogue | None = None  # real products to use instead of drawn ones
    force: bool = False  # replace a corpus that was made in the folder before

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise UsageError(f"unknown size '{self.size}'", fix=f"one of: {', '.join(SIZES)}")
        least = max(42, self.plan.faults * len(FAULTS) * 4)
        if self.count < least:
            raise UsageError(f"{self.count} products are too few for the size '{self.size}'", fix=f"at least {least}")
        if self.count > _MOST_PRODUCTS:
            raise UsageError(f"{self.count} products are too many", fix=f"at most {_MOST_PRODUCTS}")

    @property
    def plan(self) -> Size:
        """How much is made at this size."""
        return SIZES[self.size]

    @property
    def count(self) -> int:
        """How many products the catalogue has."""
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

    def as_json(self) -> dict[str, Any]:
        """The content of ``generated.json``."""
        return json_form(self)


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
    simulator = Simulator(ProductIndex(made))
    if len(simulator.policy.types) < 2:
        raise UsageError("the catalogue has too few products of a kind", fix="dialogues need 3 or more of two kinds")
    corruptions = plan_corruptions(plan.dialogues, plan.corruptions, Random(f"{seed}/quirks"))
    writer = DialogueWriter(made)
    moves: Counter[str] = Counter()
    with progress.task("dialogues", sum(plan.dialogues.values())) as task:
        for split, dialogues in plan.dialogues.items():
            for number in range(dialogues):
                rng = Random(f"{seed}/{split}/{number}")
                dialogue = simulator.dialogue(rng, plan.pool[split])
                moves += dialogue.moves
                path = folder / "dialogues" / split / f"{number + 1}.json"
                writer.write(path, dialogue, corruptions.get((split, number)), rng)
                task.advance()
    for extra in range(plan.broken):
        dialogue = simulator.dialogue(Random(f"{seed}/broken/{extra}"), 20)
        content = DialogueWriter(made).encode(dialogue, None, Random(0))
        path = folder / "dialogues" / "train" / f"{plan.dialogues['train'] + 1 + extra}.json"
        path.write_bytes(content[: len(content) * 2 // 3])
    return _report(request, made, writer, moves, Counter(corruptions.values()))


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
    return GeneratedCorpus(
        size=request.size,
        seed=request.seed,
        catalogue=_origin(request.catalogue),
        dialogues=dict(plan.dialogues),
        utterances=counts["utterances"],
        user_turns=counts["user_turns"],
        system_turns=counts["system_turns"],
        recommendation_turns=counts["recommendation_turns"],
        positives=counts["positives"],
        negatives=counts["negatives"],
        images_sent_by_user=counts["images_sent_by_user"],
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
