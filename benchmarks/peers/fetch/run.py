"""Times `sightline fetch` against img2dataset on the same nginx and the same table of URLs.

    setup.sh && run.py --photos DIR

Both make WebDataset shards of 256 pixels, JPEG of quality 95, on the same CPUs, which nginx shares with them. First both
run once and their outputs are compared: the same rows with the same status and sizes (`check.py`), and how far the pixels
of each are from OpenCV's resize. Then whole processes are timed, the sides taking turns. How time and memory are measured
is said in `measure.py`; nginx is not part of either.

Writes `fetch.json` (raw) and `fetch.md` (the table) into `benchmarks/results/<date>-<machine>/`. Only the standard library
is used; Linux only; nginx has to be on PATH (Debian: nginx-light). Exits with 1 when the two sides disagree.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    names_of,
    pinned_versions,
    run_as_command,
    say,
)
from measure import Measured, measure  # noqa: E402

SIDES = ("ours", "peer")
SETS = ("small", "large")
PACKAGES = ("img2dataset", "opencv-python-headless", "webdataset", "pyarrow")
ROWS_OF_SHARD = 1000
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def nginx(root: Path, port: int, folder: Path) -> Iterator[None]:
    """Serves `root` on loopback while the block runs."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Failed("nginx is not on PATH; install it (Debian: apt-get install nginx-light)")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, root=root), encoding="utf-8")
    log = (folder / "nginx.log").open("wb")
    server = subprocess.Popen([program, "-c", str(config), "-p", str(folder)], stdout=log, stderr=log)
    try:
        wait_for(server, port, folder / "nginx.log")
        yield
    finally:
        server.terminate()
        server.wait()
        log.close()


def wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Waits until the server answers."""
    for _ in range(100):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise Failed(f"nginx does not answer on port {port}: {log.read_text(encoding='utf-8', errors='replace')}")


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Side:
    """How the sides are started."""

    ours: Path
    bin: Path
    """Of the Python environment of img2dataset."""
    cpus: int
    connections: int

    def command(self, side: str, table: Path, out: Path) -> list[str]:
        """The command line of a side."""
        if side.startswith("ours"):
            return [
                str(self.ours),
                "fetch",
                str(table),
                f"--out={out}",
                "--allow-private-addresses",
                "--ignore-orientation",
                f"--thread-count={self.connections}",
                f"--per-host-connections={self.connections}",
                f"--image-threads={self.cpus}",
                f"--number-sample-per-shard={ROWS_OF_SHARD}",
                "--json",
                *(["--decode=fast"] if side == "ours-fast" else []),
            ]
        return [
            str(self.bin / "img2dataset"),
            f"--url_list={table}",
            "--input_format=csv",
            "--url_col=url",
            f"--output_folder={out}",
            "--output_format=webdataset",
            "--image_size=256",
            f"--processes_count={self.cpus}",
            f"--thread_count={self.connections // self.cpus}",
            f"--number_sample_per_shard={ROWS_OF_SHARD}",
        ]


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same over the cases."""

    side: Side
    sides: tuple[str, ...]
    work: Path
    rounds: int

    def start(self, side: str, name: str, table: Path, out: Path) -> Measured:
        """Runs a side on a table into an empty folder and makes sure that it succeeded."""
        shutil.rmtree(out, ignore_errors=True)
        log = self.work / f"{side}-{name}.log"
        cpus = set(sorted(os.sched_getaffinity(0))[: self.side.cpus])
        measured = measure(
            self.side.command(side, table, out), cpus, dict(os.environ), self.work / f"{side}-{name}.out", log
        )
        if measured.status != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise Failed(f"{name}: {side} ended with status {measured.status}:\n{tail}")
        return measured

    def check(self, name: str) -> dict[str, Any]:
        """Runs both sides once and compares what they stored."""
        say(f"checking {name}")
        fast = "ours-fast" in self.sides
        for side in (*SIDES, *(["ours-fast"] if fast else [])):
            self.start(side, name, self.work / f"{name}.csv", self.work / f"out-{side}")
        command = [
            str(self.side.bin / "python"),
            str(HERE / "check.py"),
            f"--ours={self.work / 'out-ours'}",
            f"--peer={self.work / 'out-peer'}",
            f"--photos={self.work / 'photos'}",
            *([f"--fast={self.work / 'out-ours-fast'}"] if fast else []),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if not done.stdout:
            raise Failed(f"{name}: the outputs could not be compared")
        found: dict[str, Any] = json.loads(done.stdout)
        if found["problems"]:
            raise Failed("\n  ".join([f"{name}: the two sides disagree", *found["problems"]]))
        say(f"  both stored {found['images']} images of {found['rows']} rows with the same sizes")
        return found

    def time_set(self, name: str) -> list[dict[str, Any]]:
        """All timed runs of a table, the sides taking turns."""
        say(f"timing {name}")
        return [
            self.time(side, name, self.work / f"{name}.csv", number)
            for number in range(1, self.rounds + 1)
            for side in self.sides
        ]

    def time(self, side: str, name: str, table: Path, number: int) -> dict[str, Any]:
        """One timed run."""
        load = os.getloadavg()[0]
        measured = self.start(side, name, table, self.work / f"out-{side}")
        rows = sum(1 for _ in table.open(encoding="utf-8")) - 1
        say(
            f"  {side}, round {number}: {measured.wall_s:.2f} s, {rows / measured.wall_s:.0f} images/s, "
            f"CPU {1000 * measured.cpu_s() / rows:.2f} ms an image, peak {measured.peak_bytes() / 2**20:.0f} MiB"
        )
        return {
            "side": side,
            "round": number,
            "load_before": load,
            "rows": rows,
            "wall_s": measured.wall_s,
            "user_s": measured.user_s,
            "system_s": measured.system_s,
            "peak_bytes": measured.peak_bytes(),
        }

    def start_up(self) -> list[dict[str, Any]]:
        """Runs on a table of one row."""
        say("timing one row")
        table = self.work / "one.csv"
        lines = (self.work / "small.csv").read_text(encoding="utf-8").splitlines()
        table.write_text("\n".join(lines[:2]) + "\n", encoding="utf-8")
        return [
            self.time(side, "one", table, number)
            for number in range(1, self.rounds + 1)
            for side in self.sides
        ]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    fixtures = Path(os.environ.get("SIGHTLINE_FIXTURES", ROOT.parent / "shared" / "fixtures"))
    parser = argparse.ArgumentParser(description="Times `sightline fetch` against img2dataset.")
    add = parser.add_argument
    add("--photos", type=Path, default=fixtures / "images", help="folder of JPEG files (default: %(default)s)")
    add("--repeat", type=int, default=32, help="rows of each photo (default: %(default)s)")
    add("--large", type=int, default=24, help="large pictures, composed of the photos (default: %(default)s)")
    add("--large-repeat", type=int, default=20, help="rows of each large picture (default: %(default)s)")
    add("--sets", type=names_of(SETS), default=SETS, help="some of small, large (default: both)")
    add("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    add("--cpus", type=int, default=2, help="CPUs of either side (default: %(default)s)")
    add("--connections", type=int, default=256, help="requests at the same time (default: %(default)s)")
    add("--ours", type=Path, default=target / "release" / "sightline", help="our program")
    add("--bin", type=Path, default=ROOT / ".venv/fetch/bin", help="programs of the peer")
    add("--fast", action="store_true", help="also time `--decode fast`")
    add("--work", type=Path, default=ROOT / "out/bench-peers/fetch", help="folder of tables and shards")
    add("--out", type=Path, help="folder of the results (default: benchmarks/results/<date>-<machine>)")
    return parser.parse_args()


def shown(command: Sequence[str], programs: Side, work: Path) -> str:
    """A command line without the folders of this machine."""
    text = shlex.join([Path(command[0]).name, *command[1:]])
    return text.replace(f"{work}{os.sep}", "").replace(f"{programs.bin}{os.sep}", "")


def bench(arguments: argparse.Namespace) -> None:
    """Runs all cases and writes the results."""
    for program in (arguments.ours, arguments.bin / "img2dataset"):
        if not program.is_file():
            raise Failed(f"`{program}` is not there; `just bench-peers fetch` makes it")
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    port = free_port()
    made = subprocess.run(
        [
            str(arguments.bin / "python"),
            str(HERE / "data.py"),
            f"--photos={arguments.photos}",
            f"--out={work}",
            f"--base=http://127.0.0.1:{port}",
            f"--repeat={arguments.repeat}",
            f"--large={arguments.large}",
            f"--large-repeat={arguments.large_repeat}",
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    programs = Side(arguments.ours, arguments.bin, arguments.cpus, arguments.connections)
    sides = ("ours", "ours-fast", "peer") if arguments.fast else SIDES
    runner = Bench(programs, sides, work, arguments.rounds)
    results = Results("fetch", ROOT / "benchmarks/results", arguments.out, report.markdown)
    with nginx(work / "photos", port, work / "nginx"):
        checks = {name: runner.check(name) for name in arguments.sets}
        document: dict[str, Any] = {
            **results.head,
            "cpus": arguments.cpus,
            "connections": arguments.connections,
            "versions": {
                "sightline": first_line([str(arguments.ours), "--version"]),
                "commit": commit(ROOT),
            }
            | pinned_versions(HERE / "requirements.txt", PACKAGES),
            "commands": {
                side: shown(programs.command(side, work / "small.csv", work / "out"), programs, work)
                for side in sides
            },
            "start_up": runner.start_up(),
            "sets": [
                {"name": name, "about": json.loads(made.stdout)[name], "check": checks[name]}
                | {"runs": runner.time_set(name)}
                for name in arguments.sets
            ],
        }
    results.write(document)
    results.say_where()


if __name__ == "__main__":
    sys.exit(run_as_command(lambda: bench(parse_arguments())))
