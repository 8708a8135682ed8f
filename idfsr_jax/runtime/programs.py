"""Traced programs kept between runs, beside what was compiled of them: tracing is most of a short command's time."""

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import idfsr_jax
from idfsr_jax.io.files import write_atomically
from idfsr_jax.runtime.compile_cache import folder_in_use

_MOST = 256
"""Programs that are kept; beyond them those that were not used for longest go. One has some 100 kB."""
_SUM = 32
"""Bytes of the SHA-256 in front of a program."""
_SETTINGS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
)
"""Of JAX's configuration, what a traced program depends on."""
_YNN = "xla_cpu_experimental_ynn_fusion_type"
"""Option of XLA: which operations its library for small products takes over; none if empty."""
_TRACED_BY = ("jax", "jaxlib", "flax", "optax")


def kept_jit(function: Callable[..., Any], static_argnames: str | Sequence[str] = ()) -> Callable[..., Any]:
    """`jax.jit`, whose traced program is read from the user's cache if an earlier process has put it there.

    Kept are programs for a single device, and where `use_compile_cache` keeps what is compiled; elsewhere, and where a
    traced function calls it, this is `jax.jit`; likewise where a program cannot be exported. A program is found by the
    package's source, the versions and settings of what traces it, the kind of device, the static arguments and the
    shapes of the others; it holds no weights and no pictures. It is StableHLO, written and read by `jax.export`.

    Called with `only_read=True` it gets the program ready, if it was kept, and returns None. In a thread of its own
    that is time gained, as little of it holds Python; who calls meanwhile waits for it.

    Args:
      function: of arrays and pytrees of arrays, and of static arguments; returns arrays in tuples, lists and
        dictionaries alone.
      static_argnames: arguments that are no arrays; hashable, and with a `repr` that tells them apart.
    """
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    nested = jax.jit(function, static_argnames=names)
    alone = functools.cache(lambda: jax.jit(function, static_argnames=names, compiler_options=compiler_options()))
    signature = inspect.signature(function)
    source = _source()  # Now, while what was imported is what lies on the disk.
    programs: dict[Any, Callable[..., Any]] = {}
    lock = threading.Lock()

    @functools.wraps(function)
    def call(*args: Any, only_read: bool = False, **kwargs: Any) -> Any:
        folder = folder_in_use()
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        static = {name: given.arguments[name] for name in names}
        arrays = {name: value for name, value in given.arguments.items() if name not in static}
        leaves, tree = jax.tree.flatten(arrays)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return nested(*args, **kwargs)
        if folder is None or jax.device_count() > 1:
            return None if only_read else alone()(*args, **kwargs)
        leaves = [leaf if isinstance(leaf, jax.Array) else np.asarray(leaf) for leaf in leaves]
        shapes = [jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)) for leaf in leaves]
        settings = tuple(getattr(jax.config, name) for name in _SETTINGS)
        key = (tree, tuple((each.shape, each.dtype) for each in shapes), tuple(static.items()), settings)
        with lock:
            if key not in programs:
                flat = functools.partial(_called_flat, function, tree, static)
                what = f"{function.__module__}.{function.__qualname__} {key} {_device()} {source}"
                path = folder / "programs" / hashlib.sha256(what.encode()).hexdigest()
                if only_read and not path.exists():
                    return None
                program = jax.jit(_program(path, flat, shapes), compiler_options=compiler_options())
                program.lower(*leaves).compile()  # Calls use what is compiled here.
                programs[key] = program
        return None if only_read else programs[key](*leaves)

    return call


def compiler_options() -> dict[str, str]:
    """What a program is compiled with that is called from Python; JAX allows options to no other.

    On CPUs jaxlib 0.10 hands small products to a library, YNN, that is slower than its own code: the sampler of one
    picture takes 1.3 s with it and 0.9 s without, the first time 2.4 s and 1.0 s. A jaxlib that does not know the
    option gets none.
    """
    return {_YNN: ""} if jax.default_backend() == "cpu" and is_compiler_option(_YNN) else {}


@functools.cache
def is_compiler_option(name: str) -> bool:
    """Whether this jaxlib's compiler knows an option, which refuses to compile with one that it does not know."""
    try:
        jax.jit(lambda x: x, compiler_options={name: ""}).lower(np.float32(0)).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _called_flat(function: Callable[..., Any], tree: Any, static: dict[str, Any], *leaves: Any) -> Any:
    return function(**jax.tree.unflatten(tree, leaves), **static)


def _program(path: Path, function: Callable[..., Any], shapes: list[jax.ShapeDtypeStruct]) -> Callable[..., Any]:
    """The program that a file holds, or that is traced and then kept there; the function itself where neither works.

    A cache is no reason for a command to fail, whatever a file of another JAX holds.
    """
    try:
        from jax import export  # Takes a moment to load.

        kept = _read(path)
        if kept is not None:
            with contextlib.suppress(Exception):
                return export.deserialize(bytearray(kept)).call
        exported = export.export(jax.jit(function))(*shapes)
        _keep(path, bytes(exported.serialize()))
        return exported.call
    except Exception:
        return function


def _read(path: Path) -> bytes | None:
    """What was kept, if it is there as it was written."""
    try:
        content = path.read_bytes()
        os.utime(path)  # Used now: see `_MOST`.
    except OSError:
        return None
    return content[_SUM:] if hashlib.sha256(content[_SUM:]).digest() == content[:_SUM] else None


def _keep(path: Path, program: bytes) -> None:
    """Writes a program, and removes those beyond `_MOST`. A cache that cannot be written is no error."""
    try:
        write_atomically(path, lambda file: file.write(hashlib.sha256(program).digest() + program))
        there = sorted(path.parent.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in there[_MOST:]:
            old.unlink()
    except OSError:
        return


def _device() -> str:
    """The kind of device that programs are for, and of the driver's version."""
    device = jax.devices()[0]
    return f"{device.platform} {device.device_kind} {device.client.platform_version}"


@functools.cache
def _source() -> str:
    """The SHA-256 of the package's source, and of the versions of what traces it."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in _TRACED_BY]
    total = hashlib.sha256(repr(versions).encode())
    root = Path(idfsr_jax.__file__).parent
    for path in sorted(root.rglob("*.py")):
        total.update(os.fsencode(path.relative_to(root)) + b"\0" + path.read_bytes())
    return total.hexdigest()
