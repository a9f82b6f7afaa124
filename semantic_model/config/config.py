"""Presets, files of settings and ``KEY=VALUE``; a preset is a TOML file that names what differs from the defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.errors import UsageError
from schemas.files import read_toml
from schemas.validation import did_you_mean, first_mistake, known_name
from semantic_model.config.sections import Config, Section
from semantic_model.registry import MODELS, SETTINGS

__all__ = ["Config", "config_from", "config_toml", "flat_settings", "load_config", "preset_names", "settings_of"]

PRESETS = Path(__file__).resolve().parents[1] / "presets"
_FIRST = "semantic"  # the model of settings that name none
_SHARED = "protocols/"  # what presets of several models begin with; none by itself


def settings_of(kind: str) -> type[Config]:
    """The settings of the model of that name.

    Raises:
        UsageError: there is none; says the nearest.
    """
    found: type[Config] = import_module(SETTINGS.get(kind, MODELS[known_name("model", kind, tuple(MODELS))])).Settings
    return found


def preset_names() -> list[str]:
    """Names of the presets that come along."""
    named = (path.relative_to(PRESETS).with_suffix("").as_posix() for path in PRESETS.rglob("*.toml"))
    return sorted(name for name in named if not name.startswith(_SHARED))


def preset_of(model: str | None, preset: str) -> str:
    """The preset of that name that a model has for itself, as ``larch/uniform``; else the one that all share."""
    own = f"{model}/{preset}"
    return own if own in preset_names() else preset


def flat_settings(config: Config) -> dict[str, Any]:
    """``section.name`` -> value, in the order they are documented."""
    return {f"{section}.{name}": value for section, table in _sections(config) for name, value in table}


def _sections(config: Config) -> list[tuple[str, Section]]:
    """The loop comes last, whatever a model adds."""
    return sorted(config, key=lambda item: item[0] == "train")


def load_config(preset: str, settings: Iterable[str] = (), *, stored: bool = False) -> Config:
    """A preset with ``KEY=VALUE`` settings on top, each key written ``section.name``.

    Args:
        preset: a name of :func:`preset_names`, or the path of a TOML file.
        settings: for example ``loss.alpha=0.3``; a value is read as TOML, else as a plain string.
        stored: these are the settings of a run, see :func:`config_from`.

    Raises:
        UsageError: no such preset, an unknown key (the nearest known one is named), or a value that does not fit.
    """
    path = PRESETS / f"{preset}.toml"
    if preset.endswith(".toml"):
        path = Path(preset)
    if not path.is_file():
        names = preset_names()
        models = [name.partition("/")[0] for name in names if name.endswith(f"/{preset}")]
        fix = did_you_mean(preset, names, f"presets: {', '.join(names)}, or the path of a .toml file")
        if models:
            fix = f"say of which model with --model: {', '.join(models)}"
        raise UsageError(f"there is no preset '{preset}'", fix=fix)
    values = _own(read_toml(path)) if stored else _read_preset(path)
    for setting in settings:
        key, equals, text = setting.partition("=")
        section, _, name = key.strip().partition(".")
        if not equals:
            raise UsageError(f"cannot read the setting '{setting}'", fix="write --set KEY=VALUE, as loss.alpha=0.3")
        if not name or not isinstance(values.setdefault(section, {}), dict):
            raise _unknown_key(key.strip(), "--set", settings_of(_kind(values)))
        values[section][name] = _value(text.strip())
    return config_from(values, where=path if not list(settings) else f"preset {preset} with --set")


def _read_preset(path: Path) -> dict[str, Any]:
    """A preset on top of the one that its ``base`` names."""
    values = read_toml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    file = PRESETS / f"{base}.toml"
    if not file.is_file():
        known = sorted(found.relative_to(PRESETS).with_suffix("").as_posix() for found in PRESETS.rglob("*.toml"))
        raise UsageError(
            f"there is no preset '{base}' to begin with", where=path, fix=did_you_mean(str(base), known, "")
        )
    found = _read_preset(file)
    for section, table in values.items():
        both = isinstance(table, Mapping) and isinstance(found.get(section), Mapping)
        found[section] = {**found[section], **table} if both else table
    return found


def config_from(values: Mapping[str, Any], *, where: object, kind: str | None = None, stored: bool = False) -> Config:
    """Check settings given as nested tables.

    Args:
        kind: what ``model.kind`` is, whatever they say: settings of earlier runs did not tell all kinds apart.
        stored: settings of a run, which once held those of all models: what this one does not have is left out.

    Raises:
        UsageError: an unknown key (the nearest known one is named), or a value that does not fit.
    """
    if kind is not None:
        values = {**values, "model": {**values.get("model", {}), "kind": kind}}
    if stored:
        values = _own(values)
    model = settings_of(_kind(values))
    try:
        return model.model_validate(dict(values))
    except ValidationError as problem:
        mistake = first_mistake(problem)
        if mistake.is_unknown:
            inside = values.get(mistake.key)
            first = [f"{mistake.key}.{name}" for name in inside] if isinstance(inside, Mapping) else []
            raise _unknown_key([*first, mistake.key][0], where, model) from None
        said = f"setting '{mistake.key}': {mistake.what}" if mistake.key else mistake.what
        raise UsageError(said, where=where) from None


def _own(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the model does not have; what is no table of settings is left for the check."""
    model = settings_of(_kind(values))
    known = set(_keys(model))
    return {
        section: {name: value for name, value in table.items() if f"{section}.{name}" in known}
        if isinstance(table, Mapping)
        else table
        for section, table in values.items()
        if section in model.model_fields
    }


def _kind(values: Mapping[str, Any]) -> str:
    section = values.get("model")
    return str(section.get("kind", _FIRST)) if isinstance(section, Mapping) else _FIRST


def config_toml(config: Config, *, title: str) -> str:
    """All settings as TOML, each with its description."""
    lines = [f"# {title}"]
    for section, table in _sections(config):
        lines += ["", f"[{section}]"]
        for name, field in type(table).model_fields.items():
            value = getattr(table, name)
            if field.description:
                lines.append(f"# {field.description}")
            lines.append(f"{name} = {_toml(value)}" if value is not None else f"# {name} = (not set)")
    return "\n".join(lines) + "\n"


def _keys(model: type[Config]) -> list[str]:
    return list(flat_settings(model()))


def _unknown_key(key: str, where: object, model: type[Config]) -> UsageError:
    known = _keys(model)
    section = key.partition(".")[0]
    others = [settings_of(name) for name in SETTINGS]
    if any(key in _keys(other) for other in others) or (section == key and any(key in o.model_fields for o in others)):
        kind = next(name for name in MODELS if settings_of(name) is model)
        own = next((name for name in (kind, f"{kind}/tuned") if name in preset_names()), None)
        begin = f", and begin with --preset {own}" if own and f"preset {own}" not in str(where) else ""
        does = f"the setting '{key}' does nothing in a model of kind {kind}"
        return UsageError(does, where=where, fix=f"leave it out{begin}")
    named = next((name for name in known if name.endswith(f".{key}")), None)
    fix = f"did you mean '{named}'?" if named else did_you_mean(key, known, f"known keys: {', '.join(known)}")
    return UsageError(f"unknown setting '{key}'", where=where, fix=fix)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError, OverflowError):  # no TOML, or beyond all bounds
        return text


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
