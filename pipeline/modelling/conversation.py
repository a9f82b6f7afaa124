"""Conversations to recommend products for: dialogues of the corpus, and others that were never imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.corpus import records
from pipeline.corpus.jsonl import ConversationLine, validated
from pipeline.corpus.parsing import as_text
from schemas.errors import CorpusError, UsageError
from schemas.validation import did_you_mean
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import Utterance

Photo = Path | bytes
"""An image that the corpus does not have: its file, or what is in it."""


class UnknownImageError(CorpusError):
    """A conversation shows an image that is not there."""


@dataclass(frozen=True)
class Conversation:
    """What was said so far, up to a turn."""

    dialogue_id: str  # what it is called
    turn: int  # the last merged turn that is read, counted from 0
    history: tuple[Utterance, ...]  # all merged utterances up to that turn, oldest first
    # name in the history -> image, of the images that are not the corpus's
    photos: Mapping[str, Photo] = field(default_factory=dict)
    split: str = ""  # of a dialogue of the corpus
    # product rows that the dialogue's system recommends in the next turn; None when that is not known
    positives: tuple[int, ...] | None = None


def dialogue_of_corpus(corpus: Corpus, name: str, turn: int | None = None) -> Conversation:
    """A dialogue of the corpus up to a turn, the user's last one when none is named.

    Args:
        name: its id, or the part after its split when that is unique.

    Raises:
        CorpusError: no such dialogue; names the nearest.
        UsageError: a turn that the dialogue does not have.
    """
    dialogue_id = find_dialogue(corpus, name)
    said = corpus.utterances(dialogue_id)
    last = last_turn([(index, utterance.speaker) for index, utterance in said], turn, dialogue_id)
    split = corpus.splits[dialogue_id]
    known = next(
        (q.positives for q in corpus.queries(split) if (q.dialogue_id, q.turn) == (dialogue_id, last + 1)), None
    )
    return Conversation(dialogue_id, last, corpus.history(dialogue_id, last + 1), split=split, positives=known)


def read_conversation(
    value: object,
    corpus: Corpus,
    *,
    where: str,
    photos: Callable[[str], Photo | None] = lambda name: None,
    turn: int | None = None,
    called: str = "conversation",
) -> Conversation:
    """A conversation as JSON has it: a dialogue of the JSONL corpus format (:mod:`pipeline.corpus.jsonl`).

    ``{"turns": [{"speaker": "user", "text": "like this one, in red", "images": ["seen.jpg"]}]}``; ``dialogue_id`` may
    be left out. An image is an image id or a product id of the corpus, which stands for the product's image (nothing is
    shown where it has none), or a name that ``photos`` knows. It is read as an import reads a dialogue: utterances of
    one speaker in a row are one turn. Labels and candidates count for nothing, but that a system turn without images
    shows those of its ``positives``.

    Args:
        value: the parsed JSON.
        where: what errors name, as the file and its line.
        photos: image name -> image, of those that the corpus does not have; None: there is none of that name.
        turn: the last merged turn to read; the user's last when left out.
        called: its id where it has none.

    Raises:
        CorpusError: not of that form, or an image that is not there.
        UsageError: a turn that it does not have, or nothing that the user says.
    """
    if not isinstance(value, dict):
        raise CorpusError("a JSON object is expected", where=where, fix='write {"turns": [...]}')
    line = validated(ConversationLine, value, where)
    found: dict[str, Photo] = {}
    turns = records.MergedTurns()
    for each in line.turns:
        images = [shown for name in each.images if (shown := _image(name, corpus, photos, found, where)) is not None]
        if not each.images:
            known = [name for name in each.positives if name in corpus.product_rows]
            images = [shown for name in known if (shown := image_of_product(corpus, name)) is not None]
        turns.add(records.Utterance(each.speaker, each.act, as_text(each.text), images))
    name = line.dialogue_id or called
    last = last_turn(list(enumerate(turns.speakers)), turn, name)
    history = tuple(
        Utterance(speaker, text, () if corpus.blank_images else tuple(images))
        for speaker, text, images in zip(turns.speakers, turns.texts, turns.images, strict=True)
    )[: last + 1]
    if not any(said.text.strip() or said.image_ids for said in history if said.speaker == "user"):
        raise UsageError(f"the user says and shows nothing in '{name}'", where=where, fix="give a text or an image")
    shown_in_history = {image for said in history for image in said.image_ids}
    return Conversation(name, last, history, {name: photo for name, photo in found.items() if name in shown_in_history})


def _image(
    name: str, corpus: Corpus, photos: Callable[[str], Photo | None], found: dict[str, Photo], where: str
) -> str | None:
    """The image that a conversation names; None where a product has none, or images are left out."""
    if corpus.blank_images:
        return None
    if name in corpus.image_files or name in corpus.image_products:
        return name
    if name in corpus.product_rows:
        return image_of_product(corpus, name)
    photo = photos(name)
    if photo is None:
        fix = "name a file, or an image or a product of the catalogue"
        raise UnknownImageError(f"there is no image '{name}'", where=where, fix=fix)
    found[name] = photo
    return name


def image_of_product(corpus: Corpus, product_id: str) -> str | None:
    """A product's first image that can be read, else any that it is listed with; None without one."""
    row = corpus.product_rows[product_id]
    listed = (image for image, of in corpus.image_products.items() if of == row)
    return corpus.products[row].image_id or next(listed, None)


def photos_in(folder: Path) -> Callable[[str], Photo | None]:
    """Image names as files, relative to a folder where they are relative."""

    def find(name: str) -> Photo | None:
        path = folder / name
        try:
            return path if path.is_file() else None
        except (OSError, ValueError):  # too long, or with a NUL
            return None

    return find


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


def last_turn(speakers: list[tuple[int, Any]], turn: int | None, dialogue: str) -> int:
    """The turn up to which a dialogue is read: the one named, else the user's last.

    Args:
        speakers: (turn, who speaks in it) in order.

    Raises:
        UsageError: there is no such turn.
    """
    if turn is None:
        asked = [index for index, speaker in speakers if speaker == "user"]
        if not asked:
            raise UsageError(f"the user says nothing in dialogue '{dialogue}'", fix="name a turn with --turn")
        return asked[-1]
    if turn not in {index for index, _ in speakers}:
        raise UsageError(
            f"dialogue '{dialogue}' has no turn {turn}", fix=f"its turns are {speakers[0][0]} to {speakers[-1][0]}"
        )
    return turn
