"""Rules of the house that hold for every module: who may import whom, what stays out, what every command has."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "schemas": {"schemas"},
    "annotate": {"annotate", "schemas"},
    "semantic_model": {"semantic_model", "schemas"},
    "pipeline": {"pipeline", "annotate", "semantic_model", "schemas"},
}
ONLY_IN = {
    "label_studio_sdk": ("annotate/label_studio/session.py",),
    "rich": ("pipeline/console.py",),
    "typer": ("pipeline/cli.py", "pipeline/context.py", "pipeline/commands/"),
    "torch": (
        "semantic_model/",
        "pipeline/modelling/train.py",
        "pipeline/modelling/evaluate.py",
        "pipeline/modelling/recommend.py",
        "pipeline/doctor/machine.py",
    ),
    "torchvision": ("semantic_model/",),
    "ray": ("pipeline/engine.py",),
    "transformers": ("semantic_model/",),
}
HEAVY = tuple("torch torchvision transformers pandas label_studio_sdk PIL numpy pyarrow ijson ray".split())
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LONGEST_MODULE = 600

MODULES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> list[tuple[str, bool]]:
    """Every imported module by its full name, and whether it is imported when the module is."""
    return list(_imports(path, tree_of(path)))


def _imports(path: Path, tree: ast.Module) -> Iterator[tuple[str, bool]]:
    inside_functions = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in inside_functions
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}: write imports in full, not relative"
            yield str(node.module), id(node) not in inside_functions


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=variables, timeout=300, check=False
    )


def module_name(path: Path) -> str:
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_run_downwards_only(path: Path):
    package = path.relative_to(ROOT).parts[0]
    for name, _ in imports(path):
        top = name.partition(".")[0]
        if top in MAY_IMPORT:
            assert top in MAY_IMPORT[package], (
                f"{relative(path)} imports {name}; {package} may import {sorted(MAY_IMPORT[package])} only"
            )


def room(module: str) -> str:
    """``pipeline.corpus`` of ``pipeline.corpus.mmd``; a module outside of rooms is one of its own."""
    return ".".join(module.split(".")[:2])


def test_no_room_imports_one_that_imports_it():
    names = {module_name(path) for path in MODULES}
    below: dict[str, set[str]] = {}
    for path in MODULES:
        here = room(module_name(path))
        for name, _ in imports(path):
            there = room(name)
            if (
                there != here
                and there.partition(".")[0] == here.partition(".")[0]
                and any(other == there or other.startswith(f"{there}.") for other in names)
            ):
                below.setdefault(here, set()).add(there)
    TopologicalSorter(below).prepare()  # raises CycleError, which names the rooms


@pytest.mark.parametrize("package", sorted(set(MAY_IMPORT) - {"schemas"}))
def test_tests_lie_in_the_rooms_of_what_they_test(package: str):
    rooms = {path.parent.name for path in (ROOT / package).glob("*/*.py")}
    strange = {
        relative(path) for path in (ROOT / "tests" / package).glob("*/test_*.py") if path.parent.name not in rooms
    }
    assert not strange


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_libraries_stay_where_they_belong(path: Path):
    for name, at_import in imports(path):
        top = name.partition(".")[0]
        allowed = ONLY_IN.get(top)
        if allowed is not None:
            assert relative(path).startswith(allowed), f"{relative(path)} imports {name}; only {allowed} may"
        if top == "torch" and relative(path).startswith("pipeline/"):
            assert not at_import, f"{relative(path)}: import torch inside the function that needs it"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_nothing_is_read_that_can_run_code(path: Path):
    for name, _ in imports(path):
        assert name.partition(".")[0] not in UNSAFE_MODULES, f"{relative(path)} imports {name}"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"torch.load", "torch.save", "torch.jit.load", "eval", "exec"}, (
                f"{relative(path)} calls {called}"
            )
            assert not called.endswith(("read_pickle", "to_pickle")), f"{relative(path)} calls {called}"
            said = {keyword.arg for keyword in node.keywords}
            assert called not in {"np.load", "np.save", "numpy.load", "numpy.save"} or "allow_pickle" in said, (
                f"{relative(path)}: say allow_pickle=False to {called}"
            )
            for keyword in node.keywords:
                unsafe = keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
                assert not unsafe, f"{relative(path)} allows pickle in {called}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_is_short_enough_to_read(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_MODULE, f"{relative(path)} has {lines} lines; split it at a concept"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_says_what_it_is_for(path: Path):
    assert ast.get_docstring(tree_of(path)), f"{relative(path)} has no docstring"


def test_names_that_would_hide_others_or_hold_anything_are_not_used():
    for path in MODULES:
        assert path.name not in {"utils.py", "helpers.py", "misc.py", "common.py", "types.py"}, relative(path)


def test_every_module_imports_without_a_gpu_and_what_trains_without_the_label_studio_sdk():
    names = [module_name(path) for path in MODULES]
    trains = [f"pipeline.{stage}" for stage in ("cli", "modelling.train", "modelling.evaluate", "modelling.recommend")]
    trains += [name for name in names if name.startswith("semantic_model")]
    code = f"""
import importlib, sys
sys.modules["label_studio_sdk"] = None
for name in {trains!r}:
    importlib.import_module(name)
del sys.modules["label_studio_sdk"]
for name in {names!r}:
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), f"{{name}} exports {{exported}}, which it does not have"
"""
    answered = python(code, CUDA_VISIBLE_DEVICES="")
    assert answered.returncode == 0, answered.stderr


def test_the_command_line_imports_nothing_heavy():
    answered = python(f"import sys, pipeline.cli; print(*sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.strip() == "", "imported with the command line: import these inside the command"


def commands() -> list[tuple[str, object]]:
    import typer

    from pipeline.cli import app

    def walk(name: str, command: object) -> Iterator[tuple[str, object]]:
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command
        else:
            for part, child in below.items():
                yield from walk(f"{name} {part}".strip(), child)

    return list(walk("", typer.main.get_command(app)))


COMMANDS = commands()


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_has_a_line_of_help_an_example_and_json(name: str, command: object):
    lines = [line.strip() for line in (command.help or "").strip().splitlines()]
    assert lines, f"`semctl {name}` has no help"
    assert lines[0].endswith("."), f"`semctl {name}`: one sentence of help first, got {lines[0]!r}"
    assert len(lines) == 1 or lines[1] == "", f"`semctl {name}`: the help is one line, then a blank one"
    example = " ".join(lines)
    assert "Example" in example, f"`semctl {name}` has no example"
    assert "semctl " in example.partition("Example")[2], f"`semctl {name}`: the example shows the command"
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options, f"`semctl {name}` has no --json"
    for parameter in command.params:
        assert getattr(parameter, "help", None) or parameter.name in {"help"}, (
            f"`semctl {name}` {parameter.opts}: no help"
        )
