"""A model outside the program, good or bad as its first argument says. Plain Python, no packages."""

import base64
import hashlib
import json
import math
import os
import sys
import threading
import time

mode = sys.argv[1]
state = sys.argv[2] if len(sys.argv) > 2 else None


def vector(data):
    digest = hashlib.sha256(data).digest()
    return [byte / 255 - 0.5 for byte in digest[:8]]


def data(item):
    if "base64" in item:
        return base64.b64decode(item["base64"])
    with open(item["path"], "rb") as file:
        return file.read()


def caption(image):
    return "a picture of " + hashlib.sha256(image).hexdigest()[:6]


def detections(image, classes):
    """What the annotations below the folder `state` say of the image, which is known by its bytes."""
    with open(os.path.join(state, "annotations/instances_test.json"), encoding="utf-8") as file:
        truth = json.load(file)
    for entry in truth["images"]:
        with open(os.path.join(state, "images/test", entry["file_name"]), "rb") as file:
            if file.read() == image:
                break
    names = {category["id"]: category["name"] for category in truth["categories"]}
    found = []
    for number, instance in enumerate(truth["annotations"]):
        if instance["image_id"] == entry["id"]:
            left, top, width, height = instance["bbox"]
            box = [left, top, left + width, top + height]
            found.append({"box": box, "class": classes.index([names[instance["category_id"]]]), "score": number + 2})
    if mode == "detects-nonsense" and hashlib.sha256(image).digest()[0] % 4 == 0:
        found[0]["class"] = len(classes)
    return found


def answer(request):
    op = request["op"]
    if op == "hello":
        said = {"protocol": 1, "capabilities": ["embed_image", "embed_text", "generate", "logprob", "score"]}
        said["info"] = {"name": "test", "version": os.environ.get("ADAPTER_VERSION", "1")}
        said["embed"] = {"width": 8, "scale": 10}
        if mode == "batched":
            said["batch"] = 16
        if mode == "captions":
            said["capabilities"] = ["generate"]
        if mode.startswith("detects"):
            said["capabilities"] = ["detect"]
        if mode == "old":
            said["protocol"] = 99
        return said
    if op == "embed_image":
        return {"embeddings": [vector(data(image)) for image in request["images"]]}
    if op == "embed_text":
        return {"embeddings": [vector(text.encode()) for text in request["texts"]]}
    if op == "detect":
        return {"detections": detections(data(request["image"]), request["classes"])}
    if op == "score":
        return {"scores": [len(text) / 100 for text in request["texts"]]}
    if op == "logprob":
        return {"logprobs": [[-len(word) / 10 for word in text.split()] for text in request["continuations"]]}
    texts = [caption(data(prompt[0]["image"])) for prompt in request["prompts"]]
    return {"texts": texts, "scores": [-1.5] * len(texts)}


def is_bad(request):
    """Every fourth image, by its digest, makes a bad mode show itself; in good company the rest goes well."""
    images = [part["image"] for prompt in request.get("prompts", []) for part in prompt if "image" in part]
    images += request.get("images", [])
    return any(hashlib.sha256(data(image)).digest()[0] % 4 == 0 for image in images)


def misbehave(request, out):
    """True when nothing more is to be said."""
    if mode == "healed" and os.path.exists(state):
        return False
    if mode in ("crash", "healed"):
        os._exit(7)
    if mode == "stall":
        time.sleep(600)
    if mode == "not-json":
        out.write("Traceback (most recent call last)\n")
    elif mode == "nan":
        out.write(json.dumps({"id": request["id"], "texts": ["x"], "scores": [math.nan]}) + "\n")
    elif mode == "wrong-id":
        out.write(json.dumps({"id": request["id"] + 1000, "texts": ["x"]}) + "\n")
    elif mode == "wrong-length":
        out.write(json.dumps({"id": request["id"], "texts": ["x", "y", "z"]}) + "\n")
    elif mode == "error":
        out.write(json.dumps({"id": request["id"], "error": {"code": "bad_image", "message": "cannot be read"}}) + "\n")
    elif mode == "half":
        out.write('{"id":')
        out.flush()
        os._exit(0)
    elif mode == "endless":
        while True:
            out.write("x" * (1 << 20))
    else:
        return False
    return True


lock = threading.Lock()


def put(said):
    with lock:
        print(json.dumps(said), flush=True)


def main():
    names = sorted(name for name in os.environ if name.startswith("SIGHTLINE"))
    print(f"the adapter starts with {names}", file=sys.stderr)
    count = 0
    for line in sys.stdin:
        request = json.loads(line)
        if mode == "deaf" and request["op"] != "hello":
            time.sleep(600)
        if request["op"] != "hello":
            count += 1
            if mode == "dead":
                os._exit(9)
            if mode == "dies-at" and count > 5:
                os._exit(9)
            if mode == "slow":
                time.sleep(0.05)
        if request["op"] != "hello" and is_bad(request) and misbehave(request, sys.stdout):
            sys.stdout.flush()
            continue
        said = {"id": request["id"], **answer(request)}
        if mode == "counting" and "texts" in said:
            said["texts"] = [f"{text}, the {count}th" for text in said["texts"]]
        if mode == "shuffled" and request["op"] != "hello":
            threading.Timer((request["id"] * 7 % 5) / 100, put, [said]).start()
        else:
            put(said)


main()
