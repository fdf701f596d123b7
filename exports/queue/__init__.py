"""The queue that wakes workers: `base` is its interface, `huey` the implementation."""
