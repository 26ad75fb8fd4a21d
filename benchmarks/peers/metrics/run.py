"""Times `sightline score` against pycocoevalcap, rouge-score and sacrebleu on the same captions.

    setup.sh && run.py [--fixtures DIR]

For each group of metrics and each number of images it first checks that the two sides give the same
values (every metric, for the corpus and for each image, within 1e-6). Only then it times whole
processes, start-up and loading of tables included, alternately: ours, peer, ours, peer. The check also
brings the files of both into the page cache. Both sides are restricted to the same one or two CPUs,
ours also to as many threads. How time and memory are measured is said in `measure.py`.

Writes `metrics.json` (raw) and `metrics.md` (the table) into `benchmarks/results/<date>-<machine>/`.
Only the standard library is used; Linux only. Exits with 1 when the two sides disagree.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.append(str(HERE.parent / "common"))

import report  # noqa: E402
from agree import corpus_problems, corpus_values  # noqa: E402
from driver import (  # noqa: E402
    Failed,
    Results,
    commit,
    first_line,
    names_of,
    numbers,
    pinned_versions,
    run_as_command,
    say,
    usable_threads,
)
from groups import GROUPS, Group, group_named  # noqa: E402
from measure import Measured, measure  # noqa: E402

SIDES = ("ours", "peer")
PACKAGES = ("pycocoevalcap", "rouge-score", "sacrebleu", "nltk", "numpy")
"""The packages that are compared with."""


@dataclass(frozen=True)
class Case:
    """One group of metrics on one set of captions."""

    group: Group
    images: int
    rounds: int
    folder: Path
    """Holds the captions; the outputs of this case go below it."""

    def __str__(self) -> str:
        return f"{self.group.name}, {self.images:,} images"

    def output(self, name: str) -> Path:
        """A file among the outputs of this case."""
        return self.folder / f"{self.group.name}-{name}"


@dataclass(frozen=True)
class Programs:
    """How the two sides are started."""

    ours: Path
    python: Path

    def command(self, side: str, case: Case, *, per_sample: bool) -> list[str]:
        """The command line of a side; with `per_sample` it also writes the values of each image."""
        inputs = [
            f"--references={case.folder / 'references.json'}",
            f"--predictions={case.folder / 'predictions.json'}",
        ]
        if side == "peer":
            script = str(HERE / "reference.py")
            command = [str(self.python), script, *inputs, f"--metrics={case.group.peer_metrics}"]
            return [*command, "--per-sample"] if per_sample else command
        # The reference programs make no intervals, so ours are left out of the same work.
        options = [f"--metrics={case.group.our_metrics()}", "--resamples=0", "--json"]
        command = [str(self.ours), "score", *inputs, *options]
        return [*command, f"--per-sample={case.output('ours.jsonl')}", "--force"] if per_sample else command

    def versions(self) -> dict[str, str]:
        """What the two sides are, as they say themselves."""
        java = subprocess.run(
            [self.python.parent / "java", "-version"], capture_output=True, text=True, check=True
        )
        return {
            "sightline": first_line([str(self.ours), "--version"]) if self.ours.exists() else "not built",
            "commit": commit(ROOT),
            "python": first_line([str(self.python), "--version"]),
            "java": java.stderr.splitlines()[0],
        }


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same over the cases."""

    programs: Programs
    sides: tuple[str, ...]
    threads: tuple[int, ...]

    def run(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """Checks all cases, then times all cases."""
        checks = [self.check(case) for case in cases] if self.sides == SIDES else []
        results = []
        for row, case in enumerate(cases):
            result = self.about(case)
            if checks:
                result["check"] = checks[row]
            result["runs"] = self.time_case(case)
            results.append(result)
        return results

    def about(self, case: Case) -> dict[str, Any]:
        """What the case is."""
        return {
            "group": case.group.name,
            "peer": case.group.peer,
            "images": case.images,
            "data": json.loads((case.folder / "source.json").read_text(encoding="utf-8")),
            "commands": {side: self.shown_command(side, case) for side in self.sides},
        }

    def shown_command(self, side: str, case: Case) -> str:
        """The command line as it is written into the results, without the folders of this machine."""
        command = self.programs.command(side, case, per_sample=False)
        if side == "ours":
            command[0] = self.programs.ours.name
        shown = shlex.join(command)
        return shown.replace(f"{ROOT}{os.sep}", "").replace(f"{case.folder}{os.sep}", "")

    def check(self, case: Case) -> dict[str, Any]:
        """Runs both sides once and compares all values."""
        say(f"checking {case}")
        for side in SIDES:
            self.start(side, case, max(self.threads), per_sample=True)
        command = [
            sys.executable,
            str(HERE / "agree.py"),
            f"--group={case.group.name}",
            f"--ours={case.output('ours.json')}",
            f"--our-samples={case.output('ours.jsonl')}",
            f"--reference={case.output('peer.json')}",
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if not done.stdout:
            raise Failed(f"{case}: the outputs could not be compared")
        found: dict[str, Any] = json.loads(done.stdout)
        if found["problems"]:
            raise Failed("\n  ".join([f"{case}: the two sides disagree", *found["problems"]]))
        say(f"  the two sides agree on {found['samples']} images")
        return found

    def time_case(self, case: Case) -> list[dict[str, Any]]:
        """All timed runs of a case, the sides taking turns."""
        say(f"timing {case}")
        runs = [
            self.time(side, case, threads, number)
            for threads in self.threads
            for number in range(1, case.rounds + 1)
            for side in self.sides
        ]
        if problems := consistency_problems(case.group, runs):
            raise Failed("\n  ".join([f"{case}: timed runs gave other values", *problems]))
        return runs

    def time(self, side: str, case: Case, threads: int, number: int) -> dict[str, Any]:
        """One timed run."""
        load = os.getloadavg()[0]
        measured = self.start(side, case, threads, per_sample=False)
        output = json.loads(case.output(f"{side}.json").read_text(encoding="utf-8"))
        say(
            f"  {side}, {threads} CPU, round {number}: {measured.wall_s:.3f} s, "
            f"CPU {measured.cpu_s():.3f} s, peak {measured.peak_bytes() / 2**20:.0f} MiB"
        )
        return {
            "side": side,
            "threads": threads,
            "round": number,
            "load_before": load,
            "wall_s": measured.wall_s,
            "user_s": measured.user_s,
            "system_s": measured.system_s,
            "cpu_s": measured.cpu_s(),
            "peak_bytes": measured.peak_bytes(),
            "tree_peak_bytes": measured.tree_peak_bytes(),
            "max_rss_bytes": measured.max_rss_bytes,
            "driver_max_rss_bytes": measured.driver_max_rss_bytes,
            "values": corpus_values(output),
            "phases": phases(output, measured),
        }

    def start(self, side: str, case: Case, threads: int, *, per_sample: bool) -> Measured:
        """Runs a side to its end and makes sure that it succeeded."""
        stderr = case.output(f"{side}.log")
        measured = measure(
            self.programs.command(side, case, per_sample=per_sample),
            set(sorted(os.sched_getaffinity(0))[:threads]),
            # Java takes its character set from the locale, and its decimal point.
            os.environ | {"LC_ALL": "C.UTF-8", "RAYON_NUM_THREADS": str(threads)},
            case.output(f"{side}.json"),
            stderr,
        )
        if measured.status != 0:
            tail = "\n".join(stderr.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise Failed(f"{case}: {side} ended with status {measured.status}:\n{tail}")
        return measured


def phases(output: dict[str, Any], measured: Measured) -> list[dict[str, Any]]:
    """The steps that a side told of, and one for the time before the first and after the last."""
    told = output.get("phases", [])
    if not told:
        return []
    rows = [
        {
            "name": phase["name"],
            "wall_s": phase["end_s"] - phase["start_s"],
            "cpu_s": phase["cpu_s"],
            "peak_bytes": measured.tree_peak_bytes(phase["start_s"], phase["end_s"]),
        }
        for phase in told
    ]
    rest = {
        "name": "start, output, end",
        "wall_s": measured.wall_s - sum(row["wall_s"] for row in rows),
        "cpu_s": measured.cpu_s() - sum(row["cpu_s"] for row in rows),
        "peak_bytes": max(
            measured.tree_peak_bytes(end_s=told[0]["start_s"]),
            measured.tree_peak_bytes(start_s=told[-1]["end_s"]),
        ),
    }
    return [*rows, rest]


def consistency_problems(group: Group, runs: Sequence[dict[str, Any]]) -> list[str]:
    """Corpus values of timed runs that differ from the peer's in the first of its timed runs."""
    peer = next((run["values"] for run in runs if run["side"] == "peer"), None)
    if peer is None:
        return []
    return [
        f"{run['side']}, {run['threads']} CPU, round {run['round']}: {problem}"
        for run in runs
        for problem in corpus_problems(group, in_our_names(group, run), peer)
    ]


def in_our_names(group: Group, run: dict[str, Any]) -> dict[str, float]:
    """The values of a run under our ids."""
    values: dict[str, float] = run["values"]
    if run["side"] == "ours":
        return values
    return {name: values[peer] for name, peer in group.names.items()}


def make_data(folder: Path, images: int, fixtures: Path | None) -> None:
    """Writes the captions of one size. In a process of its own, to keep this one's memory small."""
    command = [sys.executable, str(HERE / "data.py"), f"--images={images}", f"--out={folder}"]
    if fixtures is not None:
        command.append(f"--fixtures={fixtures}")
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def cases(arguments: argparse.Namespace) -> list[Case]:
    """The cases that are asked for, with their captions written."""
    sizes = [
        (arguments.small, arguments.rounds_small),
        (arguments.large, arguments.rounds_large),
    ]
    found = []
    for images, rounds in sizes:
        if images == 0 or rounds == 0:
            continue
        folder = arguments.work / str(images)
        make_data(folder, images, arguments.fixtures)
        found += [Case(group_named(name), images, rounds, folder) for name in arguments.groups]
    return found


def check_programs(programs: Programs, sides: tuple[str, ...]) -> None:
    """Both sides have to be there."""
    if "ours" in sides and not programs.ours.is_file():
        raise Failed(f"`{programs.ours}` is not there; build it with: cargo build --release -p sightline")
    if "peer" in sides and not programs.python.is_file():
        raise Failed(f"`{programs.python}` is not there; make it with: {HERE.relative_to(ROOT)}/setup.sh")


def default_fixtures() -> Path | None:
    """The golden files for metrics where `just golden` looks for them, if they are there."""
    root = Path(os.environ.get("SIGHTLINE_FIXTURES", ROOT.parent / "shared" / "fixtures"))
    return root / "metrics" if (root / "metrics").is_dir() else None


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    groups = [group.name for group in GROUPS]
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(
        description="Times `sightline score` against the reference programs on the same captions.",
    )
    add = parser.add_argument
    add(
        "--fixtures",
        type=Path,
        default=default_fixtures(),
        help="folder of golden files, else composed captions (default: where `just golden` looks)",
    )
    add(
        "--small",
        type=int,
        default=1_000,
        help="images of the small case, 0 leaves it out (default: %(default)s)",
    )
    add(
        "--large",
        type=int,
        default=40_000,
        help="images of the large case, 0 leaves it out (default: %(default)s)",
    )
    add("--rounds-small", type=int, default=3, help="rounds of the small case (default: %(default)s)")
    add("--rounds-large", type=int, default=1, help="rounds of the large case (default: %(default)s)")
    add("--threads", type=numbers, default=(1, 2), help="numbers of CPUs, separated by commas (default: 1,2)")
    add(
        "--groups",
        type=names_of(groups),
        default=tuple(groups),
        help="some of " + ", ".join(groups) + " (default: all)",
    )
    add("--sides", type=names_of(SIDES), default=SIDES, help="`peer` alone measures the peer, unchecked")
    add(
        "--ours",
        type=Path,
        default=target / "release" / "sightline",
        help="our program (default: target/release/sightline)",
    )
    add(
        "--python",
        type=Path,
        default=ROOT / ".venv/metrics/bin/python",
        help="Python of the peers (default: .venv/metrics/bin/python)",
    )
    add(
        "--work",
        type=Path,
        default=ROOT / "out/bench-peers/metrics",
        help="folder of captions and outputs (default: out/bench-peers/metrics)",
    )
    add("--out", type=Path, help="folder of the results (default: benchmarks/results/<date>-<machine>)")
    return parser.parse_args()


def bench(arguments: argparse.Namespace) -> None:
    """Runs all cases and writes the results."""
    programs = Programs(arguments.ours, arguments.python)
    check_programs(programs, arguments.sides)
    results = Results("metrics", ROOT / "benchmarks/results", arguments.out, report.markdown)
    runner = Bench(programs, arguments.sides, usable_threads(arguments.threads))

    document: dict[str, Any] = {
        **results.head,
        "versions": programs.versions() | pinned_versions(HERE / "requirements.txt", PACKAGES),
        "cases": runner.run(cases(arguments)),
    }
    results.write(document)
    results.say_where()


if __name__ == "__main__":
    sys.exit(run_as_command(lambda: bench(parse_arguments())))
