"""The OpenAPI document: what django-ninja makes of the operations, and what it cannot know."""

import json
from functools import lru_cache
from typing import Any, Final

from ninja import NinjaAPI

from exports.contrib.api.problems import PROBLEM
from exports.contrib.api.schemas import ProblemAnswer
from exports.contrib.api.state_schema import state_schemas

# Any: a document of JSON.
Document = dict[str, Any]

TEXT: Final = {"schema": {"type": "string"}}
HEADERS: Final = {
    "Location": {**TEXT, "description": "Where the export is followed; of a 303, the file"},
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds until it is worth asking again"},
    "RateLimit": {**TEXT, "description": "How many more requests are allowed, and when"},
    "RateLimit-Policy": {**TEXT, "description": "The quotas of the user"},
    "ETag": TEXT,
    "Preference-Applied": TEXT,
    "WWW-Authenticate": TEXT,
}
HEADERS_OF: Final = {
    200: ("ETag", "RateLimit", "RateLimit-Policy"),
    201: ("Location", "Retry-After", "RateLimit", "RateLimit-Policy"),
    202: ("Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Preference-Applied"),
    303: ("Location", "RateLimit", "RateLimit-Policy", "Preference-Applied"),
    304: ("ETag",),
    401: ("WWW-Authenticate",),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
}
# The names in RFC 9110, which Python has since 3.13.
NAME_OF: Final = {413: "Content Too Large", 422: "Unprocessable Content"}
SECURITY: Final = {
    "token": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
}


# Any: django-ninja takes models by status.
def errors(*statuses: int) -> dict[int, Any]:
    """Return the answers of these statuses, all of which are problems."""
    return dict.fromkeys(statuses, ProblemAnswer)


@lru_cache(maxsize=8)
def document_text(api: NinjaAPI, root: str) -> str:
    """Return the document as JSON, which takes long to make and is the same for everyone."""
    return json.dumps(document_of(api, root))


def document_of(api: NinjaAPI, root: str) -> Document:
    """Return the OpenAPI document of the API below the path `root`."""
    document: Document = dict(api.get_openapi_schema(path_prefix=""))
    document["servers"] = [{"url": root.rstrip("/")}]
    document["security"] = [{name: []} for name in SECURITY]
    document["components"]["securitySchemes"] = dict(SECURITY)
    schemas = document["components"]["schemas"]
    schemas |= state_schemas()
    # STATE stands once, under its own name.
    schemas["StateAnswer"] = {"$ref": "#/components/schemas/State"}
    for operations in document["paths"].values():
        for operation in operations.values():
            responses = {int(status): response for status, response in operation["responses"].items()}
            operation["responses"] = {str(status): responses[status] for status in sorted(responses)}
            for status, response in responses.items():
                if status >= 400 and status != 410:
                    response["content"] = {PROBLEM: next(iter(response["content"].values()))}
                response["description"] = NAME_OF.get(status, response["description"])
                if names := HEADERS_OF.get(status):
                    response["headers"] = {name: HEADERS[name] for name in names}
    return document
