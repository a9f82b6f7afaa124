"""Word vectors in a text file, as GloVe's are: a word and its numbers a line; plain, ``.gz``, or within a ``.zip``."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from schemas.errors import MissingPartError, ModelError
from semantic_model.data.records import FloatArray

SUFFIXES = (".txt", ".vec", ".gz", ".zip")
_LONGEST_LINE = 1 << 20  # a file without lines is none of these


def names_a_file(name: str) -> bool:
    """Whether that is a file of vectors, rather than a folder or an id."""
    path = Path(name)
    return path.is_file() or (path.suffix in SUFFIXES and not path.is_dir())


def read_vectors(path: Path, wanted: Collection[str]) -> dict[str, FloatArray]:
    """The vectors of the words that are wanted, in the file's order; the others are read past.

    Every line is checked for its width, which is the first one's, and those of wanted words for being numbers. A first
    line that counts words and numbers (word2vec, fastText) is left out. Of a word that comes twice, the first counts.

    Args:
        path: the file; of a zip that holds several, ``FILE.zip/MEMBER``.
        wanted: words as they are spelled in the file.

    Raises:
        MissingPartError: there is no such file.
        ModelError: a line that is not a word with numbers, or of another width, a file that cannot be read, or one with
            none of the words.
    """
    left, found, width = {word.encode() for word in wanted}, dict[bytes, FloatArray](), 0
    try:
        with _opened(path) as file:
            for number, line in enumerate(_lines(file, path), 1):
                if number == 1 and _is_header(line):
                    continue
                where = f"{path}, line {number}"
                width = width or _width(line, where)
                if line.count(b" ") == width and line.partition(b" ")[0] not in left:
                    continue  # nearly every line: millions of them are read past
                word, numbers = _taken_apart(line, width, where)
                if word in left:
                    found[word] = _vector(numbers, where)
                    left.remove(word)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as problem:
        raise ModelError(f"cannot read the word vectors: {problem}", where=path) from None
    if not found:
        raise ModelError(
            f"none of the corpus's {len(wanted)} words is in this file of word vectors",
            where=path,
            fix="a line is a word, in lower case, and its numbers, as in glove.6B.300d.txt",
        )
    return {word.decode(): vector for word, vector in found.items()}


def _is_header(line: bytes) -> bool:
    fields = line.split()
    return len(fields) == 2 and all(field.isdigit() for field in fields)


def _width(line: bytes, where: str) -> int:
    fields = line.split()
    if len(fields) < 2 or not all(map(_is_number, fields[1:])):
        raise ModelError("not a word and its numbers", where=where, fix="a line is as in glove.6B.300d.txt")
    return len(fields) - 1


def _taken_apart(line: bytes, width: int, where: str) -> tuple[bytes, list[bytes]]:
    """A word and its numbers; a word may hold spaces, as some of GloVe's do."""
    fields = line.split()
    word, numbers = fields[:-width], fields[-width:]
    if not word or (len(word) > 1 and _is_number(word[-1])):
        found = max(len(fields) - 1, 0)
        raise ModelError(f"{found} numbers after a word, the lines before have {width}", where=where)
    return b" ".join(word), numbers


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _vector(numbers: list[bytes], where: str) -> FloatArray:
    try:
        vector = np.array([float(number) for number in numbers], dtype=np.float32)
    except ValueError as problem:
        raise ModelError(f"not a number: {problem}", where=where) from None
    if not np.isfinite(vector).all():
        raise ModelError("a number that is not finite", where=where)
    return vector


def _lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ModelError("not a text file of word vectors: a line without an end", where=path)
        yield line


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    archive = path if path.suffix == ".zip" else next((p for p in path.parents if p.suffix == ".zip"), None)
    file = archive if archive is not None and archive.is_file() else path
    if not file.is_file():
        raise MissingPartError(
            f"there is no file of word vectors '{path}'",
            fix="give its path with --set text.embeddings=FILE; or use --set text.embeddings=words, vectors learned "
            "from the corpus",
        )
    if file == archive:
        with zipfile.ZipFile(file) as opened:
            members = [info.filename for info in opened.infolist() if not info.is_dir()]
            inside = path.relative_to(file).as_posix()
            if inside == "." and len(members) == 1:
                inside = members[0]
            if inside not in members:
                shown = ", ".join(f"{file}/{member}" for member in members[:8])
                raise ModelError("a zip of several files", where=path, fix=f"name one: {shown}")
            with opened.open(inside) as member:
                yield member
    elif file.suffix == ".gz":
        with gzip.open(file) as unpacked:
            yield cast("IO[bytes]", unpacked)
    else:
        with file.open("rb") as plain:
            yield plain
