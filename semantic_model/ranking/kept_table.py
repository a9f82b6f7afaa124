"""An encoded catalogue kept on disk, so that the next process maps it into memory instead of encoding it again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor

from schemas.errors import ModelError
from schemas.files import read_json, remove_folder, remove_left_over, sha256_bytes, temporary_folder, write_json
from semantic_model.data.records import Product
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.ranking.ranker import Ranker

FORMAT = 1
_MANIFEST = "table.json"
_log = logging.getLogger("semctl")


def kept_table(ranker: Ranker, products: Sequence[Product], folder: Path, made_of: Mapping[str, str]) -> Any:
    """The encoded catalogue: from ``folder`` where it was kept, else encoded, and kept there for the next time.

    What is kept is mapped copy-on-write: processes that serve the same catalogue share its memory. Rankers that are not
    networks, and tables that hold anything but tensors, are encoded each time.

    Args:
        ranker: encodes; on a GPU, what is kept is copied there.
        products: the catalogue.
        folder: one folder inside it for each table; those of other catalogues or weights are removed.
        made_of: hashes of all that the table depends on beside the rows of the products' images: weights, settings,
            products, versions.
    """
    if not isinstance(ranker, NetworkRanker):
        return ranker.encode_products(products)
    here = folder / _key(ranker, products, made_of)
    alike = ranker.encode_products(products[:1])  # of the same classes
    known = _leaves(alike)
    if known is None:
        return ranker.encode_products(products)
    if (here / _MANIFEST).is_file():
        remove_left_over(folder)  # of a process that was killed just after it had kept the table
        try:
            return _rebuilt(alike, iter(_read(here, known)))
        except ModelError as damage:
            _log.warning("the kept catalogue is encoded again: %s", damage)
    table = ranker.encode_products(products)
    try:
        _keep(here, list(_walk(table)))
    except OSError as problem:
        _log.warning("the encoded catalogue is not kept, the next start takes longer: %s", problem)
    return table


def _keep(here: Path, leaves: Sequence[Tensor]) -> None:
    with temporary_folder(here) as fresh:
        for number, leaf in enumerate(leaves):
            np.save(fresh / _file(number), _as_array(leaf), allow_pickle=False)
        write_json(fresh / _MANIFEST, {"format": FORMAT, "shapes": [list(leaf.shape) for leaf in leaves]})
        if here.is_dir():
            remove_folder(here)
        fresh.replace(here)
    for other in here.parent.iterdir():  # of other catalogues; processes that have them mapped keep them
        if other != here and (other / _MANIFEST).is_file():
            remove_folder(other)


def _key(ranker: NetworkRanker, products: Sequence[Product], made_of: Mapping[str, str]) -> str:
    rows = sha256_bytes(ranker.reader.image_rows(products).tobytes())
    told = {**made_of, "image rows": rows, "precision": ranker.precision, "format": str(FORMAT)}
    return sha256_bytes(orjson.dumps(told, option=orjson.OPT_SORT_KEYS))[:16]


def _leaves(table: Any) -> list[Tensor] | None:
    """The tensors of a table in order; None where it holds anything else."""
    try:
        return list(_walk(table))
    except TypeError:
        return None


def _walk(table: Any) -> Iterator[Tensor]:
    if isinstance(table, Tensor):
        yield table
    elif isinstance(table, tuple):
        for part in table:
            yield from _walk(part)
    elif is_dataclass(table):
        for each in fields(table):
            yield from _walk(getattr(table, each.name))
    else:
        raise TypeError(type(table).__name__)


def _rebuilt(alike: Any, leaves: Iterator[Tensor]) -> Any:
    if isinstance(alike, Tensor):
        return next(leaves)
    if isinstance(alike, tuple):
        parts = [_rebuilt(part, leaves) for part in alike]
        return type(alike)(*parts) if hasattr(alike, "_fields") else tuple(parts)
    return replace(alike, **{each.name: _rebuilt(getattr(alike, each.name), leaves) for each in fields(alike)})


def _as_array(leaf: Tensor) -> np.ndarray[Any, Any]:
    here = leaf.detach().cpu().contiguous()
    return here.view(torch.int16).numpy() if here.dtype == torch.bfloat16 else here.numpy()


def _read(folder: Path, alike: Sequence[Tensor]) -> list[Tensor]:
    said = read_json(folder / _MANIFEST, error=ModelError)
    shapes = said.get("shapes") if isinstance(said, dict) and said.get("format") == FORMAT else None
    if not isinstance(shapes, list) or len(shapes) != len(alike):
        raise ModelError("not a table of this kind", where=folder)
    found = []
    for number, (shape, like) in enumerate(zip(shapes, alike, strict=True)):
        tensor = torch.from_numpy(_mapped(folder / _file(number), shape))
        kind = torch.int16 if like.dtype == torch.bfloat16 else like.dtype
        if list(tensor.shape) != shape or tensor.dtype != kind or tensor.ndim != like.ndim:
            raise ModelError("not a table of this kind", where=folder / _file(number))
        found.append((tensor.view(torch.bfloat16) if like.dtype == torch.bfloat16 else tensor).to(like.device))
    return found


def _mapped(path: Path, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """Copy-on-write: torch takes no memory that cannot be written."""
    try:
        found = np.load(path, mmap_mode=None if 0 in shape else "c", allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, MemoryError) as problem:
        raise ModelError(f"not a plain array: {problem}", where=path) from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub":
        raise ModelError("not a plain array of numbers", where=path)
    return found


def _file(number: int) -> str:
    return f"{number:03}.npy"
