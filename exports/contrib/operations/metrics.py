"""The metrics that Prometheus scrapes: rows as they are now, and what ended in the last METRICS_WINDOW_SECONDS.

All of them are gauges, because rows are deleted, so that no count only grows. The distributions are gauge histograms,
to be read without `rate()`. docs/operations.md explains each metric.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from exports import housekeeping
from exports.conf import config
from exports.contrib.operations import statistics
from exports.models import Notification, WebhookDelivery
from exports.models.outbox import OutboxEntry
from exports.queue import base as queue
from exports.realtime import connections
from exports.worker import registry as worker_registry

SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600)
ROWS_PER_SECOND = (100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000)
MIN_SECONDS = 1e-3


def scrape(accept: str) -> tuple[bytes, str]:
    """Return the metrics in the format that an Accept header asks for, and its content type.

    Raises DatabaseError if the database does not answer.
    """
    registry = CollectorRegistry()
    registry.register(ExportsCollector())
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class ExportsCollector(Collector):
    """Collect the metrics of the app: `REGISTRY.register(ExportsCollector())` adds them to the host's registry."""

    def describe(self) -> Iterable[Metric]:
        """Return nothing; otherwise the registry would query the database to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        window = config.METRICS_WINDOW_SECONDS
        yield _gauge("window_seconds", "How far back the metrics of ended requests go.", window)
        yield _gauge("sockets", "Open WebSockets of this web process.", connections.open_now())
        yield from _requests(window)
        yield from _outbox("mails", "Mails", Notification, window)
        if config.WEBHOOKS:
            yield from _outbox("webhooks", "Webhook messages", WebhookDelivery, window)
        count, size = statistics.downloads(window)
        yield _gauge("downloads", "Downloads begun in the window.", count)
        yield _gauge("downloaded_bytes", "Bytes sent by them.", size)
        if not queue.has_own_workers():
            return
        processes = statistics.processes()
        yield _gauge("queue_up", "1 if the queue's server answers, else 0.", processes is not None)
        if processes is not None:
            yield _by_queue("queue_messages", "Wake-up messages that no worker has read yet.", processes.messages)
            counts = {queue_name: len(processes.workers.get(queue_name, ())) for queue_name in config.QUEUES}
            yield _by_queue("workers", "Worker processes.", counts)
            age = processes.housekeeper.age if processes.housekeeper else worker_registry.KEEP_SECONDS
            yield _gauge("housekeeping_age_seconds", "Seconds since housekeeping ran; at most a day.", age)


def _requests(window: float) -> Iterator[Metric]:
    waiting = dict.fromkeys(config.QUEUES, statistics.Waiting()) | statistics.waiting()
    counts = {queue_name: each.count for queue_name, each in waiting.items()}
    yield _by_queue("queued", "Requests that wait for a worker.", counts)
    held_back = {queue_name: each.held_back for queue_name, each in waiting.items()}
    yield _by_queue("queued_held_back", "Those of them that wait for other files of their owner.", held_back)
    oldest = {queue_name: each.oldest for queue_name, each in waiting.items()}
    yield _by_queue("queued_oldest_seconds", "How long the oldest of the others has waited.", oldest)
    unregistered = sum(housekeeping.unregistered().values())
    yield _gauge("queued_unregistered", "Waiting requests of a type that is not registered.", unregistered)

    running = dict.fromkeys(config.QUEUES, statistics.Running()) | statistics.running()
    counts = {queue_name: each.count for queue_name, each in running.items()}
    yield _by_queue("running", "Running requests.", counts)
    longest = {queue_name: each.longest for queue_name, each in running.items()}
    yield _by_queue("running_longest_seconds", "How long the longest of them has run.", longest)
    abandoned = {queue_name: each.abandoned for queue_name, each in running.items()}
    yield _by_queue("leases_abandoned", "Running requests with an expired lease that await rescue.", abandoned)

    ended = GaugeMetricFamily("exports_ended", "Requests that ended.", labels=["queue", "status", "code"])
    for row in statistics.ended(window):
        ended.add_metric([row.queue_name, row.status, row.error_code], row.count)
    yield ended
    crashes = dict.fromkeys(config.QUEUES, 0) | statistics.crashes(window)
    yield _by_queue("crashes", "Workers lost by requests that are active or ended in the window.", crashes)
    finished = statistics.finished(window)
    took = [(each.queue_name, each.took) for each in finished]
    yield _histogram("run_seconds", "How long the last attempt of each file took.", SECONDS, took)
    waited = [(each.queue_name, each.waited) for each in finished]
    yield _histogram("wait_seconds", "How long each file waited before its last attempt.", SECONDS, waited)
    speeds = [(each.queue_name, each.rows / max(each.took, MIN_SECONDS)) for each in finished]
    yield _histogram("rows_per_second", "Rows per second of each file.", ROWS_PER_SECOND, speeds)


def _outbox(name: str, messages: str, model: type[OutboxEntry], window: float) -> Iterator[Metric]:
    outbox = statistics.outbox(model)
    waiting = GaugeMetricFamily(f"exports_{name}_waiting", f"{messages} that are not sent yet.", labels=["state"])
    for state, count in outbox.by_state.items():
        waiting.add_metric([str(state)], count)
    yield waiting
    yield _gauge(f"{name}_failing", "Those of them that have failed at least once.", outbox.failing)
    oldest = f"How long the oldest due one of the {messages.lower()} has waited."
    yield _gauge(f"{name}_oldest_due_seconds", oldest, outbox.oldest_due)
    settled = GaugeMetricFamily(f"exports_{name}_settled", f"{messages} settled in the window.", labels=["outcome"])
    for outcome, count in statistics.settled(model, window).items():
        settled.add_metric([outcome], count)
    yield settled


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"exports_{name}", description, value=value)


def _by_queue(name: str, description: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"exports_{name}", description, labels=["queue"])
    for queue_name, value in values.items():
        family.add_metric([queue_name], value)
    return family


def _histogram(name: str, description: str, bounds: tuple[float, ...], values: list[tuple[str, float]]) -> Metric:
    """Return a gauge histogram of (queue name, value) pairs, cumulated up to each bound."""
    family = GaugeHistogramMetricFamily(f"exports_{name}", description, labels=["queue"])
    by_queue: dict[str, list[float]] = {queue_name: [] for queue_name in config.QUEUES}
    for queue_name, value in values:
        by_queue.setdefault(queue_name, []).append(value)
    labels = [*(f"{float(bound):g}" for bound in bounds), "+Inf"]
    for queue_name, given in by_queue.items():
        counts = [0] * len(labels)
        for value in given:
            counts[bisect_left(bounds, value)] += 1
        buckets = [(label, sum(counts[: place + 1])) for place, label in enumerate(labels)]
        family.add_metric([queue_name], buckets, gsum_value=sum(given))
    return family
