"""Readers: from querysets and lists of dictionaries to batches of columns. `querysets` is the entry."""
