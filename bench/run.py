"""The command bench/run: create the rows, run the cases, read files back, write the report."""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import cases, chart, databases, measure, readback, report
from bench.cases import POSTGRESQL, Case
from bench.databases import KeptPostgres
from bench.measure import Result
from bench.ratios import Results, all_ratios
from bench.readback import Reading

RESULTS = Path(__file__).resolve().parent / "results"
DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- results: bench/run --write-docs -->", "<!-- end of results -->"
PICTURE = (
    "![Rows a second of each tool, and our memory as the rows grow; the tables below have the same figures]"
    "(performance.svg)"
)
FILL_SECONDS_PER_ROW = 20e-6
READ_SECONDS_PER_ROW = 45e-6
PEERS_SECONDS = 60.0
# A quick run repeats no case that takes longer than this, nor one that is for information only.
ONCE_SECONDS = 1.9
# A load average before the run from which on other work disturbs the measurements.
BUSY = 0.7


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    if options.write_docs:
        write_docs(json.loads((RESULTS / "latest.json").read_text()))
        return 0
    rows = options.rows or (cases.QUICK if options.quick else cases.FULL)
    slow_rows = min(rows, cases.SLOW_ROWS)
    chosen = [case for case in cases.all_cases(rows, slow_rows) if options.only.lower() in case.name.lower()]
    if not chosen:
        print(f"No case has {options.only!r} in its name.", file=sys.stderr)
        return 2
    if options.check_peers:
        return check_peers(chosen)
    summary = run(chosen, rows, is_quick=rows < cases.FULL, is_whole=not options.only)
    if options.json:
        Path(options.json).write_text(json.dumps(report.as_list(results_of(summary)), indent=1))
    return 0 if summary["is_correct"] else 1


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="bench/run", description="Measure exports by this and other tools.")
    made.add_argument("--quick", action="store_true", help="100,000 rows instead of 1,000,000")
    made.add_argument("--rows", type=int, default=0, metavar="N", help="this number of rows, to try things out")
    made.add_argument("--only", default="", metavar="TEXT", help="only the cases with TEXT in their names")
    made.add_argument("--json", default="", metavar="PATH", help="write the measurements as a JSON list")
    made.add_argument("--check-peers", action="store_true", help="measure nothing: read the file of every tool back")
    made.add_argument("--write-docs", action="store_true", help="measure nothing: write the last complete run to docs/")
    return made


def run(chosen: Sequence[Case], rows: int, *, is_quick: bool, is_whole: bool) -> dict[str, Any]:
    """Measure the cases, read our files back, print and store the report. Return the summary that latest.json holds."""
    checked = readback.ours_to_check(chosen, rows)
    repeats = {case: 1 if is_quick and is_once_enough(case) else cases.REPEATS for case in chosen}
    load = os.getloadavg()[0]
    reading = READ_SECONDS_PER_ROW * sum(case.rows for case in checked) + (0 if is_quick else PEERS_SECONDS)
    announce(repeats, reading, load)
    began = time.monotonic()
    with servers(chosen) as postgres:
        make_rows([*chosen, *checked], postgres)
        results = measured(repeats, postgres)
        ours = read_back(checked, postgres)
        peers = read_back(readback.peers_to_check(chosen), postgres) if is_whole and not is_quick else []
    summary = {
        "rows": rows,
        "slow_rows": min(rows, cases.SLOW_ROWS),
        "machine": report.machine(),
        "load": load,
        "packages": report.packages(),
        "seconds": time.monotonic() - began,
        "readback": [reading.sentence for reading in ours],
        "peers": [reading.sentence for reading in peers],
        "is_correct": all(reading.is_equal for reading in ours),
        "results": [result.as_dict() for result in results],
    }
    text = markdown(summary)
    print(f"\n{text}\n")
    if is_whole:
        keep(summary, text)
    print(f"Took {minutes(summary['seconds'])}.")
    return summary


def is_once_enough(case: Case) -> bool:
    """Return True if a quick run measures the case only once."""
    is_information = case.format == "tsv" or case.variant == "isal" or case.tool.startswith("deflate")
    return is_information or case.estimate > ONCE_SECONDS


def announce(repeats: Mapping[Case, int], reading: float, load: float) -> None:
    runs = sum(repeats.values())
    rows = {(case.source, case.rows_read) for case in repeats}
    making = FILL_SECONDS_PER_ROW * sum(count for _, count in rows)
    running = sum(case.estimate * count for case, count in repeats.items())
    print(f"{len(repeats)} cases, {runs} runs: about {minutes(making + running + reading)}, of which up to")
    print(f"{minutes(making)} for the rows, {minutes(running)} for the runs and {minutes(reading)} to read files back.")
    print(f"The rows are kept in {databases.home()}.", flush=True)
    if load > BUSY:
        print(f"This machine is busy (load {load:.1f}): it will take longer, and the figures will be off.", flush=True)


@contextmanager
def servers(chosen: Sequence[Case]) -> Iterator[KeptPostgres | None]:
    if not any(case.source == POSTGRESQL for case in chosen):
        yield None
        return
    with KeptPostgres() as postgres:
        yield postgres


def make_rows(chosen: Sequence[Case], postgres: KeptPostgres | None) -> None:
    for database, rows in sorted({(case.source, case.rows_read) for case in chosen}):
        start = time.monotonic()
        if databases.need_rows(database, rows, postgres):
            print(f"Made {rows:,} rows on {database} in {time.monotonic() - start:.0f} s.", flush=True)


def environment(case: Case, postgres: KeptPostgres | None) -> dict[str, str]:
    socket = postgres and postgres.folder
    return databases.environment(case.source, case.rows_read, socket, with_exports=case.needs_exports)


def measured(repeats: Mapping[Case, int], postgres: KeptPostgres | None) -> list[Result]:
    """Run all cases once, then again: a disturbance then hits one run of several cases, not all runs of one case."""
    results = {case: Result(case) for case in repeats}
    turns = [case for turn in range(max(repeats.values())) for case, count in repeats.items() if turn < count]
    folder = databases.scratch()
    try:
        for place, case in enumerate(turns):
            if not results[case].failure:
                add_run(results[case], folder, environment(case, postgres))
                left = sum(expected(results[each]) for each in turns[place + 1 :])
                print(f"[{place + 1}/{len(turns)}] {outcome(results[case])}   {minutes(left)} left", flush=True)
    finally:
        # The runs of requests store their files in these folders.
        for each in (folder, databases.home() / "exports", databases.home() / "work"):
            shutil.rmtree(each, ignore_errors=True)
    return list(results.values())


def add_run(result: Result, folder: Path, environment: Mapping[str, str]) -> None:
    """Add a run to the result, or the reason why it failed."""
    path = folder / f"file.{result.case.format}"
    try:
        result.runs.append(measure.run(result.case, path, environment))
    except measure.Failed as error:
        result.failure = str(error)
    finally:
        path.unlink(missing_ok=True)


def expected(result: Result) -> float:
    """Return the seconds that the next run will take."""
    if result.failure:
        return 0.0
    return result.seconds + cases.START_SECONDS if result.runs else result.case.estimate


def outcome(result: Result) -> str:
    if result.failure:
        return f"{result.case.name}: FAILED: {result.failure}"
    last = result.runs[-1]
    return f"{result.case.name}: {last.seconds:.2f} s, {last.peak / measure.MIB:.0f} MiB"


def read_back(chosen: Sequence[Case], postgres: KeptPostgres | None) -> list[Reading]:
    """Write the files of these cases, read them back and compare them with the database."""
    make_rows(chosen, postgres)
    folder, readings = databases.scratch(), []
    try:
        for case in chosen:
            readings.append(readback.read_back(case, folder, environment(case, postgres)))
            print(f"Read back: {readings[-1].sentence}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return readings


def check_peers(chosen: Sequence[Case]) -> int:
    with servers(chosen) as postgres:
        read_back(readback.peers_to_check(chosen), postgres)
    return 0


def results_of(summary: Mapping[str, Any]) -> Results:
    return Results(Result.from_dict(stored) for stored in summary["results"])


def markdown(summary: Mapping[str, Any]) -> str:
    """Return the report, which goes under a heading of the second level in docs/performance.md."""
    results = results_of(summary)
    ratios = all_ratios(results, rows=summary["rows"], slow_rows=summary["slow_rows"])
    parts = [
        f"Measured on {summary['machine']}, with {summary['packages']}. {summary['rows']:,} rows of 10 columns unless "
        f"the table says otherwise. The whole took {minutes(summary['seconds'])}.{busy(summary['load'])}",
        f"### The ratios\n\n{report.ratio_table(ratios)}",
        report.result_tables(results),
        f"### What a request costs over writing at once\n\n{report.requests(results)}",
        f"### Read back, every cell compared with the database\n\n{bullets(summary['readback'])}",
        f"### The same for every tool, at {readback.PEER_ROWS:,} rows\n\n{bullets(summary['peers'])}",
        f"### Failed\n\n{report.failures(results)}",
    ]
    return "\n\n".join(parts)


def busy(load: float) -> str:
    return f" The machine was busy with other work when it began (load {load:.1f})." if load > BUSY else ""


def bullets(sentences: Sequence[str]) -> str:
    return (
        "\n".join(f"- {sentence}" for sentence in sentences)
        or "Not read back in this run; `bench/run --check-peers` does it."
    )


def keep(summary: Mapping[str, Any], text: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.md").write_text(f"{text}\n")
    (RESULTS / "latest.json").write_text(json.dumps(summary, indent=1))
    print(f"Kept as {RESULTS / 'latest.md'} and latest.json.")


def write_docs(summary: Mapping[str, Any], folder: Path = DOCS) -> None:
    """Write a run to performance.md, between the markers, and to performance.svg."""
    page = folder / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{PICTURE}\n\n{markdown(summary)}\n\n{END}{after}")
    title = f"How fast {summary['rows']:,} rows of 10 columns become a file"
    (folder / "performance.svg").write_text(chart.svg(chart.panels(results_of(summary)), title=title))


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
