"""A host project's app with exports of its own, for the tests of the doors and of the processes."""
