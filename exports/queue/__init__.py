"""The queue that wakes workers: `base` is its interface; `huey`, `celery` and `tasks` are implementations."""
