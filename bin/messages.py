"""Bring the translations up to date with the source: `python -m bin.messages`. It needs no program of gettext.

A new message is added without a translation; one that the source has no more is deleted. The test of the translations
fails until each is translated.
"""

from io import BytesIO
from pathlib import Path
from typing import Final

import django
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.utils.translation.template import templatize

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDERS: Final = (ROOT / "exports", ROOT / "project")
SUFFIXES: Final = (".py", ".html", ".txt")
# How the functions of django.utils.translation take a message: None for the first argument alone.
KEYWORDS: Final = {
    "_": None, "gettext": None, "gettext_lazy": None, "gettext_noop": None, "ngettext": (1, 2), "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2), "pgettext_lazy": ((1, "c"), 2), "npgettext": ((1, "c"), 2, 3),
}  # fmt: skip


def messages_of(folder: Path) -> Catalog:
    """Return the messages of the Python code and the templates below this folder."""
    if not settings.configured:
        settings.configure()
        django.setup()
    messages = Catalog()
    for path in sorted(each for each in folder.rglob("*") if each.suffix in SUFFIXES and each.is_file()):
        text = path.read_text()
        source = text if path.suffix == ".py" else templatize(text)
        for _line, message, _comments, context in extract("python", BytesIO(source.encode()), keywords=KEYWORDS):
            messages.add(message, context=context)
    return messages


def catalogue_of(path: Path) -> Catalog:
    """Return the messages of a .po file, obsolete ones too."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parent.parent.name, abort_invalid=True)


def update(folder: Path) -> None:
    """Write the messages of this folder into each of its .po files, and keep their translations."""
    messages = messages_of(folder)
    for path in sorted(folder.glob("locale/*/LC_MESSAGES/django.po")):
        catalogue = catalogue_of(path)
        catalogue.update(messages, no_fuzzy_matching=True, update_creation_date=False)
        catalogue.obsolete.clear()
        with path.open("wb") as file:
            write_po(file, catalogue, width=120, no_location=True)


if __name__ == "__main__":
    for each in FOLDERS:
        update(each)
