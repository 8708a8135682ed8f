"""Strictness for every test: types and shapes checked at run time, strict promotion, eight devices, no network."""

import ast
import gc
import hashlib
import importlib.util
import mmap
import os
import pathlib
import platform
import socket
from collections.abc import Callable

import jax
import jaxlib
import numpy as np
import pytest
from jaxtyping import UInt8, install_import_hook

# All of this must stand before JAX starts its backend and before the package is first imported.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
# More threads than devices: see `idfsr_jax.training.distributed.spare_threads`.
os.environ["NPROC"] = str(32 + (os.cpu_count() or 1))
install_import_hook("idfsr_jax", "beartype.beartype")


def _compile_in_haste() -> None:
    """Has little optimised, here and in child processes: a program that runs once is not worth much compiling.

    XLA's older emitters of loops take half of the newer ones' time. A jaxlib that does not know the flag refuses to
    start.
    """
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    jax.config.update("jax_disable_most_optimizations", True)
    flag = "xla_cpu_use_fusion_emitters"
    for library in pathlib.Path(jaxlib.__file__).parent.glob("libjax_common.*"):
        with open(library, "rb") as file:
            known = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).find(flag.encode()) >= 0
        if not known:
            continue
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{flag}=false".strip()


_compile_in_haste()


def _machine() -> str:
    """What compiled code depends on: it must never be loaded on a processor that lacks what it was compiled for."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        flags = platform.processor()
    return hashlib.sha256(f"{jaxlib.__version__} {platform.machine()} {flags}".encode()).hexdigest()[:16]


def _keep_compiled_code() -> None:
    """Keeps compiled programs between runs, in a folder that only this user may read or write."""
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = root / "idfsr-jax" / f"tests-{_machine()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", 2 * 1024**3)  # a bound also makes JAX lock the folder
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


_keep_compiled_code()


_REFERENCES = frozenset({"diffusers", "onnx", "onnxruntime", "torch"})
"""What is compared with, and is not to be had on every platform."""


class _Skipped(pytest.Module):
    """A file of tests that cannot be run here."""

    reason = ""

    def collect(self):
        pytest.skip(self.reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: pathlib.Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skips a file, and says why, where something is missing that its tests compare with."""
    body = ast.parse(module_path.read_text("utf-8")).body
    names = {alias.name for each in body if isinstance(each, ast.Import) for alias in each.names}
    names |= {each.module or "" for each in body if isinstance(each, ast.ImportFrom)}
    needed = sorted({name.partition(".")[0] for name in names} & _REFERENCES)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    module = _Skipped.from_parent(parent, path=module_path)
    module.reason = f"{module_path.name} compares with {', '.join(missing)}, which this platform or environment lacks"
    return module


def _is_local(address: object) -> bool:
    host = address[0] if isinstance(address, tuple) else address
    return host in (None, "", "localhost", "0.0.0.0", "::", "::1") or str(host).startswith("127.")


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Fails every test that would reach another machine; loopback and Unix sockets stay open."""
    patch = pytest.MonkeyPatch()

    def guarded(name):
        real = getattr(socket.socket, name)

        def connect(self, address):
            if self.family != socket.AF_UNIX and not _is_local(address):
                raise RuntimeError(f"a test tried to reach the network: {address!r}")
            return real(self, address)

        return connect

    real_lookup = socket.getaddrinfo

    def lookup(host, *args, **kwargs):
        if not _is_local(host.decode() if isinstance(host, bytes) else host):
            raise RuntimeError(f"a test tried to look up {host!r}")
        return real_lookup(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded("connect"))
    patch.setattr(socket.socket, "connect_ex", guarded("connect_ex"))
    patch.setattr(socket, "getaddrinfo", lookup)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="module")
def few_mappings():
    """Lets go of compiled programs before they are too many.

    A process may have 65,530 mappings of memory on Linux, a compiled gradient of a tiny network takes 1,300 of them,
    and XLA crashes where no more are to be had.
    """
    yield
    mappings = pathlib.Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def _astronaut() -> np.ndarray:
    from skimage import data

    return data.astronaut()


@pytest.fixture
def astronaut(_astronaut: np.ndarray) -> UInt8[np.ndarray, "512 512 3"]:
    """A photograph with one real face (Eileen Collins, NASA, public domain), from the scikit-image wheel."""
    return _astronaut.copy()


@pytest.fixture(scope="session")
def shrink():
    """A function that makes any configuration so small that a step of it compiles and runs in seconds."""
    from dataclasses import replace

    from idfsr_jax.config import Config

    def shrunk(config: Config) -> Config:
        return replace(
            config,
            data=replace(config.data, size=32),
            model=replace(config.model, channels=(8, 16), blocks=(1, 1), head_width=8, embedding=16),
            landmarks=replace(config.landmarks, size=32, channels=(4, 4, 4), steps=2, batch=2),
            train=replace(config.train, batch=2, warmup_steps=1),
            devices=replace(config.devices, data=1),
            sample=replace(config.sample, steps=2),
            fit=replace(config.fit, steps=2, batch=2),
        )

    return shrunk


@pytest.fixture(scope="session")
def tiny_config(shrink):
    """Of two recognisers and two references, shrunk; fits take no step."""
    from dataclasses import replace

    from idfsr_jax.config import Config, ModelConfig, TrainConfig

    model = ModelConfig(recognisers=("dlib", "mobilefacenet"), references=2, patch=4, identity_tokens=2)
    config = shrink(Config(model=model, train=TrainConfig(identity_losses=(0.1, 0.5))))
    return replace(config, fit=replace(config.fit, steps=0))


@pytest.fixture(scope="session")
def face_crop(_astronaut: np.ndarray):
    """The astronaut's canonical crop."""
    from idfsr_jax.face import align_face, central_face, find_faces

    face = central_face(find_faces(_astronaut, ladder=(0,)), _astronaut, "astronaut")
    return align_face(_astronaut, face)


@pytest.fixture(scope="session")
def random_weights() -> Callable[..., dict]:
    """A function that draws weights of the shapes that another function makes, which is only traced.

    None is zero, so that no part of a network hides what lies before it; a norm's gains are around one. To draw them as
    for training, a program for each shape would be compiled.
    """

    def draw(make: Callable[[], dict], std: float, seed: int = 0) -> dict:
        rng = np.random.default_rng(seed)

        def leaf(path: tuple, shape: jax.ShapeDtypeStruct) -> np.ndarray:
            middle = float(path[-1].key == "scale")
            return (middle + std * rng.standard_normal(shape.shape)).astype(np.float32)

        return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(make))

    return draw


@pytest.fixture(scope="session")
def tiny_weights(tiny_config, face_crop, random_weights) -> tuple[dict, dict]:
    """Random denoiser, and LandmarkNet that sees the astronaut's face everywhere."""
    from idfsr_jax.method.denoiser import init_denoiser
    from idfsr_jax.method.landmarks import init_landmark_net

    denoiser = random_weights(lambda: init_denoiser(jax.random.key(0), tiny_config, (128, 192)), 0.07)
    net = jax.device_get(init_landmark_net(jax.random.key(1), tiny_config.landmarks))
    net["points"]["bias"] = ((face_crop.landmarks - 0.5) / 0.1).reshape(-1).astype(np.float32)
    return denoiser, net


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tiny_config, tiny_weights) -> pathlib.Path:
    """A model folder as training leaves it, of random weights."""
    from idfsr_jax.method.model import save_model
    from idfsr_jax.networks.recognisers import load_recognisers, recognisers_name

    folder = tmp_path_factory.mktemp("tiny") / "model"
    center = (0.1 * np.random.default_rng(1).normal(size=320)).astype(np.float32)
    name = recognisers_name(load_recognisers(tiny_config.model.recognisers))
    save_model(folder, tiny_config, *tiny_weights, center, steps=3, encoder=name)
    return folder


@pytest.fixture(scope="session")
def restorer(tiny_model):
    """The tiny model."""
    from idfsr_jax.restore.restorer import Restorer

    return Restorer.load(tiny_model)


@pytest.fixture(scope="session")
def reduced(face_crop) -> Callable[[int], np.ndarray]:
    """A function that gives the astronaut's crop n pixels wide."""
    from PIL import Image

    return lambda n: np.array(Image.fromarray(face_crop.image).resize((n, n), Image.Resampling.BOX))


@pytest.fixture(scope="session")
def write_autoencoder_of() -> Callable[..., None]:
    """A function that has diffusers write an autoencoder of random weights, four channels and two pixels to a latent.

    Keywords are those of diffusers' class, and `seed`.
    """

    def write(folder: pathlib.Path, seed: int = 0, levels: int = 2, **values) -> None:
        torch = pytest.importorskip("torch", reason="the autoencoder is diffusers', of PyTorch")
        AutoencoderKL = pytest.importorskip("diffusers", reason="the autoencoder is diffusers'").AutoencoderKL

        blocks = {
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
        }
        size = {"block_out_channels": (8,) * levels, "norm_num_groups": 4, "sample_size": 32}
        scale = {"scaling_factor": 3.0, "shift_factor": 0.1}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            AutoencoderKL(**blocks, **{**size, **scale, **values}).eval().save_pretrained(folder)

    return write


@pytest.fixture(scope="session")
def latent_config(shrink, tmp_path_factory, write_autoencoder_of):
    """A shrunk configuration in latents, 16 x 16 x 4, of MobileFaceNet and two references."""
    from idfsr_jax.config import Config, DataConfig, ModelConfig, TrainConfig

    folder = tmp_path_factory.mktemp("vae")
    write_autoencoder_of(folder)
    kind = {"recognisers": ("mobilefacenet",), "references": 2, "identity_tokens": 2}
    model = ModelConfig(autoencoder=str(folder), latent_channels=4, latent_reduction=2, patch=1, **kind)
    train = TrainConfig(rollout_fraction=0.0, identity_losses=(0.5,))
    return shrink(Config(data=DataConfig(covered=0.0), model=model, train=train))


@pytest.fixture(scope="session")
def latent_denoiser(latent_config, random_weights) -> dict:
    """Random weights."""
    from idfsr_jax.method.denoiser import init_denoiser

    return random_weights(lambda: init_denoiser(jax.random.key(0), latent_config, (192,)), 0.1)


@pytest.fixture(scope="session")
def tiny_arcface(tmp_path_factory) -> pathlib.Path:
    """An ArcFace recogniser of random weights, four units and 16 numbers, as safetensors of insightface's names."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}

    def weights(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = rng.normal(size=shape, scale=np.prod(shape[1:]) ** -0.5).astype(np.float32)

    def norm(name: str, width: int) -> None:
        for part, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            state[f"{name}.{part}"] = rng.uniform(low, low + 1, width).astype(np.float32)

    weights("conv1", 4, 3, 3, 3)
    norm("bn1", 4)
    state["prelu.weight"] = np.full(4, 0.1, np.float32)
    for level, (inputs, width) in enumerate([(4, 4), (4, 4), (4, 8), (8, 8)], 1):
        unit = f"layer{level}.0"
        for place, (bn, channels) in enumerate([("bn1", inputs), ("bn2", width), ("bn3", width)]):
            norm(f"{unit}.{bn}", channels)
            if place < 2:
                weights(f"{unit}.conv{place + 1}", width, inputs if place == 0 else width, 3, 3)
        state[f"{unit}.prelu.weight"] = np.full(width, 0.2, np.float32)
        weights(f"{unit}.downsample.0", width, inputs, 1, 1)
        norm(f"{unit}.downsample.1", width)
    norm("bn2", 8)
    weights("fc", 16, 8 * 49)
    state["fc.bias"] = np.zeros(16, np.float32)
    norm("features", 16)
    path = tmp_path_factory.mktemp("arcface") / "tiny.safetensors"
    save_file(state, path)
    return path
