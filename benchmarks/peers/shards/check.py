"""Proves shards with the programs that read and write them elsewhere.

    check.py SIGHTLINE [--samples N] [--only NAME,…]

Makes samples, writes them with `webdataset`, converts them with `sightline shards convert` into every format,
and reads each with its own program from PyPI. Then every program that writes writes the same samples, and
`sightline` reads those. Count, keys and bytes of every sample must be equal. Prints a line for each
comparison and ends with 1 when one fails.
"""

import argparse
import io
import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tarfile
import tempfile
import traceback
from pathlib import Path

import training

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

CAPTIONS = ["a red circle", "", "ein Fuß – 犬 👩\u200d🚀", "line\nbreak\ttab", "all work and no play " * 300]


def make_samples(number):
    """Samples as (key, image, caption, metadata), the images real JPEGs."""
    from PIL import Image

    rng = random.Random(17)
    samples = []
    for i in range(number):
        size = rng.randrange(8, 40), rng.randrange(8, 40)
        image = Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=rng.randrange(50, 91))
        meta = {
            "url": f"http://a.example/{i}.jpg",
            "caption": CAPTIONS[i % len(CAPTIONS)],
            "width": size[0],
            "height": size[1],
            "score": rng.random(),
            "error_message": None,
            "tags": [str(i), "x"] if i % 3 else [],
        }
        samples.append((f"{i:09d}", out.getvalue(), CAPTIONS[i % len(CAPTIONS)], meta))
    return samples


class Bench:
    """The samples, the program, and a folder to work in."""

    def __init__(self, sightline, folder, number):
        self.sightline = sightline
        self.folder = folder
        self.samples = make_samples(number)
        self.source = folder / "source"
        self.failed = 0

    def run(self, *arguments):
        done = subprocess.run([self.sightline, *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"sightline {' '.join(map(str, arguments))}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def ours(self, to, source=None):
        """A folder of shards that `sightline` wrote in the format `to`."""
        out = self.folder / f"ours-{to}"
        if not out.exists():
            self.run("shards", "convert", source or self.source, "--to", to, "--out", out, "--samples-per-shard", 37)
        return out

    def back(self, folder, *more):
        """The samples that `sightline` reads from `folder`, by way of tar archives."""
        out = self.folder / f"back-{folder.name}"
        shutil.rmtree(out, ignore_errors=True)
        self.run("shards", "convert", folder, "--to", "webdataset", "--out", out, *more)
        return read_tars(out)

    def expected(self):
        return [(key, image, caption, meta) for key, image, caption, meta in self.samples]

    def same(self, name, found, fields=(0, 1, 2, 3)):
        """Compares samples field by field."""
        expected = [tuple(sample[i] for i in fields) for sample in self.samples]
        found = [tuple(sample[i] for i in fields) for sample in found]
        assert len(found) == len(expected), f"{len(found)} samples, {len(expected)} were written"
        for a, b in zip(found, expected):
            assert a == b, f"sample {b[0]} differs:\n{str(a)[:500]}\n{str(b)[:500]}"

    def check(self, name, act):
        try:
            note = act(self)
        except BaseException as error:  # also SystemExit, which some of the programs use
            self.failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}")
            traceback.print_exc(file=sys.stderr)
        else:
            print(f"equal   {name}: {len(self.samples)} samples{'; ' + note if note else ''}")
        sys.stdout.flush()


def read_tars(folder):
    """Samples of the tar archives in `folder`, by Python's own tarfile."""
    samples = []
    for path in sorted(folder.glob("*.tar")):
        current = {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, extension = member.name.split(".", 1)
                if key != current.get("key"):
                    current = {"key": key}
                    samples.append(current)
                current[extension] = tar.extractfile(member).read()
    return [sample_of(s["key"], s.get("jpg"), s.get("txt"), s.get("json")) for s in samples]


def sample_of(key, image, text, meta):
    return key, image, None if text is None else text.decode(), json.loads(meta or b"{}")


# What others read of what we wrote.


def webdataset_reads(bench, to="webdataset", pattern="*.tar"):
    import webdataset

    folder = bench.ours(to)
    urls = [str(path) for path in sorted(folder.glob(pattern))]
    assert len(urls) == -(-len(bench.samples) // 37)
    dataset = webdataset.WebDataset(urls, shardshuffle=False)
    bench.same("webdataset", [sample_of(s["__key__"], s["jpg"], s["txt"], s["json"]) for s in dataset])


def webdataset_reads_gz(bench):
    webdataset_reads(bench, "webdataset-gz", "*.tar.gz")


def zstd_reads(bench):
    import zstd

    folder = bench.ours("webdataset-zst")
    plain = bench.folder / "plain-zst"
    plain.mkdir(exist_ok=True)
    for path in folder.glob("*.tar.zst"):
        decompressed = subprocess.run(["zstd", "-dc", path], capture_output=True, check=False) if shutil.which("zstd") else None
        data = decompressed.stdout if decompressed and decompressed.returncode == 0 else unzstd(path.read_bytes())
        (plain / path.name.removesuffix(".zst")).write_bytes(data)
    bench.same("zstd", read_tars(plain))
    return f"zstd {zstd.version()}"


def unzstd(data):
    """A stream of frames that do not say their length, which Python's `zstd` does not read."""
    import pyarrow

    return pyarrow.input_stream(pyarrow.py_buffer(data), compression="zstd").read()


def wids_reads(bench):
    import wids

    folder = bench.ours("webdataset")
    bench.run("shards", "index", folder, "--kind", "wids", "--force")
    index = json.loads((folder / "index.wids.json").read_text())
    shards = [{**shard, "url": str(folder / shard["url"])} for shard in index["shardlist"]]
    dataset = wids.ShardListDataset(shards, cache_dir=str(bench.folder / "wids-cache"), keep=True, transformations=[])
    found = []
    for i in range(len(dataset)):
        sample = dataset[i]
        read = {k: v.read() if hasattr(v, "read") else v for k, v in sample.items()}
        found.append(sample_of(read["__key__"], read[".jpg"], read[".txt"], read[".json"]))
    bench.same("wids", found)


def streaming_reads(bench, to="mds"):
    import streaming

    folder = bench.ours(to)
    streaming.base.util.clean_stale_shared_memory()
    dataset = streaming.StreamingDataset(local=str(folder), shuffle=False, batch_size=1)
    found = []
    for i in range(len(dataset)):
        s = dataset[i]
        assert s["image_format"] == "jpg"
        found.append((s["key"], bytes(s["image"]), s["txt"], s["json"]))
    bench.same("streaming", found)
    return f"mosaicml-streaming {streaming.__version__}"


def streaming_reads_zstd(bench):
    # `streaming` decompresses into the folder.
    return streaming_reads(bench, "mds-zstd")


def litdata_reads(bench, to="litdata"):
    import litdata

    folder = bench.ours(to)
    dataset = litdata.StreamingDataset(str(folder), shuffle=False)
    found = []
    for i in range(len(dataset)):
        s = dataset[i]
        found.append((s["key"], bytes(s["image"]), s["txt"], json.loads(s["json"])))
    bench.same("litdata", found)
    return f"litdata {litdata.__version__}"


def litdata_reads_zstd(bench):
    return litdata_reads(bench, "litdata-zstd")


def datasets_reads(bench):
    import datasets

    folder = bench.ours("parquet")
    files = [str(path) for path in sorted(folder.glob("*.parquet"))]
    dataset = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(bench.folder / "hf"))
    assert isinstance(dataset.features["image"], datasets.Image), dataset.features
    assert dataset[0]["image"].size == (dataset[0]["width"], dataset[0]["height"]), dataset[0]
    raw = dataset.cast_column("image", datasets.Image(decode=False))
    found = []
    for s in raw:
        meta = json.loads(s["json"]) if s["json"] is not None else None
        if meta is None:
            raise AssertionError("rows with lists have their metadata in `json`")
        assert s["image"]["path"] == s["key"] + ".jpg"
        assert (s["url"], s["width"], s["score"]) == (meta["url"], meta["width"], meta["score"])
        found.append((s["key"], s["image"]["bytes"], s["captions"][0], meta))
    bench.same("datasets", found)
    return f"datasets {datasets.__version__}"


def datasets_reads_different_metadata(bench):
    """Shards whose metadata have other fields, or values of other types, and one without samples, are one dataset."""
    import datasets

    folder = bench.folder / "different"
    folder.mkdir()
    metas = [{"n": 1, "lang": "de"}, {"n": 0.5, "width": 3}, {"lang": "en", "n": 2}]
    for number, meta in enumerate(metas):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            data = json.dumps(meta).encode()
            member = tarfile.TarInfo(f"{number}.json")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    tarfile.open(folder / "00003.tar", "w").close()
    out = bench.folder / "different-parquet"
    bench.run("shards", "convert", folder, "--to", "parquet", "--out", out)
    files = [str(path) for path in sorted(out.glob("*.parquet"))]
    dataset = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(bench.folder / "hf-different"))
    found = [json.loads(s["json"]) if s["json"] else {"n": s["n"], "lang": s["lang"]} for s in dataset]
    assert found == metas and len(files) == 4, (found, files)
    return f"{len(files)} shards"


def pyarrow_reads(bench):
    import pyarrow
    import pyarrow.parquet

    found = []
    for path in sorted(bench.ours("parquet").glob("*.parquet")):
        for s in pyarrow.parquet.read_table(path, page_checksum_verification=True).to_pylist():
            found.append((s["key"], s["image"]["bytes"], s["captions"][0], json.loads(s["json"])))
    bench.same("pyarrow", found)
    return f"pyarrow {pyarrow.__version__}"


def records(path):
    """Records of a TFRecord file, both checksums of each checked by another implementation than ours."""
    import crc32c

    def masked(data):
        crc = crc32c.crc32c(data)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    with open(path, "rb") as file:
        while head := file.read(12):
            (length,) = struct.unpack("<Q", head[:8])
            assert struct.unpack("<I", head[8:])[0] == masked(head[:8])
            data = file.read(length)
            assert struct.unpack("<I", file.read(4))[0] == masked(data)
            yield data


def tfrecord_reads(bench):
    import tfrecord

    found = []
    for path in sorted(bench.ours("tfrecord").glob("*.tfrecord")):
        loaded = list(tfrecord.tfrecord_loader(str(path), None))
        assert len(loaded) == sum(1 for _ in records(path))
        for s in loaded:
            text = {k: bytes(s[k]) for k in ("key", "jpg", "txt", "json")}
            meta = json.loads(text["json"])
            assert bytes(s["url"]).decode() == meta["url"] and s["width"][0] == meta["width"]
            found.append((text["key"].decode(), text["jpg"], text["txt"].decode(), meta))
    bench.same("tfrecord", found)


def energon_reads(bench):
    from megatron.energon import WorkerConfig, get_train_dataset, get_loader
    from megatron.energon.cache.file_store import WebdatasetFileStore
    from megatron.energon.epathlib import EPath
    from megatron.energon.flavors.webdataset.prepare import WebdatasetPreparator

    ours = bench.folder / "energon-ours"
    theirs = bench.folder / "energon-theirs"
    for folder in (ours, theirs):
        shutil.copytree(bench.ours("webdataset"), folder, ignore=shutil.ignore_patterns("*.json"))
    bench.run("shards", "index", ours, "--kind", "energon")
    names = sorted(path.name for path in ours.glob("*.tar"))
    WebdatasetPreparator.prepare_dataset(theirs, names, split_parts_ratio=[("train", 1.0)], workers=1)
    for name in names:
        index = name + ".idx"
        assert (ours / index).read_bytes() == (theirs / index).read_bytes(), index
    tables = []
    for folder in (ours, theirs):
        database = sqlite3.connect(folder / ".nv-meta" / "index.sqlite")
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        schema = database.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY name").fetchall()
        rows = [database.execute(f"SELECT * FROM {t} ORDER BY 1, 2, 3").fetchall() for t in ("samples", "sample_parts")]
        tables.append((schema, rows))
    assert tables[0] == tables[1], "index.sqlite differs from Energon's own"
    infos = [json.loads((folder / ".nv-meta" / ".info.json").read_text()) for folder in (ours, theirs)]
    assert infos[0]["shard_counts"] == infos[1]["shard_counts"], infos
    store = WebdatasetFileStore(EPath(ours))
    found = []
    for key, *_ in bench.samples:
        parts = [bytes(store[f"{key}.{extension}"][0]) for extension in ("jpg", "txt", "json")]
        found.append(sample_of(key, *parts))
    bench.same("energon", found)
    workers = WorkerConfig(rank=0, world_size=1, num_workers=0)
    dataset = get_train_dataset(
        ours, worker_config=workers, batch_size=1, shuffle_buffer_size=None, max_samples_per_sequence=None, repeat=False
    )
    captions = sorted(batch.caption[0] for batch in get_loader(dataset))
    assert captions == sorted(caption for _, _, caption, _ in bench.samples)
    return "index.sqlite and every .tar.idx equal to those that Energon makes"


def files_reads(bench):
    folder = bench.ours("files")
    found = []
    for path in sorted(folder.glob("*/*.jpg")):
        stem = path.with_suffix("")
        text, meta = (stem.with_suffix(e).read_bytes() for e in (".txt", ".json"))
        found.append(sample_of(path.stem, path.read_bytes(), text, meta))
    bench.same("files", found)


# What we read of what others wrote.


def webdataset_wrote(bench):
    bench.same("tars", bench.back(bench.source))


def webdataset_wrote_gz(bench):
    import webdataset

    folder = bench.folder / "theirs-gz"
    folder.mkdir()
    with webdataset.TarWriter(str(folder / "00000.tar.gz"), compress="gz") as writer:
        for key, image, caption, meta in bench.samples:
            writer.write({"__key__": key, "jpg": image, "txt": caption, "json": meta})
    bench.same("tar.gz", bench.back(folder))


def streaming_wrote(bench, compression=None):
    import streaming

    folder = bench.folder / f"theirs-mds-{compression}"
    columns = {
        "__key__": "str", "jpg": "jpeg", "caption": "str", "meta": "json", "width": "int", "score": "float64",
        "small": "uint8", "big": "str_int", "vector": "ndarray:float32",
    }
    import numpy

    with streaming.MDSWriter(
        out=str(folder), columns=columns, compression=compression, size_limit=1 << 16, hashes=["sha1"]
    ) as out:
        for i, (key, image, caption, meta) in enumerate(bench.samples):
            out.write({
                "__key__": key, "jpg": image, "caption": caption, "meta": meta, "width": meta["width"],
                "score": meta["score"], "small": i % 256, "big": 10**15 + i, "vector": numpy.ones(3, numpy.float32),
            })
    shards = sorted(folder.glob("*.mds*"))
    assert len(shards) > 1
    found = bench.back(folder)
    bench.same("MDS", found, (0, 1, 2))
    for i, (sample, (_, _, _, meta)) in enumerate(zip(found, bench.samples)):
        expected = {"meta": meta, "width": meta["width"], "score": meta["score"], "small": i % 256, "big": 10**15 + i}
        assert sample[3] == expected, (sample[3], expected)
    # The list of shards that we make of theirs is the one they made.
    theirs = json.loads((folder / "index.json").read_text())
    bench.run("shards", "index", folder, "--kind", "mds", "--force")
    ours = json.loads((folder / "index.json").read_text())
    for a, b in zip(ours["shards"], theirs["shards"], strict=True):
        for data in (b["raw_data"], b["zip_data"] or {}):
            data["hashes"] = {}
        if data := b["zip_data"]:
            data.setdefault("hashes", {})
            if not data.get("basename"):
                b["zip_data"] = None
        assert a == b, (a, b)
    return "index.json equal"


def streaming_wrote_zstd(bench):
    return streaming_wrote(bench, "zstd:7")


def litdata_wrote(bench, name="plain", plain_rows=False, **options):
    """`plain_rows`: without media types, which litData stores as Arrow batches."""
    import litdata
    from litdata.streaming.cache import Cache
    from litdata.types import Jpeg

    folder = bench.folder / f"theirs-litdata-{name}"
    cache = Cache(str(folder), chunk_bytes=1 << 16, **options)
    for i, (key, image, caption, meta) in enumerate(bench.samples):
        image = image if plain_rows else Jpeg(bytes=image)
        cache[i] = {
            "key": key, "image": image, "caption": caption, "width": meta["width"], "score": meta["score"], "flag": True, "tags": meta["tags"],
        }
    cache.done()
    cache.merge()
    chunks = sorted(folder.glob("*.bin"))
    assert chunks, folder
    for chunk in chunks:
        data = chunk.read_bytes()
        form = "arrow" if data.endswith(b"LDARW01\0") else "batches" if data.startswith(b"LDFZ") else "items"
        expected = "arrow" if plain_rows else "batches" if name == "batches" else "items"
        assert form == expected, (chunk, form, expected)
    found = bench.back(folder)
    bench.same("litdata", found, (0, 1, 2))
    for sample, (_, _, _, meta) in zip(found, bench.samples):
        expected = {"width": meta["width"], "score": meta["score"], "flag": True, "tags": meta["tags"]}
        assert sample[3] == expected, sample[3]
    return f"litdata {litdata.__version__}, {len(chunks)} chunks"


def tree(number):
    from litdata.types import Jpeg

    image = Jpeg(bytes=b"\xff\xd8\xff")
    return {"key": f"s{number}", "caption": f"c{number}", "exif": {"model": "X", "lens": {"mm": number}}, "image": image}


def litdata_wrote_trees(bench):
    import litdata

    folder = bench.folder / "theirs-litdata-trees"
    litdata.optimize(fn=tree, inputs=list(range(4)), output_dir=str(folder), chunk_bytes="10MB", num_workers=1)
    lines = bench.run("shards", "read", folder, "--to", "jsonl", "--no-shuffle", "--lanes", 1).splitlines()
    found = [json.loads(line) for line in lines]
    expected = [(f"s{i}", [f"c{i}"], {"exif.model": "X", "exif.lens.mm": i}) for i in range(4)]
    assert [(s["key"], s["captions"], s["meta"]) for s in found] == expected, found
    return "dictionaries in dictionaries"


def litdata_wrote_zstd(bench):
    return litdata_wrote(bench, "zstd", compression="zstd", compression_level="chunk")


def litdata_wrote_batches(bench):
    return litdata_wrote(bench, "batches", compression="zstd", compression_batch_size=7)


def litdata_wrote_compressed_items(bench):
    return litdata_wrote(bench, "items", compression="zstd", compression_level="sample")


def litdata_wrote_rows(bench):
    return litdata_wrote(bench, "rows", plain_rows=True)


def litdata_wrote_compressed_rows(bench):
    """Images make it leave the batches as they are, so these are rows of text."""
    import litdata
    from litdata.streaming.cache import Cache

    folder = bench.folder / "theirs-litdata-rows-zstd"
    cache = Cache(str(folder), chunk_bytes=1 << 20, compression="zstd")
    rows = [{"key": f"s{i}", "caption": "the same words " * (i % 50), "list": [{"n": i, "x": 0.5}] * (i % 3)} for i in range(600)]
    for i, row in enumerate(rows):
        cache[i] = row
    cache.done()
    cache.merge()
    config = json.loads((folder / "index.json").read_text())["config"]
    assert config["ipc_compression"] == "zstd", config
    lines = bench.run("shards", "read", folder, "--to", "jsonl", "--no-shuffle", "--lanes", 1).splitlines()
    found = [json.loads(line) for line in lines]
    assert [s["key"] for s in found] == [row["key"] for row in rows]
    assert [s["captions"] for s in found] == [[row["caption"]] for row in rows]
    assert [s["meta"] for s in found] == [{"list": row["list"]} for row in rows]
    return f"litdata {litdata.__version__}, {len(rows)} rows"


def datasets_wrote(bench):
    import datasets

    folder = bench.folder / "theirs-datasets"
    folder.mkdir()
    rows = {
        "key": [s[0] for s in bench.samples],
        "image": [{"bytes": s[1], "path": None} for s in bench.samples],
        "text": [s[2] for s in bench.samples],
        "url": [s[3]["url"] for s in bench.samples],
        "score": [s[3]["score"] for s in bench.samples],
        "tags": [s[3]["tags"] for s in bench.samples],
    }
    features = datasets.Features({
        "key": datasets.Value("string"), "image": datasets.Image(), "text": datasets.Value("string"),
        "url": datasets.Value("string"), "score": datasets.Value("float64"), "tags": [datasets.Value("string")],
    })
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "00000.parquet"), batch_size=17)
    found = bench.back(folder)
    bench.same("datasets", found, (0, 1, 2))
    for sample, (_, _, _, meta) in zip(found, bench.samples):
        assert sample[3] == {k: meta[k] for k in ("url", "score", "tags")}, sample[3]


def pyarrow_wrote(bench):
    import pyarrow
    import pyarrow.parquet

    folder = bench.folder / "theirs-pyarrow"
    folder.mkdir()
    table = pyarrow.table({
        "key": [s[0] for s in bench.samples],
        "url": pyarrow.array([s[3]["url"] for s in bench.samples]).dictionary_encode(),
        "caption": [s[2] for s in bench.samples],
        "width": pyarrow.array([s[3]["width"] for s in bench.samples], pyarrow.int32()),
        "error_message": pyarrow.nulls(len(bench.samples), pyarrow.string()),
        "jpg": pyarrow.array([s[1] for s in bench.samples], pyarrow.binary()),
    })
    # The columns of img2dataset, then other encodings.
    variants = {
        "snappy": {},
        "zstd": {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 10},
        "gzip": {"compression": "gzip", "use_dictionary": False, "write_page_checksum": True},
        "delta": {
            "use_dictionary": False,
            "column_encoding": {"width": "DELTA_BINARY_PACKED", "key": "DELTA_BYTE_ARRAY", "jpg": "DELTA_LENGTH_BYTE_ARRAY"},
        },
    }
    for name, options in variants.items():
        path = folder / f"{name}.parquet"
        pyarrow.parquet.write_table(table, path, **options)
        out = bench.folder / f"back-pyarrow-{name}"
        bench.run("shards", "convert", path, "--to", "webdataset", "--out", out)
        found = read_tars(out)
        bench.same(name, found, (0, 1, 2))
        for sample, (_, _, _, meta) in zip(found, bench.samples):
            assert sample[3] == {"url": meta["url"], "width": meta["width"], "error_message": None}, sample[3]
    return ", ".join(variants)


def pyarrow_wrote_times(bench):
    """Points in time are texts with the digits of their unit, and the zone where they have one."""
    import datetime

    import pyarrow
    import pyarrow.parquet

    folder = bench.folder / "theirs-pyarrow-times"
    folder.mkdir()
    time = datetime.datetime(2026, 11, 27, 8, 30, 5, 125_000)
    columns = {"key": ["a"], "caption": ["c"]}
    expected = {}
    for unit, digits in (("ms", 3), ("us", 6), ("ns", 9)):
        for zone, suffix in ((None, ""), ("UTC", "+00:00")):
            name = f"{unit}-{zone}"
            columns[name] = pyarrow.array([time], pyarrow.timestamp(unit, zone))
            expected[name] = "2026-11-27 08:30:05." + "125".ljust(digits, "0") + suffix
    columns["list"] = pyarrow.array([[time]], pyarrow.list_(pyarrow.timestamp("ns")))
    expected["list"] = [expected["ns-None"]]
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "00000.parquet")
    line = bench.run("shards", "read", folder, "--to", "jsonl", "--no-shuffle", "--lanes", 1)
    meta = json.loads(line)["meta"]
    assert meta == expected, meta
    return ", ".join(expected)


def tfrecord_wrote(bench):
    import tfrecord

    folder = bench.folder / "theirs-tfrecord"
    folder.mkdir()
    writer = tfrecord.TFRecordWriter(str(folder / "00000.tfrecord"))
    for key, image, caption, meta in bench.samples:
        writer.write({
            "key": (key.encode(), "byte"), "jpg": (image, "byte"), "txt": (caption.encode(), "byte"),
            "url": (meta["url"].encode(), "byte"), "width": (meta["width"], "int"), "half": (0.5, "float"),
            "box": ([1, 2, 3], "int"),
        })
    writer.close()
    found = bench.back(folder)
    bench.same("tfrecord", found, (0, 1, 2))
    for sample, (_, _, _, meta) in zip(found, bench.samples):
        expected = {"url": meta["url"], "width": meta["width"], "half": 0.5, "box": [1, 2, 3]}
        assert sample[3] == expected, sample[3]


def files_wrote(bench):
    """Files as img2dataset lays them out, without a list."""
    folder = bench.folder / "theirs-files" / "00000"
    folder.mkdir(parents=True)
    for key, image, caption, meta in bench.samples:
        (folder / f"{key}.jpg").write_bytes(image)
        (folder / f"{key}.txt").write_text(caption, encoding="utf-8", newline="")
        (folder / f"{key}.json").write_text(json.dumps(meta, indent=4), encoding="utf-8")
    bench.same("files", bench.back(folder, "--format", "files"))


# What others find in what we hash.


def photos(limit=60):
    """Real photographs where the fixtures are there, else drawings."""
    from PIL import Image, ImageDraw

    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("SIGHTLINE_FIXTURES", root.parent / "shared" / "fixtures")) / "images"
    files = sorted(folder.glob("*.jpg"))[:limit]
    if files:
        return [Image.open(file).convert("RGB") for file in files]
    rng = random.Random(5)
    drawn = []
    for _ in range(limit):
        image = Image.new("RGB", (rng.randrange(80, 400), rng.randrange(80, 400)), tuple(rng.randbytes(3)))
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            x, y = rng.randrange(image.width), rng.randrange(image.height)
            draw.ellipse((x, y, x + rng.randrange(10, 150), y + rng.randrange(10, 150)), fill=tuple(rng.randbytes(3)))
        drawn.append(image)
    return drawn


def variants(image):
    """Files that look like `image`, more or less."""
    small = image.resize((max(1, image.width // 3), max(1, image.height // 3)))
    cut = image.crop((0, 0, max(1, image.width * 19 // 20), image.height))
    for variant, format, options in (
        (image, "JPEG", {"quality": 90}), (image, "JPEG", {"quality": 30}), (small, "PNG", {}),
        (image.convert("L"), "PNG", {}), (cut, "JPEG", {"quality": 80}), (image, "WEBP", {"quality": 50}),
    ):
        file = io.BytesIO()
        variant.save(file, format, **options)
        yield {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}[format], file.getvalue()


def imagehash_finds_the_same(bench):
    """Duplicates by perceptual hash: those that ImageHash gives, sample by sample, with their distances."""
    import imagehash
    from PIL import Image

    source = bench.folder / "looks"
    source.mkdir(exist_ok=True)
    hashes = []
    with tarfile.open(source / "00000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        files = [file for image in photos() for file in variants(image)]
        random.Random(3).shuffle(files)
        for i, (extension, data) in enumerate(files):
            member = tarfile.TarInfo(f"{i:06d}.{extension}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            hashes.append((f"{i:06d}", imagehash.phash(Image.open(io.BytesIO(data)))))
    left_out = 0
    for distance in (0, 2, 4, 10, 16):
        kept, expected = [], {}
        for key, found in hashes:
            near = next(((other, found - value) for other, value in kept if found - value <= distance), None)
            if near is None:
                kept.append((key, found))
            else:
                expected.setdefault(near[0], []).append((key, int(near[1])))
        report = bench.folder / "looks.json"
        bench.run("shards", "dedup", source, "--by", "phash", "--distance", distance, "--report", report, "--dry-run")
        groups = json.loads(report.read_text())["groups"]
        ours = {g["kept"]["key"]: [(m["key"], m["distance"]) for m in g["left_out"]] for g in groups}
        assert ours == expected, f"distance {distance}: {ours}\n{expected}"
        left_out = sum(map(len, expected.values()))
    assert left_out > len(hashes) // 3, left_out
    return f"{len(hashes)} files, ImageHash {imagehash.__version__}"


CHECKS = {
    "ImageHash finds the same duplicates": imagehash_finds_the_same,
    "webdataset reads ours": webdataset_reads,
    "webdataset reads ours (gz)": webdataset_reads_gz,
    "zstd and tarfile read ours (zst)": zstd_reads,
    "wids reads ours": wids_reads,
    "energon reads ours": energon_reads,
    "streaming reads ours": streaming_reads,
    "streaming reads ours (zstd)": streaming_reads_zstd,
    "litdata reads ours": litdata_reads,
    "litdata reads ours (zstd)": litdata_reads_zstd,
    "datasets reads ours": datasets_reads,
    "datasets reads ours, of different metadata": datasets_reads_different_metadata,
    "pyarrow reads ours": pyarrow_reads,
    "tfrecord and crc32c read ours": tfrecord_reads,
    "files are ours": files_reads,
    "we read webdataset's": webdataset_wrote,
    "we read webdataset's (gz)": webdataset_wrote_gz,
    "we read streaming's": streaming_wrote,
    "we read streaming's (zstd)": streaming_wrote_zstd,
    "we read litdata's": litdata_wrote,
    "we read litdata's (zstd)": litdata_wrote_zstd,
    "we read litdata's (batches)": litdata_wrote_batches,
    "we read litdata's (compressed items)": litdata_wrote_compressed_items,
    "we read litdata's (Arrow)": litdata_wrote_rows,
    "we read litdata's (Arrow, zstd)": litdata_wrote_compressed_rows,
    "we read litdata's trees": litdata_wrote_trees,
    "we read datasets'": datasets_wrote,
    "we read pyarrow's": pyarrow_wrote,
    "we read pyarrow's times": pyarrow_wrote_times,
    "we read tfrecord's": tfrecord_wrote,
    "we read img2dataset's files": files_wrote,
    **training.CHECKS,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sightline")
    parser.add_argument("--samples", type=int, default=111)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", help="work in this folder and leave it")
    args = parser.parse_args()
    import webdataset

    folder = Path(args.keep or tempfile.mkdtemp(prefix="sightline-peers-"))
    try:
        bench = Bench(os.path.abspath(args.sightline), folder, args.samples)
        bench.source.mkdir(parents=True)
        with webdataset.ShardWriter(str(bench.source / "%05d.tar"), maxcount=40, verbose=0) as writer:
            for key, image, caption, meta in bench.samples:
                writer.write({"__key__": key, "jpg": image, "txt": caption, "json": meta})
        for name, act in CHECKS.items():
            if args.only in name:
                bench.check(name, act)
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{bench.failed} of {len(CHECKS)} comparisons failed" if bench.failed else "all comparisons are equal")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
