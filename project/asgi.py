"""The ASGI application: HTTP by Django, WebSockets by the app. Run it by `python -m exports.asgi.daphne`."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

from exports.asgi import RequestLimits
from project.charsets import TextCharsets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
http_application = RequestLimits(TextCharsets(get_asgi_application()))

# Models can only be imported once Django is set up, which get_asgi_application() does.
from exports.realtime.routing import websocket_application  # noqa: E402

application = ProtocolTypeRouter({"http": http_application, "websocket": websocket_application})
