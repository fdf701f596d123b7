"""docs/webhooks.md: its settings pass the checks, and its verification reads what is sent, as a library does."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.utils import timezone
from standardwebhooks import Webhook as Reader
from standardwebhooks import WebhookVerificationError

from exports.models import Webhook
from exports.webhooks import signatures
from tests.doc_blocks import ROOT, blocks_of
from tests.shop.runs import configure

BLOCKS = [block for block in blocks_of(ROOT / "docs" / "webhooks.md") if block.language == "python"]
SETTINGS = [block for block in BLOCKS if block.code.startswith("EXPORTS")]
[VERIFICATION] = [block for block in BLOCKS if block not in SETTINGS]
BODY = '{"type":"export.ready","data":{"title":"Ümläute"}}'.encode()
OTHER_SECRET = "whsec_" + "AAAA" * 10 + "AA=="

Verify = Callable[[str, dict[str, str], bytes], bool]


def by_the_page(secret: str, headers: dict[str, str], body: bytes) -> bool:
    names: dict[str, Any] = {}
    exec(compile(VERIFICATION.code, VERIFICATION.name, "exec"), names)
    return names["verify"](secret, headers, body)


def by_the_library(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        Reader(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


@pytest.mark.django_db
@pytest.mark.parametrize("block", SETTINGS, ids=lambda block: block.name)
def test_the_settings_of_the_page_are_valid(settings: Any, block: Any) -> None:
    given: dict[str, Any] = {}
    exec(block.code, given)
    configure(settings, **given["EXPORTS"])
    assert [message for message in run_checks() if message.id.startswith("exports.E")] == []


@pytest.mark.parametrize("verify", [by_the_page, by_the_library])
def test_the_page_and_a_library_read_what_is_signed(settings: Any, verify: Verify) -> None:
    webhook = Webhook(seed="one")
    secret, headers = signatures.secret_of(webhook), signatures.headers_of(webhook, "msg_1", BODY)
    assert verify(secret, headers, BODY)
    assert not verify(secret, headers, BODY + b" ")
    assert not verify(secret, headers | {"webhook-id": "msg_2"}, BODY)
    assert not verify(OTHER_SECRET, headers, BODY)
    old = signatures.headers_of(webhook, "msg_1", BODY, at=int(time.time()) - 600)
    assert not verify(secret, old, BODY)
    webhook.old_seed, webhook.seed = "one", "two"
    webhook.old_until = timezone.now() + timedelta(hours=1)
    rotated = signatures.headers_of(webhook, "msg_1", BODY)
    assert verify(secret, rotated, BODY)
    assert verify(signatures.secret_of(webhook), rotated, BODY)
