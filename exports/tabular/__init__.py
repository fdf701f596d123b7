"""Turn a queryset or rows into a file. Knows nothing of requests, workers or HTTP."""
