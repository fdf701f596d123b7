"""Presets: what a user has chosen, kept under a name."""

from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext as _
from ninja import Router

from exports.contrib.api.choices import check, chosen_by
from exports.contrib.api.documented import errors
from exports.contrib.api.problems import json_response
from exports.contrib.api.schemas import NewPreset, PresetAnswer, PresetsAnswer
from exports.exporters import permissions
from exports.http.actors import actor_of, record_refusal
from exports.http.bodies import read_json, refuse_unknown
from exports.http.presets import keep_preset
from exports.models import AuditEntry, Preset
from exports.models.preset import delete_preset
from exports.models.request import AnyUser
from exports.services import NotAllowed

router = Router(tags=["presets"])


@router.get(
    "/types/{slug:type}/presets/",
    response={200: PresetsAnswer, **errors(401, 403, 404)},
    url_name="presets",
    operation_id="list_presets",
)
def list_presets(request: HttpRequest, type: str) -> HttpResponse:
    """List the user's own presets of a type, and those that others share."""
    exporter = permissions.find_exporter(request.user, type)
    if not permissions.may_open_form(request.user, exporter):
        record_refusal(request, AuditEntry.Verb.PRESET, file_type=type)
        raise NotAllowed(_("You may not export this."))
    presets = Preset.objects.open_to(request.user).filter(file_type=type)
    return json_response({"presets": [_described(request.user, preset) for preset in presets]})


@router.post(
    "/types/{slug:type}/presets/",
    response={201: PresetAnswer, **errors(400, 401, 403, 404, 413, 415)},
    operation_id="save_preset",
)
def create_preset(request: HttpRequest, type: str, given: NewPreset) -> HttpResponse:
    """Save a preset in place of the user's own one of the same name."""
    exporter = permissions.find_exporter(request.user, type)
    asked = check(request, exporter, given)
    options = chosen_by(given)["options"]
    preset = keep_preset(request, asked, given.name, options, is_shared=given.is_shared)
    return json_response(_described(request.user, preset), status=201)


@router.delete(
    "/presets/{int:id}/",
    response={204: None, **errors(400, 401, 403, 404, 413, 415)},
    url_name="preset",
    operation_id="delete_preset",
)
def remove_preset(request: HttpRequest, id: int) -> HttpResponse:
    """Delete one of the user's own presets."""
    refuse_unknown(read_json(request), ())
    delete_preset(Preset.objects.owned_by(request.user).get(pk=id), actor_of(request))
    return HttpResponse(status=204)


# Any: values of JSON.
def _described(user: AnyUser, preset: Preset) -> dict[str, Any]:
    criteria = {name: values if len(values) > 1 else values[0] for name, values in QueryDict(preset.criteria).lists()}
    columns = [{"name": name, "header": header} if header else name for name, header in preset.columns]
    return {
        "id": preset.pk,
        "name": preset.name,
        "type": preset.file_type,
        "is_own": preset.owner_id == user.pk,
        "is_shared": preset.is_shared,
        "criteria": criteria,
        "format": preset.format,
        "columns": columns or None,
        "options": preset.options,
    }
