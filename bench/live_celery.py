"""The Celery application whose results celery-progress reads. No worker of it runs: bench.worker stores them."""

import os

from celery import Celery

celery_app = Celery(
    "bench", backend=f"redis+socket://{os.environ['BENCH_REDIS_SOCKET']}?virtual_host=1", set_as_current=True
)
