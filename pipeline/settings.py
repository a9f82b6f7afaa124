"""``semctl.toml``: the settings of a workspace. Every key is documented in the template; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from annotate.resolution.policies import PolicyName
from schemas.errors import UsageError
from schemas.files import read_toml
from schemas.validation import did_you_mean, first_mistake

SETTINGS_TEMPLATE = """\
# Settings of this semctl workspace. Every key is optional; the values shown are the defaults.

[labelling]
# user turns in one labelling task; 0 lets semctl choose the largest window that keeps the page quick
window = 0
# most choices on one labelling page: window x values x 2 (wants and dislikes) stays below this
max_choices = 5000
# values of one slot offered for picking, the commonest first; rarer ones are typed
max_values_per_slot = 60
# findings that put a dialogue up for labelling again: severities (error, warning, info) and codes of checks
requeue = ["error", "warning"]
# seconds a turn takes to read: an untouched pre-label or an empty page sent on faster is flagged
min_seconds_per_turn = 3.0
# how several annotators' answers become one: majority, adjudicated (any difference waits for a reviewer), dawid-skene
resolve = "majority"
# of how many ingests that changed something the result is kept for `semctl diff`; 0 keeps none
keep_ingests = 20

[studio]
# where the local Label Studio listens; `semctl studio start --port` and `--host` override it
port = 8080
# an address of this machine; 0.0.0.0: all of them, so that other machines reach it, without encryption
host = "127.0.0.1"
# the address at which people open it, where that is another one, as "https://labels.example.org"; `--public-url`
public_url = ""

[llm]
# model that `--prelabel llm` asks, by its name at SEMCTL_LLM_URL; SEMCTL_LLM_MODEL and `--llm-model` override it
model = ""
# price of a million tokens sent, and of a million received, in any money; without them no cost is known
# price_in = 0.15
# price_out = 0.6
# what asking may cost, and how many tokens it may take, as estimated before the first question; without them: anything
# max_cost = 5.0
# max_tokens = 2000000
# labelled turns shown with each question as examples, at most
examples = 6
# questions asked at once
parallel = 4
# tokens of a reply, at most; models that think before they reply need thousands
reply_tokens = 300
# seconds until a question is given up and asked again
seconds = 120.0

[train]
# preset used when `semctl train` gets no --preset
preset = "default"
"""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabellingSettings(_Section):
    """How dialogues are cut into labelling tasks, and how several answers become one."""

    window: int = Field(default=0, ge=0, le=100)
    max_choices: int = Field(default=5000, ge=100)
    max_values_per_slot: int = Field(default=60, ge=1)
    requeue: tuple[str, ...] = ("error", "warning")
    min_seconds_per_turn: float = Field(default=3.0, ge=0)
    resolve: PolicyName = "majority"
    keep_ingests: int = Field(default=20, ge=0)


class StudioSettings(_Section):
    """The local Label Studio."""

    port: int = Field(default=8080, ge=1, le=65535)
    host: str = "127.0.0.1"
    public_url: str = ""


class LlmSettings(_Section):
    """The language model that ``--prelabel llm`` asks; prices are of a million tokens."""

    model: str = ""
    price_in: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    price_out: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    max_cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=0)
    examples: int = Field(default=6, ge=0, le=50)
    parallel: int = Field(default=4, ge=1, le=64)
    reply_tokens: int = Field(default=300, ge=16, le=100_000)
    seconds: float = Field(default=120.0, ge=1, le=3600)


class TrainSettings(_Section):
    """Defaults of ``semctl train``."""

    preset: str = "default"


class Settings(_Section):
    """All settings of a workspace."""

    labelling: LabellingSettings = LabellingSettings()
    studio: StudioSettings = StudioSettings()
    llm: LlmSettings = LlmSettings()
    train: TrainSettings = TrainSettings()

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Read ``semctl.toml``.

        Raises:
            UsageError: not TOML, an unknown key (the nearest known one is named), or a value that does not fit.
        """
        values = read_toml(path)
        try:
            return cls.model_validate(values)
        except ValidationError as problem:
            wrong = first_mistake(problem)
            if wrong.is_unknown:
                known = [f"{section}.{key}" for section, values in cls() for key, _ in values]
                fix = did_you_mean(wrong.key, known, f"known keys: {', '.join(known)}")
                raise UsageError(f"unknown setting '{wrong.key}'", where=path, fix=fix) from None
            raise UsageError(f"setting '{wrong.key}': {wrong.what}", where=path) from None
