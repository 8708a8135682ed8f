"""Traced programs kept between runs, beside what was compiled of them: tracing is most of a short command's time."""

import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import idfsr_jax
from idfsr_jax.io.files import write_atomically
from idfsr_jax.runtime.compile_cache import folder_in_use

_MOST = 64
"""Programs that are kept; beyond them the oldest go."""
_SUM = 32
"""Bytes of the SHA-256 in front of a program."""


def kept_jit(function: Callable[..., Any], static_argnames: str | Sequence[str] = ()) -> Callable[..., Any]:
    """`jax.jit`, whose traced program is read from the user's cache if an earlier process has put it there.

    Kept are programs for a single device, and where `use_compile_cache` keeps what is compiled; elsewhere, and where a
    traced function calls it, this is `jax.jit`. A program is found by the package's source, JAX's version, the kind of
    device, the static arguments and the shapes of the others; it holds no weights and no pictures. It is StableHLO,
    written and read by `jax.export`.

    Args:
      function: of arrays and pytrees of arrays, and of static arguments; returns arrays in tuples, lists and
        dictionaries alone.
      static_argnames: arguments that are no arrays; hashable, and with a `repr` that tells them apart.
    """
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    jitted = jax.jit(function, static_argnames=names)
    signature = inspect.signature(function)
    programs: dict[Any, Callable[..., Any]] = {}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        folder = folder_in_use()
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        static = {name: given.arguments[name] for name in names}
        arrays = {name: value for name, value in given.arguments.items() if name not in static}
        leaves, tree = jax.tree.flatten(arrays)
        if folder is None or jax.device_count() > 1 or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return jitted(*args, **kwargs)
        leaves = [leaf if isinstance(leaf, jax.Array) else np.asarray(leaf) for leaf in leaves]
        shapes = [jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)) for leaf in leaves]
        key = (tree, tuple((each.shape, each.dtype) for each in shapes), tuple(static.items()))
        if key not in programs:
            flat = functools.partial(_called_flat, function, tree, static)
            what = f"{function.__module__}.{function.__qualname__} {key} {jax.default_backend()} {_source()}"
            path = folder / "programs" / hashlib.sha256(what.encode()).hexdigest()
            programs[key] = jax.jit(_program(path, flat, shapes))
        return programs[key](*leaves)

    return call


def _called_flat(function: Callable[..., Any], tree: Any, static: dict[str, Any], *leaves: Any) -> Any:
    return function(**jax.tree.unflatten(tree, leaves), **static)


def _program(path: Path, function: Callable[..., Any], shapes: list[jax.ShapeDtypeStruct]) -> Callable[..., Any]:
    """The program that a file holds, or that is traced and then kept there."""
    from jax import export  # Takes a moment to load.

    kept = _read(path)
    if kept is not None:
        return export.deserialize(bytearray(kept)).call
    exported = export.export(jax.jit(function))(*shapes)
    _keep(path, bytes(exported.serialize()))
    return exported.call


def _read(path: Path) -> bytes | None:
    """What was kept, if it is there as it was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content[_SUM:] if hashlib.sha256(content[_SUM:]).digest() == content[:_SUM] else None


def _keep(path: Path, program: bytes) -> None:
    """Writes a program, and removes the oldest beyond `_MOST`. A cache that cannot be written is no error."""
    try:
        write_atomically(path, lambda file: file.write(hashlib.sha256(program).digest() + program))
        there = sorted(path.parent.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in there[_MOST:]:
            old.unlink()
    except OSError:
        return


@functools.cache
def _source() -> str:
    """The SHA-256 of the package's source, and JAX's version: programs of any other are not taken."""
    total = hashlib.sha256(jax.__version__.encode())
    root = Path(idfsr_jax.__file__).parent
    for path in sorted(root.rglob("*.py")):
        total.update(os.fsencode(path.relative_to(root)) + b"\0" + path.read_bytes())
    return total.hexdigest()
