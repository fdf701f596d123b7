"""A small shop, with a column of every kind, for all tests. It has no migrations: test databases are synchronised."""
