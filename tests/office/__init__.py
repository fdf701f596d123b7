"""A project's app with two exports, for tests over HTTP, sockets and processes."""
