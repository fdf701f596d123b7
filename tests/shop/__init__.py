"""A small shop for all tests: models, exports, and builders of requests and runs. It has no migrations."""
