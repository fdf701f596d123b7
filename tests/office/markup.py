"""Parse pages, and check that they are valid, accessible and without inline code."""

import json
from html.parser import HTMLParser
from typing import Any

from django.utils.translation import get_language_info

VOID = {"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


class HtmlPage(HTMLParser):
    """A parsed page. Raises AssertionError if a tag is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.refreshes: list[tuple[str, ...]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(attributes) == len(dict(attributes)), f"an attribute twice: {attributes}"
        self.tags.append((tag, dict(attributes)))
        if ("http-equiv", "refresh") in attributes:
            self.refreshes.append(tuple(self._open))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another tag, {self.getpos()}"

    def handle_data(self, text: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts.append(text)

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]

    @property
    def states(self) -> list[dict[str, Any]]:
        """The STATE of each card, in the order of the page."""
        return [parsed for text in self.scripts if "seq" in (parsed := json.loads(text))]

    @property
    def config(self) -> dict[str, Any]:
        return next(parsed for text in self.scripts if "words" in (parsed := json.loads(text)))


def check_page(text: str, *, language: str = "en") -> HtmlPage:
    """Check what holds for every page of the app, and return the page."""
    page = HtmlPage(text)
    assert text.startswith("<!doctype html>\n<html")
    direction = "rtl" if get_language_info(language)["bidi"] else "ltr"
    assert page.all("html") == [{"lang": language, "dir": direction}]
    assert page.all("title")
    check_no_inline_code(page)
    check_labels(page)
    check_forms(page)
    return page


def check_no_inline_code(page: HtmlPage) -> None:
    assert not page.all("style")
    for script in page.all("script"):
        assert script.get("src") or script["type"] == "application/json"
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("href", "src", "action"):
            assert not (attributes.get(name) or "").lstrip().lower().startswith(("javascript:", "data:")), tag


def check_labels(page: HtmlPage) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    labelled = {label.get("for") for label in page.all("label")}
    for field in page.all("input", "select", "textarea"):
        assert field.get("type") in ("hidden", "submit") or field.get("id") in labelled or field.get("aria-label")
    for bar in page.all("progress"):
        assert bar["aria-label"]


def check_forms(page: HtmlPage) -> None:
    posts = [form for form in page.all("form") if form.get("method") == "post"]
    tokens = [field for field in page.all("input") if field.get("name") == "csrfmiddlewaretoken"]
    assert len(tokens) == len(posts)
    assert all(token["value"] for token in tokens)
