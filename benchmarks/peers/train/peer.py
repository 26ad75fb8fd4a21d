"""Trains a reference model with torch: so many steps of the loop that `sightline train` makes.

    peer.py --recipe=clip --manifest=clip/check.toml --work=DIR --scenes=16 --steps=3

Prints one JSON object: the loss and the length of the gradient of every step, its seconds (wall, and CPU over all
threads), which tensors were trained, under our names, and the peak of the resident memory. Batches are made before the first step and lie in memory. The optimiser is
torch's fused AdamW with the manifest's groups.

`--profile` adds the operators that took most of the time of as many steps more.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
import time
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import manifests  # noqa: E402
import scenes  # noqa: E402

TRIED = 2
"""Steps of each memory layout before the faster one is taken."""
SHOWN = 12
"""Operators of a profile."""


def group_of(groups: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The first group whose patterns match; patterns have `*` only."""
    for group in groups:
        if any(fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in group["tensors"]):
            return group
    return {}


def optimiser(peer: Any, written: dict[str, Any]) -> tuple[Any, list[Any]]:
    """AdamW over what is trained, and those parameters."""
    import torch

    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in peer.model.named_parameters():
        group = group_of(written.get("group", []), peer.our_name(name))
        parameter.requires_grad_(peer.is_trained(name) and not group.get("frozen", False))
        if parameter.requires_grad:
            rates = (group.get("lr", written["lr"]), group.get("weight_decay", written.get("weight_decay", 0.01)))
            groups.setdefault(rates, []).append(parameter)
    lists = [{"params": some, "lr": lr, "weight_decay": decay} for (lr, decay), some in groups.items()]
    betas, eps = tuple(written.get("betas", (0.9, 0.999))), written.get("eps", 1e-8)
    made = torch.optim.AdamW(lists, lr=written["lr"], betas=betas, eps=eps, fused=True)
    return made, [parameter for some in groups.values() for parameter in some]


class Loop:
    """A plain training loop."""

    def __init__(self, peer: Any, batches: list[dict[str, Any]], written: dict[str, Any]) -> None:
        self.peer, self.batches, self.written = peer, batches, written
        self.optimiser, self.parameters = optimiser(peer, written)
        self.done = 0

    def step(self) -> dict[str, float]:
        """One step."""
        import torch

        wall, cpu = time.perf_counter(), time.process_time()
        batch = self.batches[self.done % len(self.batches)]
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.peer.model(**batch)
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        most = self.written.get("clip_grad_norm", float("inf"))
        length = torch.nn.utils.clip_grad_norm_(self.parameters, most)
        self.optimiser.step()
        self.done += 1
        told = {"loss": loss.item(), "gradient": length.item()}
        told |= {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        return told | {"forward_s": forward - wall, "backward_s": backward - forward}

    def compute_in_64_bits(self) -> None:
        """Weights, and what batches hold of real numbers, become 64-bit numbers."""

        def doubled(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: doubled(one) for name, one in value.items()}
            if isinstance(value, (list, tuple)):
                return type(value)(doubled(one) for one in value)
            return value.double() if getattr(value, "is_floating_point", bool)() else value

        self.peer.model.double()
        self.batches = [doubled(batch) for batch in self.batches]

    def use(self, layout: Any) -> None:
        """Keeps convolutions and pixels in this memory layout."""
        self.peer.model.to(memory_format=layout)
        for batch in self.batches:
            for name, value in batch.items():
                if getattr(value, "ndim", 0) == 4:
                    batch[name] = value.contiguous(memory_format=layout)

    def choose_layout(self) -> str:
        """The faster of the two memory layouts, where there are convolutions."""
        import torch

        if not any(isinstance(module, torch.nn.Conv2d) for module in self.peer.model.modules()):
            return "contiguous"
        layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
        took = {}
        for name, layout in layouts.items():
            self.use(layout)
            self.step()
            took[name] = min(self.step()["wall_s"] for _ in range(TRIED))
        fastest = min(took, key=lambda name: took[name])
        self.use(layouts[fastest])
        return fastest


def profiled(loop: Loop, steps: int) -> list[dict[str, Any]]:
    """The operators of some steps, by their own share of the time."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as told:
        for _ in range(steps):
            loop.step()
    rows = told.key_averages()
    total = sum(row.self_cpu_time_total for row in rows) or 1.0
    rows = sorted(rows, key=lambda row: -row.self_cpu_time_total)[:SHOWN]
    return [{"name": row.key, "calls": row.count // steps, "share": row.self_cpu_time_total / total} for row in rows]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Trains a reference model with torch.")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scenes", type=int, required=True, help="samples to learn from")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warmups", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--choose-layout", action="store_true", help="take the faster memory layout, after some steps")
    parser.add_argument("--double", action="store_true", help="compute in 64 bits")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.double:
        # Masks that models make on their way are of the type that is usual.
        torch.set_default_dtype(torch.float64)
    from peers.common import Job

    manifest = tomllib.loads(arguments.manifest.read_text(encoding="utf-8"))
    stage = manifest["stage"][0]
    job = Job(
        folder=arguments.work / manifest["model"]["start"],
        run=arguments.manifest.parent / manifest["train"],
        options=stage.get("options", {}),
    )
    family = importlib.import_module(f"peers.{arguments.recipe.replace('-', '_')}").Family
    peer = family(job)
    # Nothing is left out, and statistics of norms stay as they are; gradients flow as in training.
    peer.model.eval()
    samples = scenes.read(arguments.work / manifests.scenes_folder(arguments.scenes), peer.regions)
    size = stage["batch"]
    batches = [peer.batch(samples[at : at + size], at) for at in range(0, len(samples) - size + 1, size)]
    loop = Loop(peer, batches, stage["optimiser"])
    if arguments.double:
        loop.compute_in_64_bits()
    layout = loop.choose_layout() if arguments.choose_layout else "contiguous"
    for _ in range(arguments.warmups):
        loop.step()
    told: dict[str, Any] = {"schema": 1, "layout": layout, "steps": [loop.step() for _ in range(arguments.steps)]}
    if arguments.profile:
        told["profile"] = profiled(loop, max(1, arguments.steps))
    told["trained"] = sorted(
        peer.our_name(name) for name, parameter in peer.model.named_parameters() if parameter.grad is not None
    )
    told |= {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
