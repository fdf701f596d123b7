"""A storm over a site that stores in a folder, then one over a site in S3. Ends with 1 if anything is wrong.

python -m tests.storm [--minutes N] [--seed S] [--exports N] [--kills N] [--pause SECONDS]
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.storm.auditor import Audit, audit
from tests.storm.site import PATIENT, Site
from tests.storm.weather import Storm


def main() -> int:
    given = arguments()
    print(f"seed {given.seed}", flush=True)
    found = [one(given, bucket=bucket) for bucket in (False, True)]
    print(f"seed {given.seed}: {sum(len(each.findings) for each in found)} findings", flush=True)
    return int(any(each.findings for each in found))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/storm", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3, help="How long it rages, both sites together (3).")
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6), help="Repeats what a seed decides.")
    parser.add_argument("--exports", type=int, default=200, help="How many exports, both sites together (200).")
    parser.add_argument("--kills", type=int, help="It goes on until so many are killed, both sites (50 a minute).")
    parser.add_argument("--pause", type=float, default=0.4, help="Seconds from strike to strike, about (0.4).")
    return parser.parse_args()


def one(given: argparse.Namespace, *, bucket: bool) -> Audit:
    """The folder of a site on which something is wrong is kept."""
    folder, began = Path(tempfile.mkdtemp(prefix="storm-")), time.monotonic()
    with Site(folder, bucket=bucket, housekeepers=2, exports=PATIENT) as site:
        chance = Random(f"{given.seed} {bucket}")
        kills = 50 * given.minutes if given.kills is None else given.kills
        storm = Storm(site, chance, given.minutes * 30, given.exports // 2, given.pause, kills / 2)
        storm.rage()
        storm.calm()
        found = audit(site)
        print(f"{'S3' if bucket else 'folder'}: {storm}", flush=True)
        print(f"{found}\nafter {time.monotonic() - began:.0f} s", flush=True)
        if found.findings:
            site.keep_logs()
    if not found.findings:
        shutil.rmtree(folder, ignore_errors=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
