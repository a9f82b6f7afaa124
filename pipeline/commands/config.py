"""``semctl config``: what a preset, a file or a run sets."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.context import JSON_OPTION, SETTINGS, opened
from semantic_model.registry import WITHOUT_PUBLIC_CODE

group = typer.Typer(help="The settings of presets, files and runs.", no_args_is_help=True)


@group.command()
def show(
    context: typer.Context,
    preset: Annotated[
        str | None, typer.Argument(help="A preset, a .toml file, a run id or 'latest'; else the workspace's preset.")
    ] = None,
    settings: Annotated[list[str] | None, SETTINGS] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Print every setting with its description, as TOML that `semctl train --preset FILE` takes.

    Example: semctl config show paper --set loss.alpha=0.3 > mine.toml
    """
    from pipeline.modelling.configuration import open_config
    from semantic_model.config.config import config_toml

    workspace, console = opened(context, as_json=as_json)
    name, config = open_config(workspace, preset, settings or ())
    if as_json:
        console.json({"name": name, "config": config.model_dump(mode="json")})
        return
    title = " ".join([name, *(f"--set {setting}" for setting in settings or ())])
    if config.model.kind in WITHOUT_PUBLIC_CODE:
        title += f": {config.model.kind} is re-implemented from its published description"
    console.say(config_toml(config, title=title))


@group.command()
def diff(
    context: typer.Context,
    a: Annotated[str, typer.Argument(metavar="ONE", help="A preset, a .toml file, a run id or 'latest'.")],
    b: Annotated[str, typer.Argument(metavar="OTHER", help="What it is compared with.")],
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show the settings that differ between two presets, files or runs.

    Example: semctl config diff paper release
    """
    from pipeline.modelling.configuration import differences, open_config

    workspace, console = opened(context, as_json=as_json)
    (name_a, config_a), (name_b, config_b) = (open_config(workspace, name) for name in (a, b))
    found = differences(config_a, config_b)
    if as_json:
        console.json({"a": name_a, "b": name_b, "differences": [difference._asdict() for difference in found]})
        return
    if not found:
        console.say(f"{name_a} and {name_b} have the same settings")
        return
    rows = [[key, *(_shown(value) for value in values)] for key, *values in found]
    count = "1 setting differs" if len(found) == 1 else f"{len(found)} settings differ"
    console.table(count, ["key", name_a, name_b], rows)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
