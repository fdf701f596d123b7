"""Check what someone could do who reaches the queue's server, or the network in front of it."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from exports.checks.registration import register
from exports.conf import LOCAL, config
from exports.exporters import registry
from exports.queue import base as queue


@register(deploy=True)
def check_queue() -> Iterator[CheckMessage]:
    """Report that no queue is configured, or the one of development."""
    hint = "Set EXPORTS['REDIS_URL'] for huey, EXPORTS['QUEUE_BACKEND'] for another queue, or to None for cron."
    if config.QUEUE_BACKEND == "":
        yield checks.Error("No queue is configured: each request for an export fails.", hint=hint, id="exports.E038")
    elif config.QUEUE_BACKEND == LOCAL:
        message = "Exports are made in the web processes: a restart interrupts them, and they slow the pages down."
        yield checks.Warning(message, hint=hint, id="exports.W043")


@register(deploy=True)
def check_serializers() -> Iterator[CheckMessage]:
    """Warn about a huey of the host that unpickles messages, if a task of it makes the files of an export.

    The queues of this app carry signed JSON.
    """
    for handler in dict.fromkeys(registry.handlers.values()):
        serializer = getattr(getattr(getattr(handler, "task", None), "huey", None), "serializer", None)
        # Not its subclasses: huey's SignedSerializer verifies the signature before it unpickles.
        if f"{type(serializer).__module__}.{type(serializer).__name__}" == "huey.serializer.Serializer":
            name = getattr(handler, "__name__", type(handler).__name__)
            message = (
                f"The huey instance that makes the files of {name} unpickles messages: "
                "anyone who can write to its server can run code."
            )
            hint = "Use serializer=exports.queue.huey.SignedJSONSerializer(), and give its tasks ids as text."
            yield checks.Warning(message, hint=hint, obj=handler, id="exports.W050")


@register(deploy=True)
def check_queue_servers() -> Iterator[CheckMessage]:
    """Warn about a remote server of the queue or the channel layer without TLS or a password."""
    for name, address in server_urls().items():
        url = urlsplit(address)
        if url.scheme not in ("redis", "rediss") or is_local(url.hostname):
            continue
        if url.scheme == "redis":
            hint = "Use rediss:// and a server that speaks TLS, or a Unix socket on the same machine."
            yield checks.Warning(f"{name} connects to {url.hostname} without TLS.", hint=hint, id="exports.W051")
        elif parse_qs(url.query).get("ssl_cert_reqs", ["required"])[-1].lower() not in ("required", "cert_required"):
            message = f"{name} connects to {url.hostname} without verifying its certificate."
            hint = "Remove ssl_cert_reqs: the server's certificate is then verified."
            yield checks.Warning(message, hint=hint, id="exports.W051")
        if not url.password:
            hint = "Create an ACL user with a password, and name both: rediss://user:password@host:6379/0."
            yield checks.Warning(f"{name} connects to {url.hostname} without a password.", hint=hint, id="exports.W052")


@register()
def check_tasks() -> Iterator[CheckMessage]:
    """Report tasks of Celery or django.tasks that run in the request, and queues that django.tasks does not have."""
    runs_now = False
    if config.QUEUE_BACKEND == "exports.queue.celery":
        from celery import current_app

        runs_now = current_app.conf.task_always_eager
    elif config.QUEUE_BACKEND == "exports.queue.tasks":
        from exports.queue.tasks import look_for_exports

        taking = look_for_exports.get_backend()
        runs_now = type(taking).__module__.rpartition(".")[2] in ("immediate", "dummy")
        # An empty set takes every queue.
        missing = {f"exports.{name}" for name in config.QUEUES} - taking.queues if taking.queues else set()
        if missing:
            message = f"TASKS['default'] takes no messages for {', '.join(sorted(missing))}: no worker is woken."
            hint = "Add them to TASKS['default']['QUEUES']."
            yield checks.Error(message, hint=hint, id="exports.E046")
    if runs_now:
        message = f"{config.QUEUE_BACKEND} has no workers here: each file is made in the request, or not at all."
        hint = "Configure a backend with workers, as docs/task-queues.md shows."
        yield checks.Warning(message, hint=hint, id="exports.W056")


def server_urls() -> dict[str, str]:
    """Return the URLs of the queue's server and of the channel layer's, by the setting that names them."""
    urls = {"EXPORTS['REDIS_URL']": config.REDIS_URL} if queue.has_own_workers() else {}
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("CONFIG", {})
    for host in layer.get("hosts", ()) if isinstance(layer, dict) else ():
        # channels_redis takes a URL, a pair of host and port, or a dictionary with either.
        if isinstance(host, dict):
            host = host.get("address") or (host.get("host", ""), host.get("port", 6379))
        url = host if isinstance(host, str) else f"redis://{host[0]}:{host[1]}"
        if url not in urls.values():
            urls[f"CHANNEL_LAYERS['default'], {urlsplit(url).hostname},"] = url
    return urls


def is_local(host: str | None) -> bool:
    """Return True for no host, localhost and loopback addresses."""
    try:
        return host in (None, "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
