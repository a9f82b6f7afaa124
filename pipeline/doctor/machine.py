"""What the doctor finds, and of the machine: versions, processor, GPU, memory and disk."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.environment import cores, installed_version

Level = Literal["ok", "warning", "problem"]
"""``warning``: something works worse than it could, or soon will; ``problem``: something does not work."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    area: str  # machine, workspace or Label Studio
    check: str
    level: Level
    found: str
    fix: str | None = None  # what to do about it; None where nothing needs doing


REQUIREMENTS: Mapping[str, tuple[str, str | None]] = {
    "torch": ("2.11", None),
    "torchvision": ("0.26", None),
    "transformers": ("5", None),
    "pyarrow": ("18", None),
    "label-studio-sdk": ("2.1", "2.2"),
    "fsspec": ("2024.6", None),
    "httpcore": ("1.0", None),
    "httpx": ("0.27", None),
    "ijson": ("3.3", None),
    "jinja2": ("3.1", None),
    "matplotlib": ("3.9", None),
    "numpy": ("1.26", None),
    "orjson": ("3.10", None),
    "pandas": ("2.2", None),
    "rapidfuzz": ("3.10", None),
    "regex": ("2024.11.6", None),
    "pillow": ("12.3", None),
    "pydantic": ("2.9", None),
    "rich": ("13.9", None),
    "safetensors": ("0.5", None),
    "scipy": ("1.13", None),
    "tensorboard": ("2.17", None),
    "tokenizers": ("0.21", None),
    "typer": ("0.15", None),
}
"""Package -> the oldest version that will do, and the first newer one that will not."""

_REPORTED = ("torch", "torchvision", "transformers", "pyarrow", "label-studio-sdk")  # a line each; the rest together
_ONLY_FOR_LABELLING = ("label-studio-sdk", "httpcore", "httpx")
_GIB = 1 << 30


def examine_machine(folder: Path) -> list[Finding]:
    """Look at the machine."""
    versions = {package: installed_version(package) for package in REQUIREMENTS}
    findings = [_python(), *examine_packages(versions)]
    if versions["torch"] and versions["torchvision"]:
        findings += _torch()
    findings += [_memory(), _disk(folder)]
    return findings


def examine_packages(versions: Mapping[str, str | None]) -> list[Finding]:
    """Judge installed versions, None for a package that is not there."""
    findings = []
    quiet = []
    for package, version in versions.items():
        level, fix = _judge(package, version)
        if package in _REPORTED or level != "ok":
            findings.append(Finding("machine", package, level, version or "not installed", fix))
        else:
            quiet.append(f"{package} {version}")
    if quiet:
        findings.append(Finding("machine", "other packages", "ok", ", ".join(quiet)))
    if _numbers(versions.get("torch") or "")[:3] == (2, 13, 0):
        found = f"torch 2.13.0 with torchvision {versions.get('torchvision')}"
        fix = "pip install --upgrade torch torchvision, both in one command"
        findings.append(Finding("machine", "torch with torchvision", "problem", f"{found}: known not to work", fix))
    return findings


def _judge(package: str, version: str | None) -> tuple[Level, str | None]:
    lowest, beyond = REQUIREMENTS[package]
    wanted = f"{package}>={lowest}" + (f",<{beyond}" if beyond else "")
    fix = f'pip install "{wanted}"'
    if version is None:
        if package in _ONLY_FOR_LABELLING:
            return "warning", f"{fix}, to label in Label Studio and to fetch images; training and evaluation do without"
        return "problem", fix
    have = _numbers(version)
    if have < _numbers(lowest) or (beyond is not None and have >= _numbers(beyond)):
        return "problem", fix
    return "ok", None


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _python() -> Finding:
    version = platform.python_version()
    if _numbers(version) >= (3, 11):
        return Finding("machine", "Python", "ok", f"{version} on {platform.system()} {platform.machine()}")
    return Finding("machine", "Python", "problem", version, "use Python 3.11 or newer")


def _torch() -> list[Finding]:
    """Whether torch and torchvision load together, and what they compute on."""
    try:
        import torch

        # what does not load together is their compiled parts; importing the rest takes as long as torch itself
        vision = importlib.util.find_spec("torchvision")
        for part in Path(str(vision.origin)).parent.glob("_C*.so") if vision else ():
            load: Callable[[str], None] = torch.ops.load_library
            load(str(part))
            torch.ops.torchvision.nms  # noqa: B018 - raises where it is not registered
    except Exception as problem:  # a broken build raises RuntimeError, OSError or ImportError
        what = f"does not load: {type(problem).__name__}: {' '.join(str(problem).split())}"
        fix = "pip install --upgrade --force-reinstall torch torchvision, both in one command"
        return [Finding("machine", "torch with torchvision", "problem", what, fix)]
    findings = [Finding("machine", "processor", "ok", f"{cores()} cores, {torch.get_num_threads()} threads for torch")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found = f"{torch.cuda.get_device_name(index)}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
            level: Level = "warning" if free < 2 * _GIB else "ok"
            busy = "another program holds its memory; see `nvidia-smi`" if level == "warning" else None
            findings.append(Finding("machine", f"GPU {index}", level, found, busy))
    elif shutil.which("nvidia-smi") is not None:
        found = "nvidia-smi is there, but this torch sees no GPU"
        fix = "update the driver, or install a CUDA build of torch"
        findings.append(Finding("machine", "GPU", "warning", found, fix))
    else:
        findings.append(Finding("machine", "GPU", "ok", "none; training runs on the processor"))
    return findings


def _memory() -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {key: int(rest.split()[0]) * 1024 for key, _, rest in (line.partition(":") for line in lines)}
        free, total = sizes["MemAvailable"], sizes["MemTotal"]
    except (OSError, KeyError, ValueError, IndexError):
        return Finding("machine", "memory", "ok", "not known on this system")
    found = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB available"
    if free < 2 * _GIB:
        return Finding("machine", "memory", "warning", found, "close other programs: training wants about 2 GiB")
    return Finding("machine", "memory", "ok", found)


def _disk(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    found = f"{usage.free / _GIB:.1f} GiB free for {folder}"
    if usage.free < _GIB // 4:
        return Finding("machine", "disk", "problem", found, "make room: nothing can be written safely")
    if usage.free < 5 * _GIB:
        return Finding("machine", "disk", "warning", found, "Label Studio wants 2 GiB, checkpoints up to 1 GiB a run")
    return Finding("machine", "disk", "ok", found)
