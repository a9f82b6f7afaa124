"""Kinds of products and groups of attribute values, each a list of words: read from MMD's files, found in texts."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ModelError
from schemas.folding import fold

TAXONOMY_FILES = (
    "raw_taxonomies.py",
    "umd_raw_taxonomies.py.txt",
    "taxonomy_men.txt",
    "taxonomy_women.txt",
    "kg_chatbot_taxonomy.csv",
)
"""Names that files of :func:`read_taxonomy` have: UMD's, MMD's own pair, a later shop's."""

ATTRIBUTE_FILES = ("raw_attributes.py", "umd_raw_attributes.py.txt")
"""Names that files of :func:`read_attribute_groups` have."""

_OTHER = "__other__"
_ABOVE = {"man", "men", "woman", "women", "apparel"}  # what MMD's own lines begin with
_ASSIGNED = re.compile(r"\A\s*\w+\s*=\s*(?='''|\"\"\")")
_WORD = re.compile(r"[^\W_]+")
_FIX = "repair it, or leave knowledge.folder empty"


@dataclass(frozen=True)
class Leaf:
    """A kind of product."""

    top: str  # the node above it
    words: tuple[str, ...]  # that name it


@dataclass(frozen=True)
class Group:
    """Values of an attribute."""

    name: str  # of the attribute
    values: tuple[tuple[str, ...], ...]  # the words that name each


def read_taxonomy(path: Path) -> list[Leaf]:
    """The kinds of products that a file lists; what it has for all others is left out.

    Three forms are known: ``top>word,word`` (UMD, also as the text of a Python file), MMD's own
    ``man>apparel>top>..>word,word``, and a table whose first column is ``root.top.kind.finer kind``, where the names
    below a kind are its words, too.

    Raises:
        ModelError: it cannot be read, or holds something else; names the line.
    """
    table = path.suffix == ".csv"
    words: dict[tuple[str, str], list[str]] = {}
    for number, line in _lines(path):
        parts = _column(line) if table else [part.strip() for part in line.split(">")]
        while len(parts) > 2 and parts[0].casefold() in _ABOVE:
            parts = parts[1:]
        if table:
            if len(parts) > 2:
                words.setdefault((parts[1], parts[2]), []).extend(_words(parts[-1].replace("/", ",")))
        elif len(parts) < 2:
            raise ModelError("no line 'top>word,word' of a taxonomy", where=f"{path}, line {number}", fix=_FIX)
        elif parts[0] != _OTHER:
            words.setdefault((parts[0], parts[-1]), []).extend(_words(parts[-1]))
    found = [Leaf(top, tuple(dict.fromkeys(named))) for (top, _), named in words.items() if named]
    if not found:
        raise ModelError("no taxonomy: it lists no kind of product", where=path, fix=_FIX)
    return found


def read_attribute_groups(path: Path) -> list[Group]:
    """The groups of attribute values that a file lists, ``group:word,word;word;..`` a line (UMD).

    Raises:
        ModelError: it cannot be read, or holds something else; names the line.
    """
    found = []
    for number, line in _lines(path):
        name, colon, values = line.partition(":")
        if not colon or not name.strip():
            raise ModelError("no line 'group:word,word;word' of attributes", where=f"{path}, line {number}", fix=_FIX)
        listed = (tuple(_words(value)) for value in values.split(";"))
        found.append(Group(name.strip(), tuple(words for words in listed if words)))
    if not found:
        raise ModelError("it lists no group of attributes", where=path, fix=_FIX)
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as problem:
        raise ModelError(f"cannot read the file of knowledge: {problem}", where=path, fix=_FIX) from None
    text = re.sub(r"'''|\"\"\"", "", _ASSIGNED.sub("", text))
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()


def _column(line: str) -> list[str]:
    """The parts of a path in a table's first column."""
    cells = next(csv.reader([line]), [""])
    return [part.strip() for part in cells[0].split(".") if part.strip()]


def _words(text: str) -> Iterator[str]:
    """Words between commas; of ``jeans:fit``, an attribute of jeans, the jeans."""
    return (word for part in text.split(",") if (word := part.partition(":")[0].strip()))


class WordLists:
    """Which of several lists of words a text names.

    Args:
        lists: a word may be several, as "tank top"; one that is in two lists counts for the first.
        substrings: words are found within words, too, as the ring in "string"; the first list of which any is found
            counts. False: whole words alone, and the list with the most of them in a row, then the first.
    """

    def __init__(self, lists: Iterable[Sequence[str]], *, substrings: bool = False) -> None:
        self.substrings = substrings
        self.lists: dict[str, int] = {}
        self.count = 0
        for number, words in enumerate(lists):
            self.count = number + 1
            for word in words:
                self.lists.setdefault(fold(word) if substrings else " ".join(_split(word)), number)
        self.lists.pop("", None)
        self._longest = max((word.count(" ") + 1 for word in self.lists), default=0)

    def find(self, texts: Iterable[str]) -> int:
        """The number of the list that the texts name; how many lists there are, if they name none."""
        if self.substrings:
            said = "\n".join(map(fold, texts))
            return min((number for word, number in self.lists.items() if word in said), default=self.count)
        best = (0, self.count)
        for text in texts:
            words = _split(text)
            for begin in range(len(words)):
                for size in range(1, min(self._longest, len(words) - begin) + 1):
                    number = self.lists.get(" ".join(words[begin : begin + size]))
                    if number is not None:
                        best = min(best, (-size, number))
        return best[1]


def _split(text: str) -> list[str]:
    return _WORD.findall(fold(text))
