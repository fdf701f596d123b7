"""What a run says about the file that it made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exports.conf import config


@dataclass(frozen=True)
class ExportResult:
    """The file of one run: the exporter describes it, and the runner adds `size` and `sha256` once it is stored.

    `retention_seconds` is the time until the file expires; None leaves the row's `expires_at` as it is.
    """

    filename: str
    content_type: str
    rows: int
    # JSON, and open to the exporter: see "receipt" in docs/protocol.md.
    receipt: Mapping[str, Any] = field(default_factory=dict)
    retention_seconds: float | None = field(default_factory=lambda: config.RETENTION_SECONDS)
    size: int = 0
    sha256: str = ""
