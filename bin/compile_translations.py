"""Compile the translations: `python bin/compile_translations.py`, and the build hook of the wheel and the sdist.

The compiled files lie beside their sources and are not committed.
"""

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parent.parent
# Of the app, and of the demo.
LOCALES = (ROOT / "exports" / "locale", ROOT / "project" / "locale")


def compile_translations(folder: Path) -> None:
    """Compile each .po file below the folder that is newer than its .mo file. Fuzzy messages are left out."""
    for source in sorted(folder.glob("*/LC_MESSAGES/*.po")):
        target = source.with_suffix(".mo")
        if target.exists() and target.stat().st_mtime_ns > source.stat().st_mtime_ns:
            continue
        with source.open("rb") as file:
            catalog = read_po(file, abort_invalid=True)
        # Several test processes may compile at the same time, and none may read a half-written file.
        with NamedTemporaryFile(dir=source.parent, suffix=".tmp", delete=False) as file:
            write_mo(file, catalog)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(target)


def get_build_hook() -> type[Any]:
    """Return the hook that hatchling calls before each build, also of an editable install."""
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class CompileTranslations(BuildHookInterface):  # type: ignore[type-arg] # not subscriptable at run time
        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            compile_translations(LOCALES[0])

    return CompileTranslations


if __name__ == "__main__":
    for locale in LOCALES:
        compile_translations(locale)
