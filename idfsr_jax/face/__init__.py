"""Photograph -> canonical face crop, and back: everything on the host, in NumPy, Pillow and dlib."""

from idfsr_jax.face.align import (
    FaceCrop,
    align_face,
    apply_transform,
    crop_at,
    crop_face,
    crop_faces,
    crop_side,
    cut_crop,
    ffhq_transform,
    is_near,
    read_crops,
    resize_crop,
)
from idfsr_jax.face.detect import Box, Face, central_face, face_in_box, find_faces
from idfsr_jax.face.read import Picture, read_image, read_picture
from idfsr_jax.face.write import read_metadata, write_image

__all__ = [
    "Box",
    "Face",
    "FaceCrop",
    "Picture",
    "align_face",
    "apply_transform",
    "central_face",
    "crop_at",
    "crop_face",
    "crop_faces",
    "crop_side",
    "cut_crop",
    "face_in_box",
    "ffhq_transform",
    "find_faces",
    "is_near",
    "read_crops",
    "read_image",
    "read_metadata",
    "read_picture",
    "resize_crop",
    "write_image",
]
