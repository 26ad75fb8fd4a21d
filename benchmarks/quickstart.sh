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

settle "$out" "$port"
mkdir -p "$out/scenes"
serve "$out/scenes" "$port" bench
keep "$out" "$port"

step "1/5 draw the synthetic scenes into $out/scenes"
"$sightline" synth scenes --out "$out/scenes" --train 2000 --val 500 --test 1000 \
    --base-url "http://127.0.0.1:$port"

step "2/5 fetch them from loopback, port $port, into $out/shards"
for split in train val test; do
    "$sightline" fetch "$out/scenes/urls/$split.parquet" --out "$out/shards/$split" \
        --caption-col caption \
        --save-additional-columns captions,class_name,held_out \
        --image-size 64 --resize-mode no --number-sample-per-shard 250 \
        --allow-private-addresses
done

step "3/5 what the shards hold"
"$sightline" shards info "$out/shards/test"

step "4/5 run the quickstart suite: predictions, scores, records"
"$sightline" run manifests/suites/quickstart.toml --data "$out" --records "$out/records" \
    --checkpoint clip-tiny-random=tests/fixtures/models/clip/hf_quickgelu_eos2

step "5/5 the board"
"$sightline" board "$out/records" --data "$out" --out "$out/site"
