"""The types of frontend/client.d.ts, and the program of docs/api.md, which is compiled with them and run in Node."""

import json
import subprocess
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from exports.access import tokens
from exports.models import AuditEntry
from exports.models.audit import SYSTEM
from tests.doc_blocks import blocks_of
from tests.office.node import NODE, has_websocket
from tests.office.processes import ROOT
from tests.office.wires import daphne_with
from tests.servers import Valkey
from tests.test_api_guide import a_worker

pytestmark = pytest.mark.servers

TSC = ROOT / ".venv" / "node_modules" / "typescript" / "bin" / "tsc"
STRICT = ["--strict", "--target", "es2022", "--lib", "es2022,dom", "--module", "nodenext"]
CALL = """
import { flights } from "./flights.js";
const file = await flights(process.argv[2], process.argv[3]);
process.stdout.write(JSON.stringify(await file.text()));
"""


def compiled(*arguments: str) -> str:
    """Run the compiler and return what it complains about."""
    assert TSC.exists(), "npm install --prefix .venv --no-save xlsx@0.18.5 axe-core@4.11.0 typescript@5.9.3"
    done = subprocess.run(["node", str(TSC), *STRICT, *arguments], capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def test_the_types_are_those_of_the_modules():
    agreement = ROOT / "tests" / "frontend" / "agreement.ts"
    assert compiled("--noEmit", "--allowJs", "--noImplicitAny", "false", str(agreement)) == ""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return the folder of a package in which the modules are installed as npm installs a folder."""
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "live-exports").symlink_to(ROOT / "exports" / "static" / "exports")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


@pytest.mark.skipif(not has_websocket(), reason="Node is missing or older than 20.10")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("office")
def test_the_program_of_the_page_gets_a_file(valkey: Valkey, owner: User, package: Path):
    [program] = [each.code for each in blocks_of(ROOT / "docs" / "api.md") if each.language == "ts"]
    theirs, ours = '"flights", criteria: { carrier: "UA" }', '"report", criteria: { month: 4 }'
    assert theirs in program
    (package / "flights.ts").write_text(program.replace(theirs, ours))
    (package / "call.js").write_text(CALL)
    assert compiled(str(package / "flights.ts")) == ""
    _, token = tokens.create(owner, "nightly", SYSTEM, can_create=True)
    with daphne_with(valkey) as site, a_worker():
        done = subprocess.run(
            [*NODE, "--no-warnings", "call.js", f"http://{site.host}", token],
            cwd=package,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]).endswith("Name\r\nowner\r\n")
    assert "done 1" in done.stdout
    assert AuditEntry.objects.get(verb="download").outcome == AuditEntry.Outcome.SENT


def test_a_state_is_not_taken_for_another_type(package: Path):
    wrong = 'import { percentOf, type State } from "live-exports";\n'
    wrong += 'export const of = (state: State): string => `${percentOf(state.rows)} ${state.status === "over"}`;\n'
    (package / "wrong.ts").write_text(wrong)
    said = compiled("--noEmit", str(package / "wrong.ts"))
    assert "Property 'rows' does not exist on type 'State'" in said
    assert "no overlap" in said
