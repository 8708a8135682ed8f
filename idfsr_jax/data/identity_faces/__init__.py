"""The TFDS builder of prepared data sets, in a package folder of its own as TFDS asks."""

from idfsr_jax.data.identity_faces.identity_faces_dataset_builder import IdentityFaces

__all__ = ["IdentityFaces"]
