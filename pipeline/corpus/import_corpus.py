"""Stage 1: a corpus in a published format becomes the tables of a workspace, with a ledger of what was dropped and why.

Dialogues are read in chunks, by several processes where there are enough of them, and streamed into the tables; only
the catalogue and the distinct images are held in memory. Everything is written beside the workspace's tables and
moved into place at the end, the manifest last.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.catalogue import Catalogue, Setting, TopicChange
from pipeline.corpus.images import check_images
from pipeline.corpus.layout import Folders
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.parsing import snake_case
from pipeline.corpus.reading import Chunks, open_reader
from pipeline.corpus.recommendations import RECOMMENDATION_COLUMNS
from pipeline.corpus.records import SPLITS, Reader, SplitShares
from pipeline.corpus.slots import CorpusSlots
from pipeline.corpus.updates import UPDATE_COLUMNS, annotation_rows
from pipeline.ontology.derivation import AttributeCounts, CorpusSlot, derive_ontology, grown
from pipeline.workspace import Workspace
from schemas.engine import Engine
from schemas.errors import CorpusError, UsageError
from schemas.files import remove_left_over, temporary_folder, write_json
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress
from schemas.safe_text import as_unicode
from schemas.tables import (
    ANNOTATIONS,
    IMAGES,
    PRODUCTS,
    RECOMMENDATIONS,
    TURNS,
    Table,
    TableWriter,
    open_table,
    open_writer,
)


@dataclass
class ImportReport:
    """What an import made."""

    ledger: Ledger  # in, kept and dropped of every kind of thing
    splits: dict[str, int] = field(default_factory=dict)  # split -> dialogues
    # how dialogues were shared out among the splits; None when the corpus's own splits were taken
    drawn_splits: SplitShares | None = None
    user_turns: int = 0
    recommendation_turns: int = 0
    products: int = 0
    # currency -> products with a price in it; "unknown" where none is named
    prices_by_currency: dict[str, int] = field(default_factory=dict)
    # status -> images
    images: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("ok", "missing", "dead", "broken"), 0))
    # the corpus's own state slots, with the attribute each was taken for (None: the catalogue has none)
    slots: dict[str, str | None] = field(default_factory=dict)
    attribute_aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    image_ids: str = "links"  # whether the corpus names images by ``links``, ``ids`` or ``files``
    ontology_version: int = 1  # version of ``ontology.json`` afterwards
    # files, folders and columns that lie in the corpus and were not read, each with the reason
    left_out: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object of ``semctl import --json``."""
        return {
            **json_form(self),
            "dialogues": self.ledger["dialogues"].kept,
            "labelled_turns": self.ledger["states"].kept,
            "dropped": self.ledger.dropped(),
        }


@dataclass(frozen=True)
class ImportRequest:
    """What to import.

    Raises:
        UsageError: less than one job, or an unknown topic change.
        CorpusError: a path that is not UTF-8.
    """

    folder: Path  # the corpus
    form: str  # one of :data:`FORMATS`
    # dialogues, products, images: where these parts lie when not in their usual places below ``folder``
    dialogues: Path | None = None
    products: Path | None = None
    images: Path | None = None
    ignore_states: bool = False  # leave out the states that the corpus brings
    # in corpora with per-turn states, what it means that a turn names another category than before
    topic_change: TopicChange = "reset"
    # draw the splits instead of taking the corpus's; ids of dialogues stay as they are
    split: SplitShares | None = None
    # how many processes may read the dialogues of a large corpus in MMD's layout; None: one a core. The tables are the
    # same to the byte whatever it is.
    jobs: int | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise UsageError("--jobs must be at least 1")
        if self.topic_change not in ("reset", "keep"):
            raise UsageError(f"unknown topic change '{self.topic_change}'", fix="use reset or keep")
        for path in filter(None, (self.folder, self.dialogues, self.products, self.images)):
            if as_unicode(str(path)) != str(path):
                raise CorpusError("the path of a corpus must be UTF-8", where=path, fix="rename the folder")


def import_corpus(
    workspace: Workspace, request: ImportRequest, *, engine: Engine | None = None, progress: Progress | None = None
) -> ImportReport:
    """Import a corpus; the workspace is made if it is not there, and the tables of an earlier import are replaced.

    Args:
        engine: reads the dialogues of a corpus in MMD's layout, and looks at images; the tables are the same.

    Raises:
        CorpusError: no such folder, no dialogues or no catalogue in it, or a file of one's own data that is not valid.
        OntologyError: the workspace's ``ontology.json`` was edited into something invalid.
        UsageError: an unknown format, or a workspace that cannot be written to.
        ServiceError: a process that read dialogues was killed, or an engine's workers again and again.
    """
    workspace.require_path()
    progress = progress or SilentProgress()
    ledger = Ledger()
    folders = Folders(request.folder, request.dialogues, request.products, request.images)
    reader = open_reader(request.form, folders, ledger, with_states=not request.ignore_states)
    existing = workspace.ontology() if workspace.ontology_file.is_file() else None
    settings = {"format": request.form, "ignore_states": request.ignore_states, "topic_change": request.topic_change}
    with _staging(workspace.root) as staging:
        job = _Import(reader, staging, ledger, request, progress, engine)
        report = job.run()
        report.left_out = tuple(folders.left_out)
        for told in folders.left_out:
            progress.log(f"not read: {told}")
        ontology = job.ontology(existing)
        report.ontology_version = ontology.version
        annotated = job.write_annotations(workspace, ontology)
        ledger.check()
        _publish(workspace, staging, annotated)
        if ontology != existing:
            ontology.write(workspace.ontology_file)
        manifest = {
            "semctl_schema": 1,
            "settings": settings,
            "inputs": job.inputs,
            "ontology_sha256": ontology.sha256(),
            **report.as_json(),
        }
        write_json(workspace.import_manifest, manifest)
    return report


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A folder on the workspace's disk that is gone afterwards; what killed imports left there goes too."""
    place = root
    while not place.exists():
        place = place.parent
    remove_left_over(root.parent)  # of an import that was killed before there was a workspace
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(temporary_folder(place / "import"))
            stack = stack.pop_all()
    except OSError as problem:
        raise UsageError(f"cannot make a workspace here: {problem.strerror}", where=root) from None
    with stack:
        yield folder


def _publish(workspace: Workspace, staging: Path, annotated: bool) -> None:
    workspace.create()
    workspace.import_manifest.parent.mkdir(exist_ok=True)
    workspace.import_manifest.unlink(missing_ok=True)
    for path in (workspace.products, workspace.images, workspace.turns, workspace.recommendations):
        (staging / path.name).replace(path)
    if annotated:
        workspace.annotations.parent.mkdir(exist_ok=True)
        (staging / workspace.annotations.name).replace(workspace.annotations)


@dataclass
class _Import:
    """One import, from an open reader to tables in the staging folder."""

    reader: Reader
    staging: Path
    ledger: Ledger
    request: ImportRequest
    progress: Progress
    engine: Engine | None = None
    inputs: dict[str, str] = field(default_factory=dict)

    def run(self) -> ImportReport:
        """Read everything and write products, images, turns, recommendations and (raw) updates."""
        self._report = ImportReport(self.ledger, drawn_splits=self.request.split)
        self._counts = AttributeCounts()
        self._corpus_slots: list[CorpusSlot] = []
        self._slot_keys: dict[str, str] = {}
        with Chunks(self.reader, self.request.jobs, self.engine) as chunks:
            with self.progress.task("reading the catalogue"):
                self._catalogue = Catalogue(self.reader.products(self.ledger), self.ledger)
                image_ids = self._catalogue.link_images(self.reader.image_refs)
            self._report.products = len(self._catalogue.products)
            self._report.attribute_aliases = self._catalogue.aliases
            self._report.prices_by_currency = self._catalogue.currencies
            for product in self._catalogue.products:
                self._counts.add(product.attributes, product.currency)
            slots = CorpusSlots(self._catalogue.attributes)
            self._write_dialogues(chunks, slots)
            self._write_products(image_ids)
            self._write_images()
            self._settle_slots(slots)
        return self._report

    def _write_products(self, image_ids: Mapping[str, tuple[str, ...]]) -> None:
        rows = (
            {
                "product_id": product.product_id,
                "name": product.name,
                "description": product.description,
                "attributes": [(name, sorted(product.attributes[name])) for name in sorted(product.attributes)],
                "price": product.price,
                "currency": product.currency,
                "image_ids": image_ids[product.product_id],
                "source": product.source,
            }
            for product in self._catalogue.products
        )
        with open_writer(self.staging / "products.parquet", PRODUCTS, inputs=self.inputs) as table:
            table.write_all(rows)

    def _write_images(self) -> None:
        image_refs = self.reader.image_refs
        found = sorted(image_refs.found.values())
        line = self.ledger["images"]
        with open_writer(self.staging / "images.parquet", IMAGES, inputs=self.inputs) as table:
            ambiguous = image_refs.ambiguous()
            checked = check_images(found, image_refs.folder, ambiguous=ambiguous, engine=self.engine)
            for file in self.progress.track(checked, "looking at images", len(found)):
                table.write(file.row())
                self._report.images[file.status] += 1
                if file.status == "ok":
                    line.keep()
                else:
                    line.drop(file.reason)
        self._report.image_ids = "ids" if image_refs.uses_ids else "links" if any(p.url for p in found) else "files"

    def _write_dialogues(self, chunks: Chunks, slots: CorpusSlots) -> None:
        reader, ledger, report = self.reader, self.ledger, self._report
        setting = Setting(
            reader.candidates,
            reader.negatives_needed,
            reader.not_slots,
            self.request.topic_change,
            self.request.split,
            self._catalogue.attributes,
            self._catalogue.lookup(),
            reader.image_refs,
        )
        report.splits = dict.fromkeys(SPLITS, 0)
        with _no_cycle_collection(), ExitStack() as stack:

            def table(name: str, kind: Table, given_as: pa.Schema | None = None) -> TableWriter:
                return stack.enter_context(open_writer(self.staging / f"{name}.parquet", kind, given_as=given_as))

            turns = table("turns", TURNS)
            recommendations = table("recommendations", RECOMMENDATIONS, RECOMMENDATION_COLUMNS)
            updates = stack.enter_context(pa.ipc.new_stream(self.staging / _UPDATES, UPDATE_COLUMNS))
            reading = stack.enter_context(self.progress.task("reading dialogues", reader.count() or None))
            for read, chunk in chunks.read(setting):
                turns.gather_arrow(chunk.turns)
                recommendations.write_arrow(chunk.recommendations)
                updates.write_table(chunk.updates)
                ledger.add(chunk.ledger)
                slots.hear(chunk.said)
                reader.image_refs.add(chunk.image_refs)
                report.user_turns += chunk.user_turns
                for split, n in chunk.splits.items():
                    report.splits[split] += n
                reading.advance(read)
            if not ledger["dialogues"].kept:
                reasons = ", ".join(f"{reason} {n}" for reason, n in ledger["dialogues"].dropped.items())
                raise CorpusError(f"none of the dialogues can be used: {reasons}", fix="check --format and the files")
            self.inputs = dict(sorted(reader.input_hashes().items()))
            for writer in (turns, recommendations):
                writer.add_inputs(self.inputs)
        report.recommendation_turns = ledger["recommendation_turns"].kept

    def _settle_slots(self, slots: CorpusSlots) -> None:
        attribute_of = slots.attribute_of(self._counts.values)
        for key in sorted(attribute_of):
            name, attribute = slots.name_of(key), attribute_of[key]
            self._slot_keys[key] = own = attribute or snake_case(name)
            self._report.slots[name] = attribute
            if slots.is_taken(name, own):
                name = own
            self._corpus_slots.append(CorpusSlot(name, own, tuple(sorted(slots.spellings[key])), dict(slots.said[key])))

    def ontology(self, existing: Ontology | None) -> Ontology:
        aliases = self._catalogue.aliases
        derived = derive_ontology(self._counts, aliases=aliases, corpus_slots=self._corpus_slots)
        return derived if existing is None else grown(existing, derived, self._counts)

    def write_annotations(self, workspace: Workspace, ontology: Ontology) -> bool:
        """Write the corpus's updates, then others' annotations as they were; whether there is anything to publish."""
        names = {key: ontology.slot(attribute).name for key, attribute in self._slot_keys.items()}
        old = workspace.annotations if workspace.annotations.is_file() else None
        with pa.memory_map(str(self.staging / _UPDATES)) as file, pa.ipc.open_stream(file) as updates:
            chunks = (pa.Table.from_batches([batch]) for batch in updates)
            first = next(chunks, None)
            if first is None and old is None:
                return False
            with open_writer(self.staging / workspace.annotations.name, ANNOTATIONS, inputs=self.inputs) as table:
                for rows in chain(() if first is None else (first,), chunks):
                    table.gather_arrow(annotation_rows(rows, names, ontology.version))
                if old is not None:
                    with open_table(old, ANNOTATIONS) as others:
                        for batch in others.iter_batches():
                            rows = ANNOTATIONS.as_now(pa.Table.from_batches([batch]))
                            table.write_arrow(rows.filter(pc.not_equal(rows["annotator"], "corpus")))
        return True


_UPDATES = "updates.arrows"


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """Parsed JSON holds no cycles, but looking for them among its lists costs a tenth of the import."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
