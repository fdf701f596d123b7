"""The words of an export's card, written once: for the templates here and, as JSON, for the script of the page.

Placeholders stand in braces. A sentence with a plural has one form for each of SAMPLE_COUNTS, from which the script
chooses by the plural rules of the page's language. The messages of errors are in `exports.state`.
"""

from collections.abc import Mapping
from datetime import datetime
from math import ceil

from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from exports.conf import LOCAL, config
from exports.models.locale import local_time
from exports.models.scheduling import MAX_PLACE
from exports.queue import base as queue
from exports.state import NAME, State
from exports.tabular.columns import alteration_sentence

WORDS: Mapping[str, Promise] = {
    "label": _("Export: {title}"),
    "name": NAME,
    # The status
    "waiting": _("Waiting"),
    "waiting_next": _("Waiting, next in line"),
    "waiting_place": _("Waiting, number {place} in line"),
    "waiting_behind": _("Waiting, more than {place} in line before it"),
    "waiting_again": _("Waiting for another worker"),
    "waiting_again_next": _("Waiting for another worker, next in line"),
    "waiting_again_place": _("Waiting for another worker, number {place} in line"),
    "no_worker": _("No worker is running"),
    "start_worker": _("start one: {command}"),
    "restart_server": _("the log of the server says why; restart it"),
    "waiting_again_behind": _("Waiting for another worker, more than {place} in line before it"),
    "resumed": _("Starting over, attempt {attempt}"),
    "counting": _("Counting rows"),
    "writing": _("Writing rows: {done} of {total}"),
    "writing_unknown": _("Writing rows: {done} so far"),
    "finishing": _("Finishing the file"),
    "storing": _("Storing the file"),
    "working": _("Working"),
    "ready": _("Ready: {name}, {size}"),
    "ready_unnamed": _("Ready"),
    "ready_empty": _("Nothing matched: the file has no rows"),
    "failed": _("Failed: {message}"),
    "failed_unexplained": _("Failed"),
    "cancelled": _("Cancelled"),
    "expired": _("Expired"),
    "percent": _("{number}%"),
    "about": _("about {number}"),
    # The details
    "asked_for": _("asked for {time}"),
    "mail_comes": _("you may close this page, a mail will come"),
    "starts_in": _("starts in about {duration}"),
    "rate": _("{rows} rows/s"),
    "slow_rate": _("less than 1 row/s"),
    "time_left": _("about {duration} left"),
    "seconds_left": _("a few seconds left"),
    "withheld": _("left out: {names}"),
    "made": _("made {time}"),
    "made_in": _("made {time} in {duration}"),
    "kept_until": _("kept until {time}"),
    "took": _("That took {duration}."),
    "cells": _("Cells: {count}."),
    "stopped_after": _("stopped after {rows}"),
    "file_deleted": _("the file has been deleted; try again to have it made once more"),
    # The buttons, and their names for screen readers
    "cancel": _("Cancel"),
    "cancel_label": _("Cancel export: {title}"),
    "retry": _("Try again"),
    "retry_label": _("Try again: {title}"),
    "edit": _("Edit and run again"),
    "edit_label": _("Edit and run again: {title}"),
    "download": _("Download"),
    "download_label": _("Download {file}"),
    "login": _("Log in again"),
    "reload": _("Look again"),
    "regenerate": _("Make it again"),
    "show": _("Show"),
    "close": _("Close"),
    "all_exports": _("All my exports"),
    "notify": _("Notify me here when an export is ready"),
    "delete": _("Delete"),
    "delete_label": _("Delete export: {title}"),
    # The notices
    "announcement": _("{title}: {text}"),
    "already_active": _("{title}: already on its way"),
    "download_started": _("The download has started. If it has not, press Download."),
    "download_waits": _("Press Download to save it. Another download has been started in the meantime."),
    "connection_lost": _("Connection lost, still trying"),
    "no_news": _("No news from the worker for {duration}"),
    "made_before": _("Made {duration} ago, with the same choices."),
    "try_again_in": _("Try again in {duration}, at {time}."),
    "logged_out": _("You are logged out. Log in again to follow this export."),
    "forbidden": _("You may not follow this export any more."),
    "not_found": _("This export is no longer there."),
    # What a request was refused with, by HTTP status; 0 is no answer
    "refused_0": _("No answer came. Check your connection and try again."),
    "refused_401": _("You are logged out. Log in again, then try again."),
    "refused_403": _("This was refused. Reload the page and try again."),
    "refused_404": _("This is no longer there. Reload the page."),
    "refused_429": _("Too many requests at once."),
    "refused_500": _("The server has a problem. Wait a minute and try again."),
    "refused": _("The answer was not understood. Reload the page and try again."),
}

# One number at least for each plural category of CLDR, in the languages that Django is translated into.
SAMPLE_COUNTS = (0, 1, 2, 3, 11, 100)


def catalogue(*, for_staff: bool = False) -> dict[str, str | dict[int, str]]:
    """Return all words in the active language, for `frontend/words.js`; only staff learn how a worker is started."""
    counted = {
        "rows": {n: ngettext("{count} row", "{count} rows", n) for n in SAMPLE_COUNTS},
        "tray_running": {n: ngettext("{count} running", "{count} running", n) for n in SAMPLE_COUNTS},
        "tray_waiting": {n: ngettext("{count} waiting", "{count} waiting", n) for n in SAMPLE_COUNTS},
        "tray_ready": {n: ngettext("{count} ready", "{count} ready", n) for n in SAMPLE_COUNTS},
        "files_ready": {n: ngettext("{count} file is ready", "{count} files are ready", n) for n in SAMPLE_COUNTS},
        "bytes": {n: filesizeformat(n).replace(str(n), "{count}") for n in SAMPLE_COUNTS},
        "cells_altered": {n: ngettext("{count} cell altered", "{count} cells altered", n) for n in SAMPLE_COUNTS},
    }
    start_worker = _start_worker("{queue}") if for_staff and config.QUEUE_BACKEND else ""
    one = number_format(1, 1)
    sizes = {f"size_{power}": filesizeformat(1024**power).replace(one, "{size}") for power in range(1, 6)}
    return {**{key: str(text) for key, text in WORDS.items()}, **counted, **sizes, "start_worker": start_worker}


def day_text(state: State) -> str:
    """Return the day on which an export was requested, in the active time zone: "Today", "Yesterday" or a date."""
    requested = local_time(datetime.fromisoformat(state["requested_at"] or "")).date()
    days = (local_time(timezone.now()).date() - requested).days
    if days in (0, 1):
        return gettext("Yesterday") if days else gettext("Today")
    return date_format(requested, "DATE_FORMAT")


def word(key: str, **values: object) -> str:
    """Return the sentence of this key in the active language, with its placeholders filled in."""
    return str(WORDS[key]).format(**values)


def status_text(state: State) -> str:
    """Return the status of an export in one line."""
    progress, file, error = state["progress"], state["file"], state["error"]
    match state["status"]:
        case "queued":
            if progress["unserved_queue"]:
                return word("no_worker")
            place = progress["queue_position"]
            key = "waiting_again" if state["resumed"] else "waiting"
            if place is None:
                return word(key)
            if place > MAX_PLACE:
                return word(f"{key}_behind", place=grouped(MAX_PLACE))
            return word(f"{key}_next") if place == 1 else word(f"{key}_place", place=grouped(place))
        case "running" if state["resumed"]:
            return word("resumed", attempt=state["attempt"])
        case "running" if state["phase"] == "writing":
            done, total = grouped(progress["rows_done"]), progress["rows_total"]
            if total is None:
                return word("writing_unknown", done=done)
            if not progress["rows_total_is_estimate"]:
                return word("writing", done=done, total=grouped(total))
            # Three significant digits: more would look exact.
            rounded = round(total, min(0, 3 - len(str(total))))
            return word("writing", done=done, total=word("about", number=grouped(rounded)))
        case "running":
            return word(state["phase"] if state["phase"] in ("counting", "finishing", "storing") else "working")
        case "ready" if error is not None:
            return error["message"]
        case "ready" if state["receipt"].get("rows") == 0:
            return word("ready_empty")
        case "ready" if file is not None:
            return word("ready", name=file["name"], size=filesizeformat(file["size"] or 0))
        case "ready":
            return word("ready_unnamed")
        case "failed" if error is not None:
            return word("failed", message=error["message"])
        case "failed":
            return word("failed_unexplained")
        case "cancelled" if error is not None:
            return error["message"]
        case status:
            return word(status) if status in WORDS else status


def name_text(state: State) -> str:
    """Return the title of an export and, if it has one, its label."""
    return word("name", title=state["title"], label=state["label"]) if state["label"] else state["title"]


def detail_text(state: State) -> str:
    """Return when an export is expected to start; or, if it is ready, its rows, when and how quickly it was made.

    "" for any other status, and where neither is known.
    """
    progress = state["progress"]
    if progress["wait_seconds"] is not None and not progress["unserved_queue"]:
        return capfirst(word("starts_in", duration=duration_text(progress["wait_seconds"])))
    if state["status"] != "ready" or state["error"] is not None or state["finished_at"] is None:
        return ""
    rows, took = state["receipt"].get("rows"), state["took_seconds"]
    made = date_format(local_time(datetime.fromisoformat(state["finished_at"])), "DATETIME_FORMAT")
    said = [] if rows is None else [rows_text(rows)]
    said.append(word("made", time=made) if took is None else word("made_in", time=made, duration=duration_text(took)))
    return capfirst(" · ".join(said))


def altered_text(state: State) -> str:
    """Return how many cells of a ready file were altered, "" if none; the receipt on the export's page says how."""
    count = sum(state["receipt"].get("alterations", {}).values()) if state["status"] == "ready" else 0
    return (
        ngettext("{count} cell altered", "{count} cells altered", count).format(count=grouped(count)) if count else ""
    )


def receipt_text(state: State) -> str:
    """Return how many rows were asked for and written, and how quickly, in a sentence."""
    receipt, took = state["receipt"], state["took_seconds"]
    rows, asked = rows_text(receipt.get("rows", 0)), receipt.get("rows_asked")
    if asked is None:
        text = _("{rows} written, without a count beforehand.")
    elif asked == receipt.get("rows"):
        text = _("{rows} asked for, and everything written.")
    else:
        text = _("{asked} asked for, {rows} written.")
    said = str(text).format(rows=rows, asked=grouped(asked or 0))
    return said if took is None else f"{said} {word('took', duration=duration_text(took))}"


def cells_text(count: int) -> str:
    """Return "Cells: 1,024."."""
    return word("cells", count=grouped(count))


def alteration_text(kind: str) -> str:
    """Return what an alteration that the receipt counts was, in a sentence."""
    name, _space, offset = kind.partition(" ")
    sentence = gettext(alteration_sentence(name))
    return sentence + " " + gettext("Offset: {offset}.").format(offset=offset) if offset else sentence


def rows_text(count: int) -> str:
    """Return "1 row", "9,161 rows"."""
    return ngettext("{count} row", "{count} rows", count).format(count=grouped(count))


def duration_text(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, rounded up to whole ones: "2 seconds"."""
    whole = max(ceil(seconds), 1)
    if whole <= 90:
        return ngettext("{count} second", "{count} seconds", whole).format(count=grouped(whole))
    minutes = ceil(whole / 60)
    if minutes <= 90:
        return ngettext("{count} minute", "{count} minutes", minutes).format(count=grouped(minutes))
    hours = ceil(minutes / 60)
    return ngettext("{count} hour", "{count} hours", hours).format(count=grouped(hours))


def percent_text(state: State) -> str:
    """Return how much of an export is done: "36%", "about 36%" if the total is an estimate, "" if it is not known."""
    progress = state["progress"]
    if state["status"] == "ready":
        return word("percent", number=100)
    if state["status"] != "running" or progress["fraction"] is None:
        return ""
    percent = word("percent", number=round(progress["fraction"] * 99))
    return word("about", number=percent) if progress["rows_total_is_estimate"] else percent


def start_worker_text(state: State) -> str:
    """Return how staff start the worker for which the export waits; "" if one is running, or that is not known."""
    queue_name = state["progress"]["unserved_queue"]
    return capfirst(_start_worker(queue_name)) if queue_name else ""


def _start_worker(queue_name: str) -> str:
    if config.QUEUE_BACKEND == LOCAL:
        return word("restart_server")
    return word("start_worker", command=queue.worker_command(queue_name))


def grouped(number: int) -> str:
    """Return "9,161"."""
    return number_format(number, 0, force_grouping=True)
