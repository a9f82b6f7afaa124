"""Image networks: torchvision's and Hugging Face's, frozen and fine-tuned, with small random weights made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from schemas.errors import MissingPartError, ModelError
from semantic_model.config.config import load_config
from semantic_model.config.sections import ImageConfig, MapImageConfig
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.data.image_features import load_features
from semantic_model.data.vision import FineTuned, ImageNetwork, open_preparation, require_weights
from semantic_model.semantic.encoders import ImageEncoder
from semantic_model.semantic.reading import INPUTS, SlotReader
from tests.semantic_model.slots_of import slots_of

NET = "squeezenet1_1"  # small; resnet18, where batch norms matter
COLOURS = ("red", "blue", "green", "white", "black", "yellow")


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory) -> Path:
    import torchvision

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("resnet18")
    save_file(torchvision.models.resnet18(weights=None).state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    ViTModel(ViTConfig(image_size=16, patch_size=8, **size)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.4] * 3, image_std=[0.2] * 3).save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def image_paths(tmp_path) -> dict[str, Path]:
    files = {}
    for name in COLOURS:
        files[name] = tmp_path / f"{name}.png"
        opened = Image.new("RGB", (40, 60), "white")
        opened.paste(name, (5, 5, 30, 50))
        opened.save(files[name])
    return files


def test_frozen_resnet18_is_torchvisions_up_to_its_average_pool(image_paths, resnet18):
    import torchvision
    from safetensors.torch import load_file
    from torchvision.transforms import v2

    config = ImageConfig(finetune=False, weights=str(resnet18 / "model.safetensors"))
    features = load_features(config, image_paths)
    network = torchvision.models.resnet18(weights=None)
    network.load_state_dict(load_file(resnet18 / "model.safetensors"))
    network.fc = torch.nn.Identity()
    network.eval()
    with Image.open(image_paths["red"]) as opened:
        pixels = v2.functional.pil_to_tensor(v2.CenterCrop(64)(v2.Resize((72, 72))(opened.convert("RGB"))))
    with torch.no_grad():
        expected = network(((pixels / 255 - 0.5) / 0.5)[None])
    assert features.width == 512
    assert np.allclose(features.values[features.row("red")], expected.numpy(), atol=1e-5)


def test_a_folder_of_weights_will_do(image_paths, resnet18):
    one, two = (
        load_features(ImageConfig(finetune=False, weights=str(weights)), image_paths).values
        for weights in (resnet18, resnet18 / "model.safetensors")
    )
    assert np.array_equal(one, two)


@pytest.mark.parametrize(("name", "width"), [("squeezenet1_1", 1000), ("mobilenet_v2", 1280), ("regnet_y_400mf", 440)])
def test_any_torchvision_classification_model_gives_features(name: str, width: int):
    network = ImageNetwork(ImageConfig(encoder=name, weights="unused"), pretrained=False)
    assert network.width == width
    assert network(torch.zeros(2, 3 * 64 * 64)).shape == (2, width)


def test_vgg19_gives_the_4096_numbers_before_its_last_layer():
    with torch.device("meta"):  # its real layers, without the 575 MB
        network = ImageNetwork(load_config("mhred/native").image, pretrained=False)
    assert network.shape == (4096,)
    assert [type(part).__name__ for part in network.body.classifier] == [
        *("Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Identity")
    ]


def test_a_vgg_reads_its_weights_from_a_file(image_paths, tmp_path, monkeypatch):
    import torchvision
    from torchvision.models.vgg import VGG, make_layers

    def narrow_vgg(name: str, weights: None) -> torch.nn.Module:
        assert (name, weights) == ("vgg19", None)
        with torch.device("meta"):  # the class has its widths fixed
            network = VGG(torch.nn.Identity(), init_weights=False)
        network.features = make_layers([2, "M", 4, "M", 4, "M"])
        network.classifier[0], network.classifier[3] = torch.nn.Linear(4 * 7 * 7, 12), torch.nn.Linear(12, 12)
        network.classifier[6] = torch.nn.Linear(12, 5)
        return network

    monkeypatch.setattr(torchvision.models, "get_model", narrow_vgg)
    torch.manual_seed(0)
    network = narrow_vgg("vgg19", None).eval()
    save_file(network.state_dict(), tmp_path / "vgg19.safetensors")
    config = load_config("mhred/native", [f"image.weights={tmp_path}/vgg19.safetensors"]).image
    features = load_features(config, image_paths)
    with Image.open(image_paths["red"]) as opened:
        pixels = torch.from_numpy(open_preparation(config)(opened.convert("RGB"))).reshape(1, 3, 224, 224) / 255
    mean, spread = (torch.tensor(part)[:, None, None] for part in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        x = network.avgpool(network.features((pixels - mean) / spread)).flatten(1)
        for layer in network.classifier[:-1]:
            x = layer(x)
    assert features.width == 12
    assert np.allclose(features.values[features.row("red")], x.numpy(), atol=1e-5)
    save_file({"features.0.weight": torch.zeros(2, 3, 3, 3)}, tmp_path / "vgg19.safetensors")
    with pytest.raises(ModelError, match="not the weights of vgg19"):
        load_features(config, image_paths)


def test_a_hugging_face_vision_model_is_prepared_as_its_processor_says(image_paths, vit):
    from transformers import AutoImageProcessor, AutoModel

    config = ImageConfig(encoder=str(vit), finetune=False)
    features = load_features(config, image_paths)
    with Image.open(image_paths["green"]) as opened:
        inputs = AutoImageProcessor.from_pretrained(vit)([opened.convert("RGB")], return_tensors="pt")
    with torch.no_grad():
        expected = AutoModel.from_pretrained(vit).eval()(**inputs).pooler_output[0]
    assert features.width == 8
    assert np.allclose(features.values[features.row("green")], expected.numpy(), atol=1e-4)


def test_frozen_features_are_kept_by_encoder_weights_and_size(image_paths, resnet18, vit, tmp_path):
    cache = tmp_path / "features"
    for config in (
        ImageConfig(finetune=False, weights=str(resnet18)),
        ImageConfig(finetune=False, weights=str(resnet18), size=32),
        ImageConfig(finetune=False, weights=str(resnet18), normalize="imagenet"),
        ImageConfig(finetune=False, encoder=str(vit)),
        ImageConfig(weights=str(resnet18)),
    ):
        load_features(config, image_paths, cache=cache)
    assert len(list(cache.glob("*.npy"))) == 5


@pytest.mark.parametrize(
    "config", [ImageConfig(encoder="mobilenet_v2"), ImageConfig(encoder="mobilenet_v2", finetune=False)]
)
def test_weights_that_are_not_here_name_the_three_ways_out(config):
    with pytest.raises(MissingPartError) as problem:
        require_weights(config)
    for way_out in ("image.encoder=pixels", "image.weights=FILE", "image.features=FOLDER"):
        assert way_out in str(problem.value)
    assert "\n" not in str(problem.value)


def test_nothing_is_needed_for_pixels_and_features_of_ones_own(tmp_path):
    require_weights(ImageConfig(encoder="pixels"))
    require_weights(ImageConfig(features=str(tmp_path)))


def test_a_misspelt_encoder_names_the_nearest():
    with pytest.raises(MissingPartError, match="did you mean 'resnet18'"):
        require_weights(ImageConfig(encoder="resnet81"))


def test_weights_that_cannot_be_used_are_refused(tmp_path, resnet18):
    (tmp_path / "resnet18.pth").write_bytes(b"pickled")
    with pytest.raises(ModelError, match="safetensors only"):
        require_weights(ImageConfig(weights=str(tmp_path / "resnet18.pth")))
    with pytest.raises(ModelError, match="no such weights file"):
        require_weights(ImageConfig(weights=str(tmp_path / "lost.safetensors")))
    with pytest.raises(ModelError, match="not the weights of resnet34"):
        ImageNetwork(ImageConfig(encoder="resnet34", weights=str(resnet18)), pretrained=True)


def test_a_network_that_needs_another_size_says_so():
    with pytest.raises(ModelError, match=r"vit_b_16 does not take images of 64 x 64.*set another image.size, as 224"):
        ImageNetwork(ImageConfig(encoder="vit_b_16"), pretrained=False)


def small(config_of, **image) -> ImageEncoder:
    torch.manual_seed(0)
    config = config_of(image={"encoder": "resnet18", "max_per_turn": 2, "size": 64, "turn_attention": False, **image})
    return ImageEncoder(config, 3 * 64 * 64)


def batch_of(*rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two turns of two contexts with two places each; -1 is an empty one."""
    drawn = torch.randint(0, 256, (4, 3 * 64 * 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    at = torch.tensor(rows).reshape(2, 2, 2)
    return torch.where((at >= 0)[..., None], drawn[at.clamp(min=0)], 0), at >= 0


def running(encoder: ImageEncoder) -> torch.Tensor:
    return encoder.network.network.body.bn1.running_mean.clone()


def test_only_real_images_are_read_and_each_different_one_once(config_of, monkeypatch):
    encoder = small(config_of)
    seen = []
    monkeypatch.setattr(
        encoder.network.network,
        "read",
        lambda image_paths: seen.append(len(image_paths)) or image_paths[:, 0, 0, :1].repeat(1, 512),
    )
    images, mask = batch_of(0, -1, 1, 0, -1, -1, 2, 1)
    encoder(images, mask)
    assert seen == [3]


def test_fine_tuned_images_are_summed_by_turn(config_of):
    encoder = small(config_of).eval()
    images, mask = batch_of(0, -1, 1, 0, -1, -1, 2, 1)
    found = encoder(images, mask)
    with torch.no_grad():
        each = encoder.linear(encoder.network.network(images[mask]))  # 0; 1, 0; 2, 1
    assert torch.allclose(found[0, 0], each[0], atol=1e-5)
    assert torch.allclose(found[0, 1], each[1] + each[2], atol=1e-5)
    assert torch.equal(found[1, 0], torch.zeros(8))


def test_the_loss_reaches_the_first_layer_of_a_fine_tuned_network(config_of):
    encoder = small(config_of)
    encoder(*batch_of(0, -1, 1, 0, -1, -1, 2, 1)).square().sum().backward()
    gradient = encoder.network.network.body.conv1.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_frozen_batch_norms_keep_their_statistics_and_train_their_weights(config_of):
    encoder = small(config_of, bn="frozen").train()
    before = running(encoder)
    images, mask = batch_of(0, -1, 1, 0, -1, -1, 2, 1)
    trained = encoder(images, mask)
    assert torch.equal(running(encoder), before)
    assert torch.allclose(trained, encoder.eval()(images, mask), atol=1e-6)
    assert encoder.network.network.body.bn1.weight.requires_grad


def test_flat_batch_norms_take_the_statistics_of_the_real_images(config_of):
    encoder = small(config_of, bn="train_flat").train()
    images, mask = batch_of(0, -1, 1, 0, -1, -1, 2, 1)
    with torch.no_grad():
        network = encoder.network.network
        first = network.body.conv1(network.normalised(torch.unique(images[mask], dim=0)))
    encoder(images, mask)
    assert torch.allclose(running(encoder), 0.1 * first.mean(dim=(0, 2, 3)), atol=1e-5)


def test_batch_norms_by_slot_see_empty_places_as_zeros(config_of):
    encoder = small(config_of, bn="train_per_slot").train()
    images, mask = batch_of(0, -1, 1, 0, -1, -1, 2, 1)
    network = encoder.network.network
    expected = torch.zeros(64)
    with torch.no_grad():
        for turn in range(2):
            for place in range(2):
                read = network.normalised(images[:, turn, place]) * mask[:, turn, place, None, None, None]
                expected = 0.9 * expected + 0.1 * network.body.conv1(read).mean(dim=(0, 2, 3))
    encoder(images, mask)
    assert torch.allclose(running(encoder), expected, atol=1e-5)
    with torch.no_grad():
        encoder.eval()
        assert torch.allclose(encoder(images, mask), small(config_of, bn="frozen").eval()(images, mask)) is False


def test_a_fine_tuned_network_begins_with_the_weights_given(resnet18, vit):
    for config in (ImageConfig(weights=str(resnet18)), ImageConfig(encoder=str(vit))):
        tuned, frozen = FineTuned(config), ImageNetwork(config, pretrained=True)
        tuned.start()
        assert all(torch.equal(value, frozen.state_dict()[name]) for name, value in tuned.network.state_dict().items())


def test_fine_tuning_and_standardising_do_not_go_together():
    with pytest.raises(ValueError, match=r"set image.finetune = false"):
        ImageConfig(standardize=True)
    with pytest.raises(ValueError, match=r"needs image.size >= 64"):
        ImageConfig(bn="train_flat", size=32)


def test_pixels_are_stored_as_bytes_and_read_as_the_network_prepares_them(image_paths, resnet18):
    config = ImageConfig(weights=str(resnet18))
    features = load_features(config, image_paths)
    assert features.values.dtype == np.uint8
    with Image.open(image_paths["blue"]) as opened:
        assert np.array_equal(features.values[features.row("blue")], open_preparation(config)(opened.convert("RGB")))
    gathered = features.gather(np.array([[features.row("blue"), -1]]))
    assert gathered.dtype == np.uint8
    assert not gathered[0, 1].any()


def test_without_any_image_nothing_is_read(config_of):
    encoder = small(config_of)
    found = encoder(torch.zeros(2, 2, 2, 3 * 64 * 64, dtype=torch.uint8), torch.zeros(2, 2, 2, dtype=torch.bool))
    assert torch.equal(found, torch.zeros(2, 2, 8))


def test_a_batch_of_the_reader_goes_end_to_end_from_pixels(config_of, world, image_paths, resnet18):
    from semantic_model.data.image_features import Features
    from semantic_model.ranking.model_spec import find_model
    from semantic_model.training.trainer import fresh_model

    config = config_of(image={"encoder": "resnet18", "weights": str(resnet18), "max_per_turn": 2})
    stored = load_features(config.image, image_paths)
    rows = {image_id: row % len(stored.values) for row, image_id in enumerate(world.features.rows)}
    reader = SlotReader(
        config, world.words, Features(stored.values, rows, "pixels"), slots_of("color", "type", "sleeve_length"), INPUTS
    )
    model = fresh_model(find_model("semantic"), config, world.words, reader, ())
    contexts = reader.contexts(world.corpus.queries("train")[:3])
    batch: ContextBatch = contexts.batch(slice(None), torch.device("cpu"))
    products: ProductBatch = reader.products(world.corpus.products)
    rho = model.encode_products(products)
    context = model.encode_contexts(batch)
    (rho.rho_I.sum() + context.c_I.square().sum()).backward()
    first = model.context_encoder.image.network.network.body.conv1.weight
    assert model.product_encoder.image.network is model.context_encoder.image.network
    assert torch.isfinite(first.grad).all()
    assert float(first.grad.abs().sum()) > 0


@pytest.mark.parametrize(("layer", "shape"), [("layer1", (64, 16, 16)), ("layer4", (512, 2, 2))])
def test_a_map_is_what_a_layer_makes_of_an_image(image_paths, resnet18, layer: str, shape: tuple[int, ...]):
    import torchvision
    from safetensors.torch import load_file

    config = MapImageConfig(finetune=False, weights=str(resnet18 / "model.safetensors"), map=layer)
    features = load_features(config, image_paths)
    assert features.map_shape == shape
    network = torchvision.models.resnet18(weights=None)
    network.load_state_dict(load_file(resnet18 / "model.safetensors"))
    network.eval()
    seen: list[torch.Tensor] = []
    network.get_submodule(layer).register_forward_hook(lambda _part, _given, found: seen.append(found))
    with Image.open(image_paths["red"]) as opened, torch.no_grad():
        pixels = torch.from_numpy(open_preparation(config)(opened.convert("RGB")))
        network((pixels.reshape(1, 3, 64, 64) / 255 - 0.5) / 0.5)
    assert np.allclose(features.values[features.row("red")].reshape(shape), seen[0][0].numpy(), atol=1e-4)


def test_a_layer_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(ModelError, match=r"resnet18 has no layer 'layer5'.*layer"):
        ImageNetwork(MapImageConfig(weights="unused", map="layer5"), pretrained=False)


def test_the_map_of_a_transformer_is_its_square_of_patches(image_paths, vit):
    from transformers import AutoModel

    config = MapImageConfig(encoder=str(vit), finetune=False)
    features = load_features(config, image_paths)
    assert features.map_shape == (8, 2, 2)  # 16 pixels in patches of 8, without the class mark
    prepared = open_preparation(config)
    with Image.open(image_paths["blue"]) as opened, torch.no_grad():
        pixels = torch.from_numpy(prepared(opened.convert("RGB"))).reshape(1, 3, 16, 16) / 255
        hidden = AutoModel.from_pretrained(vit)((pixels - 0.4) / 0.2).last_hidden_state[0]  # [1 + 4, 8]
    found = features.values[features.row("blue")].reshape(8, 2, 2)
    assert np.allclose(found[:, 1, 0], hidden[3].numpy(), atol=1e-4)  # the third patch: second row, first column
