"""Claim every waiting export, in the same order as the other claimers, and print how many claims were won.

    python -m tests.storm.claimer GATE

It begins once the file GATE exists, so that several claimers begin at the same moment.
"""

import sys
import time
from pathlib import Path

import django


def main(gate: Path) -> int:
    django.setup()
    from exports.models import FileRequest, transitions

    waiting = list(FileRequest.objects.order_by("pk"))
    print("ready", flush=True)
    while not gate.exists():
        time.sleep(0.001)
    return sum(transitions.claim(export, owner="racer", extension="csv") is not None for export in waiting)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])), flush=True)
