"""Makes the finish of a model: `python -m tools.finish data/faces --model runs/mine/model --out finished`.

Photographs of the train split are made small and spoilt as in training, and restored as anybody's would be, from other
photographs of the same people. The finish learns to make of each result what the photograph was.
"""

import itertools
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float, PRNGKeyArray

from idfsr_jax.data.augment import mirror_landmarks
from idfsr_jax.data.faces import Faces, load_faces
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.protocol import PersonPlan, Protocol
from idfsr_jax.evaluation.restoring import conditions
from idfsr_jax.evaluation.study import Case, LowResolution, Study
from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.images import to_float, to_uint8
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.degrade import degrade, draw_degradations
from idfsr_jax.method.finish import Finish
from idfsr_jax.method.guidance import Guide, likeness, make_guide
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.model import read_description, save_model, shipped_model
from idfsr_jax.method.pose import heat_maps
from idfsr_jax.method.sample import Agreement, agreement_with, projection
from idfsr_jax.method.warp import inside_frame, pixel_centres
from idfsr_jax.networks.perceptual import STRIDE, perceptual_distance, shifted
from idfsr_jax.restore.conditions import agreement_of, tables_of
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.restore.sampling import sample_many
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.averaged import train_averaged
from idfsr_jax.training.log import progress_bar

BATCH = 10
WIDTHS = (5, 40)
"""Least and most of the LR pictures', pixels."""
CLEAN_SHARE = 0.5
"""How many of them are only made small."""
PHOTOGRAPHS = (1, 3, 4, 5)
"""How many other photographs a result is made from, drawn with `PHOTOGRAPH_WEIGHTS`, where there are as many."""
PHOTOGRAPH_WEIGHTS = (0.15, 0.15, 0.3, 0.4)
SQUARES, ABSOLUTE, PERCEPTUAL, IDENTITY = 2.0, 0.25, 2.0, 0.3
"""Weights of the mean square and the mean difference of pixels, of LPIPS, and of one minus the guide's cosine."""
MOVEMENT = 0.01
"""How far the guide's view is moved by chance."""
_LEARNING_RATE, _WARMUP, _DECAY = 1e-3, 60, 1e-3

Results = dict[str, np.ndarray]
"""Rows of results: `pictures`, `truth` uint8 [n, s, s, 3], of the truth `landmarks`, `frame` and the guide's `unit`,
`flipped` False, the LR `y` that they agree with, its width `n` and how far, `strength`; and of the condition `hidden`,
`nearest`, `seen`, `mask`, `pose_of`."""


def results_of(restorer: Restorer, faces: Faces, count: int, seed: int, progress: Any) -> Results:
    """Restores `count` photographs as evaluation does, each from others of its person; a function of the seed."""
    index, tables = faces.index, tables_of(restorer.config.data.size)
    nobody = Protocol("finish", "train", (), (), (), (), ())
    study = Study(nobody, index, faces.images, {photo: record for record, photo in enumerate(index.photos)}, {})
    several = [record for record in range(len(index)) if len(index.members[index.person[record]]) > 1]
    order = np.random.default_rng(seed).permutation(several)
    draw = jax.jit(partial(draw_degradations, batch=BATCH, least=WIDTHS[0], most=WIDTHS[1], clean_share=CLEAN_SHARE))
    spoil = jax.jit(lambda images, drawn, key: degrade(images, drawn, tables, key))
    rows: list[Results] = []
    for step in range(-(-count // BATCH)):
        rng = np.random.default_rng((seed, step))
        targets = order[(step * BATCH + np.arange(BATCH)) % len(order)]
        drawn = draw(step_key(seed, "finish-degradation", step))
        y_up, y = spoil(to_float(faces.images[targets]), drawn, step_key(seed, "finish-noise", step))
        small = [picture[:n, :n] for picture, n in zip(to_uint8(np.asarray(y)), np.asarray(drawn.n), strict=True)]
        cases = [_case(faces, int(target), rng) for target in targets]
        keys = jax.random.split(step_key(seed, "finish-sample", step), BATCH)
        restored = _restored(restorer, study, cases, LowResolution(y_up, small), keys)
        rows.append(restored | _truth(restorer, faces, targets))
        progress(min(count, (step + 1) * BATCH))
    return {name: np.concatenate([row[name] for row in rows])[:count] for name in rows[0]}


def _case(faces: Faces, target: int, rng: np.random.Generator) -> Case:
    """A photograph, beside it some others of its person."""
    index = faces.index
    members = index.members[index.person[target]]
    others = members[members != target]
    wanted = min(len(others), int(rng.choice(PHOTOGRAPHS, p=PHOTOGRAPH_WEIGHTS)))
    chosen = tuple(index.photos[record] for record in rng.choice(others, wanted, replace=False))
    photo = index.photos[target]
    return Case(PersonPlan(index.people[index.person[target]], chosen, (photo,)), photo, None, "drawn", 0)


def _restored(restorer: Restorer, study: Study, cases: list[Case], given: LowResolution, keys: PRNGKeyArray) -> Results:
    config, method = restorer.config, Method("unfitted", identity="unfitted")
    condition, _ = conditions(method, cases, study, restorer, {}, given)
    held, networks = agreement_of(given.y, given.cleaned, None, config), restorer.networks._replace(finish=None)
    drawn = sample_many(networks, condition, keys, config, restorer.sizes, restorer.mesh, held)
    share = lambda x: np.asarray(jnp.round(255.0 * x), np.uint8)  # noqa: E731
    return {
        "pictures": to_uint8(drawn),
        "hidden": to_uint8(np.asarray(condition.hidden)),
        "nearest": to_uint8(np.asarray(condition.references[:, 0])),
        "seen": share(condition.valid[:, 0]),
        "mask": share(condition.mask),
        "pose_of": np.asarray(condition.landmarks),
        "y": to_uint8(np.asarray(held.y)),
        "n": given.n.astype(np.int32),
        "strength": np.asarray(held.strength),
    }


def _truth(restorer: Restorer, faces: Faces, targets: np.ndarray) -> Results:
    index, size = faces.index, restorer.sizes[-1]
    return {
        "truth": np.asarray(faces.images[targets]),
        "landmarks": index.landmarks[targets],
        "frame": index.frames[targets],
        "unit": unit_parts((index.embeddings[targets] - restorer.model.center)[:, -size:], (size,)),
        "flipped": np.zeros(len(targets), bool),
    }


def mirrored(rows: Results, flip: np.ndarray) -> Results:
    """Rows of which those that are named are mirrored, all of each alike."""
    rows = {name: values.copy() for name, values in rows.items()} | {"flipped": flip}
    for row in np.flatnonzero(flip):
        for name in ("pictures", "truth", "hidden", "nearest", "seen", "mask"):
            rows[name][row] = rows[name][row][:, ::-1]
        n = rows["n"][row]
        rows["y"][row, :n, :n] = rows["y"][row, :n, :n][:, ::-1].copy()
        for name in ("landmarks", "pose_of"):
            rows[name][row] = mirror_landmarks(rows[name][row])
    return rows


def condition_of(rows: dict[str, Array], places: int) -> Condition:
    """Of the condition what the finish reads, and what the guide does: who the truth is, and where the face lies."""
    hidden, count = to_float(rows["hidden"]), rows["hidden"].shape[0]
    nobody, ones = jnp.zeros_like(rows["unit"]), jnp.ones(count)
    return Condition(
        hidden=hidden,
        mask=rows["mask"].astype(jnp.float32) / 255.0,
        pose=heat_maps(rows["pose_of"], places),
        # Mid-grey, which is 0 but for rounding, where it shows nothing.
        references=to_float(rows["nearest"])[:, None],
        valid=rows["seen"].astype(jnp.float32)[:, None] / 255.0,
        reference_identities=nobody[:, None],
        guess=hidden,
        identity=nobody,
        identity_present=ones,
        scale=hidden.shape[1] / rows["n"].astype(jnp.float32),
        start=rows["unit"],
        landmarks=rows["landmarks"],
    )


def loss_of(
    params: Any, rows: dict[str, Array], held: Agreement, perceptual: Any, guide: Guide, places: int, key: PRNGKeyArray
) -> Float[Array, ""]:
    """What finished results still lack of the photographs: pixels, LPIPS, who the guide sees."""
    condition = condition_of(rows, places)
    made = Finish().apply({"params": params}, to_float(rows["pictures"]), condition, held.strength)
    made = jnp.clip(projection(held)(jnp.clip(made, -1.0, 1.0)), -1.0, 1.0)  # type: ignore[arg-type]
    truth = to_float(rows["truth"])
    count, size = truth.shape[:2]
    centres = jnp.broadcast_to(jnp.asarray(pixel_centres(size)), (count, size, size, 2))
    inside = inside_frame(rows["frame"], centres, size)
    inside = jnp.where(rows["flipped"][:, None, None, None], inside[:, :, ::-1], inside)
    made = inside * made + (1.0 - inside) * truth
    shift_key, move_key = jax.random.split(key)
    shift = jax.random.randint(shift_key, (count, 2), 0, STRIDE)
    distance = perceptual_distance(perceptual, shifted(made, shift), shifted(truth, shift))
    moved = condition.landmarks + MOVEMENT * jax.random.normal(move_key, (count, 1, 2))
    seen = likeness(made, condition.replace(landmarks=moved), guide)  # type: ignore[attr-defined]
    pixels = SQUARES * jnp.mean(jnp.square(made - truth)) + ABSOLUTE * jnp.mean(jnp.abs(made - truth))
    return pixels + PERCEPTUAL * jnp.mean(distance) + IDENTITY * jnp.mean(1.0 - seen)


def train(results: Results, guide: Guide, places: int, steps: int, seed: int, progress: Any) -> Any:
    """The averaged parameters after training on results; every step follows from (seed, step)."""
    size, count = results["truth"].shape[1], len(results["truth"])
    tables, perceptual = tables_of(size), read_lpips("alexnet")
    first = condition_of({name: jnp.asarray(rows[:1]) for name, rows in results.items()}, places)
    weights_key = step_key(seed, "finish-weights", 0)
    params = jax.jit(Finish().init)(weights_key, jnp.zeros((1, size, size, 3)), first, jnp.zeros(1))["params"]

    def loss(params: Any, given: tuple[Any, Any, Any, Any], index: Array, _: None) -> Array:
        return loss_of(params, *given, places, step_key(seed, "finish", index))

    def inputs() -> Iterator[tuple[tuple, None]]:
        for index in itertools.count():
            rng = np.random.default_rng((seed, index))
            drawn = rng.integers(0, count, BATCH)
            rows = mirrored({name: values[drawn] for name, values in results.items()}, rng.random(BATCH) < 0.5)
            given = zip(rows["y"], rows["n"], rows["strength"], strict=True)
            held = [agreement_with(y[:n, :n], float(strength), tables) for y, n, strength in given]
            yield (rows, jax.tree.map(lambda *leaves: np.concatenate(leaves), *held), perceptual, guide), None

    return train_averaged(
        loss,
        params,
        inputs(),
        learning_rate=_LEARNING_RATE,
        warmup=_WARMUP,
        steps=steps,
        weight_decay=_DECAY,
        progress=progress,
    )


def precision_of(params: Any) -> Literal["float32", "bfloat16"]:
    """In which the matrices of a model can be written again without being rounded."""
    matrices = (np.asarray(leaf) for leaf in jax.tree.leaves(params) if np.ndim(leaf) > 1)
    halves = all(np.array_equal(each, each.astype(jnp.bfloat16).astype(np.float32)) for each in matrices)
    return "bfloat16" if halves else "float32"


def main(
    dataset: tyro.conf.Positional[Path],
    model: Path | None = None,
    out: Path = Path("finished"),
    results: int = 1_600,
    steps: int = 1_200,
    seed: int = 0,
) -> None:
    """Restores photographs, trains the finish on them and writes the model with it.

    Args:
      dataset: Prepared data set; of its train split those are used who have several photographs.
      model: Folder of the model; the shipped one if not given.
      out: Folder to write the model to.
      results: How many photographs are restored.
      steps: Of Adam.
      seed: Of all that is random.
    """
    restorer = Restorer.load(model)
    config, made_of = restorer.config, restorer.model
    if made_of.autoencoder is not None or config.model.pixels_per_place != 4:
        raise InputError(f"{model}: a finish is for models of pixels whose patches have a side of 4; give one.")
    size, places = config.data.size, config.data.size // 4
    faces = load_faces(dataset, "train", size)
    with progress_bar("restored", results) as bar:
        made = results_of(restorer, faces, results, seed, lambda done: bar(done, ""))
    with progress_bar("finish", steps) as bar:

        def report(step: int, _: Any, loss: Array) -> None:
            if step % 25 == 0 or step == steps:
                bar(step, f"loss {float(loss):.3f}")

        guide = make_guide(restorer.recognisers, restorer.model.center)
        params = train(made, guide, places, steps, seed, report)
    save_model(
        out,
        config,
        made_of.denoiser,
        made_of.landmark_net,
        made_of.center,
        made_of.steps,
        dtype=precision_of(made_of.denoiser),
        facts=read_description(shipped_model() if model is None else model).get("facts"),
        encoder=made_of.encoder,
        finish=params,
    )
    print(f"{out}: the model with its finish")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        print(f"finish: {error}", file=sys.stderr)
        sys.exit(2)
