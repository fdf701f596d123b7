"""Hooks of the documentation site: pages and files that live elsewhere in the repository."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# GitHub looks for these in the root of the repository. Their names on the site:
ROOT_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
}
# Pages whose tables need the place beside them.
WIDE_PAGES = {"settings.md"}
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root, and the icon of the demo."""
    for path, name in ROOT_PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "site.svg", abs_src_path=str(ROOT / "project" / "static" / "site.svg")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links between docs/ and the repository's root, which work on GitHub, into links of the site."""
    if page.file.src_uri in WIDE_PAGES:
        page.meta["hide"] = ["toc"]
    folder = ROOT if page.file.src_uri in ROOT_PAGES.values() else ROOT / "docs"
    return LINK.sub(lambda found: address_on_site(found["path"], folder), markdown)


def address_on_site(path: str, folder: Path) -> str:
    """Return where the site has the file that a page in `folder` links to; the path itself if it is no such file."""
    target = (folder / path).resolve()
    if target.parent == ROOT:
        return ROOT_PAGES.get(target.name, path)
    return target.name if target.parent == ROOT / "docs" else path
