"""Random strikes against a site: kills, freezes, restarts, a queue and a mail server that fail, as a seed decides."""

import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from redis.exceptions import RedisError

from tests.servers import Server, Valkey, free_port, wait_until
from tests.storm.failover import ValkeyPair
from tests.storm.mailbox import IS_SILENT, REFUSES, REFUSES_FOR_GOOD
from tests.storm.programs import Program
from tests.storm.site import PROFILE, Site

SIZES = (50, 120, 500, 1500, 5000, 20_000)
MAX_FREEZE_SECONDS = 3 * PROFILE["LEASE_SECONDS"]
MAX_TROUBLE_SECONDS = 4.0
Strikes = Mapping[str, tuple[int, Callable[[], bool]]]
"""By name: how often it is chosen, relative to the others, and what strikes, or returns False if it found no target."""
REQUESTING_SHARE = 0.7


@dataclass
class Storm:
    """Request `exports` during the first part of `seconds`, and strike about every `pause` seconds.

    The storm lasts longer if fewer than `kills` processes were killed, or `faults` strikes made, by then.
    """

    site: Site
    chance: Random
    seconds: float
    exports: int
    pause: float
    kills: float = 0
    faults: int = 0
    strikes: Counter[str] = field(default_factory=Counter)
    _ends: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def run(self) -> None:
        """Strike until the time is up. Processes may be frozen or down, and mail refused, when it returns."""
        began = time.monotonic()
        requested, strike_at = 0, began
        while (
            (now := time.monotonic()) < began + self.seconds
            or requested < self.exports
            or sum(count for name, count in self.strikes.items() if name.endswith("killed")) < self.kills
            or self.strikes.total() < self.faults
        ):
            if requested < self.exports * min((now - began) / (self.seconds * REQUESTING_SHARE), 1):
                self._request(requested)
                requested += 1
            if now >= strike_at:
                self._strike()
                strike_at = now + self.chance.uniform(0.2, 1.8) * self.pause
            self._end_strikes(now)
            self.site.restart_ended()
            time.sleep(0.02)

    def recover(self) -> None:
        """Start and resume everything, and wait until all exports have ended, are mailed and cleaned up."""
        for server in self.site.servers:
            server.start()
        self._end_strikes(math.inf)
        self.site.wait_until_ended(seconds=400 + self.exports)
        self.site.wait_until_mailed(seconds=120)
        self.site.wait_until_clean(seconds=120)

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(self.strikes.items()))

    def _request(self, number: int) -> None:
        """Request a new export: the same criteria of the same user would return an export that is active."""
        user = number % len(self.site.sessions)
        known = {(each.format, each.first, each.rows) for each in self.site.requested if each.user == user}
        while True:
            rows = self.chance.choice(SIZES) - self.chance.randrange(SIZES[0])
            format, first = self.chance.choice(("csv", "xlsx")), self.chance.randint(1, self.site.rows - rows + 1)
            if (format, first, rows) not in known:
                break
        self.site.request(user, format=format, first=first, rows=rows)

    def _strike(self) -> None:
        strikes = self._strikes()
        name = self.chance.choices(list(strikes), [weight for weight, _ in strikes.values()])[0]
        if strikes[name][1]():
            self.strikes[name] += 1

    def _strikes(self) -> Strikes:
        return {
            "worker killed": (40, lambda: self._strike_process("worker", Program.kill)),
            "housekeeper killed": (12, lambda: self._strike_process("housekeeper", Program.kill)),
            "web killed": (8, lambda: self._strike_process("web", Program.kill)),
            "worker frozen": (10, lambda: self._strike_process("worker", self._freeze)),
            "housekeeper frozen": (3, lambda: self._strike_process("housekeeper", self._freeze)),
            "worker told to stop": (6, lambda: self._strike_process("worker", Program.tell_to_stop)),
            "web frozen": (3, lambda: self._strike_process("web", self._freeze_web)),
            "queue restarted": (2, lambda: self._restart(self.site.valkey)),
            "queue emptied": (2, self._empty_queue),
            "queue read-only": (2, self._make_queue_read_only),
            "queue full": (2, self._fill_queue),
            "database restarted": (3, lambda: self._restart(self.site.postgres)),
            "mail refused": (3, lambda: self._trouble_mail(REFUSES)),
            "mail refused for good": (1, lambda: self._trouble_mail(REFUSES_FOR_GOOD)),
            "mail server silent": (3, lambda: self._trouble_mail(IS_SILENT)),
        }

    def _strike_process(self, role: str, strike: Callable[[Program], None]) -> bool:
        """Strike a random process of the role that works: one that is still starting has nothing to lose."""
        targets = [each for each in self.site.of(role) if each.is_running and not each.is_frozen and each.answers()]
        if targets:
            strike(self.chance.choice(targets))
        return bool(targets)

    def _freeze(self, program: Program) -> None:
        program.freeze()
        self._end_within(MAX_FREEZE_SECONDS, program.thaw)

    def _freeze_web(self, program: Program) -> None:
        program.freeze()
        # Not by `_end_strikes`, which does not run while a request waits for its answer.
        threading.Timer(self.chance.uniform(0.2, MAX_FREEZE_SECONDS), program.thaw).start()

    def _restart(self, server: Server | ValkeyPair) -> bool:
        server.stop(signal.SIGINT)
        time.sleep(self.chance.uniform(0, 1))
        server.start()
        return True

    def _empty_queue(self) -> bool:
        with suppress(RedisError):
            self.site.valkey.flush()
            return True
        return False  # It is read-only, or a failover is under way.

    def _make_queue_read_only(self) -> bool:
        """Fail over to the replica, or let the only server be the replica of one that does not exist."""
        valkey = self.site.valkey
        with suppress(RedisError):
            if isinstance(valkey, ValkeyPair):
                valkey.fail_over()
                return True
            with valkey.client() as client:
                client.replicaof("127.0.0.1", free_port())
            self._end_within(MAX_TROUBLE_SECONDS, lambda: self._command_queue("REPLICAOF", "NO", "ONE"))
            return True
        return False

    def _fill_queue(self) -> bool:
        self._command_queue("CONFIG", "SET", "maxmemory", "1")
        self._end_within(MAX_TROUBLE_SECONDS, lambda: self._command_queue("CONFIG", "SET", "maxmemory", "0"))
        return True

    def _command_queue(self, *command: str) -> None:
        """Send a command to each server of the queue: after a failover the one that was struck is the replica."""
        valkey = self.site.valkey
        for server in valkey.both if isinstance(valkey, ValkeyPair) else [valkey]:

            def is_done(server: Valkey = server) -> bool:
                # A server that changes its role closes its connections.
                with suppress(RedisError), server.client() as client:
                    client.execute_command(*command)
                    return True
                return False

            wait_until(is_done)

    def _trouble_mail(self, way: str) -> bool:
        self.site.mailbox.behave(way)
        self._end_within(MAX_TROUBLE_SECONDS, lambda: self.site.mailbox.behave(""))
        return True

    def _end_within(self, seconds: float, end: Callable[[], None]) -> None:
        self._ends.append((time.monotonic() + self.chance.uniform(0.2, seconds), end))

    def _end_strikes(self, now: float) -> None:
        """End the strikes whose time is over: resume processes, accept mail again."""
        due = [end for at, end in self._ends if at <= now]
        self._ends = [(at, end) for at, end in self._ends if at > now]
        for end in due:
            end()
