"""A disk that refuses, for this process only: full, or a folder that may not be written, for root as well."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["full_disk", "read_only"]

_CAPABILITY_VERSION_3 = 0x20080522
_PAST_PERMISSIONS = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
_EFFECTIVE, _WORDS = 0, 6


@contextmanager
def full_disk(room: int = 100) -> Iterator[None]:
    """No file grows past ``room`` bytes: the kernel refuses the write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(*folders: Path) -> Iterator[None]:
    """Nothing can be made or removed in these folders; what is below them in other folders is not touched."""
    modes = {folder: folder.stat().st_mode & 0o777 for folder in folders}
    with _without_rights_of_root():
        for folder in folders:
            folder.chmod(0o555)
        try:
            yield
        finally:
            for folder, mode in modes.items():
                folder.chmod(mode)


@contextmanager
def _without_rights_of_root() -> Iterator[None]:
    """Permissions hold for this thread, whoever runs it."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    before = (ctypes.c_uint32 * _WORDS)()
    if libc.capget(header, before) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    fewer = (ctypes.c_uint32 * _WORDS)(*before)
    fewer[_EFFECTIVE] &= ~_PAST_PERMISSIONS
    _set(libc, header, fewer)
    try:
        yield
    finally:
        _set(libc, header, before)


def _set(libc: ctypes.CDLL, header: ctypes.Array[ctypes.c_uint32], wanted: ctypes.Array[ctypes.c_uint32]) -> None:
    if libc.capset(header, wanted) != 0:
        raise OSError(ctypes.get_errno(), "capset")
