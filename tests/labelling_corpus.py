"""Small workspaces for the labelling tests, written table by table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.workspace import Workspace
from schemas.ontology import Ontology, Slot, Value
from schemas.tables import IMAGES, PRODUCTS, TURNS, write_table

ONTOLOGY = Ontology(
    version=3,
    slots=(
        Slot(
            name="color",
            attribute="color",
            values=(Value(value="red", count=2), Value(value="black", count=5), Value(value="blue", count=5)),
        ),
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            hint="in euros",
            values=(Value(value="cheap", count=1, high=25), Value(value="25-50", count=9, low=25, high=50)),
        ),
    ),
)

# the smallest PNG there is: one red pixel
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)

PAYLOADS = (
    "<script>window.fired = 1</script>",
    "<img src=x onerror='window.fired = 2'>",
    '"><svg onload=window.fired=3>',
    "javascript:window.fired=4",
    "{{constructor.constructor('window.fired=5')()}}",
    "</span></div><iframe srcdoc='<script>parent.fired=6</script>'></iframe>",
    "&lt;script&gt;window.fired=7&lt;/script&gt;",
    "<a href='javascript:window.fired=8' autofocus onfocus=window.fired=9>x</a>",
    "`${window.fired=10}`",
    "<math><mtext></table><style><img src onerror=window.fired=11>",
)


def turn(number: int, speaker: str, text: str, *image_ids: str, dialogue: str = "d1") -> dict[str, Any]:
    return {
        "dialogue_id": dialogue,
        "turn": number,
        "speaker": speaker,
        "act": "",
        "text": text,
        "image_ids": list(image_ids),
        "split": "train",
    }


def dialogue(name: str, *, users: int = 2, split: str = "train", text: str = "I want red") -> list[dict[str, Any]]:
    """``users`` user turns, each answered; the answers show one image."""
    rows = []
    for index in range(users):
        rows.append(turn(2 * index, "user", f"{text} {index}", dialogue=name))
        rows.append(turn(2 * index + 1, "system", f"answer {index}", "pixel", dialogue=name))
    return [{**row, "split": split} for row in rows]


def write_workspace(
    root: Path, dialogues: Sequence[Sequence[dict[str, Any]]], *, ontology: Ontology = ONTOLOGY
) -> Workspace:
    """A workspace with these dialogues, one product, and one image that is there and one that is not."""
    workspace = Workspace(root).create()
    image = root / "images" / "pixel.png"
    image.parent.mkdir(exist_ok=True)
    image.write_bytes(PIXEL)
    rows = sorted((row for rows in dialogues for row in rows), key=lambda row: (row["dialogue_id"], row["turn"]))
    write_table(workspace.turns, TURNS, rows)
    shown = {"url": None, "sha256": None, "width": 1, "height": 1}
    images = [
        {"image_id": "gone", "file": None, "status": "missing", **shown},
        {"image_id": "pixel", "file": str(image), "status": "ok", **shown},
    ]
    write_table(workspace.images, IMAGES, images)
    product = {"product_id": "p1", "name": "Red <Dot>", "description": "", "attributes": [], "price": None}
    write_table(workspace.products, PRODUCTS, [{**product, "currency": None, "image_ids": ["pixel"], "source": "test"}])
    ontology.write(workspace.ontology_file)
    return workspace
