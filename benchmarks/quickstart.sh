#!/usr/bin/env bash
# The quickstart: every stage of the product on synthetic scenes, offline. Run again, it resumes.
set -euo pipefail
out=$1
port=$2
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/release
sightline=$bin/sightline
source benchmarks/serve.sh

step() { printf '\n== %s\n' "$*" >&2; }

# Scenes of two objects at most: folders of other scenes are kept apart, as those of other ports are.
key=$port-2
settle "$out" "$key"
mkdir -p "$out/scenes"
serve "$out/scenes" "$port" bench
keep "$out" "$key"
# The models are below the data, where their manifests say that they are.
ln -sfn "$PWD/zoo" "$out/zoo"

step "1/6 draw the synthetic scenes into $out/scenes"
"$sightline" synth scenes --out "$out/scenes" --train 400 --val 40 --test 400 --max-objects 2 \
    --base-url "http://127.0.0.1:$port"

step "2/6 fetch them from loopback, port $port, into $out/shards"
for split in train val test; do
    "$sightline" fetch "$out/scenes/urls/$split.parquet" --out "$out/shards/$split" \
        --caption-col caption \
        --save-additional-columns captions,description,class_name,held_out \
        --image-size 64 --resize-mode no --number-sample-per-shard 250 \
        --allow-private-addresses
done

step "3/6 what the shards hold; and apart: classes that training sees, classes that it never sees"
"$sightline" shards info "$out/shards/test"
[ -d "$out/shards/test-seen" ] ||
    "$sightline" shards filter "$out/shards/test" --where "not held_out" --out "$out/shards/test-seen"
[ -d "$out/shards/test-held-out" ] ||
    "$sightline" shards filter "$out/shards/test" --where "held_out" --out "$out/shards/test-held-out"

step "4/6 run the quickstart suite over the tiny zoo: predictions, scores, records"
"$sightline" run manifests/suites/quickstart.toml --data "$out" --records "$out/records"

step "5/6 the board"
"$sightline" board "$out/records" --data "$out" --out "$out/site"

step "6/6 what to look at"
printf 'open %s, and read docs/tutorial.md beside it\n' "$out/site/index.html" >&2
