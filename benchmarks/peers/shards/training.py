"""Reading for training: `sightline shards read` under torch's DataLoader and under webdataset, in runs that stop and go on."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "integrations" / "python"))

BATCH = 7


def key_of(sample):
    return sample["key"]


def loaders(bench, world, workers, state=None, **options):
    """A loader for each of `world` ranks."""
    import sightline_data

    made = []
    for rank in range(world):
        dataset = sightline_data.Dataset(
            bench.source, BATCH, key_of, bench.sightline, rank=rank, world=world, seed=3, lanes=4, window=2, **options
        )
        loader = sightline_data.Loader(dataset, num_workers=workers, collate_fn=list)
        if state is not None:
            loader.load_state_dict(state)
        made.append(loader)
    return made


def expected(bench):
    return sorted(key for key, *_ in bench.samples)


def torch_reads(bench):
    """Every sample once in an epoch, ranks equally many, workers without a say in the order, epochs different."""
    orders = []
    for world, workers in [(1, 0), (1, 2), (2, 2), (3, 1)]:
        ranks = [[key for batch in loader for key in batch] for loader in loaders(bench, world, workers)]
        assert len({len(rank) for rank in ranks}) == 1, [len(rank) for rank in ranks]
        turns = [key for turn in zip(*ranks) for key in turn][: len(bench.samples)]
        orders.append(turns)
        assert sorted(turns) == expected(bench), f"{world} ranks, {workers} workers"
    assert all(order == orders[0] for order in orders), "the order depends on ranks or workers"
    (loader,) = loaders(bench, 1, 2)
    assert len(loader) == -(-len(bench.samples) // BATCH)
    loader.set_epoch(1)
    second = [key for batch in loader for key in batch]
    assert second != orders[0] and sorted(second) == expected(bench)
    return "1, 2 and 3 ranks of 0, 1 and 2 workers"


def torch_resumes(bench):
    """Two ranks stop after any number of batches; three, one or four go on, with other workers, and all samples were read once."""
    import json

    whole = [key for batch in loaders(bench, 1, 0)[0] for key in batch]
    for taken in range(0, len(bench.samples) // (2 * BATCH), 2):
        ranks = loaders(bench, 2, 2)
        read = []
        for loader in ranks:
            batches = iter(loader)
            read += [key for _ in range(taken) for key in next(batches)]
            del batches
        states = [loader.state_dict() for loader in ranks]
        assert states[0] == states[1], states
        assert len(json.dumps(states[0])) < 250, states[0]
        for world, workers in [(3, 1), (1, 2), (4, 0)]:
            again = [[key for batch in loader for key in batch] for loader in loaders(bench, world, workers, states[0])]
            assert len({len(rank) for rank in again}) == 1
            left = len(bench.samples) - len(read)
            turns = [key for turn in zip(*again) for key in turn][:left]
            assert sorted(read + turns) == expected(bench), f"{taken} batches, then {world} ranks"
            assert turns == whole[len(read) :]
    return "2 ranks, then 3, 1 and 4"


def torch_goes_on_in_one_loader(bench):
    """A loop that is left and begun again in one process goes on, and the next epoch begins at its beginning."""
    (loader,) = loaders(bench, 1, 1)
    read = []
    for batch in loader:
        read += batch
        if len(read) >= 3 * BATCH:
            break
    read += [key for batch in loader for key in batch]
    assert sorted(read) == expected(bench)
    loader.set_epoch(1)
    assert loader.epoch == 1 and sorted(key for batch in loader for key in batch) == expected(bench)


def webdataset_pipes(bench):
    """webdataset reads the shares of ranks through `pipe:`."""
    import webdataset

    shares = []
    for rank in range(2):
        command = f"pipe:{bench.sightline} shards read {bench.source} --seed 3 --lanes 4 --window 2 --rank {rank} --world 2 --remainder drop"
        dataset = webdataset.WebDataset([command], shardshuffle=False)
        shares.append([(s["__key__"], s["jpg"], s["txt"].decode()) for s in dataset])
    read = [sample for share in shares for sample in share]
    whole = {key: (key, image, caption) for key, image, caption, _ in bench.samples}
    assert len(shares[0]) == len(shares[1]) == len(whole) // 2
    assert len({key for key, *_ in read}) == len(read)
    assert all(whole[sample[0]] == sample for sample in read)
    return "two ranks"


CHECKS = {
    "torch's DataLoader reads ours": torch_reads,
    "torch's DataLoader resumes with other ranks": torch_resumes,
    "a loop goes on": torch_goes_on_in_one_loader,
    "webdataset reads through a pipe": webdataset_pipes,
}
