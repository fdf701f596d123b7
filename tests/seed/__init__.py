"""The walk-through of dj-bgfiles' README as an app, written as the README writes it, on `exports`."""
