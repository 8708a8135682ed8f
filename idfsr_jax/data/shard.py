"""The share of every batch that one of several processes makes."""

from typing import Any

import grain


class ShardOfBatches(grain.MapDataset):
    """Of each run of `batch` elements the one `shard`-th of `shards` equal runs; Grain's own slices only stride."""

    def __init__(self, parent: grain.MapDataset, batch: int, shard: int, shards: int) -> None:
        super().__init__(parent)
        self._batch, self._shard, self._shards = batch, shard, shards

    def __len__(self) -> int:
        return len(self._parent) // self._shards

    def __getitem__(self, place: int) -> Any:
        part = self._batch // self._shards
        return self._parent[place // part * self._batch + self._shard * part + place % part]
