"""Every way to a file is known, with where it asks for permission."""

import ast
from pathlib import Path

import exports

HANDING_OUT = {
    "open_file", "file_response", "buffer_response", "Ticket", "PublicLink", "sign_ticket", "publish_file",
    "download_response", "deliver", "enqueue_export", "_enqueue", "write_now", "render_form",
}  # fmt: skip
"""The functions by which a file is requested, or by which it or a link to it leaves the app.

`transitions.publish` is called `publish_file`, and `transitions.enqueue` `enqueue_export`.
"""

WAYS = {
    "services.requests.request_export": "permissions.may_open_form, exporter.has_permission",
    "services.requests.request_rows": "the view, which may give a rule",
    "services.requests.retry": "permissions.is_still_granted",
    "services.requests._enqueue": "its callers in this module",
    "contrib.bgfiles.toolbox.add_request": "the project's own view, which may give a rule",
    "http.views.form_view": "permissions.may_open_form",
    "admin.mixin._render_export_form": "export_view: has_export_permission",
    "exporters.preview.first_rows": "http.views._first_rows: permissions.refusal_of",
    "http.presets.check_posted": "services.check_request",
    "http.presets.presets_view": "services.check_request",
    "worker.runner._make_and_publish": "_make_file: permissions.check_before_publishing",
    "housekeeping.send_mails": "permissions.is_still_granted",
    "services.files.public_link_of": "share: permissions.public_link_seconds",
    "services.files.find_public": "permissions.is_still_granted",
    "services.files.state_for": "may_download: permissions.is_still_granted",
    "services.files.sign_ticket": "its callers: services.may_download",
    "http.downloads.redirect_to_ticket": "its callers: services.may_download",
    "http.downloads.file_view": "_ticket_response",
    "http.downloads._ticket_response": "services.may_download",
    "http.downloads.public_view": "services.find_public",
    "http.downloads.download_response": "its callers in this module, http.feeds.feed_view",
    "http.feeds.feed_view": "feeds.check: services.check_request; feeds.current_file: services.may_download",
    "http.feeds.feeds_view": "services.check_request",
    "http.feeds._again": "its caller",
    "http.responses.file_response": "its callers: http.downloads, contrib.bgfiles",
    "contrib.bgfiles.toolbox.serve": "views.evaluate_request: permissions.is_withdrawn",
    "contrib.bgfiles.patterns.respond_with_file": "the project's own view",
    "contrib.bgfiles.pattern_runner.send_mail_now": "the run that has just published the file",
    "shortcuts.export_response": "permissions.holds, if the project's own view gives a rule",
    "shortcuts._write_response": "its caller",
    "exporters.stored_rows.tables": "the input of a run, not a file of a user",
    "webhooks.sending.send_due": "message_of: permissions.is_still_granted",
    "management.run._copy": "_save: services.may_download",
    "contrib.operations.doctor.configuration.secrets": "not a file of a user",
    "contrib.operations.doctor.files.finished_files": "not a file of a user",
}
"""Every function that hands out a file or a link, and where the permission is asked for."""


def ways_to_a_file() -> set[str]:
    """Return the functions of the app that call one of HANDING_OUT."""
    app = Path(exports.__file__).parent
    found = set()
    for path in app.rglob("*.py"):
        module = ".".join(path.relative_to(app).with_suffix("").parts)
        tree = ast.parse(path.read_text())
        classes = [each for each in tree.body if isinstance(each, ast.ClassDef)]
        for function in [node for parent in (tree, *classes) for node in parent.body]:
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                name = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
                renamed = {"transitions.publish": "publish_file", "transitions.enqueue": "enqueue_export"}
                called = renamed.get(name, name.rpartition(".")[2])
                if called in HANDING_OUT:
                    found.add(f"{module}.{function.name}")
    return found


def test_every_way_to_a_file_is_known_with_where_it_asks_for_permission() -> None:
    assert ways_to_a_file() == set(WAYS)
