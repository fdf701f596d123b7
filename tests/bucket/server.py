"""An S3 server (moto) in another process. It enforces roles and policies, but neither checksums nor signed URLs."""

import json
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.request import Request, urlopen

import boto3
from botocore.client import BaseClient
from django.conf import settings
from django.test import override_settings

from tests.servers import Server, free_port


class Moto(Server):
    """A moto server with one bucket. It loses everything when it stops, and does not verify signed URLs."""

    REGION = "eu-central-1"
    BUCKET = "private-exports"
    KEY, SECRET = "AKIAEXAMPLE", "an-example-secret"

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__()
        self.address, self.port = address, free_port(address)
        self._clients: dict[str, BaseClient] = {}

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def start(self) -> None:
        if not self.is_running:
            super().start()
            self._make_bucket()

    def reset(self) -> None:
        """Empty the bucket and stop enforcing policies."""
        self._tell("reset", b"")
        self._make_bucket()

    def storage(self, key: str = KEY, secret: str = SECRET, **options: object) -> dict[str, object]:
        """Return the entry for STORAGES."""
        own = {"bucket_name": self.BUCKET, "region_name": self.REGION, "endpoint_url": self.url}
        own |= {"access_key": key, "secret_key": secret, "signature_version": "s3v4"}
        return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": own | options}

    def client(self, service: str = "s3") -> BaseClient:
        """Return the client for this service. It is kept, since creating one takes a third of a second."""
        if service not in self._clients:
            session = boto3.session.Session(self.KEY, self.SECRET, region_name=self.REGION)
            self._clients[service] = session.client(service, endpoint_url=self.url)
        return self._clients[service]

    def stored(self) -> list[str]:
        """Return the keys of the stored objects."""
        return self._keys("list_objects_v2", "Contents")

    def unfinished(self) -> list[str]:
        """Return the keys of the uploads that are neither completed nor aborted."""
        return self._keys("list_multipart_uploads", "Uploads")

    def _keys(self, operation: str, found: str) -> list[str]:
        pages = self.client().get_paginator(operation).paginate(Bucket=self.BUCKET)
        return [each["Key"] for page in pages for each in page.get(found, ())]

    @contextmanager
    def allowing(self, policy: Mapping[str, object]) -> Iterator[str]:
        """Inside, the server enforces policies, and the app is a new user with this one. Yield the user's secret."""
        users, name = self.client("iam"), f"user-{secrets.token_hex(4)}"
        users.create_user(UserName=name)
        users.put_user_policy(UserName=name, PolicyName="role", PolicyDocument=json.dumps(policy))
        made = users.create_access_key(UserName=name)["AccessKey"]
        self._tell("reset-auth", b"0")
        files = self.storage(made["AccessKeyId"], made["SecretAccessKey"])
        try:
            with override_settings(STORAGES={**settings.STORAGES, "exports": files}):
                yield made["SecretAccessKey"]
        finally:
            self._tell("reset-auth", b"inf")

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", self.address, "-p", str(self.port)]

    def answers(self) -> bool:
        with suppress(OSError), urlopen(f"{self.url}/moto-api/", timeout=5):
            return True
        return False

    def _make_bucket(self) -> None:
        place = {"LocationConstraint": self.REGION}
        self.client().create_bucket(Bucket=self.BUCKET, CreateBucketConfiguration=place)

    def _tell(self, verb: str, body: bytes) -> None:
        url = f"{self.url}/moto-api/{verb}"
        with urlopen(Request(url, body, {"Content-Type": "text/plain"}, method="POST"), timeout=5):
            pass
