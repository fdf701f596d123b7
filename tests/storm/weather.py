"""What happens to a site in a storm: at random, as a seed decides, and all of it over when it calms down."""

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
LONGEST_FROST = 3 * PROFILE["LEASE_SECONDS"]
ASKING_SHARE = 0.7


@dataclass
class Storm:
    """`exports` are asked for within the first part of `seconds`, while somebody is struck every `pause` seconds.

    It goes on until at least `kills` processes were killed.
    """

    site: Site
    chance: Random
    seconds: float
    exports: int
    pause: float
    kills: float = 0
    happened: Counter[str] = field(default_factory=Counter)
    _thaw_at: dict[str, float] = field(default_factory=dict)
    _forgive_at: float | None = None

    def rage(self) -> None:
        """Returns when the time is up; what is down, frozen or refusing then stays so."""
        began = time.monotonic()
        asking_ends = began + self.seconds * ASKING_SHARE
        asked, strike_at = 0, began
        while (now := time.monotonic()) < began + self.seconds or asked < self.exports or self._killed() < self.kills:
            due = self.exports * min((now - began) / (asking_ends - began), 1)
            if asked < due:
                self._ask(asked)
                asked += 1
            if now >= strike_at:
                self._strike()
                strike_at = now + self.chance.uniform(0.2, 1.8) * self.pause
            self._relent(now)
            self.site.tend()
            time.sleep(0.02)

    def calm(self) -> None:
        """Everybody is up and awake again, everything is made, mailed and cleaned."""
        self.site.mailbox.refuse(False)
        self.site.thaw_all()
        for server in self.site.servers:
            server.start()
        self.site.until_ended(seconds=400)
        self.site.until_mailed(seconds=120)
        self.site.until_clean(seconds=120)

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(self.happened.items()))

    def _killed(self) -> int:
        return sum(count for name, count in self.happened.items() if name.endswith("killed"))

    def _ask(self, number: int) -> None:
        """For something new: the same wish of the same person would be the same request while that is under way."""
        person = number % len(self.site.sessions)
        known = {(asked.format, asked.first, asked.rows) for asked in self.site.asked if asked.person == person}
        while (wish := self._wish()) in known:
            pass
        format, first, rows = wish
        self.site.ask(person, format=format, first=first, rows=rows)

    def _wish(self) -> tuple[str, int, int]:
        rows = self.chance.choice(SIZES) - self.chance.randrange(SIZES[0])
        return self.chance.choice(("csv", "xlsx")), self.chance.randint(1, self.site.rows - rows + 1), rows

    def _strike(self) -> None:
        strikes = self._strikes()
        name = self.chance.choices(list(strikes), [weight for weight, _ in strikes.values()])[0]
        if strikes[name][1]():
            self.happened[name] += 1

    def _strikes(self) -> dict[str, tuple[int, Callable[[], bool]]]:
        """What can happen, how often of a hundred times, and how; False where there was nobody to strike."""
        return {
            "worker killed": (46, lambda: self._kill("worker")),
            "housekeeper killed": (16, lambda: self._kill("housekeeper")),
            "web killed": (8, lambda: self._kill("web")),
            "worker frozen": (10, lambda: self._freeze("worker")),
            "housekeeper frozen": (3, lambda: self._freeze("housekeeper")),
            "worker told to stop": (6, lambda: self._tell_to_stop("worker")),
            "queue restarted": (2, lambda: self._restart(self.site.valkey)),
            "queue emptied": (2, self._flush),
            "database restarted": (3, lambda: self._restart(self.site.postgres)),
            "mail refused": (4, self._refuse),
        }

    def _kill(self, role: str) -> bool:
        return self._do(role, Program.kill)

    def _freeze(self, role: str) -> bool:
        return self._do(role, self._frost)

    def _frost(self, program: Program) -> None:
        program.freeze()
        self._thaw_at[program.role] = time.monotonic() + self.chance.uniform(0.2, LONGEST_FROST)

    def _tell_to_stop(self, role: str) -> bool:
        return self._do(role, lambda program: program.process.send_signal(signal.SIGTERM))

    def _do(self, role: str, deed: Callable[[Program], None]) -> bool:
        """To one of this role that is at work, if there is one: what only begins to start has nothing to lose."""
        there = [each for each in self.site.of(role) if each.is_running and not each.is_frozen and each.answers()]
        if there:
            deed(self.chance.choice(there))
        return bool(there)

    def _restart(self, server: Server) -> bool:
        server.stop(signal.SIGINT)
        time.sleep(self.chance.uniform(0, 1))
        server.start()
        return True

    def _flush(self) -> bool:
        self.site.valkey.flush()
        return True

    def _refuse(self) -> bool:
        self.site.mailbox.refuse(True)
        self._forgive_at = time.monotonic() + self.chance.uniform(0.5, 4)
        return True

    def _relent(self, now: float) -> None:
        for role, at in list(self._thaw_at.items()):
            if now >= at:
                self.site.programs[role].thaw()
                del self._thaw_at[role]
        if self._forgive_at is not None and now >= self._forgive_at:
            self.site.mailbox.refuse(False)
            self._forgive_at = None
