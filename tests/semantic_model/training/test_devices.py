"""Which GPUs a process may use."""

from __future__ import annotations

import pytest
import torch

from semantic_model.training.devices import visible_gpus


@pytest.mark.parametrize(
    ("count", "named", "expected"),
    [
        (0, None, ()),
        (3, None, ("0", "1", "2")),
        (2, "5, 7", ("5", "7")),
        (0, "", ()),
        (1, "GPU-ab,GPU-cd", ("GPU-ab",)),
    ],
)
def test_gpus_are_those_that_the_process_sees(
    monkeypatch: pytest.MonkeyPatch, count: int, named: str | None, expected: tuple[str, ...]
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected
