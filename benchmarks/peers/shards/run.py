"""Times reading, writing and converting shards against webdataset, wids, mosaicml-streaming and litdata.

    setup.sh && run.py --photos DIR [--samples 10000]

Data: photographs at 256 pixels in WebDataset archives (`data.py`), converted by us to MDS and litData, whose own readers are
known to read those (`check.py`). Each workload first runs once on each side with digests: both must have seen the same keys and
the same bytes of every image, or the same pixels where images are decoded. Then whole processes are run, the sides taking
turns, the files in the page cache. The seconds are those of the workload, measured inside, without starting an
interpreter, imports and opening an index; for our converter they are those of the whole process. Peak memory is that of the
process tree (`measure.py`), with everything.

On two CPUs the peers read by two worker processes of torch's DataLoader and write by two processes; random access and converting are
timed on one CPU only, where nobody documents another way.

Writes `shards.json` (raw) and `shards.md` (the table) into `benchmarks/results/<date>-<machine>/`, after every case. Only the standard library is
used; Linux only. Exits with 1 when the two sides disagree.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.append(str(HERE.parent / "common"))

import report  # noqa: E402
from driver import (  # noqa: E402
    Failed,
    Results,
    commit,
    first_line,
    joined,
    names_of,
    numbers,
    pinned_versions,
    run_as_command,
    say,
    usable_threads,
)
from measure import Measured, measure  # noqa: E402

SIDES = ("ours", "peer")
PACKAGES = ("webdataset", "wids", "mosaicml-streaming", "litdata", "torch", "pillow", "numpy")


@dataclass(frozen=True)
class Case:
    """A workload and who is compared."""

    name: str
    what: str
    """In words."""
    peer: str
    """The library."""
    workload: str
    folder: str
    """Of the data, below the work folder."""
    decode: bool = False
    several_cpus: bool = False
    target: float | None = None
    """How many times faster we want to be."""


CASES = (
    Case("read-tar", "read tar, bytes", "webdataset", "read", "tar", several_cpus=True, target=10),
    Case("read-tar-decoded", "read tar, decoded", "webdataset", "read", "tar", decode=True, several_cpus=True, target=2),
    Case("write-tar", "write tar", "webdataset", "write", "tar", several_cpus=True, target=5),
    Case("random-tar", "random access in tar", "wids", "random", "tar"),
    Case("read-mds", "read MDS, bytes", "streaming", "read", "mds", several_cpus=True),
    Case("random-mds", "random access in MDS", "streaming", "random", "mds"),
    Case("read-litdata", "read litData, bytes", "litdata", "read", "litdata", several_cpus=True),
    Case("random-litdata", "random access in litData", "litdata", "random", "litdata"),
    Case("convert", "convert tar to MDS", "webdataset", "convert", "tar"),
)
NAMES = tuple(case.name for case in CASES)


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same over the cases."""

    sightline: Path
    ours: Path
    python: Path
    work: Path
    rounds: int

    def command(self, side: str, case: Case, cpus: int, digest: bool) -> list[str]:
        """The command line of a side."""
        folder = self.work / case.folder
        more = {"random": self.work / "rows.json", "write": self.out(side), "convert": self.out(side)}.get(case.workload)
        flags = [*(["--decode"] if case.decode else []), *(["--digest"] if digest else [])]
        words = [str(folder), *([str(more)] if more else [])]
        if side == "peer":
            script = [str(self.python), str(HERE / "peer.py"), case.peer, case.workload]
            return [*script, *words, *flags, f"--workers={cpus}"]
        if case.workload == "convert":
            return [str(self.sightline), "shards", "convert", str(folder), "--to=mds", f"--out={self.out(side)}", "--json"]
        return [str(self.ours), case.workload, *words, *flags]

    def out(self, side: str) -> Path:
        """Where a side writes."""
        return self.work / f"out-{side}"

    def start(self, side: str, case: Case, cpus: int, digest: bool = False) -> tuple[Measured, dict[str, Any]]:
        """Runs a side and gives what it printed."""
        shutil.rmtree(self.out(side), ignore_errors=True)
        printed = self.work / f"{side}-{case.name}.out"
        log = self.work / f"{side}-{case.name}.log"
        env = dict(os.environ) | {"RAYON_NUM_THREADS": str(cpus), "OMP_NUM_THREADS": "1"}
        on = set(sorted(os.sched_getaffinity(0))[:cpus])
        measured = measure(self.command(side, case, cpus, digest), on, env, printed, log)
        if measured.status != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise Failed(f"{case.name}: {side} ended with status {measured.status}:\n{tail}")
        text = printed.read_text(encoding="utf-8")
        if case.workload == "convert" and side == "ours":
            return measured, json.loads(text)
        return measured, json.loads(text.strip().splitlines()[-1])

    def digest_of(self, side: str, case: Case) -> dict[str, Any]:
        """Samples, bytes and digest of what a side saw, or of what it wrote."""
        _, found = self.start(side, case, 1, digest=True)
        if case.workload in ("write", "convert"):
            # What was written is read by one program, whoever wrote it.
            command = [str(self.ours), "read", str(self.out(side)), "--digest"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout)
        return {key: found[key] for key in ("samples", "bytes", "digest") if not (case.decode and key == "bytes")}

    def check(self, case: Case) -> dict[str, Any]:
        """Makes sure that both sides saw or wrote the same samples."""
        say(f"checking {case.name}")
        ours, peer = (self.digest_of(side, case) for side in SIDES)
        if ours != peer or not ours["digest"]:
            raise Failed(f"{case.name}: the two sides disagree:\n  ours {ours}\n  peer {peer}")
        say(f"  both have {ours['samples']} samples with the digest {ours['digest'][:12]}")
        return ours

    def time(self, case: Case, cpus: int) -> list[dict[str, Any]]:
        """All timed runs of a case, the sides taking turns."""
        say(f"timing {case.name} on {cpus} CPU{'s' if cpus > 1 else ''}")
        return [self.time_one(side, case, cpus, number) for number in range(1, self.rounds + 1) for side in SIDES]

    def time_one(self, side: str, case: Case, cpus: int, number: int) -> dict[str, Any]:
        """One timed run."""
        load = os.getloadavg()[0]
        measured, found = self.start(side, case, cpus)
        wall_s = found.get("wall_s", measured.wall_s)
        cpu_s = found.get("cpu_s", measured.cpu_s())
        peak = measured.peak_bytes()
        say(
            f"  {side}, round {number}: {wall_s:.3f} s, {found['samples'] / wall_s:,.0f} samples/s, "
            f"CPU {1e6 * cpu_s / found['samples']:.0f} µs a sample, peak {peak / 2**20:.0f} MiB"
        )
        return {
            "side": side,
            "round": number,
            "cpus": cpus,
            "load_before": load,
            "samples": found["samples"],
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "process_wall_s": measured.wall_s,
            "process_cpu_s": measured.cpu_s(),
            "peak_bytes": peak,
        }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    fixtures = Path(os.environ.get("SIGHTLINE_FIXTURES", ROOT.parent / "shared" / "fixtures"))
    parser = argparse.ArgumentParser(description="Times shards against the libraries of others.")
    add = parser.add_argument
    add("--photos", type=Path, default=fixtures / "images", help="folder of JPEG files (default: %(default)s)")
    add("--samples", type=int, default=10_000, help="samples (default: %(default)s)")
    add("--random", type=int, default=5000, help="samples of random access (default: %(default)s)")
    add("--cases", type=names_of(NAMES), default=NAMES, help=f"some of {', '.join(NAMES)} (default: all)")
    add("--rounds", type=int, default=5, help="rounds (default: %(default)s)")
    add("--cpus", type=numbers, default=(1, 2), help="numbers of CPUs (default: 1,2)")
    add("--sightline", type=Path, default=target / "release/sightline", help="our program")
    add("--ours", type=Path, default=target / "release/sightline-bench-shards", help="our program")
    add("--python", type=Path, default=ROOT / ".venv/shards/bin/python", help="Python of the peers")
    add("--work", type=Path, default=ROOT / "out/bench-peers/shards", help="folder of the data")
    add("--out", type=Path, help="folder of the results (default: benchmarks/results/<date>-<machine>)")
    add("--add", action="store_true", help="keep the other cases of the results that are there, of the same commit")
    add("--note", default="", help="a sentence for the results, such as what else the machine did")
    add("--check-only", action="store_true", help="compare and do not time")
    return parser.parse_args()


def prepare(bench: Bench, arguments: argparse.Namespace) -> None:
    """Makes the data: archives, their index, the same in MDS and litData, rows for random access."""
    data = [str(bench.python), str(HERE / "data.py"), f"--photos={arguments.photos}", f"--out={bench.work / 'tar'}"]
    run([*data, f"--samples={arguments.samples}"])
    run([str(bench.sightline), "shards", "index", str(bench.work / "tar"), "--kind=wids", "--force"])
    for to in ("mds", "litdata"):
        shutil.rmtree(bench.work / to, ignore_errors=True)
        run([str(bench.sightline), "shards", "convert", str(bench.work / "tar"), f"--to={to}", f"--out={bench.work / to}"])
    rows = random.Random(17).choices(range(arguments.samples), k=min(arguments.random, arguments.samples))
    (bench.work / "rows.json").write_text(json.dumps(rows), encoding="utf-8")


def run(command: list[str]) -> None:
    """Runs a command that has to succeed."""
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        raise Failed(f"`{' '.join(command)}` failed")


def bench(arguments: argparse.Namespace) -> None:
    """Runs all cases and writes the results."""
    for program in (arguments.sightline, arguments.ours, arguments.python):
        if not program.is_file():
            raise Failed(f"`{program}` is not there; `just bench-peers shards` makes it")
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    runner = Bench(arguments.sightline.absolute(), arguments.ours.absolute(), arguments.python.absolute(), work, arguments.rounds)
    say("making the data")
    prepare(runner, arguments)
    cpus = usable_threads(arguments.cpus)
    cases = [case for case in CASES if case.name in arguments.cases]
    checks = {case.name: runner.check(case) for case in cases}
    if arguments.check_only:
        return
    results = Results("shards", ROOT / "benchmarks/results", arguments.out, report.markdown)
    document: dict[str, Any] = {
        **results.head,
        "samples": arguments.samples,
        "versions": {"sightline": first_line([str(arguments.sightline), "--version"]), "commit": commit(ROOT)}
        | pinned_versions(HERE / "requirements.txt", PACKAGES),
        "notes": [arguments.note] if arguments.note else [],
        "cases": [],
    }
    before = results.earlier() if arguments.add else None
    for case in cases:
        told = {"name": case.name, "what": case.what, "peer": case.peer, "target": case.target, "check": checks[case.name]}
        runs = [run for n in cpus if n == min(cpus) or case.several_cpus for run in runner.time(case, n)]
        # Each case is stored as soon as it is there.
        document["cases"].append(told | {"runs": runs})
        results.write(joined(before, document, {"cases": ["name"]}, NAMES))
    results.say_where()


if __name__ == "__main__":
    sys.exit(run_as_command(lambda: bench(parse_arguments())))
