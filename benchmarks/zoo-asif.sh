#!/usr/bin/env bash
# The ASIF models of the tiny zoo: nothing is trained, pairs of scenes and their descriptions become anchors between two encoders.
#
#   benchmarks/zoo-asif.sh SIGHTLINE ZOO IMAGE_ENCODER TEXT_ENCODER
#
# The encoders are folders of the zoo that know nothing of each other: two models that embed, trained apart.
set -euo pipefail

sightline=$1 zoo=$2 image_encoder=$3 text_encoder=$4
work=out/zoo-asif
scenes=8000

"$sightline" synth scenes --out "$work/scenes" --train "$scenes" --val 1 --test 1 --max-objects 2
python3 - "$work" <<'PYTHON'
import json
import sys

work = sys.argv[1]
with open(f"{work}/scenes/annotations/descriptions_train.json") as file:
    captions = [entry["caption"] for entry in json.load(file)["annotations"]]
with open(f"{work}/texts.txt", "w") as file:
    file.writelines(caption + "\n" for caption in captions)
PYTHON

images=("$work"/scenes/images/train/*)
for anchors in 100 1000 "$scenes"; do
    name=asif-$anchors-tiny
    [ "$anchors" = "$scenes" ] && name=asif-tiny
    head -n "$anchors" "$work/texts.txt" >"$work/some.txt"
    "$sightline" embed "$image_encoder" --images "${images[@]:0:$anchors}" --out "$work/images.npy" --force
    "$sightline" embed "$text_encoder" --texts-file "$work/some.txt" --out "$work/texts.npy" --force
    rm -rf "${zoo:?}/$name"
    "$sightline" models asif build "$zoo/$name" --images "$work/images.npy" --texts "$work/texts.npy" \
        --image-encoder "$image_encoder" --text-encoder "$text_encoder" --k 50 --p 8
done
