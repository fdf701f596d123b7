"""The worker: it claims due exports and runs them."""
