"""The command bench/live: how soon browsers learn of a change, over sockets and in other ways, and how they connect."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypedDict

import psutil

from bench.databases import ROOT
from bench.watchers import EventStream, Heard, Polls, Watchers, WebSocket
from bench.worker import Event
from tests.servers import Postgres, Valkey, free_port, wait_until

SERVERS = ("daphne", "uvicorn")
SHAPES = ("own", "one")
TOOLS = ("ours", "polling", "celery-progress", "django-eventstream")
SOCKETS = (1, 100, 1_000, 5_000)
QUICK_SOCKETS = (1, 100, 1_000)
# One web process answers no more polls than these send.
MOST_POLLS, QUICK_PEERS = 100, 100
POLL_SECONDS = {"polling": 1.0, "celery-progress": 0.5}
TEMPLATE = "live_template"
LIVE_WITHIN_SECONDS = 180.0
HEARD_WITHIN_SECONDS = 15.0
KIB = 1024


class Measured(TypedDict):
    """One case. `lost_ends`: clients that never heard of the end. `storm_seconds`: all live after a restart."""

    tool: str
    server: str
    sockets: int
    shape: str
    p50_ms: float
    p99_ms: float
    max_ms: float
    end_p50_ms: float
    lost_ends: int
    kib_per_socket: float
    connects_per_second: float
    tries: int
    storm_seconds: float | None


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    found: list[Measured] = []
    print(f"The load of this machine at the beginning is {os.getloadavg()[0]:.1f}.", flush=True)
    with Postgres() as postgres, Valkey() as valkey:
        postgres.create_database(TEMPLATE)
        environment = environment_of(postgres, valkey, TEMPLATE)
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "-v0", "--skip-checks"], check=True, env=environment, cwd=ROOT
        )
        for tool, server, sockets, shape in cases(options):
            postgres.create_database("live", template=TEMPLATE)
            valkey.flush()
            environment = environment_of(postgres, valkey, "live")
            found.append(asyncio.run(measure(tool, server, sockets, shape, environment, quick=options.quick)))
            print(line(found[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 1 if any(each["lost_ends"] for each in found if each["tool"] == "ours") else 0


def cases(options: argparse.Namespace) -> list[tuple[str, str, int, str]]:
    chosen = []
    for tool in options.tools:
        for server in options.servers if tool == "ours" else options.servers[:1]:
            for sockets in options.sockets or (QUICK_SOCKETS if options.quick else SOCKETS):
                if tool in POLL_SECONDS and sockets > MOST_POLLS:
                    continue
                if tool != "ours" and options.quick and sockets > QUICK_PEERS:
                    continue
                shapes = options.shapes if tool == "ours" and sockets > 1 else options.shapes[:1]
                chosen += [(tool, server, sockets, shape) for shape in shapes]
    return chosen


async def measure(
    tool: str, server: str, sockets: int, shape: str, environment: dict[str, str], *, quick: bool
) -> Measured:
    """Let clients connect at once, measure their latency, and let them connect again after a restart of the server."""
    rows = await in_worker("fill", environment, sockets=sockets, shape=shape)
    port = free_port()
    web = start(server, port, environment)
    try:
        # What the first client loads is none of a socket's memory.
        first = clients(tool, shape, port, rows[:1])
        first.begin(delay=lambda place: 0.0)
        await first.all_live(LIVE_WITHIN_SECONDS)
        await first.end()
        before = psutil.Process(web.pid).memory_info().rss
        watchers = clients(tool, shape, port, rows)
        began = time.monotonic()
        watchers.begin(delay=lambda place: 0.0)
        live_at = await watchers.all_live(LIVE_WITHIN_SECONDS)
        live = sum(each.live_at is not None for each in watchers.heard)
        tries = sum(each.tries for each in watchers.heard)
        connecting = (live_at or time.monotonic()) - began
        await asyncio.sleep(2.0)
        memory = psutil.Process(web.pid).memory_info().rss - before
        exports = list(dict.fromkeys(row["export"] for row in rows))
        seconds = 5.0 if quick else 20.0
        rate = 4.0 if len(exports) == 1 else min(100.0, len(exports) * 4.0)
        ends = min(len(exports), int(rate * seconds))
        given: dict[str, Any] = {"tool": tool, "shape": shape, "exports": exports}
        events: list[Event] = await in_worker("send", environment, **given, rate=rate, seconds=seconds, ends=ends)
        followed = [row["export"] for row in rows]
        await heard_all(watchers.heard, followed, events)
        latencies, end_latencies, lost = compared(watchers.heard, followed, events)
        storm = None
        if tool == "ours" and sockets >= 100 and shape == "own":
            web.kill()
            web.wait()
            watchers.forget()
            began_again = time.monotonic()
            web = start(server, port, environment)
            live_at = await watchers.all_live(LIVE_WITHIN_SECONDS)
            storm = round(live_at - began_again, 1) if live_at else None
        await watchers.end()
    finally:
        web.kill()
        web.wait()
    return Measured(
        tool=tool,
        server=server,
        sockets=sockets,
        shape=shape,
        p50_ms=milliseconds(latencies, 0.5),
        p99_ms=milliseconds(latencies, 0.99),
        max_ms=milliseconds(latencies, 1.0),
        end_p50_ms=milliseconds(end_latencies, 0.5),
        lost_ends=lost,
        kib_per_socket=round(memory / sockets / KIB, 1),
        connects_per_second=round(live / connecting, 1),
        tries=tries,
        storm_seconds=storm,
    )


def clients(tool: str, shape: str, port: int, rows: list[dict[str, str]]) -> Watchers:
    cookies = [row["cookie"] for row in rows]
    exports = [row["export"] for row in rows]
    if tool == "ours":
        paths = ["/ws/exports/" if shape == "own" else f"/ws/exports/{export}/" for export in exports]
        return Watchers(port, WebSocket, paths, cookies)
    if tool == "django-eventstream":
        return Watchers(port, EventStream, [f"/events/{export}/" for export in exports], cookies)
    path = "/exports/{}/" if tool == "polling" else "/celery-progress/{}/"
    return Polls(port, [path.format(export) for export in exports], cookies, seconds=POLL_SECONDS[tool])


async def heard_all(heard: list[Heard], followed: list[str], events: list[Event]) -> None:
    """Wait until all clients have heard of the last event of their export, or HEARD_WITHIN_SECONDS have passed."""
    last = {export: number for export, number, _, _ in events}
    give_up_at = time.monotonic() + HEARD_WITHIN_SECONDS
    while time.monotonic() < give_up_at and any(
        max((number for _, number in each.numbers), default=0) < last.get(export, 0)
        for each, export in zip(heard, followed, strict=True)
    ):
        await asyncio.sleep(0.2)


def compared(heard: list[Heard], followed: list[str], events: list[Event]) -> tuple[list[float], list[float], int]:
    """Return how long after each event each client of its export knew that state or a newer one, in seconds.

    The second list is that of the ends. The number is that of the ends that a client has never heard of.
    """
    latencies, end_latencies, lost = [], [], 0
    of_export: dict[str, list[Event]] = {}
    for event in events:
        of_export.setdefault(event[0], []).append(event)
    for each, export in zip(heard, followed, strict=True):
        newest = list(accumulate((number for _, number in each.numbers), max))
        for _, number, at, is_last in of_export.get(export, []):
            place = bisect_left(newest, number)
            if place < len(newest):
                latencies.append(each.numbers[place][0] - at)
                if is_last:
                    end_latencies.append(latencies[-1])
            else:
                lost += is_last
    return latencies, end_latencies, lost


def start(server: str, port: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a web process and wait until it answers."""
    address = ["-b", "127.0.0.1", "-p", str(port)] if server == "daphne" else ["--port", str(port), "--no-access-log"]
    module = "exports.asgi.daphne" if server == "daphne" else "uvicorn"
    command = [sys.executable, "-m", module, *address, "bench.live_asgi:application"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=quiet, stderr=quiet)

    def listens() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{server} has ended with {process.returncode}.")
        found = psutil.Process(process.pid).net_connections()
        return any(each.laddr.port == port and each.status == psutil.CONN_LISTEN for each in found)

    wait_until(listens)
    return process


async def in_worker(task: str, environment: dict[str, str], **given: Any) -> Any:
    """Run a function of bench.worker in a process and return its result, while the clients go on."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "bench.worker", task]
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stdin=pipe, stdout=pipe)
    # The ids of 5,000 exports are too long for an argument.
    output, _ = await process.communicate(json.dumps(given).encode())
    if process.returncode:
        raise RuntimeError(f"The worker ended with {process.returncode}.")
    return json.loads(output)


def environment_of(postgres: Postgres, valkey: Valkey, database: str) -> dict[str, str]:
    return {
        **os.environ,
        "BENCH_DATABASE": database,
        "BENCH_SOCKET": str(postgres.folder),
        "BENCH_REDIS_SOCKET": str(valkey.socket),
        "DJANGO_SETTINGS_MODULE": "bench.live_settings",
        "PYTHONPATH": str(ROOT),
    }


def milliseconds(latencies: list[float], share: float) -> float:
    """Return the latency that this share of them does not exceed; 0 without any."""
    place = max(0, round(share * len(latencies)) - 1)
    return round(sorted(latencies)[place] * 1000, 2) if latencies else 0.0


def line(measured: Measured) -> str:
    storm = f", all live {measured['storm_seconds']} s after a restart" if measured["storm_seconds"] else ""
    return (
        f"{measured['tool']:<18} {measured['server']:<8} {measured['sockets']:>5,} {measured['shape']:<4} "
        f"{measured['p50_ms']:>8,.1f} ms median {measured['p99_ms']:>9,.1f} p99 {measured['max_ms']:>9,.1f} max, "
        f"ends {measured['end_p50_ms']:>8,.1f} median, {measured['lost_ends']} lost; "
        f"{measured['kib_per_socket']:>5,.1f} KiB a socket; {measured['connects_per_second']:>6,.1f} connects/s in "
        f"{measured['tries']} tries{storm}"
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="bench/live", description=__doc__)
    options.add_argument("--quick", action="store_true", help="up to 1,000 sockets for 5 seconds each")
    options.add_argument("--json", type=Path, metavar="PATH", help="write the measurements as a JSON list")
    options.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    options.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    options.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES)
    options.add_argument("--sockets", nargs="+", type=int, metavar="N")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
