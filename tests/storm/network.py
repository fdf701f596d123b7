"""Hosts as network namespaces of one machine, which share a bridge with this process and nothing else.

Call `isolate` first: it needs a process in a separate network and mount namespace (`UNSHARED`), with which
everything ends here.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.storm.programs import ROOT, Program

UNSHARED = ["unshare", "--net", "--mount"]
"""The beginning of a command that runs a process in such namespaces."""

BRIDGE, ADDRESS, PREFIX = "hosts", "10.77.0.1", "10.77.0"
# Each host sees its own folder at this place of the fleet's, and none of the others.
OWN, ALL = "own", "hosts"
ENTER = 'hostname "$1" && mount --bind "$2/hosts/$1" "$2/own" && mount -t tmpfs none "$2/hosts" && shift 2 && exec "$@"'
CLOCK = Path("clock.so")


class NoNamespaces(RuntimeError):
    """This process may not create network namespaces. The message has the reason."""


def need_namespaces() -> None:
    """Raise NoNamespaces if `UNSHARED` does not work here."""
    for name in ("ip", "unshare", "cc"):
        if not shutil.which(name):
            raise NoNamespaces(f"{name} is not installed.")
    command = [*UNSHARED, "ip", "link", "add", BRIDGE, "type", "bridge"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NoNamespaces(f"No network namespaces can be created here: {done.stderr.strip()}")


def isolate(folder: Path) -> None:
    """Make the bridge in this process' own network namespace, with the address ADDRESS, and the clock of the hosts."""
    _run("cc", "-shared", "-fPIC", "-O2", "-o", str(folder / CLOCK), str(ROOT / "tests/storm/clock.c"))
    Path("/run/netns").mkdir(exist_ok=True)
    # Names of namespaces are files there; this hides them from other processes.
    _run("mount", "-t", "tmpfs", "none", "/run/netns")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")


class Host:
    """A host with its name, its address, its folder and its clock, `clock` seconds ahead of this machine's.

    `code` is the folder of the code that its processes run.
    """

    def __init__(self, name: str, number: int, folder: Path, *, clock: int = 0, code: Path = ROOT) -> None:
        self.name, self.address, self.clock, self.code = name, f"{PREFIX}.{number}", clock, code
        self.is_on = True
        self.programs: list[HostProgram] = []
        self._fleet, self._cable = folder, f"cable{number}"
        self.folder.mkdir(parents=True)
        (folder / OWN).mkdir(exist_ok=True)
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", self._cable, "master", BRIDGE, "up")
        for link in ("lo", "eth0"):
            _run("ip", "-n", name, "link", "set", link, "up")
        _run("ip", "-n", name, "address", "add", f"{self.address}/24", "dev", "eth0")

    @property
    def folder(self) -> Path:
        """The folder that its processes see as `own` in the fleet's."""
        return self._fleet / ALL / self.name

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command as it runs on this host. No other process is between it and its parent."""
        clock = ["env", f"LD_PRELOAD={self._fleet / CLOCK}", f"CLOCK_AHEAD={self.clock}"] if self.clock else []
        enter = ["ip", "netns", "exec", self.name, "unshare", "--mount", "--uts", "sh", "-c", ENTER, "sh"]
        return [*enter, self.name, str(self._fleet), *clock, *command]

    def cut_off(self) -> None:
        """Take the cable away: what is sent is lost, and no connection is told."""
        _run("ip", "link", "set", self._cable, "down")

    def connect(self) -> None:
        _run("ip", "link", "set", self._cable, "up")

    def kill(self) -> None:
        """End all processes at once; nothing starts on this host until `boot`."""
        self.is_on = False
        for program in self.programs:
            program.kill()

    def boot(self) -> None:
        """Let processes start again. The site starts them, since they end with the thread that did."""
        self.is_on = True

    def freeze(self) -> None:
        for program in self.programs:
            program.freeze()

    def thaw(self) -> None:
        for program in self.programs:
            program.thaw()


class HostProgram(Program):
    """A process of the app on a host."""

    def __init__(self, host: Host, role: str, command: Sequence[str], ready: str, given: Mapping[str, str]) -> None:
        super().__init__(role, command, ready, given)
        self.host = host
        host.programs.append(self)

    def command(self) -> list[str]:
        return self.host.command(super().command())

    def options(self) -> dict[str, object]:
        environment = {**self._environment, "PYTHONPATH": str(self.host.code)}
        if self.host.code == ROOT:
            environment["STORM_NEWER"] = "1"
        return {"cwd": self.host.code, "env": environment}

    def launch(self) -> None:
        if self.host.is_on:
            super().launch()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
