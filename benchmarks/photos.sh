#!/usr/bin/env bash
# Photographs with captions and labels: served, fetched into shards of 50, retrieved, classified.
# The two folders are told apart by what they hold, so their order does not matter.
set -euo pipefail
first=$1
second=$2
out=$3
port=$4
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/release
sightline=$bin/sightline
source benchmarks/serve.sh

photos=
checkpoint=
for folder in "$first" "$second"; do
    if [ -z "$folder" ]; then
        continue
    elif [ -f "$folder/manifest.csv" ]; then
        photos=$folder
    elif [ -f "$folder/config.json" ]; then
        checkpoint=$folder
    else
        echo "$folder: neither photos (no manifest.csv) nor a CLIP checkpoint (no config.json)" >&2
        exit 2
    fi
done
if [ -z "$photos" ] && [ -f ../shared/fixtures/images/manifest.csv ]; then
    photos=../shared/fixtures/images
fi
if [ -z "$photos" ]; then
    echo "no folder of photos: give one that holds manifest.csv (columns file, caption, captions, label)" >&2
    exit 2
fi
if [ -z "$checkpoint" ]; then
    checkpoint=tests/fixtures/models/clip/hf_quickgelu_eos2
    echo "no checkpoint given: using $checkpoint, whose weights are random; its scores are chance" >&2
fi

step() { printf '\n== %s\n' "$*" >&2; }

# Which photos on which port: the shards in OUT are of these and of no others.
key=$port-$(python3 - "$photos" <<'PYTHON'
import hashlib, os, sys

folder = os.path.realpath(sys.argv[1])
digest = hashlib.sha256(os.fsencode(folder))
with open(os.path.join(folder, "manifest.csv"), "rb") as manifest:
    digest.update(manifest.read())
print(digest.hexdigest()[:12])
PYTHON
)
settle "$out" "$key"
serve "$photos" "$port" bench-photos ${first:+"$first"} ${second:+"$second"}
keep "$out" "$key"

step "1/4 a table of URLs from $photos/manifest.csv"
python3 - "$photos/manifest.csv" "http://127.0.0.1:$port" "$out/urls.jsonl" <<'PYTHON'
import csv, json, os, sys

manifest, base, target = sys.argv[1:]
with open(manifest, newline="", encoding="utf-8") as source, open(target + ".tmp", "w", encoding="utf-8") as table:
    for row in csv.DictReader(source):
        table.write(json.dumps({
            "url": f"{base}/{row['file']}",
            "caption": row["caption"] or None,
            "captions": json.loads(row["captions"]),
            "label": row["label"] or None,
        }) + "\n")
os.replace(target + ".tmp", target)
PYTHON

step "2/4 fetch them from loopback, port $port, into $out/shards"
"$sightline" fetch "$out/urls.jsonl" --out "$out/shards" --caption-col caption \
    --save-additional-columns captions,label --image-size 256 --resize-mode keep_ratio \
    --number-sample-per-shard 50 --allow-private-addresses
"$sightline" shards info "$out/shards"

step "3/4 run the photos suite with the checkpoint $checkpoint"
if [ -f "$checkpoint/tokenizer.json" ] || [ -f "$checkpoint/vocab.json" ]; then
    model=clip
else
    model=clip-no-vocabulary
    echo "$checkpoint has no tokenizer files: words are hashed onto token ids, scores are chance" >&2
fi
"$sightline" run manifests/suites/photos.toml --data "$out" --records "$out/records" \
    --models "constant,random,$model" --checkpoint "$model=$checkpoint"

step "4/4 the board"
"$sightline" board "$out/records" --data "$out" --out "$out/site"
