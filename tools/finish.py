"""Makes the finish of a model: `python -m tools.finish data/faces --model runs/mine/model --out finished`.

Photographs of the train split are made small and spoilt as in training, and restored as anybody's would be, from other
photographs of the same people. The finish learns to make of each result what the photograph was.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Array, Float, PRNGKeyArray

from idfsr_jax.data.augment import mirror_landmarks
from idfsr_jax.data.faces import Faces, load_faces
from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.images import to_float, to_uint8
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.degrade import degrade, draw_degradations
from idfsr_jax.method.finish import Finish
from idfsr_jax.method.guidance import Guide, make_guide
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import person_shape
from idfsr_jax.method.model import read_description, save_model, shipped_model
from idfsr_jax.method.pose import heat_maps
from idfsr_jax.method.references import likest
from idfsr_jax.method.sample import Agreement, agreement_with, projection
from idfsr_jax.method.warp import inside_frame, pixel_centres
from idfsr_jax.networks.chips import face_chips
from idfsr_jax.networks.id_encoder import chip_descriptors
from idfsr_jax.networks.perceptual import STRIDE, perceptual_distance, shifted
from idfsr_jax.networks.recognisers import unit_parts as traced_unit_parts
from idfsr_jax.networks.resample import smoothed
from idfsr_jax.restore.conditions import Known, agreement_of, cleaned_input, conditions_of, enlarged, tables_of
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.restore.sampling import sample_many
from idfsr_jax.runtime.programs import compiler_options
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.log import progress_bar
from idfsr_jax.training.state import update_in_optax

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
SMOOTHING, MOVEMENT = 4, 0.01
"""How often the guide's view is smoothed, and how far it is moved by chance."""
_LEARNING_RATE, _WARMUP, _DECAY = 1e-3, 60, 1e-3

Results = dict[str, np.ndarray]
"""Rows of results: `pictures`, `truth` uint8 [n, s, s, 3], `landmarks` of it, `frame`, `flipped` False, the LR `y` as
agreed with and its width `n`, `strength`, and of the condition `hidden`, `nearest`, `seen`, `mask`, `pose_of`."""


def results_of(restorer: Restorer, faces: Faces, count: int, seed: int, progress: Any) -> Results:
    """Restores `count` photographs, each from others of its person; all is a function of the seed."""
    index, size = faces.index, restorer.config.data.size
    several = [record for record in range(len(index)) if len(index.members[index.person[record]]) > 1]
    order = np.random.default_rng(seed).permutation(several)
    tables = tables_of(size)
    draw = jax.jit(partial(draw_degradations, batch=BATCH, least=WIDTHS[0], most=WIDTHS[1], clean_share=CLEAN_SHARE))
    spoil = jax.jit(lambda images, drawn, key: degrade(images, drawn, tables, key)[1])
    rows: list[Results] = []
    for step in range(-(-count // BATCH)):
        rng = np.random.default_rng((seed, step))
        targets = order[(step * BATCH + np.arange(BATCH)) % len(order)]
        drawn = draw(step_key(seed, "finish-degradation", step))
        y = to_uint8(np.asarray(spoil(to_float(faces.images[targets]), drawn, step_key(seed, "finish-noise", step))))
        small = [picture[:n, :n] for picture, n in zip(y, np.asarray(drawn.n), strict=True)]
        people = [_known(restorer, faces, int(target), rng) for target in targets]
        keys = jax.random.split(step_key(seed, "finish-sample", step), BATCH)
        rows.append(_restored(restorer, small, people, keys) | _truth(faces, targets))
        progress(min(count, (step + 1) * BATCH))
    return {name: np.concatenate([row[name] for row in rows])[:count] for name in rows[0]}


def _known(restorer: Restorer, faces: Faces, target: int, rng: np.random.Generator) -> Known:
    """What the model is told of a person beside one of their photographs."""
    index = faces.index
    members = index.members[index.person[target]]
    others = members[members != target]
    wanted = min(len(others), int(rng.choice(PHOTOGRAPHS, p=PHOTOGRAPH_WEIGHTS)))
    chosen = rng.choice(others, wanted, replace=False)
    units = unit_parts(index.embeddings[chosen] - restorer.model.center, restorer.sizes)
    identity = unit_parts(units.mean(axis=0), restorer.sizes)
    best = likest(identity, units)
    shown = chosen[best]
    return Known(
        identity=identity,
        start=identity,
        shape=person_shape(index.landmarks[chosen]),
        images=np.asarray(faces.images[shown]),
        landmarks=index.landmarks[shown],
        frames=index.frames[shown],
        units=units[best],
    )


def _restored(restorer: Restorer, small: list[np.ndarray], people: list[Known], keys: PRNGKeyArray) -> Results:
    config, size = restorer.config, restorer.config.data.size
    cleaned = [cleaned_input(y, size)[0] for y in small]
    n = np.array([len(y) for y in small], np.int32)
    y_up = jnp.concatenate([enlarged(y, size)[0] for y in cleaned])
    net, reveal = restorer.model.landmark_net, config.sample.reveal
    condition, _ = conditions_of(net, y_up, jnp.asarray(n, jnp.float32), people, reveal, config)
    held = agreement_of(small, None, config)
    networks = restorer.networks._replace(finish=None)
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
        "n": n,
        "strength": np.asarray(held.strength),
    }


def _truth(faces: Faces, targets: np.ndarray) -> Results:
    index = faces.index
    rows = {"truth": np.asarray(faces.images[targets]), "landmarks": index.landmarks[targets]}
    return rows | {"frame": index.frames[targets], "flipped": np.zeros(len(targets), bool)}


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
    """Of the condition what the finish reads."""
    hidden, count = to_float(rows["hidden"]), rows["hidden"].shape[0]
    nothing, ones = jnp.zeros((count, 1)), jnp.ones(count)
    return Condition(
        hidden=hidden,
        mask=rows["mask"].astype(jnp.float32) / 255.0,
        pose=heat_maps(rows["pose_of"], places),
        references=to_float(rows["nearest"])[:, None],
        valid=rows["seen"].astype(jnp.float32)[:, None] / 255.0,
        reference_identities=nothing[:, None],
        guess=hidden,
        identity=nothing,
        identity_present=ones,
        scale=hidden.shape[1] / rows["n"].astype(jnp.float32),
        start=nothing,
        landmarks=rows["pose_of"],
    )


def loss_of(
    params: Any, rows: dict[str, Array], held: Agreement, perceptual: Any, guide: Guide, places: int, key: PRNGKeyArray
) -> Float[Array, ""]:
    """What finished results still lack of the photographs: pixels, LPIPS, who the guide sees."""
    condition = condition_of(rows, places)
    finished = Finish().apply({"params": params}, to_float(rows["pictures"]), condition, held.strength)
    finished = projection(held)(jnp.clip(finished, -1.0, 1.0))  # type: ignore[arg-type]
    truth = to_float(rows["truth"])
    count, size = truth.shape[:2]
    inside = inside_frame(
        rows["frame"], jnp.broadcast_to(jnp.asarray(pixel_centres(size)), (count, size, size, 2)), size
    )
    inside = jnp.where(rows["flipped"][:, None, None, None], inside[:, :, ::-1], inside)
    finished = inside * jnp.clip(finished, -1.0, 1.0) + (1.0 - inside) * truth
    shift_key, move_key = jax.random.split(key)
    shift = jax.random.randint(shift_key, (count, 2), 0, STRIDE)
    distance = perceptual_distance(perceptual, shifted(finished, shift), shifted(truth, shift))
    at = rows["landmarks"] + MOVEMENT * jax.random.normal(move_key, (count, 1, 2))

    def seen(pictures: Float[Array, "b s s 3"]) -> Float[Array, "b d"]:
        chips = face_chips(smoothed(pictures, SMOOTHING), at, guide.recogniser.chip)
        found = chip_descriptors(guide.recogniser, chips)
        return traced_unit_parts(found, jnp.asarray(guide.center), (guide.recogniser.dimension,))[0]

    likeness = jnp.sum(seen(finished) * jax.lax.stop_gradient(seen(truth)), axis=-1)
    pixels = SQUARES * jnp.mean(jnp.square(finished - truth)) + ABSOLUTE * jnp.mean(jnp.abs(finished - truth))
    return pixels + PERCEPTUAL * jnp.mean(distance) + IDENTITY * jnp.mean(1.0 - likeness)


def train(results: Results, guide: Guide, places: int, steps: int, seed: int, progress: Any) -> Any:
    """The averaged parameters after training on results; every step follows from (seed, step)."""
    size, count = results["truth"].shape[1], len(results["truth"])
    tables, perceptual = tables_of(size), read_lpips("alexnet")
    schedule = optax.warmup_cosine_decay_schedule(0.0, _LEARNING_RATE, min(_WARMUP, steps // 2), steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=_DECAY))

    @partial(jax.jit, donate_argnums=(0, 1, 2), compiler_options=compiler_options())
    def step(params: Any, ema: Any, state: Any, given: Any, index: Array) -> tuple:
        key = step_key(seed, "finish", index)
        loss, gradients = jax.value_and_grad(loss_of)(params, *given, places, key)
        updates, state = update_in_optax(optimizer, gradients, state, params)
        params = optax.apply_updates(params, updates)
        ema = optax.incremental_update(params, ema, jnp.maximum(0.004, 1.0 / (index.astype(jnp.float32) + 2.0)))
        return params, ema, state, loss

    first = condition_of({name: jnp.asarray(rows[:1]) for name, rows in results.items()}, places)
    weights_key = step_key(seed, "finish-weights", 0)
    params = jax.jit(Finish().init)(weights_key, jnp.zeros((1, size, size, 3)), first, jnp.zeros(1))["params"]
    ema, state = jax.tree.map(jnp.copy, params), optimizer.init(params)
    for index in range(steps):
        rng = np.random.default_rng((seed, index))
        drawn = rng.integers(0, count, BATCH)
        rows = mirrored({name: values[drawn] for name, values in results.items()}, rng.random(BATCH) < 0.5)
        pictures = [y[:n, :n] for y, n in zip(rows["y"], rows["n"], strict=True)]
        held = [agreement_with(y, float(own), tables) for y, own in zip(pictures, rows["strength"], strict=True)]
        together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *held)
        given = rows, together, perceptual, guide
        params, ema, state, loss = step(params, ema, state, given, jnp.asarray(index, jnp.int32))
        progress(index + 1, loss)
    return jax.device_get(ema)


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

        def report(step: int, loss: Array) -> None:
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
        dtype="bfloat16",
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
