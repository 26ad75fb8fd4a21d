#!/usr/bin/env bash
# Makes the tiny zoo: trains its models, or puts them together of trained ones, and keeps what commands need of them, with records and logs, below a
# folder. A training that was done before is taken as it is, one that was cut short goes on.
#
#   benchmarks/train-zoo.sh SIGHTLINE ZOO [NAME…]
set -euo pipefail

sightline=$(realpath "$1") zoo=$2
shift 2
# Those that others begin with come first, those that are put together last.
first=(lm-tiny clip-tiny align-tiny)
built=(magic-tiny asif-tiny asif-1000-tiny asif-100-tiny)
names=("$@")
if [ ${#names[@]} = 0 ]; then
    names=("${first[@]}")
    for manifest in manifests/train/*.toml; do
        name=$(basename "$manifest" .toml)
        [[ " ${first[*]} magic-lm-tiny " = *" $name "* ]] || names+=("$name")
    done
    names+=("${built[@]}")
fi

# train NAME: by its manifest.
train() {
    local name=$1 run=out/train/$1
    nice -n 10 "$sightline" train "manifests/train/$name.toml" >&2
    rm -rf "${zoo:?}/$name"
    mkdir -p "$zoo/$name"
    # The state of the optimiser is for going on, which nobody does from here.
    for file in "$run"/best/*; do
        case $(basename "$file") in
            optimizer.safetensors | training.json) ;;
            *) cp -rL "$file" "$zoo/$name/" ;;
        esac
    done
    cp "$run/run.json" "$run/record.json" "$run/metrics.jsonl" "$zoo/$name/"
    link "$zoo/$name"
}

# link FOLDER: parts of a model that are models of the zoo themselves are kept once.
link() {
    local part model
    for part in "$1"/*/; do
        for model in "$zoo"/*/; do
            if [ -d "$part" ] && [ ! -L "${part%/}" ] && cmp -s "$part/model.safetensors" "$model/model.safetensors"; then
                rm -rf "${part%/}"
                ln -s "../$(basename "$model")" "${part%/}"
            fi
        done
    done
}

# magic: a language model of descriptions, which is nothing by itself, beside CLIP.
magic() {
    train magic-lm-tiny
    rm -rf "${zoo:?}/magic-tiny"
    mkdir -p "$zoo/magic-tiny"
    mv "$zoo/magic-lm-tiny" "$zoo/magic-tiny/lm"
    ln -s ../clip-tiny "$zoo/magic-tiny/clip"
    printf '{"family": "magic", "sos_id": 0, "eos_id": 0, "pad_id": 0, "k": 10, "alpha": 0.1, "beta": 0.3, "decoding_len": 20}\n' \
        >"$zoo/magic-tiny/config.json"
}

# asif NAME ANCHORS: the images of CLIP and the texts of ALIGN, which were never trained together, coupled by the first scenes of the training split.
asif() {
    local name=$1 anchors=$2 scenes=out/train/scenes pairs=out/train/$1
    [ -f "$scenes/dataset.json" ] ||
        "$sightline" synth scenes --out "$scenes" --train 3000 --val 0 --test 0 --max-objects 2 >&2
    rm -rf "$pairs" "${zoo:?}/$name"
    mkdir -p "$pairs"
    head -n "$anchors" "$scenes/scenes_train.jsonl" |
        python3 -c 'import json, sys; [print(json.loads(line)["description"]) for line in sys.stdin]' >"$pairs/texts.txt"
    local images=("$scenes"/images/train/*.jpg)
    "$sightline" embed "$zoo/clip-tiny" -o "$pairs/images.npy" --images "${images[@]:0:$anchors}" >&2
    "$sightline" embed "$zoo/align-tiny" --texts-file "$pairs/texts.txt" -o "$pairs/texts.npy" >&2
    "$sightline" models asif build "$zoo/$name" --k $((anchors / 20)) --precision int8 --images "$pairs/images.npy" --texts "$pairs/texts.npy" \
        --image-encoder "$zoo/clip-tiny" --text-encoder "$zoo/align-tiny" >&2
}

mkdir -p "$zoo"
for name in "${names[@]}"; do
    echo "$name" >&2
    case $name in
        magic-tiny) magic ;;
        asif-tiny) asif "$name" 3000 ;;
        asif-1000-tiny) asif "$name" 1000 ;;
        asif-100-tiny) asif "$name" 100 ;;
        *) train "$name" ;;
    esac
done
du -sh "$zoo" >&2
