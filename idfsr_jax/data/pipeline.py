"""Training examples from a prepared data set, by Grain: threaded, and exactly resumable from a state of a few bytes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import grain
import numpy as np

from idfsr_jax.config import DataConfig
from idfsr_jax.data.augment import mirror, own_reference
from idfsr_jax.data.index import FaceImages, Index, load_index
from idfsr_jax.data.pairs import choose_embedded, choose_reference, reference_probabilities
from idfsr_jax.errors import BadConfig
from idfsr_jax.face import resize_crop
from idfsr_jax.method.references import normalised_shapes

Example = dict[str, np.ndarray]

_BATCHES_AHEAD = 4


def check_data_config(config: DataConfig) -> None:
    """Refuses what no example could be drawn with.

    Raises:
      BadConfig: scales, weights, probabilities or the number of threads make no sense.
    """
    if config.size < 1 or not config.scales or any(scale < 1 or config.size % scale for scale in config.scales):
        raise BadConfig(f"data.scales={config.scales}: each must divide data.size={config.size}.")
    weights = np.asarray(config.scale_weights, np.float64)
    sound = np.all(np.isfinite(weights)) and np.all(weights >= 0) and weights.sum() > 0
    if len(weights) != len(config.scales) or not sound:
        raise BadConfig(f"data.scale_weights={config.scale_weights}: give one weight of 0 or more for each scale.")
    if not 0 <= config.flip <= 1 or not 0 <= config.own_embedding <= 1:
        raise BadConfig(f"data.flip={config.flip}, data.own_embedding={config.own_embedding}: give shares from 0 to 1.")
    if config.workers < 1:
        raise BadConfig(f"data.workers={config.workers}: give 1 reading thread or more.")
    reference_probabilities(config.reference)


def example_maker(config: DataConfig, index: Index, images: FaceImages) -> Callable[..., Example]:
    """The function that draws the example of a target.

    Returns:
      A function of (record: int, rng) that gives `training_examples`'s arrays without their first axis.
    """
    check_data_config(config)
    shapes = normalised_shapes(index.landmarks)
    members = index.members
    probabilities = reference_probabilities(config.reference)
    scale_weights = np.asarray(config.scale_weights, np.float64)
    scale_weights = scale_weights / scale_weights.sum()

    def crop(record: int) -> np.ndarray:
        # Twice the side at least, so that the JPEG's own reduction leaves no trace in the final resize.
        return images.read(record, least_side=2 * config.size)

    def draw(record: int, rng: np.random.Generator) -> Example:
        target = int(record)
        scale = rng.choice(len(config.scales), p=scale_weights)
        flip = rng.random() < config.flip
        embedded = choose_embedded(rng, target, members[index.person[target]], config.own_embedding)
        kind, source = choose_reference(rng, target, index.person, members, shapes, probabilities)

        native = crop(target)
        face, points = resize_crop(native, config.size), index.landmarks[target]
        if kind == "own":
            reference, reference_points = own_reference(rng, native, points, config.size)
        else:
            reference, reference_points = resize_crop(crop(source), config.size), index.landmarks[source]
        if flip:
            face, points = mirror(face, points)
            reference, reference_points = mirror(reference, reference_points)
        return {
            "target": face,
            "target_landmarks": points,
            "reference": reference,
            "reference_landmarks": reference_points,
            "embedding": index.embeddings[embedded].mean(axis=0, dtype=np.float64).astype(np.float32),
            "target_embedding": index.embeddings[target],
            "scale": np.asarray(scale, np.int32),
            "record": np.asarray(target, np.int64),
        }

    return draw


def training_examples(
    config: DataConfig,
    seed: int,
    batch: int,
    split: str | None = None,
    *,
    index: Index | None = None,
    shard: int = 0,
    shards: int = 1,
) -> grain.IterDataset:
    """An endless stream of shuffled batches, every epoch in another order.

    Every example is a function of (seed, its place in the stream) alone, so that neither threads nor the number of
    processes change it. `iter()` of the result has `get_state()` and `set_state()`; the state is one counter.

    Args:
      config: what is drawn.
      seed: 0 to 2^32 - 1.
      batch: examples in a batch of all processes together, b in all.
      split: `config.train_split` by default.
      index: the split's index, if the caller has it already.
      shard: which of `shards` equal runs of every batch this process makes: examples
        shard * batch / shards to (shard + 1) * batch / shards.
      shards: number of processes.

    Returns:
      Batches, each a dict of arrays:
        target, reference: uint8 [b, S, S, 3], RGB;
        target_landmarks, reference_landmarks: float32 [b, 68, 2], unit coordinates;
        embedding: float32 [b, d], raw descriptor of the target or mean of those of other photographs of the person;
        target_embedding: float32 [b, d], the target's own raw descriptor;
        scale: int32 [b], position in `config.scales`;
        record: int64 [b], the target's position in the split.

    Raises:
      InputError: there is no such data set or split.
      BadConfig: the configuration makes no sense.
    """
    check_data_config(config)
    if batch < 1 or batch % shards or not 0 <= shard < shards:
        raise BadConfig(f"batch={batch}: give a multiple of the number of processes, which is {shards}.")
    split = config.train_split if split is None else split
    if index is None:
        index = load_index(Path(config.dataset), split)
    draw = example_maker(config, index, FaceImages(config.dataset, split))
    # Repeating must not be left to the reader: only the repeated stream gives every epoch its own random numbers.
    stream = grain.MapDataset.range(len(index)).seed(seed).shuffle().repeat(None).random_map(draw)
    if shards > 1:
        stream = ShardOfBatches(stream, batch, shard, shards)
    batches = stream.batch(batch // shards, drop_remainder=True, batch_fn=stack)
    return batches.to_iter_dataset(grain.ReadOptions(num_threads=config.workers, prefetch_buffer_size=_BATCHES_AHEAD))


def stack(examples: Sequence[Example]) -> Example:
    """Examples as one batch."""
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


class ShardOfBatches(grain.MapDataset):
    """Of each run of `batch` elements the one `shard`-th of `shards` equal runs; Grain's own slices only stride."""

    def __init__(self, parent: grain.MapDataset, batch: int, shard: int, shards: int) -> None:
        super().__init__(parent)
        self._batch, self._shard, self._shards = batch, shard, shards

    def __len__(self) -> int:
        return len(self._parent) // self._shards

    def __getitem__(self, place: int) -> Example:
        part = self._batch // self._shards
        return self._parent[place // part * self._batch + self._shard * part + place % part]
