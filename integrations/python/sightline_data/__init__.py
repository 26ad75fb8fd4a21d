"""Samples of shards for training, read by the program `sightline`.

    import sightline_data

    dataset = sightline_data.Dataset("shards", batch_size=64, decode=to_tensors, seed=17)
    loader = sightline_data.Loader(dataset, num_workers=4)
    for epoch in range(loader.epoch, 10):
        loader.set_epoch(epoch)
        for batch in loader:
            train(batch)
            save(loader.state_dict())        # about 200 bytes, at any time

Every sample is read once in an epoch, every rank reads equally many (`remainder` says what becomes of the few that are left over), and `load_state_dict`
goes on after any batch, **with any other number of ranks and workers**. Nothing but Python's own library is needed; with torch there are
`Dataset`, an `IterableDataset`, and `Loader`. `read` and `samples` work without.

The order is `sightline`'s to make (docs/shards.md); here its stream is read and its cursor kept. Rank and number of ranks are those of `torch.distributed`
where that is initialised, else those of the environment (`RANK`, `WORLD_SIZE`), else one.
"""

import json
import os
import subprocess
import tempfile

__all__ = ["Dataset", "Loader", "SightlineError", "Stream", "plan", "read", "samples"]

_BLOCK = 512
_IMAGES = {"jpg", "jpeg", "png", "webp", "gif", "bmp", "tiff", "ppm"}


class SightlineError(RuntimeError):
    """What the program said when it failed."""


def samples(stream):
    """The samples of a stream as `sightline shards read` writes it: dictionaries of `key`, `image` (bytes or None), `image_format`, `captions`
    (a list) and `meta` (a dictionary)."""
    current = None
    while True:
        header = _exactly(stream, _BLOCK)
        if not header.strip(b"\0"):
            break
        name = header[:100].rstrip(b"\0").decode()
        length = int(header[124:136].rstrip(b"\0 ") or b"0", 8)
        data = _exactly(stream, length)
        _exactly(stream, -length % _BLOCK)
        key, _, extension = name.rpartition(".")
        if current is None or current["key"] != key:
            if current is not None:
                yield _whole(current)
            current = {"key": key, "image": None, "image_format": None, "text": None, "meta": {}}
        if extension == "json":
            current["meta"] = json.loads(data)
        elif extension == "txt":
            current["text"] = data.decode()
        elif extension in _IMAGES:
            current["image"], current["image_format"] = data, extension
    if current is not None:
        yield _whole(current)
    # What fills the last record, so that the program is never cut short.
    while stream.read(1 << 16):
        pass


def _whole(sample):
    text = sample.pop("text")
    captions = sample["meta"].get("captions")
    if isinstance(captions, list) and captions and all(isinstance(caption, str) for caption in captions):
        del sample["meta"]["captions"]
        sample["captions"] = captions
    else:
        sample["captions"] = [] if text is None else [text]
    return sample


def _exactly(stream, length):
    data = stream.read(length) if length else b""
    if len(data) != length:
        raise EOFError("the stream ends within a sample")
    return data


class Stream:
    """A process of `sightline shards read` and the samples that it writes. Leaving it early ends the process."""

    def __init__(self, shards, program="sightline", **options):
        # stderr goes to a file, so that a full pipe never stops the process.
        self._messages = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            _command(program, shards, options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            bufsize=1 << 20,
        )
        self._samples = samples(self._process.stdout)

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self._samples)
        except StopIteration:
            if self._process.wait() != 0:
                raise self._failure() from None
            raise
        except (EOFError, ValueError) as error:
            self._process.stdout.close()
            self._process.wait()
            raise self._failure() from error

    def _failure(self):
        self._messages.seek(0)
        said = self._messages.read().decode(errors="replace").strip()
        return SightlineError(f"sightline ended with {self._process.returncode}: {said}")

    def close(self):
        """Ends the process."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.stdout.close()
        self._process.wait()
        self._messages.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_process", None) is not None and not self._process.stdout.closed:
            self.close()


def read(shards, **options):
    """The samples of `shards`, for one rank and worker: `read("shards", seed=1, epoch=2, rank=0, world=4, worker=1, workers=2)`. Options are those
    of `sightline shards read`, with `_` for `-`; `cursor` may be a dictionary."""
    with Stream(shards, **options) as stream:
        yield from stream


def plan(shards, program="sightline", **options):
    """What `read` with the same options would read: numbers of samples, and the cursor of its beginning."""
    done = subprocess.run(_command(program, shards, {**options, "plan": True}), capture_output=True, check=False)
    if done.returncode != 0:
        raise SightlineError(f"sightline ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return json.loads(done.stdout)


def _command(program, shards, options):
    command = [*([program] if isinstance(program, (str, os.PathLike)) else program), "shards", "read", str(shards)]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            command.append(flag)
        elif isinstance(value, dict):
            command += [flag, json.dumps(value)]
        elif value is not None and value is not False:
            command += [flag, str(value)]
    return command


def _distributed():
    """This rank and the number of ranks."""
    try:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
    except ImportError:
        pass
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


try:
    from torch.utils.data import IterableDataset as _IterableDataset
except ImportError:
    _IterableDataset = object


class Dataset(_IterableDataset):
    """An epoch of `shards` as a torch `IterableDataset`, each sample passed through `decode`.

    `batch_size` must be that of the loader: workers take turns in batches, which is how torch's loader asks them. The other options are those of
    `sightline shards read`: `seed`, `no_shuffle`, `lanes`, `window`, `remainder` ("pad" or "drop"), `cache`, `cache_size`, `ahead`, `threads`,
    `format`. `rank` and `world` are found out where they are not given.
    """

    def __init__(self, shards, batch_size=1, decode=None, program="sightline", rank=None, world=None, epoch=0, **options):
        super().__init__()
        self.shards = shards
        self.batch_size = batch_size
        self.decode = decode
        self.program = program
        self._rank, self._world = rank, world
        self._options = options
        self._cursor = None
        self._plan = None
        self._epoch = epoch

    @property
    def epoch(self):
        return self._epoch if self._cursor is None else self._cursor["epoch"]

    def rank_and_world(self):
        rank, world = _distributed()
        return rank if self._rank is None else self._rank, world if self._world is None else self._world

    def set_epoch(self, epoch):
        """Reads the epoch `epoch` from its beginning, unless it is the one that `load_state_dict` has put it into."""
        if epoch != self.epoch:
            self.cursor()
            self._cursor = {**self._cursor, "epoch": epoch, "sample": 0}
            self._plan = None

    def cursor(self):
        """Where the next iteration begins."""
        if self._cursor is None:
            order = {name: self._options[name] for name in ("seed", "no_shuffle", "lanes", "window") if name in self._options}
            common = {name: self._options[name] for name in ("format",) if name in self._options}
            self._cursor = plan(self.shards, self.program, epoch=self._epoch, **order, **common)["cursor"]
        return self._cursor

    def _share(self):
        rank, world = self.rank_and_world()
        options = {name: value for name, value in self._options.items() if name not in ("seed", "no_shuffle", "lanes", "window")}
        return {**options, "cursor": self.cursor(), "rank": rank, "world": world, "batch_size": self.batch_size}

    def plan(self):
        """What is left of the epoch, as `sightline shards read --plan` says it."""
        share = self._share()
        if self._plan is None or self._plan[0] != share:
            self._plan = share, plan(self.shards, self.program, **share)
        return self._plan[1]

    def __len__(self):
        """Samples that this rank has left in the epoch."""
        return self.plan()["samples_of_rank"]

    def __iter__(self):
        worker, workers = 0, 0
        if _IterableDataset is not object:
            from torch.utils.data import get_worker_info

            info = get_worker_info()
            if info is not None:
                worker, workers = info.id, info.num_workers
        with Stream(self.shards, self.program, **self._share(), worker=worker, workers=workers) as stream:
            for sample in stream:
                yield sample if self.decode is None else self.decode(sample)

    def state_dict(self, taken=0):
        """Where reading stands after every rank has taken `taken` samples of this iteration (only who takes them knows: `Loader` counts)."""
        cursor = dict(self.cursor())
        _, world = self.rank_and_world()
        if taken:
            # The last batch may pad; behind the last sample is the end of the epoch.
            cursor["sample"] = min(cursor["sample"] + taken * world, self.plan()["samples"])
        return {"version": 1, "cursor": cursor}

    def load_state_dict(self, state):
        """Goes on where `state` stands, whatever the number of ranks and workers was."""
        if state.get("version") != 1:
            raise ValueError(f"a state of version {state.get('version')}, known is 1")
        self._cursor = dict(state["cursor"])
        self._plan = None


class Loader:
    """torch's `DataLoader` over a `Dataset`, which knows how far it has come. `options` are those of `DataLoader`."""

    def __init__(self, dataset, **options):
        from torch.utils.data import DataLoader

        if options.setdefault("batch_size", dataset.batch_size) != dataset.batch_size:
            raise ValueError("the batch size of the loader must be that of the dataset")
        if options.get("persistent_workers"):
            raise ValueError("workers that stay would go on with the epoch that they began with")
        self.dataset = dataset
        self._loader = DataLoader(dataset, **options)
        self._drop_last = options.get("drop_last", False)
        self._taken = 0

    @property
    def epoch(self):
        return self.dataset.epoch

    def set_epoch(self, epoch):
        """Begins the epoch `epoch`, or goes on with it after `load_state_dict`."""
        if epoch != self.dataset.epoch:
            self._taken = 0
        self.dataset.set_epoch(epoch)

    def __len__(self):
        """Batches that are left when an iteration begins."""
        left, size = len(self.dataset), self.dataset.batch_size
        return left // size if self._drop_last else -(-left // size)

    def __iter__(self):
        # Whoever breaks off and begins again goes on after the last batch that was taken.
        if self._taken:
            self.load_state_dict(self.state_dict())
        left = len(self.dataset)
        for batch in self._loader:
            self._taken = min(self._taken + self.dataset.batch_size, left)
            yield batch
        # What `drop_last` left out belongs to the epoch all the same.
        self._taken = left

    def state_dict(self):
        """Where training stands after the batches that were taken."""
        return self.dataset.state_dict(self._taken)

    def load_state_dict(self, state):
        self.dataset.load_state_dict(state)
        self._taken = 0
