"""What a browser would take for markup in a page, and what it would fetch."""

from __future__ import annotations

import re
from html.parser import HTMLParser

FETCHING = "src href xlink:href srcset action formaction poster data background ping cite".split()


class PageMarkup(HTMLParser):
    """Tags, attributes, addresses and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.without_scope: list[str] = []
        self._texts: list[str] = []
        self.feed(page)
        self.text = "".join(self._texts)
        self.style = "".join(re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes |= found.keys()
        self.addresses += [value or "" for name, value in attrs if name in FETCHING]
        if "id" in found:
            self.ids.append(found["id"] or "")
        if tag == "th" and "scope" not in found:
            self.without_scope.append(tag)

    def handle_data(self, data: str) -> None:
        self._texts.append(data)


def assert_stays_in_its_file(page: str) -> PageMarkup:
    """Nothing is fetched, nothing runs, and what is linked is there."""
    seen = PageMarkup(page)
    assert all(address.startswith(("#", "data:image/")) for address in seen.addresses)
    inside = [address[1:] for address in seen.addresses if address.startswith("#")]
    assert set(inside) <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids))
    assert all(address.startswith("data:image/") for address in re.findall(r"url\(['\"]?([^)]*)", seen.style))
    assert "@import" not in seen.style
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "a href"} & set(seen.tags)
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert seen.attributes.isdisjoint({"srcdoc", "style"})
    assert seen.without_scope == []
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", page)
    return seen
