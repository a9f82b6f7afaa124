from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ModelError
from semantic_model.data.taxonomy import Group, Leaf, WordLists, read_attribute_groups, read_taxonomy
from tests.skipping import skip_or_fail

KNOWLEDGE = Path(__file__).resolve().parents[4] / "shared" / "data" / "mmd_fragments" / "knowledge"


def file(tmp_path: Path, name: str, content: str) -> Path:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("first", ["", "raw_taxonomies = '''", 'raw_taxonomies = """'])
def test_a_taxonomy_of_tops_and_words(tmp_path: Path, first: str):
    end = first[-3:]
    text = f"{first}shoes>boot,boots\n\nupper>shirt:collar,sleeve , tee shirt,shirt\n__other__>__other__{end}\n"
    assert read_taxonomy(file(tmp_path, "raw_taxonomies.py", text)) == [
        Leaf("shoes", ("boot", "boots")),
        Leaf("upper", ("shirt", "sleeve", "tee shirt")),
    ]


def test_a_taxonomy_as_mmd_has_it(tmp_path: Path):
    lines = [
        "man>apparel>layer_3_upper_body>sweater>turtleneck,turtle neck",
        "man>apparel>layer_3_upper_body>coat>parka",
        "man>accessories>belt,belts",
    ]
    assert read_taxonomy(file(tmp_path, "taxonomy_men.txt", "\n".join(lines))) == [
        Leaf("layer_3_upper_body", ("turtleneck", "turtle neck")),
        Leaf("layer_3_upper_body", ("parka",)),
        Leaf("accessories", ("belt", "belts")),
    ]


def test_a_taxonomy_as_a_table_of_paths(tmp_path: Path):
    rows = "id,value\nshop,\nshop.up,\nshop.up.,\nshop.up.knitwear/sweaters,\nshop.up.knitwear/sweaters.cardigan,x\n"
    rows += '"shop.others.bra ",\n'
    assert read_taxonomy(file(tmp_path, "taxonomy.csv", rows)) == [
        Leaf("up", ("knitwear", "sweaters", "cardigan")),
        Leaf("others", ("bra",)),
    ]


def test_groups_of_attribute_values(tmp_path: Path):
    text = "raw_attributes = '''color:multi,several;blue;;red\ncare:dry'''"
    assert read_attribute_groups(file(tmp_path, "raw_attributes.py", text)) == [
        Group("color", (("multi", "several"), ("blue",), ("red",))),
        Group("care", (("dry",),)),
    ]


def test_what_is_no_knowledge_is_named_by_file_and_line(tmp_path: Path):
    with pytest.raises(ModelError, match=r"no line 'top>word,word' of a taxonomy \(.*a\.txt, line 3\)"):
        read_taxonomy(file(tmp_path, "a.txt", "shoes>boot\n\nshoes boot"))
    with pytest.raises(ModelError, match=r"no line 'group:word,word;word' of attributes \(.*b\.txt, line 2\)"):
        read_attribute_groups(file(tmp_path, "b.txt", "color:red\nred;blue"))
    with pytest.raises(ModelError, match=r"lists no kind of product \(.*c\.txt\)"):
        read_taxonomy(file(tmp_path, "c.txt", "# nothing\n__other__>__other__\nshoes>,\n"))
    with pytest.raises(ModelError, match=r"lists no group of attributes \(.*d\.txt\)"):
        read_attribute_groups(file(tmp_path, "d.txt", "\n"))
    (tmp_path / "e.txt").write_bytes(b"shoes>b\xff\xfeot")
    for read in (read_taxonomy, read_attribute_groups):
        with pytest.raises(ModelError, match=r"cannot read the file of knowledge: .*e\.txt"):
            read(tmp_path / "e.txt")


def test_the_list_with_most_words_in_a_row_is_found_then_the_first():
    lists = WordLists([("jacket", "t-shirt"), ("denim jacket", "ring"), ("shirt", "jacket")])
    assert lists.count == 3
    assert lists.find(["A Denim  jacket"]) == 1
    assert lists.find(["a jacket", "of denim"]) == 0  # two texts are not one
    assert lists.find(["T shirt"]) == 0
    assert lists.find(["shirt, jacket"]) == 0
    assert lists.find(["a string"]) == 3
    assert lists.find([]) == 3
    assert WordLists([]).find(["a shirt"]) == 0


def test_within_words_the_first_list_is_found():
    lists = WordLists([("jacket", "t-shirt"), ("Ring",), ("denim jacket", "string")], substrings=True)
    assert lists.find(["a string bag"]) == 1
    assert lists.find(["denim jackets"]) == 0
    assert lists.find(["t shirt"]) == 3
    assert WordLists([("",)], substrings=True).find(["anything"]) == 1


@pytest.mark.realdata
@pytest.mark.realdata
def test_the_published_files():
    if not KNOWLEDGE.is_dir():
        skip_or_fail("realdata", "MMD's files of knowledge are not beside the repository")
    leaves = read_taxonomy(KNOWLEDGE / "umd_raw_taxonomies.py.txt")
    assert (len({leaf.top for leaf in leaves}), len(leaves)) == (8, 82)  # and one of each for all others
    groups = read_attribute_groups(KNOWLEDGE / "umd_raw_attributes.py.txt")
    assert [group.name for group in groups] == ["color", "material", "style", "fit", "length", "care"]
    assert sum(len(group.values) for group in groups) == 71  # and one of each of the six for all others: 77
    assert {leaf.top for leaf in read_taxonomy(KNOWLEDGE / "kg_chatbot_taxonomy.csv")} == {"up", "bottom", "others"}
    words = WordLists(leaf.words for leaf in leaves)
    assert leaves[words.find(["Blue denim jacket"])].top == "layer_3_upper_body"
