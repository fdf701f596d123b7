"""The role, policy and rule in docs/s3.md, tried on a server that enforces roles; the demo site with a bucket."""

import json
import math
import os
import re
import subprocess
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.files.base import ContentFile

from exports import storage
from exports.conf import DAY, DEFAULTS
from exports.exceptions import ExportError, StorageDenied
from exports.storage.s3 import DENIED
from tests.bucket import exports as big
from tests.bucket.server import Moto
from tests.test_project import DEPLOYED

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "s3.md").read_text()
KEY = "generated/7/1-ab.csv"


def document(name: str) -> dict[str, Any]:
    """Return the JSON below the comment with this name, for the bucket of the tests."""
    [text] = re.findall(rf"<!-- {re.escape(name)} -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    return json.loads(text.replace("example-exports", Moto.BUCKET))


# The role


def allowed() -> list[str]:
    files, uploads = document("role.json")["Statement"]
    return [*files["Action"], uploads["Action"]]


def role_without(action: str) -> dict[str, Any]:
    role = deepcopy(document("role.json"))
    files, uploads = role["Statement"]
    if action == uploads["Action"]:
        return {**role, "Statement": [files]}
    files["Action"].remove(action)
    return role


def do_everything(path: Path, key: str = KEY) -> None:
    """Send each request that the app sends to its bucket, except signed URLs, which this server does not check."""
    storage.put(path, key, on_bytes=lambda sent: None)
    storage.put_contents(ContentFile(b"abc"), f"{key}.small")
    storage.open_file(f"{key}.small").close()
    storage.delete(f"{key}.small")
    big.client().create_multipart_upload(Bucket=Moto.BUCKET, Key=key)
    storage.delete(key)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    big.write(tmp_path / "file.csv", 10)
    return tmp_path / "file.csv"


def test_the_role_is_sufficient(s3: Moto, path: Path):
    with s3.allowing(document("role.json")):
        do_everything(path)
    assert (s3.stored(), s3.unfinished()) == ([], [])


@pytest.mark.parametrize("action", allowed())
def test_each_action_of_the_role_is_needed(s3: Moto, path: Path, action: str):
    with s3.allowing(role_without(action)), pytest.raises(StorageDenied, match=r"AccessDenied|403"):
        do_everything(path)


def test_the_role_gives_no_access_to_other_folders(s3: Moto, path: Path):
    other = "elsewhere/1.csv"
    with s3.allowing(document("role.json")):
        for ask in (partial(do_everything, path), storage.delete, storage.size_of):
            with pytest.raises(ExportError):
                ask(other)


def test_the_table_lists_the_actions_of_the_role():
    assert sorted(re.findall(r"^\| `(s3:\w+)` \|", PAGE, re.MULTILINE)) == sorted(allowed())


# The bucket


def test_the_policy_and_the_lifecycle_rule_are_accepted(s3: Moto):
    s3.client().put_bucket_policy(Bucket=s3.BUCKET, Policy=json.dumps(document("policy.json")))
    s3.client().put_bucket_lifecycle_configuration(Bucket=s3.BUCKET, LifecycleConfiguration=document("lifecycle.json"))
    [rule] = s3.client().get_bucket_lifecycle_configuration(Bucket=s3.BUCKET)["Rules"]
    assert rule["Filter"] == {"Prefix": "generated/"}
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_the_lifecycle_rule_deletes_later_than_the_app():
    days = document("lifecycle.json")["Rules"][0]["Expiration"]["Days"]
    assert days == math.ceil(DEFAULTS["RETENTION_SECONDS"] / DAY) + 1
    assert DEFAULTS["RETENTION_SECONDS"] + DEFAULTS["FILE_DELETE_DELAY_SECONDS"] < days * DAY


def test_the_explained_codes_end_an_export():
    table = PAGE.split("| `error_detail` says |")[1].split("\n\n")[0]
    explained = {code for line in table.splitlines() for code in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert {each for each in explained if not each.endswith("Error")} <= DENIED


# The demo site

CREDENTIALS = {"AWS_ACCESS_KEY_ID": Moto.KEY, "AWS_SECRET_ACCESS_KEY": Moto.SECRET}
SIGN = """
from exports import storage
print(storage.presign("generated/1.csv", seconds=60, content_type="text/csv", disposition="attachment"))
"""
STORE = """
from django.core.files.base import ContentFile
from exports import storage
storage.put_contents(ContentFile("abc"), "generated/1.csv")
"""


def site(folder: Path, *command: str, **variables: str) -> str:
    """Run a command of the demo site with only these environment variables, and return its output."""
    own = {"VAR_DIR": str(folder), "DEBUG": "1", "PYTHONWARNINGS": "error", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=own | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def shell(folder: Path, code: str, **variables: str) -> str:
    return site(folder, "shell", "--no-imports", "-c", code, **variables)


CHOICES = [
    ({"EXPORTS_S3_REGION": "eu-central-1"}, "https://example-exports.s3.eu-central-1.amazonaws.com/generated/"),
    (
        {"AWS_DEFAULT_REGION": "ap-east-1", "EXPORTS_S3_PREFIX": "/site/"},
        "https://example-exports.s3.ap-east-1.amazonaws.com/site/generated/",
    ),
    (
        {"EXPORTS_S3_ENDPOINT_URL": "https://s3.example", "EXPORTS_S3_PATH_STYLE": "1"},
        "https://s3.example/example-exports/generated/",
    ),
]


@pytest.mark.parametrize(("variables", "url"), CHOICES)
def test_environment_variables_choose_the_bucket(tmp_path: Path, variables: dict[str, str], url: str):
    given = {"EXPORTS_S3_BUCKET": "example-exports", **CREDENTIALS, **variables}
    printed = shell(tmp_path, SIGN, **given)
    assert printed.startswith(f"{url}1.csv?")
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in printed


def test_the_demo_site_stores_in_the_chosen_bucket(s3: Moto, tmp_path: Path):
    place = {"EXPORTS_S3_BUCKET": s3.BUCKET, "EXPORTS_S3_ENDPOINT_URL": s3.url, "EXPORTS_S3_REGION": s3.REGION}
    shell(tmp_path, STORE, **place, **CREDENTIALS)
    assert s3.stored() == ["generated/1.csv"]
    assert httpx.get(shell(tmp_path, SIGN, **place, **CREDENTIALS)).text == "abc"


def test_the_demo_site_stores_in_a_folder_without_a_bucket(tmp_path: Path):
    shell(tmp_path, STORE)
    assert (tmp_path / "exports" / "generated" / "1.csv").read_text() == "abc"


def test_the_demo_site_passes_check_deploy_with_a_bucket(tmp_path: Path):
    own = DEPLOYED | {"DEBUG": "0", "EXPORTS_S3_BUCKET": "example-exports"}
    site(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **own)


def test_each_environment_variable_is_documented():
    settings = (ROOT / "project" / "settings.py").read_text()
    table = (ROOT / "docs" / "deploying.md").read_text()
    named = set(re.findall(r'"(EXPORTS_S3_\w+)"', settings))
    assert len(named) == 5
    assert {name for name in named if f"| `{name}` |" not in table} == set()
