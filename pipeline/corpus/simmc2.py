"""SIMMC 2.0: dialogues over objects of a 3-D scene, catalogues, and which object of a scene is which item.

A system turn recommends the items of the objects it speaks of. The items are those of the release's scene files
(``*_scene.json``), the scene of the turn first; a map from each dialogue's objects to items goes before them, where
there is one. The candidates that a turn was chosen over are the other items of its dialogue's map, or else of its
scene. An object that could be one of several items is left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.corpus.layout import UNREADABLE, Folders, files_below
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.mmd import UnreadableStateError, turn_state
from pipeline.corpus.parsing import as_text, id_text, pairs, structure
from pipeline.corpus.records import StateRecord, Utterance
from pipeline.corpus.simmc import SimmcDialogue, SimmcReader, count_unread, read_object
from schemas.errors import CorpusError

OBJECT_MAP = "dialogue_object_to_item.json"
_SCENE = "_scene.json"


class Simmc2Reader(SimmcReader):
    """Reads SIMMC 2.0's own JSON.

    Raises:
        CorpusError: there are no dialogues, no catalogue, or neither scenes nor an object map.
    """

    source = "simmc2"
    other_files = (OBJECT_MAP,)

    def __init__(self, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> None:
        super().__init__(folders, ledger, with_states=with_states)
        self._used("scenes")
        places = [folders.root] if folders.dialogues is None else [_folder(folders.dialogues), folders.root]
        files = (path for place in places for path in files_below(place, _SCENE))
        self._scene_files: dict[str, Path] = {}
        for path in files:
            first = self._scene_files.setdefault(path.name[: -len(_SCENE)], path)
            if not first.samefile(path):
                folders.leave_out(path, f"{first.relative_to(folders.root)} is read instead")
        self._scenes: dict[str, Mapping[str, str]] = {}
        found = folders.find(OBJECT_MAP)
        if found is None and not self._scene_files:
            packed = sorted(path.name for path in folders.root.glob("*scene_jsons*.zip"))
            unpack = f"unpack {' and '.join(packed)} here" if packed else f"put the release's scenes (*{_SCENE}) here"
            raise CorpusError(
                f"nothing here says which object is which item: there are no scenes, and there is no {OBJECT_MAP}",
                where=folders.root,
                fix=f'{unpack}, or make one: {{dialogue: {{object: {{"items": [item ids]}}}}}}',
            )
        self._objects = {} if found is None else read_object(found, self._files)

    def _utterances(
        self, dialogue: SimmcDialogue, index: int, turn: Mapping[str, Any], ledger: Ledger
    ) -> list[Utterance]:
        utterances = []
        user, system = turn.get("transcript"), turn.get("system_transcript")
        said, answered = (
            _annotation(turn.get("transcript_annotated")),
            _annotation(turn.get("system_transcript_annotated")),
        )
        if isinstance(user, str):
            state: StateRecord | None = None
            if self._with_states and said.slot_values is not None:
                try:
                    state = turn_state(said.slot_values)
                except UnreadableStateError as problem:
                    ledger["states"].drop(problem.reason)
            elif self._with_states and not said.is_readable:
                ledger["states"].drop("not_readable")
            utterances.append(Utterance("user", said.act, as_text(user), state=state))
        if not answered.is_readable:
            ledger["recommendation_turns"].drop("annotation_not_readable")
        # the last turns of the public test set tell the objects that are spoken of, but not the words
        if isinstance(system, str) or answered.objects:
            positives, negatives = self._candidates(dialogue, index, answered.objects, ledger)
            utterances.append(Utterance("system", answered.act, as_text(system), (), positives, negatives))
        count_unread(utterances, (user, system), ledger)
        return utterances

    def _candidates(
        self, dialogue: SimmcDialogue, index: int, objects: list[Any], ledger: Ledger
    ) -> tuple[list[str], list[str]]:
        if not objects:
            return [], []
        known = self._objects.get(dialogue.number)
        item_of = {name: _items(value) for name, value in known.items()} if isinstance(known, dict) else {}
        scenes = self._scenes_of(dialogue, index, ledger)
        positives: list[str] = []
        for name in map(id_text, objects):
            items = _found(name, item_of, scenes)
            if len(items) == 1:
                positives += items
            elif items:
                ledger["positives"].drop("ambiguous_object")
            elif not name:
                ledger["positives"].drop("not_a_reference")
            elif not self._scene_files:
                ledger["positives"].drop("object_not_in_the_map")
            else:
                ledger["positives"].drop("object_in_no_scene" if scenes else "scene_not_found")
        if not positives:
            ledger["recommendation_turns"].drop("no_unambiguous_object")
            return [], []
        there = [items[0] for items in item_of.values() if len(items) == 1]
        if not item_of and scenes:
            there = [*scenes[0].values()]
        return positives, list(dict.fromkeys(item for item in there if item not in positives))

    def _scenes_of(self, dialogue: SimmcDialogue, index: int, ledger: Ledger) -> list[Mapping[str, str]]:
        """Object -> item in each scene of a dialogue that can be read, that of a turn first."""
        by_start = {
            int(start): scene
            for start, scene in pairs(dialogue.raw.get("scene_ids")) or ()
            if start.strip().isdecimal() and isinstance(scene, str)
        }
        started = [start for start in sorted(by_start) if start <= index]
        starts = [*reversed(started), *(start for start in sorted(by_start) if start > index)]
        scenes = (self._scene(by_start[start], ledger) for start in starts)
        return [scene for scene in scenes if scene]

    def _scene(self, name: str, ledger: Ledger) -> Mapping[str, str]:
        """Object -> item in a scene; nothing where there is no such scene."""
        if name not in self._scenes:
            # names of scenes that were annotated anew begin with m_, which files may lack
            paths = (self._scene_files.get(spelling) for spelling in (name, name.removeprefix("m_"), f"m_{name}"))
            path = next(filter(None, paths), None)
            self._scenes[name] = {} if path is None else self._read_scene(path, ledger)
        return self._scenes[name]

    def _read_scene(self, path: Path, ledger: Ledger) -> Mapping[str, str]:
        content = self._files.read_json(path, ledger["scenes"])
        if content is UNREADABLE:
            return {}
        scenes = content.get("scenes") if isinstance(content, dict) else None
        found: dict[str, str] = {}
        for scene in scenes if isinstance(scenes, list) else []:
            objects = scene.get("objects") if isinstance(scene, dict) else None
            for thing in objects if isinstance(objects, list) else []:
                if isinstance(thing, dict) and isinstance(thing.get("prefab_path"), str):
                    found.setdefault(id_text(thing.get("index")), thing["prefab_path"])
        if found:
            ledger["scenes"].keep()
        else:
            ledger["scenes"].drop("no_objects")
        return found


class _Annotation(NamedTuple):
    """What is annotated of an utterance."""

    act: str = ""
    slot_values: Any = None  # as they are written; None where there are none
    objects: list[Any] = []  # noqa: RUF012 - never changed
    is_readable: bool = True  # False where there is something in no known form


def _annotation(value: object) -> _Annotation:
    """Annotations are an object, a list of such objects, or either as text."""
    value = structure(value)
    if value is None or value in ("", [], {}):
        return _Annotation()
    act, slot_values = "", None
    objects: list[Any] = []
    for entry in value if isinstance(value, list) else [value]:
        attributes = structure(entry.get("act_attributes")) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or (attributes is None and not isinstance(entry.get("act"), str)):
            return _Annotation(act, is_readable=False)
        if attributes is not None and not isinstance(attributes, dict):
            return _Annotation(act, is_readable=False)
        act = act or as_text(entry.get("act"))
        attributes = attributes or {}
        said = structure(attributes.get("slot_values"))
        if said is not None and slot_values is not None:
            before, more = pairs(slot_values), pairs(said)
            if before is None or more is None:
                return _Annotation(act, is_readable=False)
            said = [*map(list, before), *map(list, more)]
        slot_values = slot_values if said is None else said
        spoken_of = structure(attributes.get("objects", attributes.get("object")))
        objects += spoken_of if isinstance(spoken_of, list) else [] if spoken_of is None else [spoken_of]
    return _Annotation(act, slot_values, objects)


def _found(name: str, item_of: Mapping[str, list[str]], scenes: list[Mapping[str, str]]) -> list[str]:
    """The items that an object can be: the map's, those of the turn's scene, or those of the dialogue's others."""
    items = item_of.get(name, [])
    if len(items) == 1 or not scenes:
        return items
    if name in scenes[0]:
        return [scenes[0][name]]
    return list(dict.fromkeys(scene[name] for scene in scenes if name in scene)) or items


def _folder(place: Path) -> Path:
    return place if place.is_dir() else place.parent


def _items(value: object) -> list[str]:
    items = value.get("items") if isinstance(value, dict) else value
    return [text for item in (items if isinstance(items, list) else [items]) if (text := id_text(item))]
