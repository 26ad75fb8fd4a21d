"""Records what Frozen's relatives make of random weights: `clipcap-transformer`, `limber` and `magma`, a folder each.

    python golden_frozen.py OUT_FOLDER

Written after the papers and the published checkpoints' names: CLIP's residual network (arXiv 2103.00020, section 2.4),
ClipCap's mapping transformer (arXiv 2111.09734, section 3.2), LiMBeR's map of every cell (arXiv 2209.15162) and MAGMA's
prefix and adapters (arXiv 2112.05253, section 3). The language models, their searches and their masks are those of
transformers. Everything is in evaluation mode, on a CPU, in f32.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, GPTJConfig, GPTJForCausalLM

VOCABULARY = 64
END = 63
CONTEXT = 64
WIDTH = 16
HEADS = 4
LAYERS = 2
FEATURES = 24
SIDE = 64
STEM = 4
DEPTHS = (1, 2, 1, 1)
LIMIT_BYTES = 300_000
NEW_TOKENS = 8
BEAMS = ((3, 1.0), (4, 0.0))
MARGIN = 0.02
"""Greedy search hangs on no difference of log-probabilities that is smaller."""


class Convolution(nn.Sequential):
    """A convolution without bias and a batch norm, which callers name apart."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1; where the map shrinks, means of squares stand before the last one and on the shortcut."""

    def __init__(self, inputs: int, planes: int, pool: int) -> None:
        super().__init__()
        outputs = 4 * planes
        for number, sizes in enumerate(((inputs, planes, 1), (planes, planes, 3), (planes, outputs, 1)), 1):
            convolution, norm = Convolution(*sizes)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", norm)
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.downsample = Convolution(inputs, outputs, 1) if pool > 1 or inputs != outputs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, h, w]` to `[B, 4 planes, h / pool, w / pool]`."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.pool(self.bn2(self.conv2(y)).relu())
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(self.pool(x))
        return (y + shortcut).relu()


class ClipResNet(nn.Module):
    """CLIP's network up to its last map."""

    def __init__(self) -> None:
        super().__init__()
        for number, sizes in enumerate(((3, STEM // 2, 3, 2), (STEM // 2, STEM // 2, 3), (STEM // 2, STEM, 3)), 1):
            convolution, norm = Convolution(*sizes)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", norm)
        inputs = STEM
        for stage, depth in enumerate(DEPTHS):
            planes = STEM << stage
            blocks = []
            for i in range(depth):
                blocks.append(Bottleneck(inputs, planes, 2 if stage > 0 and i == 0 else 1))
                inputs = 4 * planes
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.width = inputs

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """`[B, 3, H, W]` to the cells of the last map, row by row, `[B, H W / 1024, C]`."""
        x = pixels
        for number in (1, 2, 3):
            convolution, norm = self.get_submodule(f"conv{number}"), self.get_submodule(f"bn{number}")
            x = norm(convolution(x)).relu()
        x = functional.avg_pool2d(x, 2)
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{stage}")(x)
        return x.permute(0, 2, 3, 1).flatten(1, 2)


class Layer(nn.Module):
    """A layer of the mapping transformer under ClipCap's names."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.ModuleDict(
            {
                "to_queries": nn.Linear(WIDTH, WIDTH, bias=False),
                "to_keys_values": nn.Linear(WIDTH, 2 * WIDTH, bias=False),
                "project": nn.Linear(WIDTH, WIDTH),
            }
        )
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, 2 * WIDTH), "fc2": nn.Linear(2 * WIDTH, WIDTH)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, T, WIDTH]`; everybody looks at everything."""
        y = self.norm1(x)
        keys, values = self.attn["to_keys_values"](y).chunk(2, dim=-1)
        parts = (self.attn["to_queries"](y), keys, values)
        split = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
        x = x + self.attn["project"](seen)
        return x + self.mlp["fc2"](self.mlp["fc1"](self.norm2(x)).relu())


class MappingTransformer(nn.Module):
    """Vectors made of the feature, constant ones behind them; what becomes of those is the prefix."""

    def __init__(self, tokens: int, length: int, layers: int, heads: int) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, length * WIDTH)
        self.prefix_const = nn.Parameter(torch.randn(tokens, WIDTH))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(Layer(heads) for _ in range(layers))})

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[B, FEATURES]` to `[B, tokens, WIDTH]`."""
        made = self.linear(features).unflatten(1, (-1, WIDTH))
        x = torch.cat([made, self.prefix_const.expand(len(features), -1, -1)], dim=1)
        for layer in self.transformer["layers"]:
            x = layer(x)
        return x[:, made.shape[1] :]


class Adapter(nn.Module):
    """What MAGMA puts behind a feed-forward layer."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.adapter = nn.Sequential(nn.Linear(WIDTH, hidden), nn.ReLU(), nn.Linear(hidden, WIDTH))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """`[.., WIDTH]` to the same."""
        return y + self.adapter(y)


def gpt2() -> GPT2LMHeadModel:
    """A small GPT-2."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        bos_token_id=END,
        eos_token_id=END,
    )
    return GPT2LMHeadModel(config)


def gptj(adapters: int | None) -> GPTJForCausalLM:
    """A small GPT-J, with adapters of this width."""
    config = GPTJConfig(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=2 * WIDTH,
        rotary_dim=4,
        bos_token_id=END,
        eos_token_id=END,
        tie_word_embeddings=False,
    )
    model = GPTJForCausalLM(config)
    if adapters is not None:
        for layer in model.transformer.h:
            layer.mlp = nn.Sequential(layer.mlp, Adapter(adapters))
    return model


def language_config(model: Any) -> dict[str, Any]:
    """Of a language model's configuration what tells its form."""
    names = ("model_type", "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "rotary_dim")
    more = ("activation_function", "layer_norm_epsilon", "tie_word_embeddings", "bos_token_id", "eos_token_id")
    whole = model.config.to_dict()
    return {name: whole[name] for name in (*names, *more) if whole.get(name) is not None}


def scatter(model: nn.Module) -> None:
    """Random values in every tensor, the statistics of norms included, that are 0 or 1 nowhere; f16 holds them."""
    for module in model.modules():
        is_norm = isinstance(module, nn.LayerNorm | nn.BatchNorm2d)
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in own:
            if not tensor.is_floating_point():
                continue
            if name == "running_var":
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1:
                tensor.normal_(mean=1.0 if is_norm and name == "weight" else 0.0, std=0.1)
            else:
                # Of convolutions so that maps keep their size.
                tensor.normal_(std=(2.0 / tensor[0].numel()) ** 0.5 if tensor.ndim == 4 else 0.25)
            tensor.copy_(tensor.half())
    model.eval()


Tensors = dict[str, torch.Tensor]


def recorded(prefix: torch.Tensor, language: Any) -> tuple[Tensors, dict[str, Any]]:
    """Everything that is compared behind the prefixes `[B, n, WIDTH]`."""
    images, tokens, _ = prefix.shape
    table = language.get_input_embeddings()
    ids = torch.randint(0, END, (images, 5))
    mask = torch.ones(images, 5, dtype=torch.uint8)
    mask[-1, 3:] = 0
    embeds = torch.cat([prefix, table(ids)], dim=1)
    present = torch.cat([torch.ones(images, tokens), mask], dim=1)
    logits = language(inputs_embeds=embeds, attention_mask=present).logits[:, tokens - 1 : -1]
    loss = functional.cross_entropy(logits[mask.bool()], ids[mask.bool()])

    texts = [torch.randint(0, END, (count,)) for count in (3, 2)]
    parts = [["image", 0], ["text", texts[0].tolist()], ["image", 1], ["text", texts[1].tolist()]]
    shown = [prefix[0], table(texts[0]), prefix[1], table(texts[1])]
    prompt = torch.cat(shown).unsqueeze(0)
    prompt_logits = language(inputs_embeds=prompt).logits

    def behind(added: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of what follows the prompt and each of `added`, `[1 + added, V]`."""
        whole = torch.cat([prompt, table(added).unsqueeze(0)], dim=1)
        return language(inputs_embeds=whole).logits[0, prompt.shape[1] - 1 :].log_softmax(-1)

    continuations = []
    for count in (1, 2, 3):
        chosen = torch.randint(0, END, (count,))
        each = behind(chosen)[:-1].gather(1, chosen.unsqueeze(1)).squeeze(1).tolist()
        continuations.append({"ids": chosen.tolist(), "per_token": each, "sum": sum(each)})

    common = {"inputs_embeds": prompt, "max_new_tokens": NEW_TOKENS, "pad_token_id": END, "do_sample": False}
    common |= {"attention_mask": torch.ones(prompt.shape[:2], dtype=torch.long), "return_dict_in_generate": True}
    greedy = language.generate(**common).sequences[0]
    best = behind(greedy[:-1]).topk(2).values
    beams = []
    for width, penalty in BEAMS:
        found = language.generate(**common, num_beams=width, length_penalty=penalty, output_scores=True)
        beams.append(
            {
                "num_beams": width,
                "length_penalty": penalty,
                "ids": found.sequences[0].tolist(),
                "score": found.sequences_scores[0].item(),
            }
        )
    told = {
        "eos": END,
        "max_new_tokens": NEW_TOKENS,
        "prompt": parts,
        "continuations": continuations,
        "greedy": greedy.tolist(),
        "greedy_smallest_margin": (best[:, 0] - best[:, 1]).min().item(),
        "beam": beams,
    }
    tensors = {
        "caption_ids": ids,
        "caption_mask": mask,
        "caption_logits": logits,
        "caption_loss": loss.reshape(1),
        "prompt_logits": prompt_logits,
    }
    return tensors, told


def under(prefix: str, model: nn.Module) -> Tensors:
    """The tensors of a model below a prefix, without counters and masks; a head that is the table of tokens is none."""
    whole = model.state_dict()
    if getattr(getattr(model, "config", None), "tie_word_embeddings", False):
        whole.pop("lm_head.weight")
    return {prefix + name: tensor for name, tensor in whole.items() if tensor.is_floating_point()}


Case = tuple[str, dict[str, Any], Tensors, Tensors, Any]
"""What it is, configuration, weights, inputs with the prefix, language model."""


def clipcap_transformer() -> Case:
    """ClipCap with its transformer, under the names of its checkpoints."""
    tokens, length, layers, heads = 4, 3, 2, 8
    mapper, language = MappingTransformer(tokens, length, layers, heads), gpt2()
    scatter(mapper)
    scatter(language)
    features = torch.randn(2, FEATURES)
    config = {
        "encoder": "precomputed",
        "feature_dim": FEATURES,
        "mapper": "transformer",
        "prefix_tokens": tokens,
        "clip_length": length,
        "mapper_layers": layers,
        "mapper_heads": heads,
    }
    weights = under("clip_project.", mapper) | under("gpt.", language)
    told = {"image_features": features, "visual_prefix": mapper(features)}
    return "ClipCap with its mapping transformer on given features, over GPT-2", config, weights, told, language


def clip_case(mapper: str) -> tuple[dict[str, Any], ClipResNet, torch.Tensor]:
    """Configuration, network and images of a CLIP grid."""
    network = ClipResNet()
    scatter(network)
    config = {
        "encoder": "clip_resnet",
        "image_size": SIDE,
        "stem": STEM,
        "depths": list(DEPTHS),
        "mapper": mapper,
        "prefix_tokens": (SIDE // 32) ** 2,
    }
    return config, network, torch.randn(2, 3, SIDE, SIDE)


def limber() -> Case:
    """LiMBeR: a map of every cell, over GPT-J."""
    config, network, pixels = clip_case("grid_linear")
    mapper, language = nn.Linear(network.width, WIDTH), gptj(None)
    scatter(mapper)
    scatter(language)
    weights = under("encoder.", network) | under("mapper.", mapper) | under("lm.", language)
    told = {"pixel_values": pixels, "visual_prefix": mapper(network(pixels))}
    return "LiMBeR: every cell of CLIP's last map by one linear map, over GPT-J", config, weights, told, language


def magma() -> Case:
    """MAGMA: the same with a norm, over GPT-J with adapters, as its program stores it."""
    config, network, pixels = clip_case("grid_linear_norm")
    factor = 4
    config["adapter_config"] = {"mlp": {"adapter_type": "normal", "downsample_factor": factor}}
    proj, norm, language = nn.Linear(network.width, WIDTH), nn.LayerNorm(WIDTH), gptj(WIDTH // factor)
    for part in (proj, norm, language):
        scatter(part)
    weights = under("image_prefix.enc.", network) | under("image_prefix.proj.", proj)
    weights |= under("image_prefix.ln.", norm) | under("lm.", language)
    # Its program has names for parts of the language model, under which they are stored again.
    weights |= under("word_embedding.", language.transformer.wte) | under("transformer.", language.transformer.h)
    # In 16 bits, of which one tensor with two names is stored once.
    half = {tensor.data_ptr(): tensor.half() for tensor in weights.values()}
    weights = {name: half[tensor.data_ptr()] for name, tensor in weights.items()}
    told = {"pixel_values": pixels, "visual_prefix": norm(proj(network(pixels)))}
    return "MAGMA: CLIP's last map, a linear map and a norm, over GPT-J with adapters", config, weights, told, language


README = """# Frozen fixture: {name}

{what}. Random weights; {stored}.
Made by `benchmarks/peers/models/golden_frozen.py` with torch {torch} and transformers {transformers}, seed {seed}:
`.venv/models/bin/python benchmarks/peers/models/golden_frozen.py tests/fixtures/models/frozen`.
What is in `io.safetensors` and `expected.json` is told in `crates/models/src/recorded/frozen.rs`.
"""


def main() -> None:
    """The command line."""
    torch.set_num_threads(1)
    for make in (clipcap_transformer, limber, magma):
        name = make.__name__.replace("_", "-")
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(1, 100):
            torch.manual_seed(seed)
            with torch.inference_mode():
                what, config, weights, told, language = make()
                tensors, expected = recorded(told["visual_prefix"], language)
            if expected["greedy_smallest_margin"] > MARGIN and len(set(expected["greedy"])) > 3:
                break
        else:
            raise SystemExit(f"no seed gives {name} a greedy search with a margin")
        config |= {"family": "frozen", "lm_config": language_config(language)}
        io = {key: value.clone().contiguous() for key, value in (told | tensors).items()}
        save_file(io, folder / "io.safetensors")
        if make is magma:
            stored = "stored as its program does, a pickle in f16 with names for parts of the language model twice"
            torch.save({"module": weights, "global_steps": 3}, folder / "checkpoint.pt")
        else:
            stored = "stored under the names of publications where there are such"
            save_file({key: value.contiguous() for key, value in weights.items()}, folder / "model.safetensors")
        for file, value in (("config.json", config), ("expected.json", expected)):
            (folder / file).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        versions = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
        about = README.format(name=name, what=what, stored=stored, seed=seed, **versions)
        (folder / "README.md").write_text(about, encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{name}: seed {seed}, {size} bytes, smallest margin {expected['greedy_smallest_margin']:.3f}")
        if size > LIMIT_BYTES:
            raise SystemExit(f"{name} is larger than {LIMIT_BYTES} bytes")


if __name__ == "__main__":
    main()
