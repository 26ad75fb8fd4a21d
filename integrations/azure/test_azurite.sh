#!/usr/bin/env bash
# Fetches into Azurite, Microsoft's own stand-in for Azure Blob Storage, on loopback. The shards must be, byte for byte, those of
# a local run, also where one is larger than an upload in one piece, and every command that reads and writes shards must take them.
#
#     test_azurite.sh target/release/sightline
#
# Needs node and npm; installs Azurite (186 MB) below .venv/azurite. Ends with 0 if everything is right.
set -euo pipefail
cd "$(dirname "$0")/../.."
sightline=$(realpath "$1") here=integrations/azure azurite=.venv/azurite

mkdir -p "$azurite"
cmp -s "$here/package.json" "$azurite/package.json" || {
    cp "$here/package.json" "$azurite/"
    npm --prefix "$azurite" install --no-audit --no-fund >&2
}

work=$(mktemp -d)
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
await() { timeout 60 bash -c "until (: </dev/tcp/127.0.0.1/$1) 2>/dev/null; do sleep 0.2; done"; }
same() { cmp "$1" "$2" && echo "same: $3" >&2; }

images=$(port)
"$sightline" synth scenes --out "$work/scenes" --train 400 --val 1 --test 1 --size 512 --base-url "http://127.0.0.1:$images" >&2
python3 -m http.server --bind 127.0.0.1 --directory "$work/scenes" "$images" >/dev/null 2>&1 &
pids+=($!)
blobs=$(port)
"$azurite/node_modules/.bin/azurite-blob" --blobHost 127.0.0.1 --blobPort "$blobs" --location "$work/azurite" --silent --disableTelemetry &
pids+=($!)
await "$images"
await "$blobs"
python3 "$here/container.py" "http://127.0.0.1:$blobs" shards
export AZURE_STORAGE_USE_EMULATOR=true AZURITE_BLOB_STORAGE_URL=http://127.0.0.1:$blobs

fetch() {
    "$sightline" fetch "$work/scenes/urls/train.csv" --out "$1" --caption-col caption --allow-private-addresses --resize-mode no \
        --encode-quality 100 --number-sample-per-shard 300 --progress none >&2
}
digests() { "$sightline" shards info "$1" --json | python3 -c 'import json, sys
for shard in json.load(sys.stdin)["shards"]: print(shard["name"], shard["counts"]["samples"], shard["sha256"])'; }

fetch "$work/local"
fetch az://shards/fetched
digests "$work/local" >"$work/local.txt"
digests az://shards/fetched >"$work/fetched.txt"
cat "$work/local.txt" >&2
same "$work/local.txt" "$work/fetched.txt" "fetched into the store"
largest=$(stat -c %s "$work"/local/*.tar | sort -n | tail -1)
[ "$largest" -gt $((8 << 20)) ] || { echo "the largest shard has $largest bytes: it was uploaded in one piece" >&2; exit 1; }

"$sightline" shards verify az://shards/fetched >&2
for place in "$work" az://shards; do
    "$sightline" shards reshard az://shards/fetched --out "$place/resharded" --samples-per-shard 100 --shuffle 7 >&2
    digests "$place/resharded" >"$work/${place##*/}-resharded.txt"
done
same "$work/${work##*/}-resharded.txt" "$work/shards-resharded.txt" "resharded within the store"
fetch az://shards/fetched 2>&1 | tee "$work/again.txt" >&2
grep -q "0 shards made, 2 finished before" "$work/again.txt"
