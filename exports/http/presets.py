"""What the form of an export does besides exporting: estimate, and save and delete presets."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from exports import services
from exports.conf import url_of
from exports.exceptions import InvalidForm
from exports.exporters import QuerySetExport, permissions
from exports.filenames import visible_name
from exports.http.actors import actor_of, record_refusal
from exports.http.bodies import refuse_unknown_fields, wants_json
from exports.http.decorators import signed_in
from exports.http.estimates import check_rate, estimate
from exports.http.refusals import REFUSALS, error_response, refusal_response
from exports.http.views import YES, posted_choices, refuse_unknown_choices, render_form
from exports.models import AuditEntry, Preset
from exports.models.preset import delete_preset, save_preset
from exports.services import Asked

MAX_PRESETS = 100


class BadPreset(Exception):
    """Raised for a preset that cannot be saved, with the status of the response and a message for the user."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@require_POST
@signed_in
def estimate_view(request: HttpRequest, file_type: str) -> HttpResponse:
    """Return how many rows an export has, and about how large its file and how long its run will be, as JSON.

    The user, the criteria and the columns are checked as for a request of the file.
    """
    exporter = permissions.find_exporter(request.user, file_type)
    refuse_unknown_choices(request, exporter)
    try:
        check_rate(request.user)
        chosen = posted_choices(exporter, request.POST)
        asked = services.check_request(request.user, file_type, request.POST, **chosen, actor=actor_of(request))
    except REFUSALS as error:
        return refusal_response(request, error)
    return JsonResponse(estimate(request.user, asked))


@require_POST
@signed_in
def presets_view(request: HttpRequest, file_type: str) -> HttpResponse:
    """Save what is chosen in a form as a preset, in place of the user's own one of the same name."""
    exporter = permissions.find_exporter(request.user, file_type)
    asked = check_posted(request, exporter, "preset_name", "preset_shared")
    if isinstance(asked, HttpResponse):
        return asked
    name, is_shared = request.POST.get("preset_name", ""), request.POST.get("preset_shared") in YES
    options = posted_choices(exporter, request.POST)["options"]
    try:
        preset = keep_preset(request, asked, name, options, is_shared=is_shared)
    except BadPreset as error:
        if wants_json(request):
            return error_response(error.status, "bad_preset", str(error))
        form = exporter.get_form(request.POST, request.user)
        return render_form(request, exporter, form, status=error.status, preset_error=str(error))
    if wants_json(request):
        return JsonResponse({"id": preset.pk, "name": preset.name, "is_shared": preset.is_shared}, status=201)
    return HttpResponseRedirect(f"{url_of('form', file_type)}?preset={preset.pk}")


# Any: the values of options.
def keep_preset(request: HttpRequest, asked: Asked, name: str, options: dict[str, Any], *, is_shared: bool) -> Preset:
    """Save what the user asks for as a preset, in place of their own one of this name. Raise BadPreset."""
    user, file_type = request.user, asked.exporter.file_type
    name = " ".join(visible_name(name).split())[:100]
    if is_shared and not user.has_perm("exports.share_preset"):
        record_refusal(request, AuditEntry.Verb.PRESET, file_type=file_type)
        raise BadPreset(403, _("You may not share presets."))
    own = Preset.objects.owned_by(user).filter(file_type=file_type)
    if not name:
        raise BadPreset(400, _("Give the preset a name."))
    if own.count() >= MAX_PRESETS and not own.filter(name=name).exists():
        raise BadPreset(400, _("You have {count} presets and may have no more.").format(count=MAX_PRESETS))
    # Any: the values of columns.
    kept: dict[str, Any] = {"criteria": asked.criteria, "format": asked.writer.format, "columns": asked.columns}
    return save_preset(user.pk, file_type, name, actor_of(request), options=options, is_shared=is_shared, **kept)


@require_POST
@signed_in
def delete_preset_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete one of the user's own presets."""
    refuse_unknown_fields(request)
    preset = Preset.objects.owned_by(request.user).get(pk=pk)
    delete_preset(preset, actor_of(request))
    if wants_json(request):
        return HttpResponse(status=204)
    return HttpResponseRedirect(url_of("form", preset.file_type))


def check_posted(request: HttpRequest, exporter: QuerySetExport, *more: str) -> services.Asked | HttpResponse:
    """Return what is chosen in a posted form, checked as for a request of the file, or the response that refuses it.

    `more` names fields that the form has besides those of a request.
    """
    refuse_unknown_choices(request, exporter, *more)
    try:
        chosen = posted_choices(exporter, request.POST)
        actor = actor_of(request)
        return services.check_request(request.user, exporter.file_type, request.POST, **chosen, actor=actor)
    except InvalidForm as error:
        if wants_json(request):
            return refusal_response(request, error)
        return render_form(request, exporter, error.form, status=400)
    except REFUSALS as error:
        return refusal_response(request, error)
