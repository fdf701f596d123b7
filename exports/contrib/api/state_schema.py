"""JSON Schemas of STATE, made from its types, for the documents that describe the API and the sockets."""

import inspect
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from exports.models import Status
from exports.models.progress import PHASES
from exports.state import State

# Any: a JSON Schema has values of every type.
Schema = dict[str, Any]

SCALARS: dict[type, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
}
KNOWN_TEXTS: dict[str, Schema] = {
    "id": {"format": "uuid"},
    "status": {"enum": list(Status.values)},
    "phase": {"enum": list(PHASES)},
    "requested_at": {"format": "date-time"},
    "finished_at": {"format": "date-time"},
    "expires_at": {"format": "date-time"},
    "public_until": {"format": "date-time"},
    "ticket_expires_at": {"format": "date-time"},
}


def state_schemas(ref: str = "#/components/schemas/{}") -> dict[str, Schema]:
    """Return the schemas of STATE and of its parts by name; `ref` is how one refers to another."""
    found: dict[str, Schema] = {}
    _add(State, ref, found)
    return found


# Any: a TypedDict, which is a class but no type.
def _add(declared: Any, ref: str, found: dict[str, Schema]) -> None:
    fields = get_type_hints(declared)
    # The objects of a later version may have more keys, so they are not closed.
    found[declared.__name__] = {
        "type": "object",
        "description": inspect.getdoc(declared) or "",
        "properties": {name: _schema_of(hint, ref, found) | KNOWN_TEXTS.get(name, {}) for name, hint in fields.items()},
        "required": sorted(fields),
    }


def _schema_of(hint: Any, ref: str, found: dict[str, Schema]) -> Schema:
    if is_typeddict(hint):
        if hint.__name__ not in found:
            _add(hint, ref, found)
        return {"$ref": ref.format(hint.__name__)}
    if get_origin(hint) is UnionType:
        parts = [_schema_of(each, ref, found) for each in get_args(hint)]
        types = [part["type"] for part in parts if set(part) == {"type"}]
        return {"type": types} if len(types) == len(parts) else {"anyOf": parts}
    return {"type": "object"} if get_origin(hint) is dict else dict(SCALARS[hint])
