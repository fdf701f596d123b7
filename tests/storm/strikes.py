"""Random strikes against a site: kills, freezes, restarts and refused mails, as a seed decides."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.servers import Server
from tests.storm.programs import Program
from tests.storm.site import PROFILE, Site

SIZES = (50, 120, 500, 1500, 5000, 20_000)
MAX_FREEZE_SECONDS = 3 * PROFILE["LEASE_SECONDS"]
REQUESTING_SHARE = 0.7


@dataclass
class Storm:
    """Request `exports` during the first part of `seconds`, and strike about every `pause` seconds.

    The storm lasts longer if fewer than `kills` processes were killed by then.
    """

    site: Site
    chance: Random
    seconds: float
    exports: int
    pause: float
    kills: float = 0
    strikes: Counter[str] = field(default_factory=Counter)
    _thaw_at: dict[str, float] = field(default_factory=dict)
    _accept_mail_at: float | None = None

    def run(self) -> None:
        """Strike until the time is up. Processes may be frozen or down, and mail refused, when it returns."""
        began = time.monotonic()
        requested, strike_at = 0, began
        while (
            (now := time.monotonic()) < began + self.seconds
            or requested < self.exports
            or sum(count for name, count in self.strikes.items() if name.endswith("killed")) < self.kills
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
        self.site.mailbox.refuse(False)
        self.site.thaw_all()
        for server in self.site.servers:
            server.start()
        self.site.wait_until_ended(seconds=400)
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
        # The weights add up to 100. A strike returns False if it found no target.
        strikes: dict[str, tuple[int, Callable[[], bool]]] = {
            "worker killed": (46, lambda: self._strike_process("worker", Program.kill)),
            "housekeeper killed": (16, lambda: self._strike_process("housekeeper", Program.kill)),
            "web killed": (8, lambda: self._strike_process("web", Program.kill)),
            "worker frozen": (10, lambda: self._strike_process("worker", self._freeze)),
            "housekeeper frozen": (3, lambda: self._strike_process("housekeeper", self._freeze)),
            "worker told to stop": (6, lambda: self._strike_process("worker", Program.tell_to_stop)),
            "queue restarted": (2, lambda: self._restart(self.site.valkey)),
            "queue emptied": (2, self._empty_queue),
            "database restarted": (3, lambda: self._restart(self.site.postgres)),
            "mail refused": (4, self._refuse_mail),
        }
        name = self.chance.choices(list(strikes), [weight for weight, _ in strikes.values()])[0]
        if strikes[name][1]():
            self.strikes[name] += 1

    def _strike_process(self, role: str, strike: Callable[[Program], None]) -> bool:
        """Strike a random process of the role that works: one that is still starting has nothing to lose."""
        targets = [each for each in self.site.of(role) if each.is_running and not each.is_frozen and each.answers()]
        if targets:
            strike(self.chance.choice(targets))
        return bool(targets)

    def _freeze(self, program: Program) -> None:
        program.freeze()
        self._thaw_at[program.role] = time.monotonic() + self.chance.uniform(0.2, MAX_FREEZE_SECONDS)

    def _restart(self, server: Server) -> bool:
        server.stop(signal.SIGINT)
        time.sleep(self.chance.uniform(0, 1))
        server.start()
        return True

    def _empty_queue(self) -> bool:
        self.site.valkey.flush()
        return True

    def _refuse_mail(self) -> bool:
        self.site.mailbox.refuse(True)
        self._accept_mail_at = time.monotonic() + self.chance.uniform(0.5, 4)
        return True

    def _end_strikes(self, now: float) -> None:
        """Resume processes and accept mail again when it is time."""
        for role, at in list(self._thaw_at.items()):
            if now >= at:
                self.site.programs[role].thaw()
                del self._thaw_at[role]
        if self._accept_mail_at is not None and now >= self._accept_mail_at:
            self.site.mailbox.refuse(False)
            self._accept_mail_at = None
