"""What answers given in an older version of the ontology mean in the current one.

Annotations stay stored as they were marked, with the version of the screen they were marked on. Names and values that
were renamed or merged still find what they are now, so only splits, merges and new slots need the recorded steps:

- A value that was split since can be any of its parts; where these were merged again it is clear once more. What stays
  open leaves its slot unknown from that turn on.
- Two values that were merged since may have been wanted and disliked in one turn: the slot is unknown there, too.
- A slot that was added since is unknown wherever the older answer says nothing of it.

States that came with the corpus are in the corpus's own words: every step is later than they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from annotate.annotations.annotation import Annotation, Mark
from schemas.belief import DIALOGUE_OPS
from schemas.folding import fold, fold_name
from schemas.ontology import AddSlot, MergeSlots, MergeValues, Ontology, RenameSlot, Slot, SplitValue, is_number


@dataclass(frozen=True)
class Switch:
    """A change of a project's screen."""

    since: str  # when, as UTC in ISO 8601
    ontology_version: int  # what the screen offers from then on


@dataclass(frozen=True)
class InterfaceVersions:
    """The changes of all projects' screens, by server and number of the project."""

    switches: Mapping[tuple[str, str], Sequence[Switch]] = field(default_factory=dict)

    def version(
        self, project: str | None, made_with: int, sent_at: str, seconds: float | None, *, server: str | None = None
    ) -> int:
        """The version that an answer is of, which was sent or changed last at ``sent_at`` (UTC in ISO 8601).

        The page may have been opened as long before the answer was sent as its annotator worked on it, so that much is
        allowed for: in doubt the older version counts. Where the server is not known, a number that projects of two
        servers have tells nothing.
        """
        found = self._of(server, project or "")
        if not found or not sent_at:
            return made_with
        opened = _moment(sent_at) - timedelta(seconds=min(seconds or 0.0, 1e6))
        return max([made_with, *(switch.ontology_version for switch in found if _moment(switch.since) <= opened)])

    def _of(self, server: str | None, project: str) -> Sequence[Switch]:
        if server is not None:
            return self.switches.get((server, project), ())
        known = [switches for (_, number), switches in self.switches.items() if number == project]
        return known[0] if len(known) == 1 else ()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


_BEFORE_ALL_STEPS = 0


@dataclass(frozen=True)
class _Meant:
    """A value as it was before one step."""

    version: int  # of the step
    value: str  # its name then
    spellings: frozenset[str]  # all ways to say it then, folded
    into: tuple[str, ...] = ()  # its parts when the step split it


class Migration:
    """Reads answers of any version in the current one."""

    def __init__(self, ontology: Ontology) -> None:
        self.ontology = ontology
        self._values: dict[str, list[_Meant]] = {}
        self._added: list[tuple[int, str]] = []
        for step in ontology.history:
            if isinstance(step, MergeValues | SplitValue):
                slot = ontology.slot(step.slot).name  # names are never used again for another slot
                self._values.setdefault(slot, []).extend(_meant(step))
            elif isinstance(step, AddSlot) and not step.assume_none:
                self._added.append((step.version, ontology.slot(step.slot).name))
        self._cache: dict[tuple[str, str, int], frozenset[str]] = {}

    def values(self, slot: Slot, text: str, version: int) -> frozenset[str]:
        """What a value marked in an older version can mean now: one value when that is clear."""
        key = (slot.name, text, version)
        if key not in self._cache:
            candidates = {text}
            for meant in self._values.get(slot.name, ()):
                if meant.into and meant.version > version:
                    split = {text for text in candidates if fold(text) in meant.spellings}
                    candidates = candidates - split | (set(meant.into) if split else set())
            self._cache[key] = frozenset(now for text in candidates for now in _now(slot, text))
        return self._cache[key]

    def slot_name(self, text: str, version: int) -> str | None:
        """What the slot that ``text`` names was called in a version; None when there is no such slot."""
        slot = self.ontology.find(text)
        if slot is None:
            return None
        name = slot.name
        for step in reversed(self.ontology.history):
            if step.version <= version:
                break
            if isinstance(step, RenameSlot) and step.to == name:
                name = step.slot
            elif isinstance(step, MergeSlots) and step.into == name:
                merged = (one.name for one in step.slots if fold_name(text) in map(fold_name, one.names))
                name = next(merged, name)
        return name

    def meaning(self, slot: str, text: str, version: int) -> tuple[object, ...]:
        """Something that two values of a slot marked in a version share when they meant the same in that version."""
        now = self.ontology.slot(slot)
        name = self.slot_name(slot, version)
        for meant in self._values.get(now.name, ()):
            if meant.version > version and fold(text) in meant.spellings:
                return name, meant.version, meant.value
        return name, fold(self.ontology.link(now, text).value)

    def annotation(self, given: Annotation) -> Annotation:
        """An annotation in the current version; the same object when that changes nothing."""
        version = _BEFORE_ALL_STEPS if given.is_corpus else given.ontology_version
        if not self.ontology.history:
            return given
        marks = [mark for mark in given.marks if mark.op in DIALOGUE_OPS]
        for turn, said in given.turns().items():
            marks += self._turn(turn, said, version)
        migrated = given.with_marks(marks)
        return given if migrated.marks == given.marks else migrated

    def dialogues(self, given: Iterable[tuple[str, list[Annotation]]]) -> Iterator[tuple[str, list[Annotation]]]:
        """:meth:`annotation` of all annotations of each dialogue."""
        for dialogue_id, said in given:
            yield dialogue_id, [self.annotation(each) for each in said]

    def _turn(self, turn: int, said: Sequence[Mark], version: int) -> Iterator[Mark]:
        marks = [self._mark(mark, version) for mark in said]
        unknown = {mark.slot for mark in marks if mark.op == "unknown"} | self._contradicted(said, marks, version)
        of_slot = {mark.slot for mark in marks}
        unknown |= {slot for added, slot in self._added if added > version and slot not in of_slot}
        yield from (mark for mark in marks if mark.slot is None or mark.slot not in unknown)
        yield from (Mark(turn, "unknown", slot) for slot in sorted(filter(None, unknown)))

    def _mark(self, mark: Mark, version: int) -> Mark:
        slot = None if mark.slot is None else self.ontology.find(mark.slot)
        if slot is None:
            return mark
        if mark.op not in ("want", "dislike") or mark.value is None:
            return replace(mark, slot=slot.name)
        values = self.values(slot, mark.value, version)
        if len(values) > 1:
            return Mark(mark.turn, "unknown", slot.name)
        return replace(mark, slot=slot.name, value=next(iter(values)))

    def _contradicted(self, said: Sequence[Mark], now: Sequence[Mark], version: int) -> set[str | None]:
        """Slots with a value wanted and disliked that were two values when they were marked."""
        found: set[str | None] = set()
        held: dict[tuple[str | None, str], Mark] = {}
        for was, mark in zip(said, now, strict=True):
            if mark.op not in ("want", "dislike") or mark.value is None or was.slot is None or was.value is None:
                continue
            first = held.setdefault((mark.slot, fold(mark.value)), was)
            if first.op == was.op or first.slot is None or first.value is None:
                continue
            if self.meaning(first.slot, first.value, version) != self.meaning(was.slot, was.value, version):
                found.add(mark.slot)
        return found


def _meant(step: MergeValues | SplitValue) -> Iterator[_Meant]:
    if isinstance(step, SplitValue):
        yield _Meant(step.version, step.value, frozenset(map(fold, step.spellings)), step.into)
    else:
        for value in step.values:
            yield _Meant(step.version, value.value, frozenset(map(fold, value.spellings)))


def _now(slot: Slot, text: str) -> Iterator[str]:
    """The values that a text names now: the parts of one that was split, as far as they were not split themselves."""
    found = slot.find(text)
    if found is None or (slot.kind == "numeric" and is_number(text)):
        yield text
    elif found.split_into:
        for part in found.split_into:
            yield from _now(slot, part)
    else:
        yield found.value
