"""The bodies, the parameters and the answers of the API. Bodies with other fields are refused."""

import zoneinfo
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from exports.http.history import ACTIVE_CHOICE
from exports.models import Status

MAX_PAGE: int = 100
Values = dict[str, Any]
"""An object of JSON whose keys depend on the export; Any: its values are checked by the form and the writer."""


class Body(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid")


class RenamedColumn(Body):
    """A column with another header; an empty header is the column's own."""

    name: str
    header: str = ""


class Choices(Body):
    """What a file shall contain, as the schemas of its type say; what is left out has its default."""

    criteria: Values = {}
    format: str = ""
    columns: list[str | RenamedColumn] | None = None
    options: Values = {}


class NewExport(Choices):
    """A request for a file. `time_zone` is an IANA name; `fresh` asks for a new file where a recent one exists.

    `callback_url` is told how the export ends, signed by a webhook of the user.
    """

    type: str
    time_zone: str = ""
    fresh: bool = False
    callback_url: str = ""

    @field_validator("time_zone")
    @classmethod
    def check_time_zone(cls, name: str) -> str:
        """Refuse a name that is none, for which the services take the zone of the site."""
        try:
            return zoneinfo.ZoneInfo(name).key if name else ""
        except (zoneinfo.ZoneInfoNotFoundError, OSError):
            raise ValueError("There is no such time zone.") from None


class NewPreset(Choices):
    """Choices to keep under a name."""

    name: str
    is_shared: bool = False


class Retry(Body):
    """`fresh` asks for a newer file in place of one that is ready."""

    fresh: bool = False


class ListQuery(BaseModel):
    """Which of the user's exports to list."""

    q: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$", description="Part of its title, label or file")] = ""
    status: Literal["", ACTIVE_CHOICE, *Status.values] = ""  # type: ignore[valid-type] # the values of an enumeration
    type: Annotated[str, Field(max_length=100, pattern=r"^[-\w]*$")] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[str, Field(max_length=200, description="`next` of the page before")] = ""


class FormatAnswer(BaseModel):
    """A format in which a file can be made."""

    format: str
    label: str
    content_type: str
    extension: str


class TypeAnswer(BaseModel):
    """An export type, with JSON Schemas of what may be chosen. `options` has a schema for each format."""

    type: str
    title: str
    formats: list[FormatAnswer]
    criteria: Values
    columns: Values
    options: dict[str, Values]


class TypesAnswer(BaseModel):
    """The types that the user may export."""

    types: list[TypeAnswer]


class EstimateAnswer(BaseModel):
    """How much it will be, as far as it is known, and the same in words."""

    rows: int | None
    bytes: int | None
    seconds: float | None
    text: str


class PresetAnswer(BaseModel):
    """A preset. Its choices can be sent as those of an export."""

    id: int
    name: str
    type: str
    is_own: bool
    is_shared: bool
    criteria: Values
    format: str
    columns: list[str | RenamedColumn] | None
    options: Values


class PresetsAnswer(BaseModel):
    """The presets of a type that the user may open."""

    presets: list[PresetAnswer]


class StateAnswer(RootModel[Values]):
    """STATE, whose schema `documented` makes of its own types."""


class ListAnswer(BaseModel):
    """A page of exports, newest first, and the cursor of the next page, null on the last."""

    exports: list[StateAnswer]
    next: str | None


class ProblemAnswer(BaseModel):
    """An error, as RFC 9457 has it. `code` is stable; `fields` names the fields that are wrong."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    fields: dict[str, list[str]] = {}
    limit: int | None = None
