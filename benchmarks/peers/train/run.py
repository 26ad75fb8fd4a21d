"""Times our training against the same models in PyTorch: the recipes of manifests/train, from the same weights.

    setup.sh && cargo build --release -p sightline --bin sightline && run.py

First both sides make a few steps from the same weights on the same batch; the bench stops with exit code 1 where the
losses differ. Then the sides take turns for each family and each number of threads: ours, peer, ours, peer. Each turn is
a process of its own, restricted to as many CPUs as it may use threads. Ours is `sightline train` as anybody runs it, which
decodes and prepares its batches while it trains; the peer is a plain loop in torch (`peer.py`) whose batches lie in memory
before its first step.

Writes `train.json` (raw) and `train.md` (the tables) into `benchmarks/results/<date>-<machine>/`; with `--add` the cases
measured now replace those of the same family and threads that are there already, of the same commit.
Only the standard library is used here; Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.append(str(HERE.parent / "common"))

import manifests  # noqa: E402
import report  # noqa: E402
import scenes  # noqa: E402
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
from families import NAMES, PROPOSALS, Recipe, recipe_named, with_needs  # noqa: E402
from manifests import Manifest, Purpose  # noqa: E402
from measure import measure  # noqa: E402
from ours import Watch, profile  # noqa: E402

PACKAGES = ("torch", "transformers", "tokenizers", "sentencepiece", "numpy", "pillow")
CHECKED_STEPS = 3
"""Steps whose losses are compared."""
TOLERANCE = 1e-5
"""Largest relative difference of their losses."""
GRADIENT = 1e-4
"""The same of the lengths of their gradients."""
BATCHES = 4
"""Different batches of a timed run."""
PARTS = {"checks": ["recipe"], "cases": ["recipe", "threads"], "profiles": ["recipe"]}
"""Rows of the results, and what tells them apart."""
PROFILES = ("missed", "all", "none")
OURS, PEER = "ours", "peer"

Run = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same over the cases."""

    sightline: Path
    python: Path
    work: Path
    rounds: int
    steps: int
    warmups: int
    batch: int | None
    """Of every family; that of its recipe if absent."""

    def recipe(self, recipe: Recipe) -> Manifest:
        """The recipe as it is written."""
        return manifests.read_recipe(ROOT / "manifests/train", recipe)

    def batch_of(self, recipe: Recipe) -> int:
        """Samples of a step."""
        stage = next(one for one in self.recipe(recipe)["stage"] if one["objective"] == recipe.objective)
        return self.batch or stage["batch"]

    def make(self, recipe: Recipe) -> None:
        """Scenes as files, and the weights that both sides begin with."""
        batch = self.batch_of(recipe)
        for count in (batch, batch * BATCHES):
            self.make_scenes(count, recipe)
        purpose = Purpose("base", manifests.BASE_STEPS, batch * BATCHES, start=False)
        self.train(recipe, purpose)

    def make_scenes(self, count: int, recipe: Recipe) -> None:
        """So many scenes as files, and as a shard where the recipe reads one."""
        folder = self.work / manifests.scenes_folder(count)
        if not (folder / "dataset.json").is_file():
            spec = [f"--{key.replace('_', '-')}={value}" for key, value in manifests.SCENES.items()]
            splits = [f"--train={count}", "--val=1", "--test=1"]
            self.succeed([str(self.sightline), "synth", "scenes", *splits, *spec, f"--out={folder}"])
        if recipe.reads:
            all_scenes = scenes.read(folder)
            answers = set(self.recipe(recipe)["model"]["config"].get("id2label", {}).values())
            scenes.write_shard(all_scenes, answers, self.work / manifests.shard(recipe.name, count))
        if recipe.reads == PROPOSALS:
            scenes.write_proposals(all_scenes, folder / "regions/proposals.tsv")

    def train(self, recipe: Recipe, purpose: Purpose) -> list[Run]:
        """Our run for `purpose`; the lines of its steps."""
        command = self.ours(recipe, purpose)
        self.succeed(command)
        return lines(self.work / manifests.run_folder(recipe.name, purpose.name) / "metrics.jsonl")

    def trained(self, recipe: Recipe, purpose: Purpose) -> list[str]:
        """The tensors that our run moved in every step."""
        last = self.work / manifests.run_folder(recipe.name, purpose.name) / "last/training.json"
        moments: dict[str, int] = json.loads(last.read_text(encoding="utf-8"))["moments"]
        return sorted(name for name, steps in moments.items() if steps == purpose.steps)

    def ours(self, recipe: Recipe, purpose: Purpose) -> list[str]:
        """Our command line, whose manifest is written and whose folder is empty."""
        manifest = manifests.derived(self.recipe(recipe), recipe, purpose, self.batch)
        folder = self.work / manifests.run_folder(recipe.name, purpose.name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = folder.with_suffix(".toml")
        path.write_text(manifests.toml(manifest), encoding="utf-8")
        return [str(self.sightline), "train", str(path), f"--data={self.work}", f"--out={folder}", "--progress=none"]

    def peer(self, recipe: Recipe, purpose: Purpose, threads: int) -> list[str]:
        """The peer's command line, to which options may be added. Its manifest is ours."""
        return [
            str(self.python),
            str(HERE / "peer.py"),
            f"--recipe={recipe.name}",
            f"--manifest={self.work / manifests.run_folder(recipe.name, purpose.name)}.toml",
            f"--work={self.work}",
            f"--scenes={purpose.scenes}",
            f"--threads={threads}",
        ]

    def check(self, recipe: Recipe) -> Run:
        """Compares the first steps of both sides on one batch."""
        batch = self.batch_of(recipe)
        purpose = Purpose("check", CHECKED_STEPS, batch)
        ours = self.train(recipe, purpose)
        # In 64 bits: Adam makes a whole step of a gradient near zero, in the direction of its sign, which in 32 bits is rounding. The
        # length of Frozen's third gradient is off by 0.002 in torch's own 32 bits, by 4e-7 in ours.
        told = json.loads(self.succeed([*self.peer(recipe, purpose, 1), f"--steps={CHECKED_STEPS}", "--double"]))
        trained = self.trained(recipe, purpose)
        found: Run = {"recipe": recipe.name, "samples": batch, "tensors": len(trained)}
        found |= compared(ours, told["steps"])
        apart = "; ".join(
            f"step {at}: loss {one['ours']:.6f} and {one['peer']:.6f} ({one['loss']:.1e}), gradient {one['gradient']:.1e}"
            for at, one in enumerate(found["steps"], 1)
        )
        say(f"  {recipe.name}, {batch} samples: {apart}")
        if trained != told["trained"]:
            differing = sorted(set(trained) ^ set(told["trained"]))
            raise Failed(f"only one of the sides trains {', '.join(differing)} of {recipe.name}")
        if any(line.get("left_out") for line in ours):
            raise Failed(f"our run of {recipe.name} left samples out")
        if not all(one["loss"] <= TOLERANCE and one["gradient"] <= GRADIENT for one in found["steps"]):
            raise Failed(f"the losses of {recipe.name} differ")
        return found

    def time_case(self, recipe: Recipe, threads: int) -> Run:
        """All turns of one family on one number of threads."""
        say(f"timing {recipe.name}, {report.threads_text(threads)}")
        batch = self.batch_of(recipe)
        runs = [
            self.time(side, recipe, threads, number)
            for number in range(1, self.rounds + 1)
            for side in (OURS, PEER)
        ]
        return {"recipe": recipe.name, "threads": threads, "batch": batch, "steps": self.steps, "runs": runs}

    def time(self, side: str, recipe: Recipe, threads: int, number: int) -> Run:
        """One turn of one side."""
        batch = self.batch_of(recipe)
        purpose = Purpose("timed", self.warmups + self.steps, batch * BATCHES)
        speed = self.work / manifests.run_folder(recipe.name, purpose.name) / "speed.jsonl"
        if side == OURS:
            command = self.ours(recipe, purpose)
        else:
            options = [f"--steps={self.steps}", f"--warmups={self.warmups}", "--choose-layout"]
            command = [*self.peer(recipe, purpose, threads), *options]
        out, log = self.work / "timed.json", self.work / "timed.log"
        load = os.getloadavg()[0]
        cpus = set(sorted(os.sched_getaffinity(0))[:threads])
        watch = Watch(speed, (self.warmups, self.warmups + self.steps)) if side == OURS else None
        measured = measure(command, cpus, environment(threads), out, log)
        watched = watch.stop() if watch else {}
        if measured.status != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise Failed(f"`{shlex.join(command)}` ended with status {measured.status}:\n{tail}")
        run: Run = {"side": side, "round": number, "load_before": load, "process_wall_s": measured.wall_s}
        if side == OURS:
            steps = lines(speed)[self.warmups :]
            run["wall_s"] = [one["seconds"] for one in steps]
            run["waited_s"] = [one["waited_seconds"] for one in steps]
            # The last step may be seen when the process is gone: then all that it did after the warm-up counts.
            _, end = watched.get(self.warmups + self.steps, (0.0, measured.cpu_s()))
            run["cpu_s"] = end - watched[self.warmups][1] if self.warmups in watched else None
            run["peak_bytes"] = measured.peak_bytes()
        else:
            told = json.loads(out.read_text(encoding="utf-8"))
            run["wall_s"] = [one["wall_s"] for one in told["steps"]]
            run["cpu_s"] = sum(one["cpu_s"] for one in told["steps"])
            run |= {"layout": told["layout"], "peak_bytes": max(measured.peak_bytes(), told["peak_bytes"])}
        say(f"  round {number}, {side}: {report.samples_per_s(run, batch):.1f} samples/s")
        return run

    def profiles(self, recipe: Recipe) -> Run:
        """Where the time of both sides goes, on one thread."""
        say(f"profiling {recipe.name}")
        batch = self.batch_of(recipe)
        purpose = Purpose("profile", self.warmups + self.steps, batch * BATCHES)
        ours = self.ours(recipe, purpose)
        speed = self.work / manifests.run_folder(recipe.name, purpose.name) / "speed.jsonl"
        found = profile(ours, environment(1), self.work / "perf.data", speed, self.warmups)
        if found is None:
            # The peer may read what our run computes before its first step.
            self.succeed(ours)
        options = [f"--steps={max(2, self.steps // 4)}", f"--warmups={self.warmups}", "--choose-layout", "--profile"]
        told = json.loads(self.succeed([*self.peer(recipe, purpose, 1), *options]))
        return {"recipe": recipe.name, OURS: found, PEER: {"phases": phases(told["steps"]), "rows": told["profile"]}}

    def succeed(self, command: Sequence[str]) -> str:
        """What a command prints; the bench stops where it fails."""
        done = subprocess.run(command, env=environment(1), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            tail = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
            raise Failed(f"`{shlex.join(command)}` ended with status {done.returncode}:\n{tail}")
        return done.stdout


def phases(steps: Sequence[Run]) -> dict[str, float]:
    """The shares of the parts of the peer's steps."""
    whole = sum(one["wall_s"] for one in steps)
    parts = {name: sum(one[f"{name}_s"] for one in steps) / whole for name in ("forward", "backward")}
    return parts | {"optimiser": 1.0 - sum(parts.values())}


def lines(path: Path) -> list[Run]:
    """The lines of a file of JSON objects."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def compared(ours: Sequence[Run], peer: Sequence[Run]) -> Run:
    """How far losses and lengths of gradients are apart, step by step, in proportion."""

    def apart(one: float, other: float) -> float:
        difference = abs(one - other) / max(abs(other), 1e-12)
        return difference if difference == difference else float("inf")

    steps = [
        {
            "ours": one["loss"],
            "peer": other["loss"],
            "loss": apart(one["loss"], other["loss"]),
            "gradient": apart(one["gradient"], other["gradient"]),
        }
        for one, other in zip(ours, peer, strict=True)
    ]
    return {"steps": steps}


def environment(threads: int) -> dict[str, str]:
    """What the processes of both sides see. Libraries take their number of threads from it when loaded."""
    return os.environ | {
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "RAYON_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(description="Times our training against the same models in PyTorch.")
    add = parser.add_argument
    add("--recipes", type=names_of(NAMES), default=NAMES, help="some of " + ", ".join(NAMES))
    add("--threads", type=numbers, default=(1,), help="numbers of threads, and of CPUs (default: 1)")
    add("--rounds", type=int, default=3, help="turns of each side (default: %(default)s)")
    add("--steps", type=int, default=40, help="timed steps of a turn (default: %(default)s)")
    add("--warmups", type=int, default=4, help="steps before them (default: %(default)s)")
    add("--batch", type=int, help="samples of a step, for short checks (default: those of the recipes)")
    add("--check-only", action="store_true", help="compare the losses, time nothing, write no results")
    add("--profile", choices=PROFILES, default=PROFILES[0], help="where the time goes, which for ours needs `perf`: "
        "of families that are too slow (default), of all, of none")
    add("--add", action="store_true", help="keep the other cases of the results that are there")
    add("--note", default="", help="a sentence for the results, such as what else the machine did")
    add("--sightline", type=Path, default=target / "release" / "sightline", help="our program")
    add("--python", type=Path, default=ROOT / ".venv/train/bin/python", help="Python of the peers")
    add("--work", type=Path, default=ROOT / "out/bench-peers/train", help="folder of scenes and runs")
    add("--out", type=Path, help="folder of the results (default: benchmarks/results/<date>-<machine>)")
    return parser.parse_args()


def bench(arguments: argparse.Namespace) -> None:
    """Checks, times, and writes the results."""
    if not arguments.python.is_file():
        raise Failed(f"`{arguments.python}` is not there; make it with: {HERE.relative_to(ROOT)}/setup.sh")
    if not arguments.sightline.is_file():
        raise Failed(
            f"`{arguments.sightline}` is not there; build it with: cargo build --release -p sightline --bin sightline"
        )
    threads = usable_threads(arguments.threads)
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    runner = Bench(
        sightline=arguments.sightline.resolve(),
        # Not resolved: the path of an environment's Python is what tells it its packages.
        python=arguments.python.absolute(),
        work=work,
        rounds=arguments.rounds,
        steps=arguments.steps,
        warmups=max(1, arguments.warmups),
        batch=arguments.batch,
    )
    recipes = [recipe_named(name) for name in arguments.recipes]
    say("making the weights that both sides begin with")
    for name in with_needs(arguments.recipes):
        runner.make(recipe_named(name))
    say("comparing the losses")
    checks = [runner.check(recipe) for recipe in recipes]
    if arguments.check_only:
        return

    results = Results("train", ROOT / "benchmarks/results", arguments.out, report.markdown)
    example = Purpose("timed", runner.warmups + runner.steps, runner.batch_of(recipes[0]) * BATCHES)
    document: Run = {
        **results.head,
        "versions": {
            "commit": commit(ROOT),
            "sightline": first_line([str(runner.sightline), "--version"]),
            "python": first_line([str(runner.python), "--version"]),
        }
        | pinned_versions(HERE / "requirements.txt", PACKAGES),
        "commands": {
            OURS: shown(runner.ours(recipes[0], example), work),
            PEER: shown([*runner.peer(recipes[0], example, 1), f"--steps={runner.steps}"], work),
        },
        "notes": [arguments.note] if arguments.note else [],
        "checks": checks,
        "cases": [],
        "profiles": [],
    }
    before = results.earlier() if arguments.add else None

    def keep() -> Run:
        whole = joined(before, document, PARTS, NAMES)
        results.write(whole)
        return whole

    # Each case is stored as soon as it is there.
    for count in threads:
        for recipe in recipes:
            document["cases"].append(runner.time_case(recipe, count))
            keep()
    slow = {case["recipe"] for case in document["cases"] if report.is_missed(case)}
    for recipe in recipes:
        if arguments.profile == "all" or (arguments.profile == "missed" and recipe.name in slow):
            document["profiles"].append(runner.profiles(recipe))
            keep()
    say(report.targets(keep()))
    results.say_where()


def shown(command: Sequence[str], work: Path) -> str:
    """A command line without the folders of this machine."""
    text = shlex.join([Path(command[0]).name, *command[1:]])
    return text.replace(f"{work}{os.sep}", "WORK/").replace(str(work), "WORK").replace(f"{ROOT}{os.sep}", "")


if __name__ == "__main__":
    sys.exit(run_as_command(lambda: bench(parse_arguments())))
