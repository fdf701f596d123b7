"""The documentation site: each page is in the navigation, each link leads somewhere, nothing comes from elsewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


class _Loader(yaml.SafeLoader):
    """Ignore the Python objects that configure MkDocs' extensions."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)
NAV = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)["nav"]


def pages_of(nav: Any) -> Iterator[str]:
    """Yield the pages of a part of the navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(each)


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_page_is_in_the_navigation(page: str):
    assert page in [*pages_of(NAV)], (
        f"docs/{page} is in no section of the site. Add it to `nav` in mkdocs.yml: a lesson under Tutorial, a task "
        f"under How-to guides, a list to look things up under Reference, a background under Explanation."
    )


def test_the_sections_are_the_four_kinds_of_documentation():
    assert [*dict.fromkeys(name for each in NAV for name in each)] == [
        "Home",
        "Tutorial",
        "How-to guides",
        "Reference",
        "Explanation",
        "Contributing",
    ]


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=docs, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. MkDocs checks the links between its pages and their anchors."""
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Loaded(HTMLParser):
    """Collect the addresses that a browser loads with a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.addresses.add(given["href"] or "")
        elif tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.addresses.add(given["src"] or "")


@pytest.mark.servers
def test_pages_load_nothing_from_other_servers(site: Path):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 15
    loaded = {address for page in pages for address in Loaded(page.read_text()).addresses}
    assert [address for address in loaded if re.match(r"https?:|//", address)] == []
    # Material asks GitHub for the stars of a repository that a page links by this element.
    assert [page.name for page in pages if 'data-md-component="source"' in page.read_text()] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert [*re.findall(r"(?:url\(|@import )[\"']?https?://[^)\"']+", styles)] == []


def test_links_of_pages_on_github_lead_to_a_heading():
    """README.md is no page of the site, and GitHub shows the other pages too."""
    broken = []
    for page in [*ROOT.glob("*.md"), *DOCS.glob("*.md")]:
        for path, anchor in re.findall(r"\]\(((?!https?:)[^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors_of(target)):
                broken.append(f"{page.name}: {path}#{anchor}")
    assert broken == []


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_picture_is_shown_and_made_by_a_test():
    shown = {name for page in DOCS.glob("*.md") for name in re.findall(r"\]\((\w+\.png)\)", page.read_text())}
    modules = "".join(path.read_text() for path in (ROOT / "tests" / "e2e").glob("test_*.py"))
    made = re.findall(r'save\(.+, folder, "(.+)"\)', modules)
    assert shown == {path.name for path in DOCS.glob("*.png")} == set(made)


@pytest.mark.servers
def test_broken_links_fail_the_build(tmp_path: Path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "index.md").write_text("[a](nowhere.md) [b](other.md#nothing) [c](/other/)")
    (folder / "other.md").write_text("# Other\n")
    configuration = re.sub(r"^nav:.*", "", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "mkdocs.yml").write_text(re.sub(r"^hooks:.*", "", configuration, flags=re.MULTILINE))
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    output = built.stdout + built.stderr
    complaints = (
        "'nowhere.md', but the target is not found",
        "contain an anchor '#nothing'",
        "absolute link '/other/'",
    )
    assert [each for each in complaints if each not in output] == []
