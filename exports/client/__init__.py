"""A client for Python programs: request an export of a site, follow it, and save its file.

It needs the extra `client` (httpx and websockets), and no Django: docs/client.md.
"""

from exports.client.asynchronous import AsyncClient, AsyncExport
from exports.client.errors import ClientError, DamagedFile, Denied, ExportFailed, RequestRefused, Unavailable
from exports.client.progress import Progress
from exports.client.synchronous import Client, Export

__all__ = [
    "AsyncClient",
    "AsyncExport",
    "Client",
    "ClientError",
    "DamagedFile",
    "Denied",
    "Export",
    "ExportFailed",
    "Progress",
    "RequestRefused",
    "Unavailable",
]
