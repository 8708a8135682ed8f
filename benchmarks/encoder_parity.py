"""The Flax encoder against dlib's own descriptor on real photographs: largest difference, least cosine, time of each.

python -m benchmarks.encoder_parity --photos lfw/images [--count 100]

Both see the same chips, cut by dlib. The times are of one run on one machine; only their ratio means something.
"""

import argparse
import random
import sys
import time
from pathlib import Path

import dlib
import face_recognition_models
import jax
import jax.numpy as jnp
import numpy as np

from idfsr_jax.face import read_image
from idfsr_jax.networks.id_encoder import chip_descriptors, load_id_encoder


def main() -> int:
    """Prints the figures; 1 if a cosine is further than 1e-4 from one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder that holds one folder for each person")
    parser.add_argument("--count", type=int, default=100, help="how many photographs with exactly one face")
    arguments = parser.parse_args()
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())
    recogniser = dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())

    paths = sorted(arguments.photos.glob("*/*.jpg"))
    random.Random(0).shuffle(paths)
    chips = []
    for path in paths:
        image = read_image(path)
        faces = detector(image, 0)
        if len(faces) == 1:
            chips.append(dlib.get_face_chip(image, predictor(image, faces[0]), size=150, padding=0.25))
        if len(chips) == arguments.count:
            break
    if not chips:
        print(f"{arguments.photos}: no photograph with one face was found.", file=sys.stderr)
        return 2

    began = time.perf_counter()
    expected = np.array([recogniser.compute_face_descriptor(chip) for chip in chips])
    dlib_seconds = time.perf_counter() - began
    encoder = load_id_encoder()
    describe = jax.jit(chip_descriptors)
    batch = jnp.asarray(np.stack(chips), jnp.float32)
    describe(encoder, batch).block_until_ready()
    began = time.perf_counter()
    ours = np.asarray(describe(encoder, batch))
    seconds = time.perf_counter() - began

    cosines = np.sum(ours * expected, 1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(expected, axis=1)
    print(f"{len(chips)} photographs: largest difference {np.abs(ours - expected).max():.2e}, ", end="")
    print(f"least cosine 1 - {1 - cosines.min():.2e}")
    print(f"ms per face: dlib {1e3 * dlib_seconds / len(chips):.1f}, ours {1e3 * seconds / len(chips):.1f}, ", end="")
    print(f"ratio {seconds / dlib_seconds:.2f}")
    return int(cosines.min() < 1 - 1e-4)


if __name__ == "__main__":
    sys.exit(main())
