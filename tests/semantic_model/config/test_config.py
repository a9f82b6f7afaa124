from __future__ import annotations

import tomllib

import pytest

from schemas.errors import UsageError
from semantic_model.config.config import (
    Config,
    config_from,
    config_toml,
    load_config,
    preset_names,
    preset_of,
    settings_of,
)
from semantic_model.registry import MODELS


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name: str):
    assert isinstance(load_config(name), Config)


def test_the_paper_preset_is_section_4_2():
    config = load_config("paper")
    model, train, loss = config.model, config.train, config.loss
    assert (model.width, model.layers, model.heads, model.inner, model.dropout) == (768, 3, 8, 768, 0.1)
    assert (train.batch_size, train.epochs, train.learning_rate) == (64, 50, 5e-4)
    assert (train.positives, train.negatives, train.rank_candidates, loss.rank, loss.margin) == (
        1,
        4,
        "sampled",
        "hinge",
        1,
    )
    assert (config.context.window, config.text.max_tokens, config.image.max_per_turn, config.dsi.hops) == (5, 30, 5, 3)
    assert (loss.alpha, loss.divergence, loss.co_sim_reduce, config.dsi.temperature) == (0.5, "js", "sum", 1.0)


def test_settings_are_read_as_toml_else_as_words():
    settings = [
        "loss.alpha=0.3",
        "dsi.hops = 1",
        "image.encoder=pixels",
        "text.freeze=true",
        'text.product_ignore=["care"]',
    ]
    config = load_config("paper", settings)
    assert config.loss.alpha == 0.3
    assert config.dsi.hops == 1
    assert config.image.encoder == "pixels"
    assert config.text.freeze is True
    assert config.text.product_ignore == ("care",)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("loss.alhpa=0.3", "did you mean 'loss.alpha'"),
        ("alpha=0.3", "did you mean 'loss.alpha'"),
        ("loss.alpha=3", "setting 'loss.alpha': Input should be less than or equal to 1"),
        ("loss.alpha", "write --set KEY=VALUE"),
        ("model.heads=7", "model.heads = 7 does not divide model.width = 768"),
        ("loss.rank=best", "setting 'loss.rank': Input should be 'hinge' or 'softmax'"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_in_one_line(setting: str, says: str):
    with pytest.raises(UsageError) as problem:
        load_config("paper", [setting])
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match=r"no preset 'papper'.*did you mean 'paper'"):
        load_config("papper")


def test_a_preset_may_be_a_file_and_unknown_keys_in_it_are_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[dsi]\nhops = 2\n")
    assert load_config(str(path)).dsi.hops == 2
    path.write_text("[dsi]\nhop = 2\n")
    with pytest.raises(UsageError, match=r"unknown setting 'dsi.hop'.*did you mean 'dsi.hops'"):
        load_config(str(path))
    path.write_text("[dsi\n")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_config(str(path))


def test_settings_written_as_toml_read_back_the_same():
    config = load_config("tiny", ['text.embeddings=a "b" \\ c', 'text.product_ignore=["x", "y"]'])
    assert config_from(tomllib.loads(config_toml(config, title="t")), where="t") == config


def test_every_setting_is_described():
    for kind in MODELS:
        for section, field in settings_of(kind).model_fields.items():
            for name, inner in field.annotation.model_fields.items():
                assert inner.description, f"{section}.{name} of {kind} has no description"


def test_stored_settings_are_read_without_those_of_other_models_and_checked_all_the_same(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[model]\nkind = "dual-encoder"\n[dsi]\nhops = 2\n[text]\nlayers = 1\nshare_encoder = true\n')
    assert load_config(str(path), stored=True).text.layers == 1
    with pytest.raises(UsageError, match="does nothing in a model of kind dual-encoder"):
        load_config(str(path))
    path.write_text("text = 5\n")
    with pytest.raises(UsageError, match="setting 'text'"):
        load_config(str(path), stored=True)


def test_a_preset_stands_on_the_one_that_it_names(tmp_path):
    uniform = load_config("mhred/uniform")
    path = tmp_path / "mine.toml"
    path.write_text('base = "mhred/uniform"\n[model]\nwidth = 32\n[train]\nepochs = 3\n')
    mine = load_config(str(path))
    assert (mine.model.kind, mine.model.width, mine.train.epochs) == ("mhred", 32, 3)
    assert mine.text == uniform.text
    assert mine.model.heads == uniform.model.heads
    path.write_text('base = "mhred/uniforn"\n')
    with pytest.raises(UsageError, match=r"no preset 'mhred/uniforn' to begin with.*did you mean 'mhred/uniform'"):
        load_config(str(path))


def test_a_models_own_preset_is_found_by_its_short_name():
    assert preset_of("mhred", "uniform") == "mhred/uniform"
    assert preset_of("mhred", "default") == "default"
    assert preset_of(None, "tiny") == "tiny"
    assert not [name for name in preset_names() if name.startswith("protocols")]
    with pytest.raises(UsageError, match=r"no preset 'uniform'.*say of which model with --model: .*mhred"):
        load_config("uniform")
