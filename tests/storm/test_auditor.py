"""The auditor finds each planted defect, and nothing on a site without defects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.storm.auditor import READY, assert_no_findings, audit, content_of
from tests.storm.site import PATIENT, Site

pytestmark = pytest.mark.usefixtures("no_findings_before_and_after")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, needs_postgres: None) -> Iterator[Site]:
    """A site on S3 whose exports are ready and mailed, and whose processes have stopped."""
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, bucket=True, workers=("large", "small"), exports=PATIENT, rows=1000) as site:
        for number, format in enumerate(("csv", "xlsx", "csv", "xlsx")):
            # Different users, or one mail would tell of several.
            site.request(number, format=format, first=number + 1, rows=100 + number * 200)
        site.wait_until_ended()
        site.wait_until_mailed()
        for program in site.programs.values():
            program.stop()
        yield site


@pytest.fixture
def no_findings_before_and_after(site: Site) -> Iterator[None]:
    assert_no_findings(site)
    yield
    assert_no_findings(site)


@pytest.fixture
def transaction(site: Site) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose changes to these tables are undone after the test; triggers are off."""
    tables = ("exports_filerequest", "exports_notification", "storm_transitions", "storm_mails")
    with psycopg.connect(site.postgres.url("storm"), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in tables:
            connection.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")
        yield connection
        for table in tables:
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
            connection.execute(f"DROP TABLE kept_{table}")


def findings(site: Site) -> str:
    return "\n".join(audit(site).findings)


def key_of(site: Site, number: int = 0) -> str:
    [(key,)] = site.sql("SELECT filehandle FROM exports_filerequest WHERE id = %s", [site.requested[number].id])
    return key


@pytest.fixture
def stored(site: Site) -> Iterator[str]:
    """The key of a file that is restored after the test."""
    key = key_of(site)
    content = content_of(site, key)
    yield key
    put(site, key, content)


def put(site: Site, key: str, content: bytes) -> None:
    assert site.moto is not None
    site.moto.client().put_object(Bucket=site.moto.BUCKET, Key=key, Body=content)


def test_a_missing_object_is_found(site: Site, stored: str):
    site.moto.client().delete_object(Bucket=site.moto.BUCKET, Key=stored)

    assert findings(site).startswith(f"missing: request {site.requested[0].id}")


def test_a_wrong_byte_is_found(site: Site, stored: str):
    content = content_of(site, stored)
    put(site, stored, content[:500] + bytes([content[500] ^ 1]) + content[501:])

    assert findings(site).startswith(f"wrong bytes: request {site.requested[0].id}")


@pytest.mark.parametrize("number", [0, 1], ids=["csv", "xlsx"])
def test_a_file_that_matches_its_row_is_compared_with_the_table_too(site: Site, number: int, transaction: Any):
    """Its checksum and size are right, but it has the rows of another export."""
    other = key_of(site, number + 2)
    transaction.execute(
        "UPDATE exports_filerequest r SET filehandle = o.filehandle, sha256 = o.sha256, size = o.size "
        "FROM exports_filerequest o WHERE o.filehandle = %s AND r.id = %s",
        [other, site.requested[number].id],
    )

    assert f"wrong bytes: request {site.requested[number].id}" in findings(site)


def test_an_orphan_object_is_found(site: Site):
    put(site, "generated/unknown/1-aa.csv", b"left")
    found = findings(site)
    site.moto.client().delete_object(Bucket=site.moto.BUCKET, Key="generated/unknown/1-aa.csv")

    assert found == "orphan: object generated/unknown/1-aa.csv"


def test_an_orphan_part_is_found(site: Site):
    where = {"Bucket": site.moto.BUCKET, "Key": "generated/unknown/1-bb.csv"}
    begun = site.moto.client().create_multipart_upload(**where)
    part = {"UploadId": begun["UploadId"], "PartNumber": 1, "Body": b"part"}
    site.moto.client().upload_part(**where, **part)
    found = findings(site)
    site.moto.client().abort_multipart_upload(**where, UploadId=begun["UploadId"])

    assert found == "orphan: unfinished upload of generated/unknown/1-bb.csv"


@pytest.mark.parametrize("place", ["work", "tmp"])
def test_an_orphan_file_on_the_host_is_found(site: Site, place: str):
    folder = site.work if place == "work" else site.programs["worker1"].folder / "tmp"
    folder.mkdir(exist_ok=True)
    left = folder / "left.xlsx"
    left.write_bytes(b"left")
    found = findings(site)
    left.unlink()

    assert found.startswith("orphan: ")
    assert str(left) in found


@pytest.fixture
def mail(site: Site) -> Path:
    """The file of a mail that has arrived."""
    return min(site.mailbox.accepted.glob("*.eml"))


def test_a_duplicate_mail_is_found(site: Site, mail: Path):
    copy = mail.with_name(f"{float(mail.name.split('-')[0]) + 0.001:.6f}-copy.eml")
    copy.write_bytes(mail.read_bytes())
    found = findings(site)
    copy.unlink()

    assert "2 arrived, more than one of one attempt" in found


def test_a_mail_with_an_unknown_message_id_is_found(site: Site, mail: Path):
    other = mail.with_name(f"{mail.stem}-other.eml")
    other.write_bytes(mail.read_bytes().replace(b"ready-", b"other-"))
    found = findings(site)
    other.unlink()

    assert "mail: no notification has the Message-ID " in found


def test_a_mail_that_tells_of_an_export_with_another_mail_is_found(site: Site, mail: Path):
    content = mail.read_bytes()
    told = next(each.id for each in site.requested if each.id.encode() in content)
    other = next(each.id for each in site.requested if each.id != told)
    mail.write_bytes(content.replace(told.encode(), other.encode()))
    found = findings(site)
    mail.write_bytes(content)

    assert f"tells of request {other}, which has another mail" in found
    assert found.endswith("it was never sent")


def test_a_mail_that_did_not_arrive_is_found(site: Site, mail: Path):
    away = mail.rename(mail.with_suffix(".away"))
    found = findings(site)
    away.rename(mail)

    assert found.endswith("it was never sent")


def test_a_duplicate_after_a_crash_between_250_and_commit_is_only_counted(site: Site, transaction: Any):
    """The server accepted the mail, its sender died before the commit, and another sender sent it again."""
    first = site.sql("SELECT id FROM storm_mails WHERE state = 'sending' ORDER BY id LIMIT 1")[0][0]
    transaction.execute(
        "INSERT INTO storm_mails (id, at, writer, mail_id, old_state, state, attempts) "
        "SELECT -1, at - interval '2 s', writer, mail_id, old_state, state, attempts FROM storm_mails WHERE id = %s",
        [first],
    )
    [(at, message_id)] = site.sql(
        "SELECT extract(epoch FROM s.at)::float8 - 1, n.message_id FROM storm_mails s "
        "JOIN exports_notification n ON n.id = s.mail_id WHERE s.id = %s",
        [first],
    )
    [mail] = [path for path in site.mailbox.accepted.glob("*.eml") if message_id.encode() in path.read_bytes()]
    copy = mail.with_name(f"{at:.6f}-copy.eml")
    copy.write_bytes(mail.read_bytes())
    audited = audit(site)
    copy.unlink()

    assert audited.findings == []
    assert audited.counts["duplicate mails"] == 1


def test_a_duplicate_from_a_sender_that_was_frozen_meanwhile_is_only_counted(site: Site, mail: Path, transaction: Any):
    """It sent the mail when it went on, after another sender had taken the mail over."""
    housekeeper = next(each for each in site.programs.values() if each.role.startswith("housekeeper"))
    arrived = float(mail.name.split("-")[0])
    message_id = next(each.message_id for each in site.mailbox.mails() if each.at == arrived)
    transaction.execute(
        "INSERT INTO storm_mails (id, at, writer, mail_id, old_state, state, attempts) "
        "SELECT -1, s.at - interval '5 s', %s, mail_id, old_state, s.state, s.attempts FROM storm_mails s "
        "JOIN exports_notification n ON n.id = s.mail_id WHERE s.state = 'sending' AND n.message_id = %s",
        [f"{housekeeper.role}:1", message_id],
    )
    copy = mail.with_name(f"{arrived + 0.001:.6f}-copy.eml")
    copy.write_bytes(mail.read_bytes())
    without_freeze = findings(site)
    housekeeper.freezes.append((arrived - 4, arrived))
    audited = audit(site)
    copy.unlink()
    housekeeper.freezes.clear()

    assert "2 arrived, more than one of one attempt" in without_freeze
    assert audited.findings == []


def test_a_lost_row_is_found(site: Site, transaction: Any):
    lost = site.requested[0].id
    transaction.execute("DELETE FROM exports_filerequest WHERE id = %s", [lost])

    assert findings(site).startswith(f"lost: request {lost} has no row\norphan: object ")


def test_a_row_with_an_unexpected_status_is_found(site: Site, transaction: Any):
    failed = site.requested[0].id
    transaction.execute("UPDATE exports_filerequest SET status = 'failed' WHERE id = %s", [failed])

    assert f"lost: request {failed} is failed, not {READY}" in findings(site)
    assert not any(line.startswith("lost") for line in audit(site, ends={failed: "failed"}).findings)


INSERT_STEP = (
    "INSERT INTO storm_transitions (writer, request_id, old_status, status, old_epoch, epoch, old_seq, seq, old_owner) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
OWNER = "host:4711:1"


@pytest.mark.parametrize(
    ("fault", "writer", "before", "after"),
    [
        ("written by a process without the lease", "worker:4712", ("running", 2, 8), ("running", 2, 9)),
        ("written by a process without the lease", "worker:4712", ("running", 2, 8), ("ready", 2, 9)),
        ("no transition of the table", "worker:4711", ("cancelled", 2, 8), ("ready", 2, 9)),
        ("no transition of the table", "worker:4711", ("running", 2, 8), ("running", 1, 9)),
        ("no transition of the table", "worker:4711", ("ready", 2, 8), ("running", 3, 9)),
        ("seq did not grow by one", "worker:4711", ("running", 2, 8), ("running", 2, 8 - 1)),
        ("changed without a new seq", "worker:4711", ("queued", 2, 8), ("running", 3, 8)),
    ],
)
def test_a_stale_write_is_found(site: Site, transaction: Any, fault: str, writer: str, before: Any, after: Any):
    (old_status, old_epoch, old_seq), (status, epoch, seq) = before, after
    values = [writer, site.requested[0].id, old_status, status, old_epoch, epoch, old_seq, seq, OWNER]
    transaction.execute(INSERT_STEP, values)

    assert f"stale write: request {site.requested[0].id}: {fault}" in findings(site)


def test_a_write_of_the_lease_owner_is_allowed(site: Site, transaction: Any):
    transaction.execute(INSERT_STEP, ["worker:4711", site.requested[0].id, "running", "running", 2, 2, 8, 9, OWNER])

    assert findings(site) == ""
