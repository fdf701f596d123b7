"""What the form of an export opens with: empty, as an earlier export was requested, as a preset says, or as posted."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.forms import Form
from django.http import QueryDict
from django.utils.translation import gettext as _

from exports.exporters import QuerySetExport, permissions
from exports.exporters.choosing import Chosen, offered_columns, posted_columns
from exports.exporters.options import PREFIX
from exports.models import Feed, FileRequest, Preset
from exports.models.feed import MAX_AGES
from exports.models.request import AnyUser


def form_context(
    user: AnyUser,
    exporter: QuerySetExport,
    form: Form,
    *,
    posted: QueryDict | None = None,
    opened: FileRequest | Preset | None = None,
    columns: Chosen = (),
) -> dict[str, Any]:
    """Return the context of _form.html. `columns` are chosen if neither `posted` nor `opened` says any."""
    options_form = exporter.get_options_form(posted)
    format, chosen = "", columns
    if posted is not None:
        format, chosen = posted.get("format", ""), posted_columns(posted) or columns
    elif opened is not None:
        format, chosen = opened.format, opened.columns or columns
        for name, value in opened.options.items():
            if field := options_form.fields.get(f"{PREFIX}{format}.{name}"):
                field.initial = str(value).lower() if isinstance(value, bool) else str(value)
    elif user.is_authenticated:
        # That of their last request.
        own = FileRequest.objects.owned_by(user).filter(file_type=exporter.file_type).order_by("-requested_at")
        format = own.values_list("format", flat=True).first() or ""
    criteria = form.cleaned_data if form.is_bound and form.is_valid() else None
    available, withheld = exporter.columns_to_choose(user, *([] if criteria is None else [criteria]))
    usual = exporter.usual_columns(available)
    offers_feeds = user.is_authenticated and permissions.offers_feeds(exporter.file_type)
    is_own = isinstance(opened, Preset) and opened.owner_id == user.pk
    return {
        "exporter": exporter,
        "form": form,
        "options_form": options_form,
        "format": format,
        "format_choices": exporter.format_choices(),
        "columns": offered_columns(available, chosen, usual),
        "are_columns_chosen": bool(chosen) or "columns" in form.errors,
        "withheld": withheld,
        "presets": Preset.objects.open_to(user).filter(file_type=exporter.file_type) if user.is_authenticated else [],
        "opened_preset": opened if isinstance(opened, Preset) else None,
        "preset_name": posted["preset_name"] if posted and "preset_name" in posted else getattr(opened, "name", ""),
        "can_delete_preset": is_own,
        "feeds": Feed.objects.owned_by(user).filter(file_type=exporter.file_type) if offers_feeds else [],
        "feed_max_ages": MAX_AGES if offers_feeds else [],
        "can_share_presets": user.has_perm("exports.share_preset"),
    }


def opened_by(user: AnyUser, exporter: QuerySetExport, query: Mapping[str, str]) -> FileRequest | Preset | None:
    """Return the user's export or the preset that the URL of the form names, None if it names none.

    Raise DoesNotExist for one that the user may not open.
    """
    try:
        if export_id := query.get("from"):
            return FileRequest.objects.owned_by(user).get(pk=UUID(export_id), file_type=exporter.file_type)
        if preset_id := query.get("preset"):
            return Preset.objects.open_to(user).get(pk=int(preset_id), file_type=exporter.file_type)
    except ValueError:
        raise FileRequest.DoesNotExist from None
    return None


def erased_message(opened: FileRequest | Preset | None) -> str:
    """Return why the form is empty although it opens an export, or ""."""
    is_erased = isinstance(opened, FileRequest) and opened.erased_at is not None
    return _("The choices of this export have been deleted. Please request it again.") if is_erased else ""
