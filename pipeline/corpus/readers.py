"""Which reader reads which format."""

from __future__ import annotations

from pipeline.corpus.layout import Folders
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.records import Reader
from schemas.errors import UsageError
from schemas.validation import did_you_mean

__all__ = ["FORMATS", "open_reader"]

FORMATS = ("mmd", "simmc1", "simmc2", "jsonl")


def open_reader(form: str, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> Reader:
    """The reader of a format, opened on a corpus.

    Raises:
        UsageError: an unknown format.
        CorpusError: the folder does not hold a corpus in this format.
    """
    if form == "mmd":
        from pipeline.corpus.mmd import MmdReader

        return MmdReader(folders, ledger, with_states=with_states)
    if form == "simmc1":
        from pipeline.corpus.simmc1 import Simmc1Reader

        return Simmc1Reader(folders, ledger, with_states=with_states)
    if form == "simmc2":
        from pipeline.corpus.simmc2 import Simmc2Reader

        return Simmc2Reader(folders, ledger, with_states=with_states)
    if form == "jsonl":
        from pipeline.corpus.jsonl import JsonlReader

        return JsonlReader(folders, ledger, with_states=with_states)
    fix = did_you_mean(form, FORMATS, f"formats: {', '.join(FORMATS)}")
    raise UsageError(f"unknown corpus format '{form}'", fix=fix)
