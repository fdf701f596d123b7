"""XLSX files: see `writer`."""
