"""Times our models against transformers, torchvision and published procedures in torch, on random weights of full size.

    setup.sh && cargo build --release -p sightline-bench --bin sightline-bench-models && run.py

First both sides compute the outputs of a few inputs with the same checkpoint; the bench stops with exit code 1 where
they differ. Then, for each workload and each number of threads, the sides take turns: ours, peer, ours, peer. Each
turn is a process of its own, restricted to as many CPUs as it may use threads; it loads the checkpoint from the page
cache and makes warm-up passes and timed passes over each batch.

Writes `models.json` (raw) and `models.md` (the tables) into `benchmarks/results/<date>-<machine>/`; with `--add` the
cases measured now replace those of the same workload and threads that are there already, of the same commit.
Only the standard library is used; Linux only.
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
from measure import measure  # noqa: E402
from workloads import NAMES, Workload, workload_named  # noqa: E402

PACKAGES = ("torch", "torchvision", "transformers", "numpy")
CHECKED = 4
"""Inputs whose outputs are compared."""
PARTS = {"checks": ["workload"], "cases": ["workload", "threads"]}
"""Rows of the results, and what tells them apart."""
OURS, PEER = "ours", "peer"

Run = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same over the cases."""

    ours: Path
    python: Path
    work: Path
    rounds: int
    seconds: float
    warmups: int

    def check(self, workload: Workload) -> Run:
        """Compares the outputs of both sides."""
        files = {side: self.work / f"{workload.name}-{side}.safetensors" for side in (OURS, PEER)}
        checked = min(CHECKED, max(workload.peer_batches or (CHECKED,)))
        for side, file in files.items():
            command = [*self.command(side, workload, (checked,), 1), "--out", str(file)]
            done = subprocess.run(command, env=environment(1), check=False)
            if done.returncode != 0:
                raise Failed(f"`{shlex.join(command)}` ended with status {done.returncode}")
        command = [str(self.python), str(HERE / "agree.py"), str(files[OURS]), str(files[PEER])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"`{shlex.join(command)}` ended with status {done.returncode}")
        found: Run = {"workload": workload.name, "inputs": checked} | json.loads(done.stdout)
        say(f"  {workload.name}: {found['values']} values, largest difference {found['difference']:.1e}")
        if not found["difference"] <= workload.tolerance:
            raise Failed(f"the outputs of {workload.name} differ by {found['difference']:.1e}")
        return found

    def time_case(self, workload: Workload, threads: int) -> Run:
        """All turns of one workload on one number of threads."""
        say(f"timing {workload.name}, {threads} {'thread' if threads == 1 else 'threads'}")
        runs = [
            self.time(side, workload, threads, number)
            for number in range(1, self.rounds + 1)
            for side in (OURS, PEER)
        ]
        return {"workload": workload.name, "threads": threads, "runs": runs}

    def time(self, side: str, workload: Workload, threads: int, number: int) -> Run:
        """One turn of one side."""
        batches = workload.batches
        if side == PEER and workload.peer_batches is not None:
            batches = workload.peer_batches
        command = self.command(side, workload, batches, threads)
        command += ["--warmups", str(self.warmups), "--seconds", str(self.seconds)]
        # Loading is timed from the page cache, which the system may have emptied during the turn before.
        read_all(self.work / workload.checkpoint)
        touch_memory()
        out, log = self.work / "timed.json", self.work / "timed.log"
        load = os.getloadavg()[0]
        cpus = set(sorted(os.sched_getaffinity(0))[:threads])
        measured = measure(command, cpus, environment(threads), out, log)
        if measured.status != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise Failed(f"`{shlex.join(command)}` ended with status {measured.status}:\n{tail}")
        told = json.loads(out.read_text(encoding="utf-8"))
        about = {"side": side, "round": number, "load_before": load, "process_wall_s": measured.wall_s}
        run: Run = about | told | {"peak_bytes": max(measured.peak_bytes(), told["peak_bytes"])}
        shown = [f"{report.items_per_s(run, batch):.2f}" for batch in batches]
        say(f"  round {number}, {side}: {', '.join(shown)} {workload.unit}/s at batch {batches}")
        return run

    def command(self, side: str, workload: Workload, batches: Sequence[int], threads: int) -> list[str]:
        """The command line of a side, to which options may be added."""
        checkpoint, inputs = self.work / workload.checkpoint, self.work / "inputs.safetensors"
        sizes = ",".join(str(batch) for batch in batches)
        if side == OURS:
            return [str(self.ours), workload.name, str(checkpoint), str(inputs), sizes]
        return [
            str(self.python),
            str(HERE / "reference.py"),
            f"--workload={workload.name}",
            f"--checkpoint={checkpoint}",
            f"--inputs={inputs}",
            f"--batches={sizes}",
            f"--threads={threads}",
        ]


def environment(threads: int) -> dict[str, str]:
    """What the processes of both sides see. Libraries take their number of threads from it when loaded."""
    return os.environ | {
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "RAYON_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def read_all(folder: Path) -> None:
    """Brings the files of a folder into the page cache."""
    for file in folder.rglob("*"):
        if not file.is_file():
            continue
        with file.open("rb") as opened:
            while opened.read(1 << 24):
                pass


def touch_memory() -> None:
    """Uses as much memory as a turn needs, in a process of its own: a virtual machine may have to ask for it first."""
    subprocess.run([sys.executable, "-c", "b'1' * (1 << 30)"], check=False)


def make(arguments: argparse.Namespace) -> None:
    """Makes the checkpoints and inputs."""
    say("making checkpoints with random weights, where they are not there")
    command = [str(arguments.python), str(HERE / "make.py"), f"--work={arguments.work}"]
    command.append(f"--workloads={','.join(arguments.workloads)}")
    if subprocess.run(command, env=environment(1), check=False).returncode != 0:
        raise Failed("there are no checkpoints")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(description="Times our models against the reference programs.")
    add = parser.add_argument
    add("--workloads", type=names_of(NAMES), default=NAMES, help="some of " + ", ".join(NAMES))
    add("--threads", type=numbers, default=(1, 2), help="numbers of threads, and of CPUs (default: 1,2)")
    add("--rounds", type=int, default=3, help="turns of each side (default: %(default)s)")
    add("--seconds", type=float, default=3.0, help="of timed passes of a batch (default: %(default)s)")
    add("--warmups", type=int, default=1, help="passes before them (default: %(default)s)")
    add("--check-only", action="store_true", help="compare the outputs, time nothing, write no results")
    add("--add", action="store_true", help="keep the other cases of the results that are there")
    add("--note", default="", help="a sentence for the results, such as what else the machine did")
    add("--ours", type=Path, default=target / "release" / "sightline-bench-models", help="our program")
    add("--python", type=Path, default=ROOT / ".venv/models/bin/python", help="Python of the peers")
    add("--work", type=Path, default=ROOT / "out/bench-peers/models", help="folder of the checkpoints")
    add("--out", type=Path, help="folder of the results (default: benchmarks/results/<date>-<machine>)")
    return parser.parse_args()


def bench(arguments: argparse.Namespace) -> None:
    """Checks, times, and writes the results."""
    if not arguments.python.is_file():
        raise Failed(f"`{arguments.python}` is not there; make it with: {HERE.relative_to(ROOT)}/setup.sh")
    if not arguments.ours.is_file():
        raise Failed(
            f"`{arguments.ours}` is not there; "
            "build it with: cargo build --release -p sightline-bench --bin sightline-bench-models"
        )
    threads = usable_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    make(arguments)
    runner = Bench(
        ours=arguments.ours,
        python=arguments.python,
        work=arguments.work,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        warmups=arguments.warmups,
    )
    workloads = [workload_named(name) for name in arguments.workloads]
    say("comparing the outputs")
    checks = [runner.check(workload) for workload in workloads]
    if arguments.check_only:
        return

    results = Results("models", ROOT / "benchmarks/results", arguments.out, report.markdown)
    document: dict[str, Any] = {
        **results.head,
        "versions": {"commit": commit(ROOT), "python": first_line([str(arguments.python), "--version"])}
        | pinned_versions(HERE / "requirements.txt", PACKAGES),
        "commands": {
            side: shown(runner.command(side, workloads[0], workloads[0].batches, 1)) for side in (OURS, PEER)
        },
        "notes": [arguments.note] if arguments.note else [],
        "checks": checks,
        "cases": [],
    }
    before = results.earlier() if arguments.add else None
    for count in threads:
        for workload in workloads:
            # Each case is stored as soon as it is there.
            document["cases"].append(runner.time_case(workload, count))
            whole = joined(before, document, PARTS, NAMES)
            results.write(whole)
    say(report.targets(whole))
    results.say_where()


def shown(command: Sequence[str]) -> str:
    """A command line without the folders of this machine."""
    text = shlex.join([Path(command[0]).name, *command[1:]])
    return text.replace(f"{ROOT}{os.sep}", "")


if __name__ == "__main__":
    sys.exit(run_as_command(lambda: bench(parse_arguments())))
