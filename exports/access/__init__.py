"""Who sends a request, over HTTP and sockets alike."""
