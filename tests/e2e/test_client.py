"""The program at the end of docs/protocol.md, run against the site."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests import asyncapi
from tests.e2e.stack import ROOT, Stack

[CLIENT] = re.findall(r"```python\n(import json\n.*?)```", (ROOT / "docs" / "protocol.md").read_text(), re.DOTALL)
READ = "socket.recv(timeout=15)"
# It also writes each frame to stderr.
NOTING = f"""
import sys
def note(frame):
    print(frame, file=sys.stderr)
    return frame
{CLIENT.replace(READ, f"note({READ})")}
"""


def test_the_client_of_the_documentation_saves_a_file(stack: Stack, tmp_path: Path):
    arguments = [stack.url, "ada", stack.demo.passwords["ada"], "weather"]
    assert READ in CLIENT
    done = subprocess.run(
        [sys.executable, "-c", NOTING, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    [file] = tmp_path.iterdir()
    assert len(file.read_text().splitlines()) > 20_000
    assert done.stdout.splitlines()[-1].startswith("ready")
    frames = [json.loads(line) for line in done.stderr.splitlines()]
    assert [errors for frame in frames for errors in asyncapi.errors_of(frame)] == []
