"""Live Exports: long exports in the background, with live progress and safe delivery."""
