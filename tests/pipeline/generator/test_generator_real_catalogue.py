from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.generator.catalogue import parse_columns, read_catalogue
from pipeline.generator.corpus import MARKER, GenerateRequest, generate_corpus
from pipeline.workspace import Workspace
from schemas.errors import CorpusError, UsageError
from schemas.tables import ANNOTATIONS, PRODUCTS, read_table

KINDS = ("Shirts", "Casual Shoes", "Handbags")
COLOURS = ("Navy Blue", "Red", "Off White")


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, Path]:
    """Seventy-two good rows, and one of each bad kind."""
    images = tmp_path / "photos"
    images.mkdir()
    lines = ["sku,articleType,baseColour,productDisplayName,usage,sizes"]
    for number in range(72):
        kind, colour = KINDS[number % 3], COLOURS[number // 3 % 3]
        usage = ("Casual", "Formal")[number // 9 % 2]
        lines.append(f'{number},{kind},{colour},"Acme {colour} {kind}, model {number}",{usage},"S, M|L"')
        Image.new("RGB", (6, 8), (number, 0, 0)).save(images / f"{number}.jpg")
    lines += ["3,Shirts,Red,Twice,Casual,S", "900,Shirts,Red,No photo,Casual,S", "901,NA,Red,No type,Casual,S"]
    lines += ["902,Shirts,Red,Too,many,commas,here"]
    file = tmp_path / "products.csv"
    file.write_text("\ufeff" + "\n".join(lines) + "\n")
    return file, images


def test_columns_are_guessed_from_their_names(shop: tuple[Path, Path]) -> None:
    real = read_catalogue(*shop)
    assert real.columns == {
        "id": "sku",
        "name": "productDisplayName",
        "type": "articleType",
        "color": "baseColour",
        "style": "usage",
        "available_sizes": "sizes",
    }
    assert real.products[0].attributes == {
        "type": ("Shirts",),
        "color": ("Navy Blue",),
        "style": ("Casual",),
        "available_sizes": ("S", "M", "L"),
    }


def test_rows_add_up_to_products_and_reasons(shop: tuple[Path, Path]) -> None:
    real = read_catalogue(*shop)
    assert real.dropped == {
        "columns do not match the header": 1,
        "no id, type or name": 1,
        "no image": 1,
        "repeated id": 1,
    }
    assert real.rows == len(real.products) + sum(real.dropped.values())


def test_what_is_left_to_the_image_is_not_in_the_name(shop: tuple[Path, Path]) -> None:
    products = read_catalogue(*shop).products
    silent = [product for product in products if "color" in product.unwritten]
    assert 15 < len(silent) < 50
    for product in silent:
        assert not {"navy", "blue", "red", "off", "white"} & set(product.name.lower().split())
    spoken = next(product for product in products if not product.unwritten)
    assert spoken.attributes["color"][0] in spoken.name


def test_a_sample_keeps_as_many_products_as_asked_for(shop: tuple[Path, Path]) -> None:
    real = read_catalogue(*shop, count=50, seed=4)
    assert len(real.products) == 50
    assert real.rows == 50 + sum(real.dropped.values())
    assert real == read_catalogue(*shop, count=50, seed=4)


def test_options_map_columns_and_leave_them_out(shop: tuple[Path, Path]) -> None:
    columns = parse_columns(["style=", "season=usage"])
    real = read_catalogue(*shop, columns=columns)
    assert real.columns["season"] == "usage"
    assert "style" not in real.columns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["color"], "maps nothing"),
        (["colour=baseColour"], "no such product field 'colour'; did you mean 'color'"),
        (["color=baseColor"], "no column 'baseColor'.*did you mean 'baseColour'"),
        (["type="], "no column for 'type' found"),
    ],
)
def test_a_mapping_that_does_not_fit_is_named(shop: tuple[Path, Path], options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_catalogue(*shop, columns=parse_columns(options))


def test_rows_whose_links_differ_and_end_alike_share_no_photo(tmp_path: Path) -> None:
    shop = "//shop.example.invalid"
    links = {
        "1": f"http:{shop}/1/front.jpg?w=300",
        "2": f"https:{shop}/2/front.jpg",
        "3": f"http:{shop}/own%20name.jpg?w=300",
        "4": f"http:{shop}/4/shared.jpg",
        "5": f"https:{shop}/4/shared.jpg",  # the same image
        "6": "a/front.jpg",
        "7": f"http:{shop}/7/front.jpg",  # of its id there is a photo
        "8": "twice",
    }
    images = tmp_path / "photos"
    images.mkdir()
    for name in ("front.jpg", "own name.jpg", "shared.jpg", "7.png", "twice.jpg", "twice.png"):
        Image.new("RGB", (6, 8)).save(images / name)
    file = tmp_path / "products.csv"
    file.write_text("id,name,type,image\n" + "".join(f"{n},Shirt {n},Shirt,{link}\n" for n, link in links.items()))
    real = read_catalogue(file, images)
    assert {one.stem: one.photo and one.photo.name for one in real.products} == {
        "3": "own name.jpg",
        "4": "shared.jpg",
        "5": "shared.jpg",
        "7": "7.png",
    }
    assert real.dropped == {"an image of several": 4}


def test_a_missing_file_folder_or_image_is_one_line(shop: tuple[Path, Path], tmp_path: Path) -> None:
    file, images = shop
    with pytest.raises(CorpusError, match="cannot read the file"):
        read_catalogue(tmp_path / "none.csv", images)
    with pytest.raises(CorpusError, match="no such folder of images"):
        read_catalogue(file, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"no product can be used.*no image"):
        read_catalogue(file, tmp_path / "empty")


def test_a_forgotten_quotation_mark_and_another_delimiter_are_refused_with_their_line(shop: tuple[Path, Path]) -> None:
    file, images = shop
    rows = file.read_text(encoding="utf-8-sig").splitlines()
    rows[5] = rows[5].replace('model 4"', "model 4")
    file.write_text("\n".join(rows))
    with pytest.raises(CorpusError, match="line"):
        read_catalogue(file, images)
    file.write_text("sku;articleType;productDisplayName\n1;Shirts;Acme\n")
    with pytest.raises(CorpusError, match=r"semicolons.*line 1"):
        read_catalogue(file, images)


def test_a_corpus_over_real_products_copies_their_images(shop: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    report = generate_corpus(folder, GenerateRequest(size="test", catalogue=read_catalogue(*shop)))
    assert report.products == 72
    assert report.catalogue["kind"] == "given"
    copied = {path.name: path.read_bytes() for path in (folder / "images").iterdir()}
    original = {path.name: path.read_bytes() for path in shop[1].iterdir()}
    assert len(copied) == 70, "one dead and one missing image"
    assert sum(copied[name] == original[name] for name in copied) == 69, "one of them broken on purpose"


def test_catalogue_and_images_go_together(shop: tuple[Path, Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "c"), "--catalogue", str(shop[0])])
    assert isinstance(result.exception, UsageError)
    assert "--catalogue and --images go together" in str(result.exception)
    assert not (tmp_path / "c").exists()


@pytest.mark.realdata
def test_real_photos_make_a_corpus(shared_data: Path, tmp_path: Path) -> None:
    photos = shared_data / "catalogue_photos"
    arguments = ["generate", str(tmp_path / "c"), "--size", "test", "--products", "200", "--json"]
    arguments += ["--catalogue", str(photos / "products.csv"), "--images", str(photos / "images")]
    arguments += ["--column", "style=usage"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "c" / MARKER).read_text())
    assert report["products"] == 200
    assert report["catalogue"]["rows"] == 6000
    assert report["catalogue"]["columns"]["color"] == "baseColour"
    assert report["recommendation_turns"] > 150
    assert report["moves"]["upload"] + report["moves"]["like_nth"] > 5


def test_prices_are_handed_on_as_they_are_written_and_read_by_the_import(
    shop: tuple[Path, Path], tmp_path: Path
) -> None:
    file, images = shop
    header, *rows = file.read_text().splitlines()
    written = ('"1.299,00 \u20ac"', '"39,90 \u20ac"', "1.299", "$5 - $9")
    priced = [f"{row},{written[number % 4]}" for number, row in enumerate(rows[:72])]
    file.write_text("\n".join([f"{header},price", *priced]))
    real = read_catalogue(file, images)
    assert real.products[0].price == "1.299,00 \u20ac"
    assert {product.currency for product in real.products} == {""}
    generate_corpus(tmp_path / "corpus", GenerateRequest(size="test", seed=3, catalogue=real))
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(tmp_path / "corpus", "mmd"))
    prices = {row["product_id"]: row["price"] for row in read_table(workspace.products, PRODUCTS).to_pylist()}
    found = {int(number): price for number, price in prices.items() if number.isdecimal()}
    assert {found[number] for number in found if number % 4 == 0} == {1299.0}
    assert {found[number] for number in found if number % 4 == 1} == {39.9}
    assert {found[number] for number in found if number % 4 == 2} == {1299.0}
    assert {found[number] for number in found if number % 4 == 3} == {None}
    assert report.ledger["prices"].dropped["not_a_price"] == sum(number % 4 == 3 for number in found)


def test_html_entities_are_resolved_once_from_the_file_to_the_imported_corpus(
    shop: tuple[Path, Path], tmp_path: Path
) -> None:
    file, images = shop
    file.write_text(file.read_text().replace("Acme ", "H&amp;M &amp;lt; ").replace("Navy Blue", "Black &amp;amp; Tan"))
    generate_corpus(tmp_path / "corpus", GenerateRequest(size="test", seed=3, catalogue=read_catalogue(file, images)))
    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(tmp_path / "corpus", "mmd"))
    products = read_table(workspace.products, PRODUCTS).to_pylist()
    assert {product["name"].partition(" ")[0] for product in products} == {"H&M"}
    assert any("&lt;" in product["name"] for product in products)
    colours = {value for product in products for value in dict(product["attributes"]).get("color", [])}
    assert colours == {"Black &amp; Tan", "Red", "Off White"}
    said = {row["value"] for row in read_table(workspace.annotations, ANNOTATIONS).to_pylist() if row["value"]}
    assert "Black &amp; Tan" in said
    assert not any("Black & Tan" in value or "&amp;amp;" in value for value in said)


def test_values_of_a_real_catalogue_without_colloquial_words_are_counted(
    shop: tuple[Path, Path], tmp_path: Path
) -> None:
    arguments = ["--catalogue", str(shop[0]), "--images", str(shop[1]), "--size", "test", "--wording", "colloquial"]
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "corpus"), *arguments])
    assert result.exit_code == 0, result.output
    wording = json.loads((tmp_path / "corpus" / MARKER).read_text())["wording"]
    kept = wording["values_without_phrases"]
    assert {attribute: set(values) for attribute, values in kept.items()} == {
        "color": {"Navy Blue", "Off White"},
        "type": {"Casual Shoes"},
    }
    assert sum(sum(values.values()) for values in kept.values()) == wording["values"]["by_catalogue_word"] > 0
    assert wording["values"]["in_other_words"] > 0
    assert "values without colloquial words" in result.stdout
