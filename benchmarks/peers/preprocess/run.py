"""Times `sightline preprocess` against the usual ways from JPEG bytes to CLIP's `[3, 224, 224]` float32.

    setup.sh && run.py [--photos DIR]

First the pixels of both sides are compared, on all photos and by every spec (`check.py`); the bench stops
with exit code 1 where they should be equal and are not. Then, for each set of photos and each number of
threads, the sides take turns in every round: ours, peer, ours, next peer. Each turn is a process of its own,
restricted to as many CPUs as it may use threads. It reads all files into memory and makes warm-up passes
and timed passes over them; what comes before the first pass is told apart. Ours runs before each
processing peer in exact mode by the specs of both Hugging Face processors and by that of the peer, and in
fast mode. With several threads a peer uses those of its library or a pool, whichever was faster in a trial.

Writes `preprocess.json` (raw) and `preprocess.md` (the tables) into `benchmarks/results/<date>-<machine>/`.
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
import specs  # noqa: E402
from check import Steps, check, line, problems, unsupported_specs  # noqa: E402
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
from measure import Measured, measure  # noqa: E402
from ours import EXACT, FAST, Ours, timing  # noqa: E402
from peers import PEERS, Peer, peer_named  # noqa: E402
from targets import OURS, images_per_s  # noqa: E402

SIDES = ("ours", "peer")
ARRANGEMENTS = ("own", "pool")
TIMED_SETS = ("small", "large")
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "open_clip_torch",
    "pillow",
    "opencv-python-headless",
    "numpy",
)
"""The packages that are compared with."""

Run = dict[str, Any]


@dataclass(frozen=True)
class Photos:
    """One set of photos."""

    name: str
    about: dict[str, Any]
    """As `photos.py` tells it, without the list of files."""
    files: list[str]
    list_file: Path


@dataclass(frozen=True)
class Repeats:
    """How often everything is done."""

    rounds: int
    passes: int
    warmups: int


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same over the cases."""

    ours: Ours
    python: Path
    sides: tuple[str, ...]
    peers: tuple[Peer, ...]
    photos: dict[str, Photos]
    specs: dict[str, Path]
    work: Path
    repeats: Repeats

    def check(self) -> list[dict[str, Any]]:
        """Compares all pixels, in all sets."""
        say("comparing the pixels")
        steps = Steps(self.our_pixels, self.peer_file, self.compare)
        processing = [peer for peer in self.peers if not peer.only_decodes]
        for peer in processing:
            self.write_peer_pixels(peer)
        rows = []
        for row in check(list(self.photos), processing, steps, fast_mode=self.ours.has_fast_mode()):
            say(f"  {line(row)}")
            rows.append(row)
        if not self.ours.has_fast_mode():
            say("  the fast mode is not supported yet")
        if wrong := problems(rows):
            raise Failed("\n  ".join(["the pixels disagree", *wrong]))
        return rows

    def our_pixels(self, name: str, spec: str, mode: str) -> Path | str:
        """Our pixels of a set: the file, or why there is none."""
        photos = self.photos[name]
        out = self.work / f"pixels-{name}-{spec}-{mode}.safetensors"
        command = self.ours.to_write(self.specs[spec], mode, photos.files, out)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().replace(f"{self.work}{os.sep}", "")
            return f"our program ended with status {done.returncode} on {spec}: {said}"
        return out

    def peer_file(self, name: str, peer: Peer) -> Path:
        """Where a peer's pixels of a set are."""
        return self.work / f"pixels-{name}-{peer.name}.npy"

    def write_peer_pixels(self, peer: Peer) -> None:
        """A peer's pixels of all sets, by one process."""
        arguments = [f"--peer={peer.name}"]
        for name, photos in self.photos.items():
            arguments += [f"--images={photos.list_file}", f"--out={self.peer_file(name, peer)}"]
        self.run_python("reference.py", *arguments)

    def compare(self, name: str, ours: Path, reference: Path) -> dict[str, Any]:
        """The difference between two files of pixels."""
        images = self.photos[name].list_file
        arguments = [f"--ours={ours}", f"--reference={reference}", f"--images={images}"]
        found: dict[str, Any] = json.loads(self.run_python("agree.py", *arguments))
        return found

    def run_python(self, script: str, *arguments: str) -> str:
        """Runs a script of this folder in the environment of the peers; gives what it prints."""
        command = [str(self.python), str(HERE / script), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment(1), check=False)
        if done.returncode != 0:
            raise Failed(f"`{shlex.join(command)}` ended with status {done.returncode}")
        return done.stdout

    def time_case(self, photos: Photos, threads: int, unsupported: set[str]) -> dict[str, Any]:
        """All timed runs of one set on one number of threads."""
        say(f"timing {photos.name}, {threads} {'thread' if threads == 1 else 'threads'}")
        trials = self.trials(photos, threads)
        runs = []
        for number in range(1, self.repeats.rounds + 1):
            for peer in self.peers:
                turn = Turn(photos, threads, number, peer)
                if "ours" in self.sides:
                    for mode, spec in self.variants(peer, unsupported):
                        runs.append(self.time_ours(turn, mode, spec))
                if "peer" in self.sides:
                    runs.append(self.time_peer(turn, faster(trials.get(peer.name, {}))))
        return {"set": photos.name, "threads": threads, "trials": trials, "runs": runs}

    def trials(self, photos: Photos, threads: int) -> dict[str, dict[str, float]]:
        """Images/s of each peer in each arrangement of several threads, from one run each."""
        if threads == 1 or "peer" not in self.sides:
            return {}
        found = {}
        for peer in self.peers:
            turn = Turn(photos, threads, 0, peer)
            found[peer.name] = {one: images_per_s(self.time_peer(turn, one)) for one in ARRANGEMENTS}
        return found

    def variants(self, peer: Peer, unsupported: set[str]) -> list[tuple[str, str]]:
        """The modes and specs in which ours runs before a peer."""
        wanted = [(EXACT, specs.HF_SLOW)]
        if not peer.only_decodes:
            wanted += [(EXACT, specs.HF_FAST), (EXACT, peer.spec)]
            if self.ours.has_fast_mode():
                wanted += [(FAST, specs.HF_SLOW)]
        return [(mode, spec) for mode, spec in dict.fromkeys(wanted) if spec not in unsupported]

    def our_command(self, turn: Turn, mode: str, spec: str) -> list[str]:
        """The command line of our timed run."""
        repeat = self.repeats.warmups + self.repeats.passes
        return self.ours.to_time(self.specs[spec], mode, turn.photos.files, repeat, turn.threads)

    def peer_command(self, turn: Turn, arrangement: str) -> list[str]:
        """The command line of a peer's timed run."""
        return [
            str(self.python),
            str(HERE / "reference.py"),
            f"--peer={turn.peer.name}",
            f"--images={turn.photos.list_file}",
            f"--warmups={self.repeats.warmups}",
            f"--passes={self.repeats.passes}",
            f"--threads={turn.threads}",
            f"--arrangement={arrangement}",
        ]

    def time_ours(self, turn: Turn, mode: str, spec: str) -> Run:
        """One timed run of our program."""
        load = os.getloadavg()[0]
        printed, measured = self.start(self.our_command(turn, mode, spec), turn, turn.threads)
        images, warmups = len(turn.photos.files), self.repeats.warmups
        repeat = warmups + self.repeats.passes
        told = timing(printed, mode=mode, images=images, repeat=repeat, threads=turn.threads)
        about: Run = {"mode": mode, "spec": spec, "beside": turn.peer.name}
        about |= {"stages": told.stages, "told_peak_bytes": told.peak_bytes}
        run = turn.run(OURS, told.passes, warmups, measured, load) | about
        say(f"  {shown(run)}")
        return run

    def time_peer(self, turn: Turn, arrangement: str) -> Run:
        """One timed run of a peer."""
        load = os.getloadavg()[0]
        own = turn.threads if arrangement == "own" else 1
        printed, measured = self.start(self.peer_command(turn, arrangement), turn, own)
        told = json.loads(printed)
        about: Run = {"arrangement": arrangement, "told_peak_bytes": told["peak_bytes"]}
        about |= {key: told[key] for key in ("import_s", "read_s", "imported_bytes")}
        passes = told["warmups"] + told["passes"]
        run = turn.run(turn.peer.name, passes, len(told["warmups"]), measured, load) | about
        say(f"  {shown(run)}")
        return run

    def start(self, command: Sequence[str], turn: Turn, library_threads: int) -> tuple[str, Measured]:
        """Runs a side to its end on the CPUs of the turn; gives what it printed."""
        out, log = self.work / "timed.json", self.work / "timed.log"
        cpus = set(sorted(os.sched_getaffinity(0))[: turn.threads])
        measured = measure(command, cpus, environment(library_threads), out, log)
        if measured.status != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            beside = f"in the turn of {turn.peer.name}"
            raise Failed(f"`{command[0]}` ended with status {measured.status} {beside}:\n{tail}")
        return out.read_text(encoding="utf-8"), measured


@dataclass(frozen=True)
class Turn:
    """Where in the bench a run stands."""

    photos: Photos
    threads: int
    round: int
    peer: Peer

    def run(
        self, side: str, passes: list[dict[str, float]], warmups: int, measured: Measured, load: float
    ) -> Run:
        """What is stored of a run of either side; `passes` begins with the warm-ups."""
        return {
            "side": side,
            "round": self.round,
            "images": len(self.photos.files),
            "load_before": load,
            "warmups": passes[:warmups],
            "passes": passes[warmups:],
            "process_wall_s": measured.wall_s,
            "process_cpu_s": measured.cpu_s(),
            # Start-up, import and reading; and the end, which takes next to nothing.
            "other_wall_s": measured.wall_s - sum(one["wall_s"] for one in passes),
            "peak_bytes": measured.peak_bytes(),
        }


def faster(trial: dict[str, float]) -> str:
    """The arrangement with more images/s; the library's own threads where nothing was tried."""
    return max(trial, key=lambda name: trial[name]) if trial else "own"


def shown(run: Run) -> str:
    """A run in one line."""
    side = f"ours, {run['mode']}, {run['spec']}" if run["side"] == OURS else run["side"]
    arrangement = f" ({run['arrangement']} threads)" if "arrangement" in run else ""
    return (
        f"round {run['round']}, {side}{arrangement}: {images_per_s(run):.1f} images/s, "
        f"peak {run['peak_bytes'] / 2**20:.0f} MiB"
    )


def environment(library_threads: int) -> dict[str, str]:
    """What the processes of both sides see. Libraries take their number of threads from it when loaded."""
    threads = str(library_threads)
    return os.environ | {
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def make_photos(arguments: argparse.Namespace) -> dict[str, Photos]:
    """Chooses or makes the photos. In a process of its own, to keep this one's memory small."""
    command = [str(arguments.python), str(HERE / "photos.py"), f"--out={arguments.work}"]
    command += [f"--small={arguments.small or 1}", f"--large={arguments.large or 1}"]
    if arguments.photos is None:
        say("no folder of photos: they are generated")
    else:
        command.append(f"--photos={arguments.photos}")
    if subprocess.run(command, check=False).returncode != 0:
        raise Failed("there are no photos")
    found = {}
    stored = json.loads((arguments.work / "photos.json").read_text(encoding="utf-8"))
    for name, about in stored.items():
        if name in TIMED_SETS and getattr(arguments, name) == 0:
            continue
        files = about.pop("files")
        list_file = arguments.work / f"{name}.json"
        list_file.write_text(json.dumps(files), encoding="utf-8")
        found[name] = Photos(name, about, files, list_file)
    return found


def check_programs(arguments: argparse.Namespace) -> None:
    """What is to be run has to be there, and able to do what the bench asks."""
    if not arguments.python.is_file():
        raise Failed(f"`{arguments.python}` is not there; make it with: {HERE.relative_to(ROOT)}/setup.sh")
    if "ours" not in arguments.sides:
        return
    if not arguments.ours.is_file():
        raise Failed(f"`{arguments.ours}` is not there; build it with: cargo build --release -p sightline")
    missing = Ours(arguments.ours).missing_for_timing()
    if missing and not arguments.check_only:
        raise Failed(
            f"`{arguments.ours.name} preprocess` cannot be timed, it has no {', '.join(missing)}; "
            "--check-only compares the pixels, --sides=peer times the peers"
        )


def default_photos() -> Path | None:
    """The photos where the other scripts look for them, if they are there."""
    root = Path(os.environ.get("SIGHTLINE_FIXTURES", ROOT.parent / "shared" / "fixtures"))
    return root / "images" if (root / "images").is_dir() else None


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    names = [peer.name for peer in PEERS]
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(
        description="Times `sightline preprocess` against the reference programs on the same photos.",
    )
    add = parser.add_argument
    add(
        "--photos",
        type=Path,
        default=default_photos(),
        help="folder of JPEGs, else generated ones (default: the photos among the golden files)",
    )
    add("--small", type=int, default=64, help="photos of about 500×375, 0 for none (default: %(default)s)")
    add("--large", type=int, default=16, help="photos of about 2000×1500, 0 for none (default: %(default)s)")
    add("--rounds", type=int, default=5, help="turns of each side (default: %(default)s)")
    add("--passes", type=int, default=5, help="timed passes of a turn (default: %(default)s)")
    add("--warmups", type=int, default=2, help="passes before them (default: %(default)s)")
    add("--threads", type=numbers, default=(1, 2), help="numbers of threads, and of CPUs (default: 1,2)")
    add(
        "--peers",
        type=names_of(names),
        default=tuple(names),
        help="some of " + ", ".join(names) + " (default: all)",
    )
    add("--sides", type=names_of(SIDES), default=SIDES, help="`peer` alone times the peers, unchecked")
    add("--check-only", action="store_true", help="compare the pixels, time nothing, write no results")
    add(
        "--ours",
        type=Path,
        default=target / "release" / "sightline",
        help="our program (default: target/release/sightline)",
    )
    add(
        "--python",
        type=Path,
        default=ROOT / ".venv/preprocess/bin/python",
        help="Python of the peers (default: .venv/preprocess/bin/python)",
    )
    add(
        "--work",
        type=Path,
        default=ROOT / "out/bench-peers/preprocess",
        help="folder of made photos and outputs (default: out/bench-peers/preprocess)",
    )
    add("--out", type=Path, help="folder of the results (default: benchmarks/results/<date>-<machine>)")
    return parser.parse_args()


def bench(arguments: argparse.Namespace) -> None:
    """Checks, times, and writes the results."""
    check_programs(arguments)
    threads = usable_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    runner = Bench(
        ours=Ours(arguments.ours),
        python=arguments.python,
        sides=arguments.sides,
        peers=tuple(peer_named(name) for name in arguments.peers),
        photos=make_photos(arguments),
        specs=specs.write(arguments.work),
        work=arguments.work,
        repeats=Repeats(arguments.rounds, arguments.passes, arguments.warmups),
    )
    checks = runner.check() if arguments.sides == SIDES else []
    if arguments.check_only:
        say("the pixels agree")
        return

    results = Results("preprocess", ROOT / "benchmarks/results", arguments.out, report.markdown)
    document: dict[str, Any] = {
        **results.head,
        "versions": versions(arguments) | pinned_versions(HERE / "requirements.txt", PACKAGES),
        "commands": commands(runner),
        "photos": {name: photos.about for name, photos in runner.photos.items()},
        "checks": checks,
        "cases": [
            runner.time_case(runner.photos[name], count, unsupported_specs(checks))
            for name in TIMED_SETS
            if name in runner.photos
            for count in threads
        ],
    }
    results.write(document)
    if "ours" in arguments.sides:
        say(report.met_and_missed(document))
    results.say_where()


def versions(arguments: argparse.Namespace) -> dict[str, str]:
    """What the two sides are, as they say themselves."""
    ours = arguments.ours
    return {
        "sightline": version([str(ours), "--version"]) if ours.is_file() else "not built",
        "commit": commit(ROOT),
        "python": version([str(arguments.python), "--version"]),
    }


def version(command: Sequence[str]) -> str:
    """The last word of what a program says about its version."""
    return first_line(command).split()[-1]


def commands(runner: Bench) -> dict[str, str]:
    """One timed command line of each side, without the folders of this machine."""
    first = next(iter(runner.photos.values()))
    turn = Turn(Photos(first.name, {}, ["IMAGE..."], first.list_file), 1, 1, runner.peers[0])
    ours = runner.our_command(turn, EXACT, specs.HF_SLOW)
    ours[0] = runner.ours.program.name
    shown = {"ours": ours, "peer": runner.peer_command(turn, "own")}
    return {
        side: shlex.join(command)
        .replace(f"{ROOT}{os.sep}", "")
        .replace(f"{runner.work}{os.sep}", "")
        .replace("'IMAGE...'", "IMAGE...")
        for side, command in shown.items()
    }


if __name__ == "__main__":
    sys.exit(run_as_command(lambda: bench(parse_arguments())))
