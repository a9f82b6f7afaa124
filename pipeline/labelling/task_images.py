"""The images that tasks show: linked where Label Studio serves them, with the names of the products in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.tasks.dialogue_tasks import image_url
from annotate.tasks.served_images import SERVED_IMAGES, ImageFile, ImageFolder
from pipeline.workspace import Workspace
from schemas.progress import Progress
from schemas.tables import IMAGES, PRODUCTS, read_table
from semantic_model.data.image_decoding import for_browser

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway


def image_files(workspace: Workspace) -> dict[str, ImageFile]:
    """Image id -> its file, for images that were there and could be read at the import."""
    table = read_table(workspace.images, IMAGES, columns=["image_id", "file", "sha256", "status"])
    root = workspace.root.resolve()
    return {
        row["image_id"]: ImageFile(root / row["file"], row["sha256"])
        for row in table.to_pylist()
        if row["status"] == "ok" and row["file"]
    }


def product_names(workspace: Workspace) -> dict[str, str]:
    """Image id -> name of the product in the image."""
    products = read_table(workspace.products, PRODUCTS, columns=["product_id", "name", "image_ids"])
    names: dict[str, str] = {}
    for row in products.to_pylist():
        for image_id in row["image_ids"]:
            names.setdefault(image_id, row["name"])
    return names


@dataclass(frozen=True)
class TaskImages:
    """The images of some tasks."""

    folder: ImageFolder
    needed: int  # how many images the tasks would show
    names: Mapping[str, str]  # image id -> name of the product in it
    root: Path

    @classmethod
    def link(
        cls, workspace: Workspace, dialogues: Mapping[str, Sequence[Mapping[str, Any]]], progress: Progress
    ) -> TaskImages:
        """Link the images of dialogues where Label Studio serves them; says how many are not as they were imported."""
        return cls.of(
            workspace, {image for rows in dialogues.values() for row in rows for image in row["image_ids"]}, progress
        )

    @classmethod
    def of(cls, workspace: Workspace, needed: Collection[str], progress: Progress) -> TaskImages:
        """The same for images named by their ids."""
        root = workspace.labelling / "files"
        folder = ImageFolder(root, for_browser)
        folder.link_all(image_files(workspace), needed, progress)
        if folder.left_out:
            reasons = ", ".join(f"{_LEFT_OUT[reason]}: {n}" for reason, n in sorted(folder.left_out.items()))
            progress.log(
                f"warning: {folder.left_out.total()} images are not shown, because their files are no longer as they "
                f"were imported ({reasons}); run `semctl import` again, then export again"
            )
        return cls(folder, len(needed), product_names(workspace), root / SERVED_IMAGES)

    def address(self, image_id: str) -> str | None:
        """Address of an image in Label Studio; None when there is none to show."""
        name = self.folder.names.get(image_id)
        return None if name is None else image_url(name)

    def serve(self, gateway: Gateway, project_id: int) -> str | None:
        """Let a project show them; why it cannot, or None."""
        return gateway.serve_images(project_id, self.root) if self.folder.names else None

    def counts(self) -> dict[str, int]:
        """How many are shown, and how many are not there."""
        shown = len(self.folder.names)
        return {"shown": shown, "missing": self.needed - shown}


_LEFT_OUT = {
    "missing": "gone or unreadable",
    "symbolic_link": "a symbolic link in their path",
    "changed": "other content",
    "cannot_be_decoded": "no image",
}
