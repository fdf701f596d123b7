"""Run a storm against a site that stores files in a folder, then against one with S3, Redis Sentinel and gevent.

python -m tests.storm [--minutes N] [--seed S] [--exports N] [--kills N] [--pause SECONDS]

Exits with 1 if the auditor finds anything.
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
from tests.storm.strikes import Storm


def main() -> int:
    options = parse_options()
    print(f"seed {options.seed}", flush=True)
    findings = sum(len(run_storm(options, bucket=bucket).findings) for bucket in (False, True))
    print(f"seed {options.seed}: {findings} findings", flush=True)
    return int(findings > 0)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/storm", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3, help="Minutes of strikes, both sites together (3).")
    parser.add_argument(
        "--seed", type=int, default=Random().randrange(10**6), help="Repeats a run's decisions (random)."
    )
    parser.add_argument("--exports", type=int, help="Number of exports, both sites together (200 in three minutes).")
    parser.add_argument("--kills", type=int, help="Least number of kills, both sites (50 a minute).")
    parser.add_argument("--pause", type=float, default=0.4, help="Average seconds between two strikes (0.4).")
    options = parser.parse_args()
    if options.exports is None:
        options.exports = round(options.minutes * 200 / 3)
    return options


def run_storm(options: argparse.Namespace, *, bucket: bool) -> Audit:
    """Return the audit after the storm. The site's folder is kept if there is a finding."""
    folder, began = Path(tempfile.mkdtemp(prefix="storm-")), time.monotonic()
    with Site(folder, bucket=bucket, sentinel=bucket, gevent=bucket, housekeepers=2, exports=PATIENT) as site:
        chance = Random(f"{options.seed} {bucket}")
        kills = 50 * options.minutes if options.kills is None else options.kills
        storm = Storm(site, chance, options.minutes * 30, options.exports // 2, options.pause, kills / 2)
        storm.run()
        storm.recover()
        audited = audit(site)
        print(f"{'S3, Sentinel and gevent' if bucket else 'folder'}: {storm}", flush=True)
        print(f"{audited}\nafter {time.monotonic() - began:.0f} s", flush=True)
        if audited.findings:
            site.keep_logs()
    if not audited.findings:
        shutil.rmtree(folder, ignore_errors=True)
    return audited


if __name__ == "__main__":
    sys.exit(main())
