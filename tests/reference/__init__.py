"""The same work done in the slow, obvious way, for property tests to compare with."""
