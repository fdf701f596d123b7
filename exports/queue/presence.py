"""The signs of life that idle workers and housekeepers leave in the queue's server, and what they tell."""

from dataclasses import dataclass
from typing import Any

from exports.conf import key_prefix
from exports.queue import redis

WORKER, HOUSEKEEPER = "worker", "housekeeper"
FRESH_SECONDS = 20.0


@dataclass(frozen=True)
class Sign:
    """The last sign of a process: its role, the queue of a worker, its host:pid, and the age in seconds."""

    role: str
    queue_name: str
    owner: str
    age: float

    @property
    def is_fresh(self) -> bool:
        return self.age < FRESH_SECONDS


def signs() -> list[Sign]:
    """Return the signs of the last day, the newest first. Raise redis' errors if the queue's server does not answer."""
    client = redis.client()
    now, found = server_time(client), []
    for name, at in client.zrange(key(), 0, -1, desc=True, withscores=True):
        role, *rest = name.decode(errors="replace").split(" ", 2)
        if role not in (WORKER, HOUSEKEEPER) or len(rest) != 2:
            continue  # Another program has written it.
        queue_name, process = rest
        found.append(Sign(role, "" if queue_name == "-" else queue_name, process, max(now - at, 0.0)))
    return found


def server_time(client: Any) -> float:
    """Return the epoch second on the server's clock: those of the hosts may differ."""
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6)


def key() -> str:
    """Return the name of the signs in the queue's server."""
    return f"{key_prefix()}.present"
