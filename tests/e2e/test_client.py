"""The program at the end of docs/protocol.md, run against the site."""

import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.stack import ROOT, Stack

[CLIENT] = re.findall(r"```python\n(import json\n.*?)```", (ROOT / "docs" / "protocol.md").read_text(), re.DOTALL)


def test_the_client_of_the_documentation_saves_a_file(stack: Stack, tmp_path: Path):
    arguments = [stack.url, "ada", stack.demo.passwords["ada"], "weather"]
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    [file] = tmp_path.iterdir()
    assert len(file.read_text().splitlines()) > 20_000
    assert done.stdout.splitlines()[-1].startswith("ready")
