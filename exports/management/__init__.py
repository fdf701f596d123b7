"""Management commands and what they print."""
