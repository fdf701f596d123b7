"""Claims every waiting request, in the order in which all others do too, and prints how many it won.

    python -m tests.storm.claimer GATE

It begins once there is a file GATE, so that several begin at the same moment.
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
    return sum(transitions.claim(request, owner="racer", extension="csv") is not None for request in waiting)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])), flush=True)
