"""A project in a folder, made of the code blocks of a how-to, with the database and the settings of the test."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from exports.models import FileRequest
from tests.office import rows
from tests.office.processes import ROOT, Process, environment

SECONDS = 60
REQUEST = """
from django.contrib.auth import get_user_model
from exports import services
print(services.request_export(get_user_model().objects.get(), {file_type!r}, {criteria!r}, format="csv")[0].pk)
"""


def block(page: str, name: str) -> str:
    """Return the code below the comment with this name on a page of the documentation."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    [found] = re.findall(rf"<!-- {re.escape(name)} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    return found


class Project:
    """The package `yours`. Its settings are those of the test, then `settings`, then EXPORTS of both together."""

    def __init__(self, folder: Path, settings: str = "", **files: str) -> None:
        self.folder = folder
        (folder / "yours").mkdir()
        before = "from tests.office.settings import *\nGIVEN = EXPORTS\n"
        after = "\nEXPORTS = {**EXPORTS, **GIVEN, **{name: EXPORTS[name] for name in CHOSEN if name in EXPORTS}}\n"
        chosen = 'CHOSEN = ("QUEUE_BACKEND", "AUTHENTICATE", "TENANT_OF", "TENANT_CONTEXT")\n'
        self.write("__init__.py", "")
        self.write("settings.py", f"{before}{chosen}{settings}{after}")
        for name, text in files.items():
            self.write(f"{name}.py", text)

    def write(self, name: str, text: str) -> None:
        (self.folder / "yours" / name).write_text(text)

    def environment(self) -> dict[str, str]:
        given = environment(self.folder)
        return given | {"DJANGO_SETTINGS_MODULE": "yours.settings", "PYTHONPATH": f"{self.folder}:{ROOT}"}

    def manage(self, *arguments: str, succeeds: bool = True) -> str:
        """Run a command of manage.py and return what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment(), capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done.stdout + done.stderr

    def request(self, file_type: str, criteria: dict[str, Any]) -> FileRequest:
        """Request an export for the only user in a process of the project, and return its row."""
        code = REQUEST.format(file_type=file_type, criteria=criteria)
        return rows.fresh(FileRequest(pk=UUID(self.manage("shell", "--no-imports", "-c", code).strip())))

    def process(self, command: str, *, ready: str) -> "ProjectProcess":
        """Return a process of this shell command, which is not started yet; it has started when its log has `ready`."""
        return ProjectProcess(self, command, ready)


class ProjectProcess(Process):
    def __init__(self, project: Project, command: str, ready: str) -> None:
        super().__init__()
        self.project, self.ready = project, ready
        program, *arguments = shlex.split(command)
        found = Path(sys.executable).parent / program
        self.arguments = [str(sys.executable if program == "python" else found), *arguments]

    def command(self) -> list[str]:
        return self.arguments

    def options(self) -> dict[str, object]:
        return {"cwd": ROOT, "env": self.project.environment()}
