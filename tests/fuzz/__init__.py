"""Random models, rows, querysets and columns, exported in every way and compared with tests/reference."""
