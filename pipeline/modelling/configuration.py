"""The settings behind a name: a preset, a TOML file, or a run; and what differs between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.validation import did_you_mean
from semantic_model.config.config import Config, flat_settings, load_config, preset_names


class Difference(NamedTuple):
    """One setting that two configurations have at different values; None where a model has no such setting."""

    key: str
    a: Any
    b: Any


def open_config(workspace: Workspace, name: str | None, settings: Sequence[str] = ()) -> tuple[str, Config]:
    """The configuration called ``name``, with ``KEY=VALUE`` settings on top.

    Args:
        workspace: where runs are looked for.
        name: a preset, the path of a .toml file, a run's id or ``latest``; None: the workspace's preset.

    Returns:
        What it is called, and its settings.

    Raises:
        UsageError: nothing has that name (the nearest is named), an unknown key, or a value that does not fit.
        WorkspaceError: no name was given, and this is no workspace.
        ModelError: ``latest``, and no run was trained to its end.
    """
    called = workspace.settings().train.preset if name is None else name
    if called == "latest":
        from pipeline.modelling.runs import find_run  # with the corpus and its tables, which no other name needs

        called = find_run(workspace).name
    of_run = workspace.runs / called / "config.toml"
    if called not in preset_names() and not called.endswith(".toml"):
        if not of_run.is_file():
            runs = sorted(path.parent.name for path in workspace.runs.glob("*/config.toml"))
            fix = did_you_mean(
                called, [*preset_names(), *runs], f"presets: {', '.join(preset_names())}; or a .toml file"
            )
            raise UsageError(f"there is no preset, file or run '{called}'", fix=fix)
        return called, load_config(str(of_run), settings, stored=True)
    return called, load_config(called, settings)


def differences(a: Config, b: Config) -> list[Difference]:
    """The settings that differ, in the order they are documented."""
    of_a, of_b = flat_settings(a), flat_settings(b)
    return [Difference(key, of_a.get(key), of_b.get(key)) for key in of_a | of_b if of_a.get(key) != of_b.get(key)]
