"""All settings of a run; presets are TOML files beside this module.

A preset names only what differs from the defaults of :mod:`semantic_model.config.sections`, which are the paper's
(section 4.2) under the readings of the README's table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from schemas.errors import UsageError
from schemas.files import read_toml
from schemas.ontology import nearest
from semantic_model.config.sections import (
    ContextConfig,
    DsiConfig,
    GroundingConfig,
    ImageConfig,
    LossConfig,
    ModelConfig,
    ScoreConfig,
    Section,
    StateConfig,
    StudentConfig,
    TextConfig,
    TrainConfig,
)

__all__ = [
    "Config",
    "ContextConfig",
    "DsiConfig",
    "GroundingConfig",
    "ImageConfig",
    "LossConfig",
    "ModelConfig",
    "ScoreConfig",
    "StateConfig",
    "StudentConfig",
    "TextConfig",
    "TrainConfig",
    "config_toml",
    "flat_settings",
    "load_config",
    "preset_names",
]

PRESETS = Path(__file__).resolve().parents[1] / "presets"


class Config(Section):
    """All settings of a run."""

    text: TextConfig = TextConfig()
    image: ImageConfig = ImageConfig()
    context: ContextConfig = ContextConfig()
    state: StateConfig = StateConfig()
    student: StudentConfig = StudentConfig()
    dsi: DsiConfig = DsiConfig()
    grounding: GroundingConfig = GroundingConfig()
    score: ScoreConfig = ScoreConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Config:
        if self.text.full_bert and self.text.embeddings == "corpus":
            raise ValueError("text.full_bert needs text.embeddings to name a BERT: 'corpus' has word vectors only")
        return self

    @property
    def text_layers(self) -> int:
        """Layers of the stacks over tokens."""
        return self.model.layers if self.text.layers is None else self.text.layers


def preset_names() -> list[str]:
    """Names of the presets that come along."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def flat_settings(config: Config) -> dict[str, Any]:
    """``section.name`` -> value, in the order they are documented."""
    return {f"{section}.{name}": value for section, table in config for name, value in table}


def load_config(preset: str, settings: Iterable[str] = ()) -> Config:
    """A preset with ``KEY=VALUE`` settings on top, each key written ``section.name``.

    Args:
        preset: a name of :func:`preset_names`, or the path of a TOML file.
        settings: for example ``loss.alpha=0.3``; a value is read as TOML, else as a plain string.

    Raises:
        UsageError: no such preset, an unknown key (the nearest known one is named), or a value that does not fit.
    """
    path = PRESETS / f"{preset}.toml"
    if preset.endswith(".toml"):
        path = Path(preset)
    if not path.is_file():
        names = preset_names()
        close = nearest(preset, names)
        fix = f"did you mean '{close}'?" if close else f"presets: {', '.join(names)}, or the path of a .toml file"
        raise UsageError(f"there is no preset '{preset}'", fix=fix)
    values = read_toml(path)
    for setting in settings:
        key, equals, text = setting.partition("=")
        section, _, name = key.strip().partition(".")
        if not equals:
            raise UsageError(f"cannot read the setting '{setting}'", fix="write --set KEY=VALUE, as loss.alpha=0.3")
        if f"{section}.{name}" not in _known_keys():
            raise _unknown_key(key.strip(), "--set")
        values.setdefault(section, {})[name] = _value(text.strip())
    return config_from(values, where=path if not list(settings) else f"preset {preset} with --set")


def config_from(values: Mapping[str, Any], *, where: object, kind: str | None = None) -> Config:
    """Check settings given as nested tables.

    Args:
        kind: what ``model.kind`` is, whatever they say: settings of earlier runs did not tell all kinds apart.

    Raises:
        UsageError: an unknown key (the nearest known one is named), or a value that does not fit.
    """
    if kind is not None:
        values = {**values, "model": {**values.get("model", {}), "kind": kind}}
    try:
        return Config.model_validate(dict(values))
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown_key(key, where) from None
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"setting '{key}': {message}" if key else message, where=where) from None


def config_toml(config: Config, *, title: str) -> str:
    """All settings as TOML, each with its description."""
    lines = [f"# {title}"]
    for section, table in config:
        lines += ["", f"[{section}]"]
        for name, field in type(table).model_fields.items():
            value = getattr(table, name)
            if field.description:
                lines.append(f"# {field.description}")
            lines.append(f"{name} = {_toml(value)}" if value is not None else f"# {name} = (not set)")
    return "\n".join(lines) + "\n"


def _known_keys() -> list[str]:
    return [
        f"{section}.{name}"
        for section, field in Config.model_fields.items()
        for name in field.annotation.model_fields  # type: ignore[union-attr]
    ]


def _unknown_key(key: str, where: object) -> UsageError:
    known = _known_keys()
    close = nearest(key, known) or next((name for name in known if name.endswith(f".{key}")), None)
    fix = f"did you mean '{close}'?" if close else f"known keys: {', '.join(known)}"
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
