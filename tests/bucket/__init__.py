"""An S3 server, an export whose file is uploaded in parts, and settings for processes with it."""
