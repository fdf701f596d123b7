"""An S3 server, an export that is big enough to be stored in parts, and processes that die while they store it."""
