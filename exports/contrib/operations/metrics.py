"""What Prometheus scrapes: the rows as they are now, and what ended within the last EXPORTS["METRICS_WINDOW_SECONDS"]
seconds.

All of them are gauges. A row is counted for as long as it is there, and rows go, so nothing here only ever grows; the
distributions are gauge histograms, to be read without `rate()`. docs/operations.md says what each one means.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from exports.conf import config
from exports.contrib.operations import statistics
from exports.realtime import connections
from exports.worker import registry as worker_registry

SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600)
ROWS_PER_SECOND = (100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000)
SHORTEST = 1e-3


def scrape(accept: str) -> tuple[bytes, str]:
    """The metrics in the format that an Accept header asks for, and its content type. Raises DatabaseError."""
    registry = CollectorRegistry()
    registry.register(ExportsCollector())
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class ExportsCollector(Collector):
    """Register it where a host has a registry of its own: `REGISTRY.register(ExportsCollector())`."""

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would read the rows to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        window = config.METRICS_WINDOW_SECONDS
        yield _gauge("window_seconds", "How far back the metrics of what ended go.", window)
        yield _gauge("sockets", "Open sockets of this web process.", connections.open_now())
        yield from _queue()
        yield from _runs()
        yield from _ends(window)
        yield from _distributions(statistics.finished(window))
        yield from _mails(window)
        yield from _downloads(window)
        yield from _here()


def _queue() -> Iterator[Metric]:
    waiting = {**dict.fromkeys(config.QUEUES, statistics.Waiting()), **statistics.waiting()}
    yield _by_queue(
        "queued", "Requests that wait for a worker.", {queue_name: each.count for queue_name, each in waiting.items()}
    )
    held_back = {queue_name: each.held_back for queue_name, each in waiting.items()}
    yield _by_queue("queued_held_back", "Those of them that wait for other files of their owner.", held_back)
    oldest = {queue_name: each.oldest for queue_name, each in waiting.items()}
    yield _by_queue("queued_oldest_seconds", "How long the oldest of the others has waited.", oldest)
    unregistered = sum(statistics.unregistered().values())
    yield _gauge("queued_unregistered", "Requests that wait for a type that nobody registered.", unregistered)


def _runs() -> Iterator[Metric]:
    running = {**dict.fromkeys(config.QUEUES, statistics.Running()), **statistics.running()}
    counts = {queue_name: run.count for queue_name, run in running.items()}
    yield _by_queue("running", "Requests whose files are being made.", counts)
    longest = {queue_name: run.longest for queue_name, run in running.items()}
    yield _by_queue("running_longest_seconds", "How long the longest of them has run.", longest)
    abandoned = {queue_name: run.abandoned for queue_name, run in running.items()}
    yield _by_queue("leases_abandoned", "Running requests whose lease has run out and nobody rescued.", abandoned)


def _ends(window: float) -> Iterator[Metric]:
    ended = GaugeMetricFamily("exports_ended", "Requests that ended lately.", labels=["queue", "status", "code"])
    for row in statistics.ended(window):
        ended.add_metric([row["queue_name"], row["status"], row["error_code"]], row["count"])
    yield ended
    crashes = {**dict.fromkeys(config.QUEUES, 0), **statistics.crashes(window)}
    yield _by_queue("crashes", "Workers lost over requests that are under way or ended lately.", crashes)


def _distributions(finished: list[statistics.Finished]) -> Iterator[Metric]:
    took, waited = "How long the files made lately took.", "How long they waited before that."
    yield _histogram("run_seconds", took, SECONDS, ((each.queue_name, each.took) for each in finished))
    yield _histogram("wait_seconds", waited, SECONDS, ((each.queue_name, each.waited) for each in finished))
    speeds = ((each.queue_name, each.rows / max(each.took, SHORTEST)) for each in finished)
    yield _histogram("rows_per_second", "Rows a second of the files made lately.", ROWS_PER_SECOND, speeds)


def _mails(window: float) -> Iterator[Metric]:
    mails = statistics.mails()
    unsettled = GaugeMetricFamily("exports_mails_waiting", "Mails that are not sent yet.", labels=["state"])
    for state, count in mails.by_state.items():
        unsettled.add_metric([str(state)], count)
    yield unsettled
    yield _gauge("mails_oldest_due_seconds", "How long a mail has been due and is not sent.", mails.oldest_due)
    settled = GaugeMetricFamily("exports_mails_settled", "Mails that were settled lately.", labels=["outcome"])
    for outcome, count in statistics.settled_mails(window).items():
        settled.add_metric([outcome], count)
    yield settled


def _downloads(window: float) -> Iterator[Metric]:
    count, size = statistics.downloads(window)
    yield _gauge("downloads", "Downloads that began lately.", count)
    yield _gauge("downloaded_bytes", "Bytes handed out by them.", size)


def _here() -> Iterator[Metric]:
    """Who is here, where there is a queue in whose server they leave their signs."""
    if not config.QUEUE_BACKEND:
        return
    here = statistics.here()
    yield _gauge("queue_up", "Whether the queue's server answers.", here is not None)
    if here is None:
        return
    yield _by_queue("bells", "Bells in the queue that no worker has heard yet.", here.bells)
    counts = {queue_name: len(here.workers.get(queue_name, ())) for queue_name in config.QUEUES}
    yield _by_queue("workers", "Worker processes that are here.", counts)
    age = here.sweep.age if here.sweep else worker_registry.KEEP_SECONDS
    yield _gauge("sweep_age_seconds", "How long ago a housekeeper has swept; a day at the most.", age)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"exports_{name}", what, value=value)


def _by_queue(name: str, what: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"exports_{name}", what, labels=["queue"])
    for queue_name, value in values.items():
        family.add_metric([queue_name], value)
    return family


def _histogram(name: str, what: str, bounds: tuple[float, ...], values: Iterable[tuple[str, float]]) -> Metric:
    """The values of each queue, cumulated up to each bound, as Prometheus wants them."""
    family = GaugeHistogramMetricFamily(f"exports_{name}", what, labels=["queue"])
    by_queue: dict[str, list[float]] = {queue_name: [] for queue_name in config.QUEUES}
    for queue_name, value in values:
        by_queue.setdefault(queue_name, []).append(value)
    for queue_name, given in by_queue.items():
        family.add_metric([queue_name], _cumulated(bounds, given), gsum_value=sum(given))
    return family


def _cumulated(bounds: tuple[float, ...], values: list[float]) -> list[tuple[str, Any]]:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    names = [*(f"{float(bound):g}" for bound in bounds), "+Inf"]
    return [(name, sum(counts[: place + 1])) for place, name in enumerate(names)]
