"""What a program needs to be a model of Sightline: reads requests, calls functions, writes answers. No dependencies.

    from sightline_adapter import image, serve

    def generate(prompts, decoding, seeds):
        return {"texts": [caption(image(prompt[0]["image"])) for prompt in prompts]}

    serve({"generate": generate}, info={"name": "mine", "version": 1})

Each function gets the fields of a request as keyword arguments and returns the fields of the answer; docs/adapters.md lists
them. What it raises becomes an error of that request: `fail(code, message)` names the code, other exceptions their type.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


class Failure(Exception):
    """An answer that says why there is none."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def fail(code: str, message: str) -> None:
    """Ends a request with an error that Sightline counts under this code."""
    raise Failure(code, message)


def data(item: dict[str, str]) -> bytes:
    """The bytes of an image file, however it was sent."""
    if "base64" in item:
        return base64.b64decode(item["base64"])
    with open(item["path"], "rb") as file:
        return file.read()


def image(item: dict[str, str]) -> Any:
    """An image as Pillow's, in RGB."""
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data(item))).convert("RGB")
    except OSError as error:
        raise Failure("bad_image", str(error)) from error


def serve(functions: dict[str, Callable[..., dict[str, Any]]], info: dict[str, Any], **hello: Any) -> None:
    """Answers requests until standard input ends. `hello` holds `embed`, `classify`, `reads_text` and `batch`."""
    # What libraries print must not stand between answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        number, op = request.pop("id"), request.pop("op")
        try:
            if op == "hello":
                answer = {"protocol": 1, "capabilities": sorted(functions), "info": info, **hello}
            elif op in functions:
                answer = functions[op](**request)
            else:
                raise Failure("unknown_op", op)
            text = json.dumps({"id": number, **answer}, allow_nan=False)
        except Exception as error:
            traceback.print_exc()
            code = error.code if isinstance(error, Failure) else type(error).__name__
            text = json.dumps({"id": number, "error": {"code": code, "message": str(error)}})
        print(text, file=answers, flush=True)
