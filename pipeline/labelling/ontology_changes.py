"""A change of the ontology, asked for on the command line, with all that depends on it: labels, record, projects.

The order is safe at every moment. First everything is checked, the server included; then ``ontology.json`` is written,
from when on answers of both vocabularies are understood; then the projects on the server get the new configuration.
Cut short in between, the same command again does what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.annotations.annotation import Annotation, Mark, read_annotations
from annotate.annotations.migration import Migration
from annotate.resolution.answers import newest_versions
from pipeline.batches import read_batches
from pipeline.labelling.live_configuration import (
    LiveProject,
    check_projects,
    configuration,
    known_projects,
    update_projects,
)
from pipeline.ontology.derivation import AttributeCounts, catalogue_slot
from pipeline.ontology.edits import (
    add_slot,
    add_value,
    merge_slots,
    merge_values,
    rename_slot,
    rename_value,
    split_value,
)
from pipeline.workspace import Workspace
from schemas.errors import OntologyError, ServiceError, UsageError
from schemas.files import locked, write_atomic
from schemas.folding import fold_name
from schemas.ontology import Ontology, Slot, SplitValue, Step
from schemas.progress import Progress, SilentProgress
from schemas.tables import PRODUCTS, open_table
from schemas.validation import did_you_mean

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Project


Edit = Callable[[Ontology], Ontology]
"""A change, ready to be made; see :mod:`pipeline.ontology.edits`."""


@dataclass
class Touched:
    """Labels that read differently after a change."""

    annotations: int = 0
    turns: int = 0
    dialogues: set[str] = field(default_factory=set)
    # (as it reads now, as it will read) -> marks, a slot alone where it is dropped; None where it can no longer be told
    marks: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    unclear_turns: int = 0  # turns at which a slot becomes unknown
    unclear: set[str] = field(default_factory=set)  # their dialogues


@dataclass(frozen=True)
class ChangeReport:
    """What a change did, or would do."""

    # before, after: the ontology; the same when there was nothing to change
    before: Ontology
    after: Ontology
    touched: Touched  # the labels that read differently
    projects: tuple[LiveProject, ...] = ()
    requeue: Path | None = None
    dry_run: bool = False
    problem: str | None = None  # why the server was not asked, or None

    @property
    def step(self) -> Step | None:
        """The step that was made; None when there was nothing to change."""
        return None if self.after == self.before else self.after.history[-1]

    @property
    def products_left(self) -> int:
        """Products that keep a value that was split, so that no state finds them by it any more."""
        if not isinstance(self.step, SplitValue):
            return 0
        value = self.after.slot(self.step.slot).named(self.step.value)
        return value.count if value is not None and value.split_into else 0

    def as_json(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "version": {"before": self.before.version, "after": self.after.version},
            "step": None if self.step is None else self.step.model_dump(mode="json"),
            "touched": {
                "annotations": self.touched.annotations,
                "turns": self.touched.turns,
                "dialogues": len(self.touched.dialogues),
            },
            "marks": [
                {"before": before, "after": after, "marks": count}
                for (before, after), count in sorted(
                    self.touched.marks.items(), key=lambda item: (-item[1], item[0][0])
                )
            ],
            "unclear": {"turns": self.touched.unclear_turns, "dialogues": len(self.touched.unclear)},
            "products_left": self.products_left,
            "requeue": None if self.requeue is None else str(self.requeue),
            "projects": [project.as_json() for project in self.projects],
        }


def change_ontology(
    workspace: Workspace, edit: Edit, *, dry_run: bool = False, offline: bool = False, progress: Progress | None = None
) -> ChangeReport:
    """Make a change, or say what it would do.

    Args:
        dry_run: write nothing, here or on the server.
        offline: leave the server alone; the next export to a project brings it up to date.

    Raises:
        InputError: the change is not possible, or a project on the server cannot take it; nothing is changed.
        ServiceError: the server of the projects does not answer; nothing is changed. Or it failed in between: the same
            command again continues.
    """
    progress = progress or SilentProgress()
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(locked(workspace.require().labelling / ".lock"))
        before = workspace.require().ontology()
        after = edit(before)
        settings = workspace.settings().labelling
        configs = {role: configuration(after, settings, review=role == "review") for role in ("label", "review")}
        batches = read_batches(workspace.labelling)
        projects = known_projects(batches)
        gateway, problem = None, None
        checked: list[tuple[LiveProject, Project | None]] = [(project, None) for project in projects]
        if projects and not offline:
            from annotate.label_studio.gateway import connect

            try:
                gateway = connect(workspace.root)
                checked = check_projects(gateway, projects, configs, after)
            except ServiceError as failed:
                if not dry_run:
                    raise _with_a_way_out(failed) from None
                problem = str(failed)
        touched = _touched(workspace, before, after, progress)
        requeue = workspace.annotations.parent / f"requeue-ontology-{after.version}.txt" if touched.unclear else None
        report = ChangeReport(
            before, after, touched, tuple(project for project, _ in checked), requeue, dry_run, problem
        )
        if dry_run:
            return report
        if after != before:
            if requeue is not None:
                write_atomic(requeue, "".join(f"{dialogue}\n" for dialogue in sorted(touched.unclear)))
            after.write(workspace.ontology_file)
        if gateway is None:
            return report
        with progress.task("projects on the server", total=len(checked)) as bar:
            updated = update_projects(
                gateway, checked, configs, after, workspace.labelling, batches, lambda _: bar.advance()
            )
    return replace(report, projects=tuple(updated))


def _with_a_way_out(failed: ServiceError) -> ServiceError:
    way = "nothing was changed; with --offline the next export-for-labelling brings the projects up to date"
    return ServiceError(failed.what, where=failed.where, fix=f"{failed.fix}; {way}" if failed.fix else way)


def _touched(workspace: Workspace, before: Ontology, after: Ontology, progress: Progress) -> Touched:
    touched = Touched()
    if after == before:
        return touched
    old, new = Migration(before), Migration(after)
    for annotation in progress.track(_in_force(workspace.annotations), "labels"):
        was, becomes = old.annotation(annotation).turns(), new.annotation(annotation).turns()
        turns = [turn for turn in was if _read(was[turn], before) != _read(becomes.get(turn, []), after)]
        if turns:
            touched.annotations += 1
            touched.turns += len(turns)
            touched.dialogues.add(annotation.dialogue_id)
        for turn in turns:
            _count_marks(touched, was[turn], annotation, old, new)
            if _unknown(becomes[turn]) - _unknown(was[turn]):
                touched.unclear_turns += 1
                touched.unclear.add(annotation.dialogue_id)
    return touched


def _in_force(path: Path) -> Iterator[Annotation]:
    """The newest version of each annotation of the table."""
    for _, versions in groupby(read_annotations(path), key=lambda each: each.annotation_id):
        yield from newest_versions(versions)


def _read(marks: list[Mark], ontology: Ontology) -> set[tuple[str, ...]]:
    """What marks say, however they spell it."""
    return {(mark.op, *_said(mark, ontology)) for mark in marks}


def _unknown(marks: list[Mark]) -> set[str]:
    return {mark.slot for mark in marks if mark.op == "unknown" and mark.slot is not None}


def _count_marks(touched: Touched, was: list[Mark], annotation: Annotation, old: Migration, new: Migration) -> None:
    """Count what each mark of a turn becomes."""
    for mark in was:
        if mark.slot is None or mark.op == "unknown":
            continue
        one = replace(annotation, marks=(mark,), ontology_version=old.ontology.version)
        becomes = [now for now in new.annotation(one).marks if now.op == mark.op]
        reads = "=".join(_said(mark, old.ontology))
        will = "=".join(_said(becomes[0], new.ontology)) if becomes else None
        if reads != will:
            touched.marks[reads, will] += 1


def _said(mark: Mark, ontology: Ontology) -> tuple[str, ...]:
    """The slot and the value of a mark as the ontology writes them."""
    slot = None if mark.slot is None else ontology.find(mark.slot)
    if slot is None:
        return ()
    return (slot.name,) if mark.value is None else (slot.name, ontology.link(slot, mark.value).value)


def renaming(target: str, to: str) -> Edit:
    """Rename ``SLOT`` or ``SLOT=VALUE``."""
    slot, value = _slot_and_value(target)
    if value is None:
        return lambda ontology: rename_slot(ontology, slot, to)
    return lambda ontology: rename_value(ontology, slot, value, _alone(slot, to))


def merging(targets: Sequence[str], into: str) -> Edit:
    """Merge values of one slot, or slots of one attribute."""
    parsed = [_slot_and_value(target) for target in targets]
    values = [value for _, value in parsed if value is not None]
    if len(parsed) < 2:
        raise UsageError("name two or more to merge", fix="semctl ontology merge SLOT=A SLOT=B --into A")
    if not values:
        return lambda ontology: merge_slots(ontology, [slot for slot, _ in parsed], into)
    if len(values) < len(parsed):
        raise UsageError("a slot cannot be merged with a value", fix="write all as SLOT, or all as SLOT=VALUE")

    def edit(ontology: Ontology) -> Ontology:
        names = dict.fromkeys(ontology.slot(slot).name for slot, _ in parsed)
        if len(names) > 1:
            raise UsageError(f"values of {' and '.join(names)}: only values of one slot can be merged")
        return merge_values(ontology, next(iter(names)), values, _alone(next(iter(names)), into))

    return edit


def splitting(workspace: Workspace, target: str, into: Sequence[str]) -> Edit:
    """Split ``SLOT=VALUE``; each text of ``into`` is a part, or several with commas between."""
    slot, value = _slot_and_value(target)
    if value is None:
        raise UsageError("only a value can be split", where=target, fix="semctl ontology split SLOT=VALUE --into A,B")

    def edit(ontology: Ontology) -> Ontology:
        found = ontology.slot(slot)
        counts = _catalogue(workspace).values[found.attribute]
        return split_value(ontology, slot, value, [part for text in into for part in _parts(found, text)], counts)

    return edit


def adding(
    workspace: Workspace,
    target: str,
    *,
    attribute: str | None = None,
    aliases: Sequence[str] = (),
    assume_none: bool = False,
) -> Edit:
    """Add ``SLOT=VALUE`` with aliases, or ``SLOT`` for a product attribute."""
    slot, value = _slot_and_value(target)
    if value is not None:
        if attribute is not None or assume_none:
            raise UsageError("--attribute and --assume-none are for slots", fix="leave them out, or add SLOT")
        return lambda ontology: add_value(ontology, slot, value, aliases)
    if aliases:
        raise UsageError("--alias is for values", fix="semctl ontology add SLOT=VALUE --alias WORD")

    def edit(ontology: Ontology) -> Ontology:
        known = ontology.find(slot)
        if known is not None and known.name == slot and attribute is None:
            return ontology
        catalogue = _catalogue(workspace)
        named = next((name for name in catalogue.values if fold_name(name) == fold_name(attribute or slot)), None)
        if named is None and attribute is not None:
            fix = did_you_mean(attribute, catalogue.values, "leave --attribute out for a slot that no product has")
            raise OntologyError(f"no product has the attribute '{attribute}'", fix=fix)
        return add_slot(ontology, catalogue_slot(slot, named or slot, catalogue), assume_none=assume_none)

    return edit


def _slot_and_value(target: str) -> tuple[str, str | None]:
    slot, equals, value = target.partition("=")
    slot, value = slot.strip(), value.strip()
    if not slot or (equals and not value):
        raise UsageError(f"'{target}' names nothing", fix="write SLOT or SLOT=VALUE")
    return slot, value if equals else None


def _alone(slot: str, text: str) -> str:
    """A new value, which people may have written with its slot in front."""
    name, equals, value = text.partition("=")
    return value if equals and fold_name(name) == fold_name(slot) else text


def _parts(slot: Slot, text: str) -> list[str]:
    """The parts that a text names: itself when the slot has it, commas and all, else what the commas divide."""
    whole = _alone(slot.name, text.strip())
    return [whole] if slot.named(whole) else [_alone(slot.name, part.strip()) for part in whole.split(",")]


def _catalogue(workspace: Workspace) -> AttributeCounts:
    counts = AttributeCounts()
    with open_table(workspace.products, PRODUCTS) as file:
        for batch in file.iter_batches(columns=["attributes", "currency"]):
            columns = (column.to_pylist() for column in batch.columns)
            for attributes, currency in zip(*columns, strict=True):
                counts.add(dict(attributes), currency)
    return counts
