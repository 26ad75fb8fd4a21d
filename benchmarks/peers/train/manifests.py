"""Training manifests made of a recipe: the same model, objective and optimiser, on few samples and without chance.

All paths in them are below the work folder, which is given to both sides as the folder of the data.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from families import PROPOSALS, Recipe

Manifest = dict[str, Any]

SCENES = {"size": 64, "max_objects": 2, "seed": 17}
BASE_STEPS = 3
"""Steps of the run that makes the weights that both sides begin with: after them nothing stands at an initial 0 or 1."""
NEVER = 1_000_000
"""Steps between two checkpoints of runs that need only the last one."""


@dataclass(frozen=True)
class Purpose:
    """What a run is for."""

    name: str
    """Of the manifest and the run's folder."""
    steps: int
    scenes: int
    """Samples to learn from."""
    start: bool = True
    """Whether it begins with the weights of the run `base`."""


def run_folder(recipe: str, purpose: str) -> str:
    """Where a run is, below the work folder."""
    return f"{recipe}/{purpose}"


def base_checkpoint(recipe: str) -> str:
    """Where the weights are that both sides begin with."""
    return f"{run_folder(recipe, 'base')}/best"


def shard(recipe: str, scenes: int) -> str:
    """Where the shard of so many scenes is."""
    return f"{recipe}/shards/{scenes}.tar"


def scenes_folder(scenes: int) -> str:
    """Where so many scenes are as files."""
    return f"scenes/{scenes}"


def read_recipe(manifests: Path, recipe: Recipe) -> Manifest:
    """The recipe as it is written."""
    with (manifests / f"{recipe.manifest}.toml").open("rb") as file:
        return tomllib.load(file)


def begun_with(value: Any) -> Any:
    """The same with the checkpoints of this bench for those of other recipes."""
    if isinstance(value, dict):
        return {key: begun_with(one) for key, one in value.items()}
    if isinstance(value, list):
        return [begun_with(one) for one in value]
    if isinstance(value, str) and value.startswith("out/train/"):
        return base_checkpoint(value.split("/")[2].removesuffix("-tiny"))
    return value


def derived(written: Manifest, recipe: Recipe, purpose: Purpose, batch: int | None = None) -> Manifest:
    """The manifest of a run."""
    model = begun_with(written["model"])
    if purpose.start:
        for part in ("take", "start"):
            model.pop(part, None)
        model["start"] = base_checkpoint(recipe.name)
        if "tokenizer" in model:
            model["tokenizer"] = base_checkpoint(recipe.name)
    stage = next(dict(one) for one in written["stage"] if one["objective"] == recipe.objective)
    stage.pop("epochs", None)
    stage["steps"] = purpose.steps
    if batch is not None:
        stage["batch"] = batch
    options = stage.get("options", {}) | recipe.options
    if options:
        stage["options"] = options
    # A rate that falls to 0 would make the steps of a short run smaller and smaller.
    stage["optimiser"] = dict(stage["optimiser"], schedule="constant", warmup_steps=0)
    if recipe.reads:
        folder = scenes_folder(purpose.scenes)
        table = "proposals" if recipe.reads == PROPOSALS else "train"
        data: Manifest = {"train": shard(recipe.name, purpose.scenes), "train_regions": f"{folder}/regions/{table}.tsv"}
        if recipe.reads == PROPOSALS:
            data["train_objects"] = f"{folder}/annotations/objects_train.json"
    else:
        data = {"scenes": {"train": purpose.scenes, "val": 0} | SCENES}
    data["captions"] = "first"
    if {"caption_column", "caption_forms"} & written["data"].keys():
        data["caption_column"] = "description"
    return {
        "schema": 1,
        "train": purpose.name,
        "family": written["family"],
        "description": f"{recipe.what}: `{purpose.name}` of the training bench.",
        "seed": written["seed"],
        "model": model,
        "data": data,
        "stage": [stage],
        "checkpoint": {"every": NEVER, "weights": "f32"},
    }


def toml(manifest: Manifest) -> str:
    """A manifest as TOML, a line for each part."""
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in manifest.items())


def toml_value(value: Any) -> str:
    """A value on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(toml_value(one) for one in value)}]"
        case dict():
            fields = (f"{toml_value(str(key))} = {toml_value(one)}" for key, one in value.items())
            return f"{{ {', '.join(fields)} }}" if value else "{}"
    raise TypeError(f"{value!r} has no form in TOML")
