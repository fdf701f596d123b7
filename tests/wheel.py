"""The built distributions, and virtual environments to install them in."""

import sys
from pathlib import Path
from subprocess import run

ROOT = Path(__file__).resolve().parent.parent


def build(target: str, folder: Path) -> Path:
    """Build the "wheel" or the "sdist" as a release does, and return its path below `folder`."""
    _run([sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)])
    [path] = folder.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[target])
    return path


def new_environment(folder: Path, *packages: str) -> Path:
    """Create a virtual environment with these packages, as pip names them, and return the path of its Python."""
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = folder / "bin" / "python"
    if packages:
        install(python, *packages)
    return python


def install(python: Path, *packages: str) -> None:
    """Install packages into the environment of this Python, by the pip of the tests. "-e" makes the next editable."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    _run([*pip, "install", "--quiet", *packages])


def _run(command: list[str]) -> None:
    ended = run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
