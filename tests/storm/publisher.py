"""Change exports at a fixed pace, as a worker does, and print when each change of the last one was made.

python -m tests.storm.publisher CHANGES EVERY_SECONDS EXPORT_ID...

Every export changes CHANGES times. Exports may be running already. Prints JSON: [[seq, epoch seconds], ...].
"""

import json
import sys
import time
from uuid import UUID

import django


def main(changes: int, every: float, ids: list[str]) -> list[tuple[int, float]]:
    django.setup()
    from exports.models import FileRequest, transitions
    from exports.models.progress import WRITING, Snapshot
    from exports.realtime import events

    exports = [FileRequest.objects.get(pk=UUID(each)) for each in ids]
    claims = [
        transitions.claim(each, owner="publisher", extension="csv") or transitions.Claim(each.pk, each.epoch, "")
        for each in exports
    ]
    published, began = [], time.monotonic()
    for number in range(1, changes + 1):
        for claim in claims:
            transitions.renew_lease(claim, Snapshot(WRITING, number, changes), began_phase=False, progressed=True)
            export = FileRequest.objects.get(pk=claim.request_id)
            if claim is claims[-1]:
                published.append((export.seq, time.time()))
            events.send_state(export)
        time.sleep(max(began + number * every - time.monotonic(), 0))
    return published


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])))
