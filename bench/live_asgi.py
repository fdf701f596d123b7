"""The ASGI application of bench/live."""

from django.core.asgi import get_asgi_application

from exports.realtime.asgi import with_exports

application = with_exports(get_asgi_application())
