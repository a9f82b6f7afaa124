"""What splits share: nearly the same dialogue, or an image of a user's, in two of them makes figures look better."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.workspace import Workspace
from schemas.folding import fold
from schemas.tables import IMAGES, PRODUCTS, TURNS, open_table, read_table

ALIKE = 0.9
"""Of the different utterances of either of two dialogues, the share that both have where they are nearly the same."""

_LISTED = 20


class SplitOverlap(NamedTuple):
    """What is in more than one split."""

    dialogues: Mapping[str, int]  # split -> dialogues that are nearly the same as one of another split
    images: Mapping[str, int]  # split -> images shown in it and in another one, of those that no product has
    examples: tuple[tuple[str, str], ...]  # such dialogues, the first ones


def split_overlap(workspace: Workspace) -> SplitOverlap:
    """Look for dialogues and images that several splits share.

    Raises:
        WorkspaceError: nothing was imported.
        SchemaError: a table of another version.
    """
    said: dict[str, set[int]] = defaultdict(set)
    splits: dict[str, str] = {}
    shown: dict[str, set[str]] = defaultdict(set)  # image -> splits
    with open_table(workspace.turns, TURNS) as file:
        for batch in file.iter_batches(10_000, columns=["dialogue_id", "text", "image_ids", "split"]):
            for row in batch.to_pylist():
                splits[row["dialogue_id"]] = row["split"]
                text = fold(row["text"])
                if text:
                    said[row["dialogue_id"]].add(hash(text))
                for image in row["image_ids"]:
                    shown[image].add(row["split"])
    pairs = list(alike(said, splits))
    own = _images_by_content(workspace, shown)
    return SplitOverlap(
        Counter(splits[name] for name in {name for pair in pairs for name in pair}),
        Counter(split for where in own if len(where) > 1 for split in where),
        tuple(sorted(pairs)[:_LISTED]),
    )


def alike(said: Mapping[str, set[int]], splits: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs of dialogues of different splits that are nearly the same, each pair once, its names in order.

    Two sets that share ``ALIKE`` of either one have one of their rarest parts in common: only such pairs are compared.

    Args:
        said: dialogue -> its different utterances.
        splits: dialogue -> its split.
    """
    same: dict[frozenset[int], list[str]] = defaultdict(list)
    for name in sorted(said):
        same[frozenset(said[name])].append(name)
    times = Counter(utterance for utterances in same for utterance in utterances)
    by_rare: dict[int, list[frozenset[int]]] = defaultdict(list)
    for utterances, names in same.items():
        for at, one in enumerate(names):
            yield from ((one, other) for other in names[at + 1 :] if splits[one] != splits[other])
        compared: set[frozenset[int]] = set()
        rare = sorted(utterances, key=lambda each: (times[each], each))
        for utterance in rare[: len(rare) - math.ceil(ALIKE * len(rare) - 1e-9) + 1]:
            for other in by_rare[utterance]:
                least = ALIKE * max(len(utterances), len(other))
                if other not in compared and len(utterances & other) >= least:
                    both = ((one, two) for one in names for two in same[other] if splits[one] != splits[two])
                    yield from ((min(pair), max(pair)) for pair in both)
                compared.add(other)
            by_rare[utterance].append(utterances)


def _images_by_content(workspace: Workspace, shown: Mapping[str, set[str]]) -> Iterable[set[str]]:
    """The splits of each image that no product has; files of the same content are one image."""
    products = read_table(workspace.products, PRODUCTS, columns=["image_ids"])["image_ids"].combine_chunks().flatten()
    own = shown.keys() - set(products.to_pylist())
    found: dict[str, set[str]] = defaultdict(set)
    rows: list[dict[str, Any]] = read_table(workspace.images, IMAGES, columns=["image_id", "sha256"]).to_pylist()
    content = {row["image_id"]: row["sha256"] for row in rows if row["image_id"] in own}
    for image in own:
        found[content.get(image) or f"image {image}"] |= shown[image]
    return found.values()
