"""Any image-to-text pipeline of Hugging Face as a model of Sightline: `command = ["python3", "hugging_face.py", MODEL]`."""

import sys

import torch
import transformers
from sightline_adapter import image, serve

name = sys.argv[1] if len(sys.argv) > 1 else "Salesforce/blip-image-captioning-base"
torch.manual_seed(0)
torch.use_deterministic_algorithms(True, warn_only=True)
captioner = transformers.pipeline("image-to-text", model=name, device=0 if torch.cuda.is_available() else -1)


def generate(prompts, decoding, seeds):
    """A text for each prompt: one image, and a text that the caption continues."""
    options = {"max_new_tokens": decoding.get("max_new_tokens", 20)}
    if decoding.get("strategy") == "beam":
        options["num_beams"] = decoding["width"]
    texts = []
    for prompt in prompts:
        pictures = [image(part["image"]) for part in prompt if "image" in part]
        before = " ".join(part["text"] for part in prompt if "text" in part)
        said = captioner(pictures[0], prompt=before or None, generate_kwargs=options)
        texts.append(said[0]["generated_text"].removeprefix(before).strip())
    return {"texts": texts}


revision = getattr(captioner.model.config, "_commit_hash", None)
versions = {"torch": torch.__version__, "transformers": transformers.__version__}
serve({"generate": generate}, info={"model": name, "revision": revision, "versions": versions})
