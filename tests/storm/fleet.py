"""A site whose processes run on six and more hosts that share nothing but servers, and what may happen to hosts.

Two web hosts behind nginx, three hosts with a worker for each queue, one for housekeeping; PostgreSQL behind pgbouncer
in transaction mode, two Valkeys with Sentinel, an S3 server and a mail server. The clocks of the hosts differ.
"""

import argparse
import getpass
import io
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from tests.office import nginx
from tests.pooler import PgBouncer
from tests.servers import Server
from tests.storm.auditor import Audit, audit
from tests.storm.failover import ValkeyPair
from tests.storm.mailbox import IS_SILENT, REFUSES
from tests.storm.network import ADDRESS, OWN, Host, HostProgram, isolate
from tests.storm.pages import OpenPages, Page
from tests.storm.programs import ROOT, Program
from tests.storm.site import PATIENT, PROFILE, USERS, Site
from tests.storm.strikes import Storm, Strikes

# Minutes by which the clock of a host is ahead.
CLOCKS = {"web2": 3, "worker1": 7, "worker3": -4, "housekeeper1": -2}
QUEUES = ("large", "small")
HOSTS, MAX_ADDED = 6, 2
WEB_PORT = 8000
# Longer than a lease; and a connection whose packets are lost is given up within this time, see docs/deploying.md.
MAX_OUTAGE_SECONDS = 4 * PROFILE["LEASE_SECONDS"]
LIVENESS = "connect_timeout=5&keepalives_idle=2&keepalives_interval=1&keepalives_count=3&tcp_user_timeout=4000"

MIGRATE = "from django.core.management import call_command; call_command('migrate', verbosity=0)"


class Balancer(Server):
    """nginx with the configuration of docs/deploying.md, in front of several web processes."""

    def __init__(self, address: str, port: int, upstreams: Sequence[str]) -> None:
        super().__init__()
        self.address, self.port = address, port
        servers = " ".join(f"server {each} max_fails=1 fail_timeout=2s;" for each in upstreams)
        text = f"upstream web {{ {servers} }}\nproxy_connect_timeout 2s;\n{nginx.documented()}"
        for old, new in {
            "listen 443 ssl;": f"listen {address}:{port};",
            "server_name exports.example;": f"server_name {address};",
            "http://127.0.0.1:8000;": "http://web;",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        configuration = nginx.HTTP.format(user=getpass.getuser(), folder=self.folder, site=text)
        (self.folder / "nginx.conf").write_text(configuration)

    def command(self) -> list[str]:
        return [nginx.program(), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self.address, self.port), timeout=1):
            return True
        return False


class Fleet(Site):
    """The site. `code` is the folder of the code that its hosts begin with."""

    def __init__(self, folder: Path, *, code: Path = ROOT, rows: int = 20_000) -> None:
        own = {**PATIENT, "WORK_DIR": str(folder / OWN / "work"), "REUSE_WITHIN_SECONDS": 3600}
        self.code = code
        super().__init__(folder, bucket=True, sentinel=True, workers=(), housekeepers=0, exports=own, rows=rows,
                         address=ADDRESS)  # fmt: skip
        self.hosts: dict[str, Host] = {}
        self.pooler = PgBouncer(str(self.postgres.folder), self.postgres.USER, ADDRESS)
        self._commands = {}
        for name in ("web1", "web2", "worker1", "worker2", "worker3", "housekeeper1"):
            self._add_host(name)
        webs = [f"{host.address}:{WEB_PORT}" for host in self.hosts.values() if host.name.startswith("web")]
        self.balancer = Balancer(ADDRESS, self.port, webs)

    @property
    def servers(self) -> list[Server | ValkeyPair]:
        return [*super().servers, self.pooler, self.balancer]

    @property
    def database_url(self) -> str:
        return f"{self.pooler.url('storm')}?{LIVENESS}"

    def work_files(self) -> list[Path]:
        return [path for host in self.hosts.values() for path in (host.folder / "work").rglob("*")]

    def add_worker_host(self) -> None:
        """Add a host with workers to the running fleet."""
        for role, (command, ready) in self._add_host(f"worker{len(self._of_workers()) + 1}").items():
            self.programs[role] = self._program(role, command, ready)
            self._open.callback(self.programs[role].close)
            self.programs[role].launch()

    def upgrade(self, host: Host, code: Path) -> None:
        """Stop the processes of a host in good order, and start them with other code."""
        for program in host.programs:
            program.stop()
        host.code = code
        for program in host.programs:
            program.start()

    def _of_workers(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.name.startswith("worker")]

    def _add_host(self, name: str) -> dict[str, tuple[list[str], str]]:
        """Make a host, and return the commands of its processes by role."""
        clock = 60 * CLOCKS.get(name, 0)
        host = self.hosts[name] = Host(name, 11 + len(self.hosts), self.folder, clock=clock, code=self.code)
        manage = [sys.executable, "manage.py", "exports"]
        commands: dict[str, tuple[list[str], str]]
        if name.startswith("web"):
            bind = ["-b", host.address, "-p", str(WEB_PORT)]
            daphne = [sys.executable, "-m", "exports.asgi.daphne", *bind, "project.asgi:application"]
            commands = {name: (daphne, "Listening on TCP")}
        elif name.startswith("worker"):
            commands = {f"{name}-{queue}": ([*manage, "work", queue], "ready") for queue in QUEUES}
        else:
            commands = {name: ([*manage, "housekeep"], "ready")}
        self._commands |= commands
        return commands

    def _program(self, role: str, command: Sequence[str], ready: str) -> Program:
        return HostProgram(self.hosts[role.partition("-")[0]], role, command, ready, self.environment)


@dataclass
class FleetStorm(Storm):
    """Strikes against hosts and servers of a fleet."""

    site: Fleet
    _struck: dict[str, threading.Timer] = field(default_factory=dict)

    def recover(self) -> None:
        for timer in list(self._struck.values()):
            timer.cancel()
        for host in self.site.hosts.values():
            host.connect()
            host.thaw()
            host.boot()
        super().recover()

    def _strikes(self) -> Strikes:
        valkey, postgres = self.site.valkey, self.site.postgres
        return {
            "host cut off": (26, lambda: self._strike_host(Host.cut_off, Host.connect)),
            "host killed": (22, lambda: self._strike_host(Host.kill, Host.boot)),
            "host frozen": (16, lambda: self._strike_host(Host.freeze, Host.thaw)),
            "host added": (6, self._add_host),
            "worker killed": (8, lambda: self._strike_process("worker", Program.kill)),
            "worker told to stop": (4, lambda: self._strike_process("worker", Program.tell_to_stop)),
            "queue failed over": (4, self._make_queue_read_only),
            "queue's primary restarted": (2, lambda: self._restart(valkey)),
            "queue emptied": (2, self._empty_queue),
            "database restarted": (3, lambda: self._restart(postgres)),
            "pooler restarted": (3, lambda: self._restart(self.site.pooler)),
            "mail refused": (2, lambda: self._trouble_mail(REFUSES)),
            "mail server silent": (2, lambda: self._trouble_mail(IS_SILENT)),
        }

    def _strike_host(self, strike: Callable[[Host], None], end: Callable[[Host], None]) -> bool:
        """Strike a random host that works, and end that after a while, also while a request waits for its answer."""
        targets = [
            host
            for host in self.site.hosts.values()
            if host.name not in self._struck and all(each.is_running and each.answers() for each in host.programs)
        ]
        if targets:
            host = self.chance.choice(targets)
            strike(host)
            seconds = self.chance.uniform(0.5, MAX_OUTAGE_SECONDS)
            timer = self._struck[host.name] = threading.Timer(seconds, self._end_strike, (host, end))
            timer.start()
        return bool(targets)

    def _end_strike(self, host: Host, end: Callable[[Host], None]) -> None:
        end(host)
        del self._struck[host.name]

    def _add_host(self) -> bool:
        if len(self.site.hosts) >= HOSTS + MAX_ADDED:
            return False
        self.site.add_worker_host()
        return True


def main() -> int:
    options = parse_options()
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    isolate(folder)
    audited = upgrade(folder, options) if options.upgrade_from else strike(folder, options)
    if not audited.findings:
        shutil.rmtree(folder, ignore_errors=True)
    return int(bool(audited.findings))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/storm --fleet", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.5, help="Minutes of strikes (1.5).")
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6), help="Repeats a run's decisions.")
    parser.add_argument("--exports", type=int, help="Number of exports (100 in 1.5 minutes).")
    parser.add_argument("--pause", type=float, default=1.5, help="Average seconds between two strikes (1.5).")
    parser.add_argument("--faults", type=int, default=0, help="Least number of strikes (0).")
    parser.add_argument("--upgrade-from", metavar="REVISION", help="Upgrade from this revision instead of striking.")
    options = parser.parse_args()
    if options.exports is None:
        options.exports = round(options.minutes * 100 / 1.5)
    return options


def strike(folder: Path, options: argparse.Namespace) -> Audit:
    """Return the audit after the strikes, during which a page of each user is open."""
    began, chance = time.monotonic(), Random(options.seed)
    with Fleet(folder) as fleet:
        watched = [fleet.request(user, first=user + 1, rows=15_000) for user in range(USERS)]
        pages = [Page(fleet, each.user, [each.id], Random(each.id)) for each in watched]
        with OpenPages(fleet, pages) as opened:
            storm = FleetStorm(
                fleet, chance, options.minutes * 60, options.exports - USERS, options.pause, faults=options.faults
            )
            storm.run()
            storm.recover()
            fleet.wait_until(opened.are_up_to_date, "not all pages are up to date", pause=0.2)
        print(f"fleet of {len(fleet.hosts)}: {storm}", flush=True)
        return audit_of(fleet, began)


def upgrade(folder: Path, options: argparse.Namespace) -> Audit:
    """Return the audit after an upgrade of the database and then of one host after the other, under load."""
    began = time.monotonic()
    with Fleet(folder, code=checkout(options.upgrade_from, folder / "code")) as fleet:
        firsts = count(1)

        def request_some(number: int, type: str = "parcels") -> list[str]:
            firsts_of_these = [next(firsts) for _ in range(number)]
            return [fleet.request(each % USERS, first=each, rows=5000, type=type).id for each in firsts_of_these]

        request_some(10)
        fleet.code = ROOT
        fleet.run_script(MIGRATE)
        request_some(10)
        fleet.upgrade(fleet.hosts["web1"], ROOT)
        newer = request_some(6, "newer")
        # Workers with the old code make what they know, and leave the others alone.
        request_some(10)
        time.sleep(2 * PROFILE["LEASE_SECONDS"])
        assert {fleet.status(each) for each in newer} == {"queued"}
        for name in ("housekeeper1", "worker1", "web2", "worker2", "worker3"):
            request_some(10)
            fleet.upgrade(fleet.hosts[name], ROOT)
        fleet.wait_until_settled()
        print(f"upgraded from {options.upgrade_from}; {len(newer)} exports of a new type waited", flush=True)
        return audit_of(fleet, began)


def audit_of(fleet: Fleet, began: float) -> Audit:
    audited = audit(fleet)
    # Each was requested until it was answered, and a repeated request must get the same export.
    if (rows := sum(fleet.statuses().values())) != len(fleet.requested):
        audited.findings.append(f"twice: {rows} exports for {len(fleet.requested)} requests")
    print(f"{audited}\nafter {time.monotonic() - began:.0f} s", flush=True)
    if audited.findings:
        fleet.keep_logs()
    return audited


def checkout(revision: str, folder: Path) -> Path:
    """Write the code of a revision into a folder, with the tests of today."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    shutil.rmtree(folder / "tests")
    (folder / "tests").symlink_to(ROOT / "tests")
    return folder


if __name__ == "__main__":
    sys.exit(main())
