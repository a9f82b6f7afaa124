"""The folder of images that Label Studio may serve, while somebody changes the disk behind it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from annotate.tasks.served_images import ImageFile, ImageFolder
from schemas.errors import CorpusError, UsageError
from schemas.files import sha256_bytes

SECRET = b"a private key"


def for_browser(content: bytes) -> tuple[str, Callable[[], bytes] | None]:
    """Contents that begin with "odd" need a copy, which turns them round; "no image" is none."""
    if content.startswith(b"no image"):
        raise CorpusError("no image")
    return (".png", lambda: content[::-1]) if content.startswith(b"odd") else (".jpg", None)


class Shop:
    """Three images as imported, and the folder that is served."""

    def __init__(self, root: Path) -> None:
        self.images = root / "images"
        self.images.mkdir(parents=True)
        self.served = root / "served"
        self.secret = root / "secret"
        self.secret.write_bytes(SECRET)
        contents = {"plain": b"a photo", "odd": b"odd photo", "again": b"a third"}
        self.files: dict[str, ImageFile] = {}
        for name, content in contents.items():
            (self.images / name).write_bytes(content)
            self.files[name] = ImageFile(self.images / name, sha256_bytes(content))

    def link(self) -> ImageFolder:
        folder = ImageFolder(self.served, for_browser)
        folder.link_all(self.files, [*self.files, "never imported"])
        return folder

    def contents(self, folder: ImageFolder) -> dict[str, bytes]:
        return {image_id: (self.served / name).read_bytes() for image_id, name in folder.names.items()}

    def everything_served(self) -> set[bytes]:
        return {path.read_bytes() for path in self.served.rglob("*") if path.is_file()}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_files_are_served_under_the_suffix_of_their_format_and_odd_ones_as_copies(shop: Shop):
    folder = shop.link()
    assert shop.contents(folder) == {"plain": b"a photo", "odd": b"otohp ddo", "again": b"a third"}
    assert {name: Path(served).suffix for name, served in folder.names.items()} == {
        "plain": ".jpg",
        "odd": ".png",
        "again": ".jpg",
    }
    assert (shop.served / folder.names["plain"]).samefile(shop.images / "plain")
    assert not folder.left_out


def test_linking_again_writes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.link()
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("written again"))
    assert len(shop.link().names) == 3


def exchanged_file(shop: Shop) -> None:
    (shop.images / "plain").unlink()
    (shop.images / "plain").symlink_to(shop.secret)


def exchanged_for_a_relative_link(shop: Shop) -> None:
    (shop.images / "plain").unlink()
    (shop.images / "plain").symlink_to("../secret")


def exchanged_folder(shop: Shop) -> None:
    shop.images.rename(shop.images.with_name("moved"))
    other = shop.images.with_name("other")
    other.mkdir()
    for name in shop.files:
        (other / name).write_bytes(SECRET)
    shop.images.symlink_to(other)


def exchanged_for_a_link_to_the_same_content(shop: Shop) -> None:
    (shop.images / "plain").rename(shop.images / "moved")
    (shop.images / "plain").symlink_to("moved")


def exchanged_for_a_hard_link(shop: Shop) -> None:
    (shop.images / "plain").unlink()
    os.link(shop.secret, shop.images / "plain")


def overwritten(shop: Shop) -> None:
    (shop.images / "plain").write_bytes(SECRET)


def exchanged_for_a_pipe(shop: Shop) -> None:
    (shop.images / "plain").unlink()
    os.mkfifo(shop.images / "plain")


def deleted(shop: Shop) -> None:
    (shop.images / "plain").unlink()


@pytest.mark.parametrize(
    ("attack", "reason", "left"),
    [
        (exchanged_file, "symbolic_link", 2),
        (exchanged_for_a_relative_link, "symbolic_link", 2),
        (exchanged_folder, "symbolic_link", 0),
        (exchanged_for_a_link_to_the_same_content, "symbolic_link", 2),
        (exchanged_for_a_hard_link, "changed", 2),
        (overwritten, "changed", 2),
        (exchanged_for_a_pipe, "missing", 2),
        (deleted, "missing", 2),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_file_that_is_no_longer_what_was_imported_is_not_served(
    shop: Shop, attack: Callable[[Shop], None], reason: str, left: int
):
    attack(shop)
    folder = shop.link()
    assert dict(folder.left_out) == {reason: 3 - left}
    assert len(folder.names) == left
    assert SECRET not in shop.everything_served()


def test_a_file_exchanged_between_the_look_and_the_link_is_not_served(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    link = os.link

    def exchange_first(source: Path, target: Path, **options: bool) -> None:
        if Path(source).name == "plain":
            exchanged_for_a_hard_link(shop)
            monkeypatch.setattr(os, "link", link)
        link(source, target, **options)

    monkeypatch.setattr(os, "link", exchange_first)
    folder = shop.link()
    assert shop.contents(folder)["plain"] == b"a photo"
    assert SECRET not in shop.everything_served()


def test_a_link_put_among_the_served_files_is_replaced(shop: Shop):
    served = shop.served / shop.link().names["plain"]
    served.unlink()
    served.symlink_to(shop.secret)
    shop.link()
    assert served.read_bytes() == b"a photo"
    assert not served.is_symlink()


def test_without_hard_links_files_are_copied(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    folder = shop.link()
    assert shop.contents(folder)["plain"] == b"a photo"
    assert not (shop.served / folder.names["plain"]).samefile(shop.images / "plain")


def test_a_file_without_a_known_hash_is_served_if_it_is_an_image(shop: Shop):
    (shop.images / "page").write_bytes(b"no image")
    shop.files = {name: ImageFile(shop.images / name) for name in ("plain", "page")}
    folder = shop.link()
    assert set(folder.names) == {"plain"}
    assert dict(folder.left_out) == {"cannot_be_decoded": 1}


def test_a_folder_that_cannot_be_written_is_an_error(shop: Shop):
    shop.served.write_bytes(b"a file")
    with pytest.raises(UsageError, match="cannot put images where Label Studio serves them"):
        shop.link()
