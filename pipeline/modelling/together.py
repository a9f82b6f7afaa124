"""Training on several machines that share no files: all do the same, and the first process has the run's folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter

from pipeline.modelling.run_record import PLAN, RECORD, Plan, RunRecord, read_record
from schemas.errors import ModelError, SemctlError
from schemas.files import sha256_bytes
from schemas.json_form import json_form
from semantic_model.config.config import Config, flat_settings

if TYPE_CHECKING:
    from semantic_model.data.image_features import Features
    from semantic_model.training.distributed import Processes

T = TypeVar("T")

_PACKAGES = ("annotate", "pipeline", "schemas", "semantic_model")
LIBRARIES = ("torch", "numpy", "tokenizers", "safetensors", "pyarrow")
"""Whose versions decide the last bits of a run."""

_COMPLETE = 1 << 62


def agreed(processes: Processes, make: Callable[[], tuple[Plan, Config]]) -> tuple[Plan, Config]:
    """What to train, made in every process of its own workspace, code and options, and found to be the same.

    Raises:
        SemctlError: what went wrong here.
        ModelError: something went wrong in another process, or is not the same there; says what, and on which machine.
    """
    if processes.count == 1:
        return make()
    made: tuple[Plan, Config] | None = None
    wrong: SemctlError | None = None
    try:
        made = make()
    except SemctlError as problem:
        wrong = problem
    facts = {} if made is None else _facts(*made, processes)
    every = processes.collect([_machine(processes), None if wrong is None else str(wrong), facts])
    if wrong is not None:
        raise wrong
    compare(every)
    assert made is not None
    return made


def same_images(processes: Processes, features: Features) -> None:
    """See that every machine has the features of the same images.

    Raises:
        ModelError: one has others; says which machine.
    """
    if processes.count > 1:
        readable = f"images.{len(features.rows)} that can be read"
        facts = {"images.encoder": features.source, readable: _hash(sorted(features.rows))}
        compare(processes.collect([_machine(processes), None, facts]))


def compare(every: list[Any]) -> None:
    """Raise where processes do not have the same.

    Args:
        every: of each process, in order, where it runs, what went wrong there (or None), and its facts by name: the
            part before the first full stop says of what kind a fact is.

    Raises:
        ModelError: the first process that differs from the first of all.
    """
    for machine, wrong, _ in every:
        if wrong is not None:
            raise ModelError(f"another machine cannot take part: {wrong}", where=machine, fix="put that right there")
    first, _, expected = every[0]
    for machine, _, facts in every[1:]:
        names = sorted(name for name in expected.keys() | facts.keys() if expected.get(name) != facts.get(name))
        if names:
            kind = names[0].partition(".")[0]
            same = [name.partition(".")[2] for name in names if name.startswith(f"{kind}.")]
            shown = ", ".join(same[:5]) + (f" and {len(same) - 5} more" if len(same) > 5 else "")
            what, fix = _DIFFERENCES[kind]
            raise ModelError(f"not the same on {first} and on {machine}: {what} ({shown})", fix=fix)


_DIFFERENCES = {
    "code": (
        "the code or what computes",
        "install the same semctl and libraries on every machine, a GPU on all or none",
    ),
    "data": ("the data", "copy the first machine's workspace to the others, without its runs"),
    "images": ("the images", "copy the folder `features` of the first machine's workspace to the others"),
    "options": ("the options or settings", "start every machine with the same command and the same semctl.toml"),
}
"""Kind of a fact -> what differs, and the fix; in the order of the kinds' names."""


def _facts(plan: Plan, config: Config, processes: Processes) -> dict[str, str]:
    found: dict[str, str] = {f"data.{name}": value for name, value in plan.inputs.items()}
    found |= {f"code.{name}": importlib.metadata.version(name) for name in LIBRARIES}
    found |= {"code.semctl": _code(), "code.device": processes.device}
    found |= {f"options.{name}": _hash(value) for name, value in flat_settings(config).items()}
    chosen = {name: getattr(plan, name) for name in ("labeled_ratio", "seed", "images", "labelled", "ds_input", "run")}
    return found | {f"options.{name}": _hash(value) for name, value in chosen.items()}


def _hash(value: Any) -> str:
    return sha256_bytes(repr(value).encode())[:16]


def _machine(processes: Processes) -> str:
    return f"{platform.node()}, process {processes.rank}"


def _code() -> str:
    root, digest = Path(__file__).resolve().parents[2], hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".toml"):
                digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def bring(folder: Path, processes: Processes, *, unfinished: bool) -> None:
    """Let the first process have a run's folder as far as any has come with it.

    Which machine has the first process is settled anew at each start, and only that one wrote the folder.

    Args:
        folder: of the run, the same name on each machine.
        unfinished: also bring one that is not complete.
    """
    if processes.count == 1:
        return
    steps = processes.collect(_steps(folder))
    holder = steps.index(max(steps))
    if holder == 0 or steps[holder] < (0 if unfinished else _COMPLETE):
        return
    last = (PLAN, RECORD)  # a folder without is none yet
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    names = processes.collect([*(name for name in names if name not in last), *(n for n in last if n in names)])[holder]
    for name in names:
        processes.send_file(folder / name, holder, folder / name if processes.first else None)


def _steps(folder: Path) -> int:
    from semantic_model.training.checkpoint import steps_done

    if not (folder / PLAN).is_file():
        return -1
    return _COMPLETE if (folder / RECORD).is_file() else steps_done(folder / "checkpoints" / "last.safetensors")


def complete_record(folder: Path, processes: Processes) -> RunRecord | None:
    """The record of a run that the first process has, in every process; None when it is not complete.

    Raises:
        ModelError: it is no record.
    """
    return of_first(processes, lambda: read_record(folder) if (folder / RECORD).is_file() else None, RunRecord)


def of_first(processes: Processes, make: Callable[[], T | None], kind: type[T]) -> T | None:
    """What the first process makes, in every process.

    Args:
        kind: the dataclass that it is, of fields that JSON holds.
    """
    here = make() if processes.first else None
    told = processes.collect(None if here is None else json_form(here))[0]
    return here if processes.first or told is None else TypeAdapter(kind).validate_json(json.dumps(told))
