"""Answers of a server are read up to a bound, so that whatever answers there fills no memory."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from schemas.errors import ServiceError

MIB = 1 << 20

LARGEST_ANSWER = 256 * MIB
"""The largest that semctl asks for, a page of 500 tasks with their dialogues, has some ten."""

LARGEST_EXPORT = 2048 * MIB
"""Of the answers to 300 tasks."""


def bound_answer(response: httpx.Response) -> None:
    """A hook for answers not yet read: reading one that is larger, unpacked, ends in a :class:`ServiceError`."""
    is_export = response.request.url.path.endswith("/export")
    packed = httpx.Response(
        response.status_code, headers=response.headers, stream=response.stream, request=response.request
    )
    response.headers.pop("content-encoding", None)
    response.stream = _BoundedStream(packed, LARGEST_EXPORT if is_export else LARGEST_ANSWER)


class _BoundedStream(httpx.SyncByteStream):
    """What an answer holds, unpacked; a block is at most a thousand times what came of it."""

    def __init__(self, packed: httpx.Response, largest: int) -> None:
        self._packed = packed
        self._largest = largest

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for block in self._packed.iter_bytes():
            size += len(block)
            if size > self._largest:
                what = f"an answer of Label Studio is larger than {self._largest // MIB} MiB, and was not read further"
                where = self._packed.request.url.copy_with(query=None)
                raise ServiceError(what, where=where, fix="see what answers there; check LABEL_STUDIO_URL")
            yield block

    def close(self) -> None:
        self._packed.close()
