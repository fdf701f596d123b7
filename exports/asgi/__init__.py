"""What a web server needs around the application: limits on what one request or one slow client costs the process."""

from exports.asgi.limits import PLAIN_HEADERS, RequestLimits

__all__ = ["PLAIN_HEADERS", "RequestLimits"]
