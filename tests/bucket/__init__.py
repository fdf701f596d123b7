"""Exports that are big enough to be stored in parts, the S3 server for them, and processes that die while they store."""
