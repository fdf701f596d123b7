"""docs/asyncapi.yaml: the messages of the sockets, with the schema of STATE made from its type in exports/state.py."""

from collections.abc import Collection
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints, is_typeddict

import yaml
from jsonschema import Draft7Validator

from exports.models import Status, progress
from exports.realtime import SOCKET_PATH
from exports.realtime.protocol import CloseCode
from exports.state import State

Schema = dict[str, Any]

PLAIN: Final = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
ID: Final = {"type": "string", "format": "uuid"}
PHASES: Final = [
    progress.QUEUED,
    progress.COUNTING,
    progress.WRITING,
    progress.FINISHING,
    progress.STORING,
    progress.DONE,
]
REMARKS: Final[dict[str, Schema]] = {
    "id": {"format": "uuid"},
    "seq": {"minimum": 0},
    "status": {"enum": [str(status) for status in Status]},
    "phase": {"enum": PHASES},
    "fraction": {"minimum": 0, "maximum": 1},
    "queue_position": {"minimum": 1},
}
"""What the types of STATE do not say, by the name of the key."""

SENT: Final = {
    "export.changed": "On connect once for each export that is active or ended lately, then after every change.",
    "export.removed": "The owner has deleted this export.",
    "resumed": "The first answer to resume. If is_restored, accept states with smaller numbers than those known.",
    "pong": "The answer to a ping.",
}
RECEIVED: Final = {
    "ping": "When the socket has opened, then every 25 seconds.",
    "authenticate": "The first message of a socket that was opened with ?authenticate=message.",
    "resume": "The first message of a socket opened with ?resume=1: the numbers of the states that the client knows.",
    "seen": "The owner was shown how the export ended.",
}
FIELDS: Final[dict[str, dict[str, Schema]]] = {
    "export.changed": {"export": {"$ref": "#/components/schemas/State"}},
    "export.removed": {"id": ID},
    "authenticate": {"token": {"type": "string"}},
    "resumed": {"epoch": {"type": "string"}, "is_restored": {"type": "boolean"}},
    "resume": {
        "epoch": {"type": ["string", "null"]},
        "known": {"type": "object", "additionalProperties": {"type": "integer"}, "propertyNames": {"format": "uuid"}},
    },
    "seen": {"id": ID},
}


@cache
def document() -> Schema:
    """Return the AsyncAPI document."""
    schemas: dict[str, Schema] = {}
    schema_of(State, schemas)
    of_user = {"$ref": "#/channels/user"}, {"$ref": "#/channels/export"}
    messages = {name: message(name, summary) for name, summary in {**SENT, **RECEIVED}.items()}
    channels = {
        "user": channel(SOCKET_PATH, "All exports of the signed-in user."),
        "export": channel(
            f"{SOCKET_PATH}{{id}}/", "One export that this user may see.", {"id": {"description": "Its id."}}
        ),
    }
    operations = {
        f"{action}{place.capitalize()}": {
            "action": action,
            "channel": reference,
            "messages": [{"$ref": f"{reference['$ref']}/messages/{name}"} for name in names],
        }
        for action, names in (("send", SENT), ("receive", RECEIVED))
        for place, reference in zip(("user", "export"), of_user, strict=True)
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Live Exports: the sockets",
            "version": "1",
            "description": "protocol.md explains them. Every frame is one JSON object as text. Close codes: "
            + ", ".join(f"{int(code)} {code.name}" for code in CloseCode),
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def channel(address: str, description: str, parameters: Schema | None = None) -> Schema:
    names = [*SENT, *RECEIVED]
    return {
        "address": address,
        "description": description,
        **({"parameters": parameters} if parameters else {}),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }


def message(name: str, summary: str) -> Schema:
    fields = {"type": {"const": name}, **FIELDS.get(name, {})}
    # A client may send other fields, which are ignored.
    closed = {"additionalProperties": False} if name in SENT else {}
    return {
        "name": name,
        "summary": summary,
        "payload": {"type": "object", "properties": fields, "required": [*fields], **closed},
    }


# Any: the type of a field.
def schema_of(kind: Any, schemas: dict[str, Schema], name: str = "") -> Schema:
    """Return the JSON Schema of a type, and add those of the TypedDicts in it to `schemas`."""
    if get_origin(kind) is UnionType:
        first, *others = get_args(kind)
        if is_typeddict(first):
            return {"oneOf": [schema_of(each, schemas) for each in (first, *others)]}
        return {"type": [PLAIN[each] for each in (first, *others)], **REMARKS.get(name, {})}
    if is_typeddict(kind):
        fields = get_type_hints(kind)
        schemas[kind.__name__] = {}
        properties = {field: schema_of(each, schemas, field) for field, each in fields.items()}
        schemas[kind.__name__] |= {
            "type": "object",
            "properties": properties,
            "required": [*fields],
            "additionalProperties": False,
        }
        return {"$ref": f"#/components/schemas/{kind.__name__}"}
    if get_origin(kind) is dict:
        return {"type": "object"}
    return {"type": PLAIN[kind], **REMARKS.get(name, {})}


class Dumper(yaml.SafeDumper):
    """Writes each value where it stands, without YAML's anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def text() -> str:
    return yaml.dump(document(), Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)


def errors_of(sent: Schema, names: Collection[str] = SENT) -> list[str]:
    """Return what is wrong with a message of the server, or of a client if `names` are RECEIVED."""
    whole = document()
    if sent.get("type") not in names:
        return [f"{sent.get('type')} is none of the messages {', '.join(names)}"]
    schema = {**whole["components"]["messages"][sent["type"]]["payload"], "components": whole["components"]}
    return [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(sent)]
