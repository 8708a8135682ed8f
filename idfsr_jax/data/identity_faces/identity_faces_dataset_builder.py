"""IdentityFaces: canonical face crops with landmarks and descriptors, as ArrayRecord files that need no TensorFlow."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from idfsr_jax.data.parts import FaceRecord

_DESCRIPTION = (
    "Faces of many people, each an upright square crop around the head (the recipe of FFHQ, Karras et al. 2019) at its "
    "native side, with dlib's 68 landmarks in unit coordinates and the raw descriptor of a face recogniser."
)

Records = Callable[[], Iterable[tuple[str, FaceRecord]]]
"""Makes an iterator over (identity, face), in the order in which the faces are to be stored."""


class IdentityFaces(tfds.core.GeneratorBasedBuilder):
    """Writes prepared faces; `idfsr_jax.data.index` reads them.

    Every example has `image` (JPEG, side n), `landmarks` (float32 [68, 2], unit coordinates), `frame` (float32 [2, 3],
    `face.align.photograph_frame`), `embedding` (float32 [d]), `identity`, `photo` (name below the folder of
    photographs) and `source_sha256` (of the photograph's file).
    """

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {"1.1.0": "The photograph's frame.", "1.0.0": "First version."}  # noqa: RUF012  (TFDS's own way)

    def __init__(
        self, *, data_dir: str | Path, records: Mapping[str, Records], encoder: str, embedding_size: int = 128
    ) -> None:
        """Prepares to write; to read, use `tfds.builder_from_directory`.

        Args:
          data_dir: folder below which `identity_faces/<version>` comes to lie.
          records: of each split.
          encoder: name of the recogniser whose descriptors the records carry.
          embedding_size: length of a descriptor.
        """
        self._records = records
        self._encoder = encoder
        self._embedding_size = embedding_size
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
                    "frame": tfds.features.Tensor(shape=(2, 3), dtype=np.float32),
                    "embedding": tfds.features.Tensor(shape=(self._embedding_size,), dtype=np.float32),
                    "identity": tfds.features.Text(),
                    "photo": tfds.features.Text(),
                    "source_sha256": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict(encoder=self._encoder),
            disable_shuffling=True,  # Sorted, so that equal photographs make equal files; training shuffles on its own.
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(records) for split, records in self._records.items()}

    def _generate_examples(self, records: Records) -> Iterable[tuple[int, dict[str, Any]]]:
        for key, (identity, record) in enumerate(records()):
            yield (
                key,
                {
                    "image": record.jpeg,
                    "landmarks": record.landmarks,
                    "frame": record.frame,
                    "embedding": record.embedding,
                    "identity": identity,
                    "photo": record.photo,
                    "source_sha256": record.source_sha256,
                },
            )
