"""dj-bgfiles under its own names, on this app's engine. See docs/migrating-from-dj-bgfiles.md."""
