"""Traced programs that a later process takes from the user's cache."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from idfsr_jax.runtime.programs import compiler_options, is_compiler_option, kept_jit

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from idfsr_jax.runtime.compile_cache import use_compile_cache
use_compile_cache()
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_platforms", "cpu")
from functools import partial
from idfsr_jax.runtime.programs import kept_jit
@partial(kept_jit, static_argnames="power")
def function(tree, offset, power=2):
    print("traced")
    return {"raised": tree["x"] ** power + offset, "rest": (jnp.linalg.solve(tree["a"], tree["b"]),)}
tree = {"x": np.arange(float(sys.argv[1]), dtype=np.float32), "a": jnp.eye(3) * 2, "b": jnp.ones((3, 1))}
for _ in range(2):
    out = function(tree, np.float32(0.5), power=int(sys.argv[2]))
print(np.asarray(out["raised"]).tolist(), np.asarray(out["rest"][0]).ravel().tolist())
"""


def run(home: Path, length: int = 3, power: int = 2) -> tuple[int, str]:
    """How often a fresh process traced the function, and what came of it."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(length), str(power)],
        env=environment | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *traced, result = done.stdout.splitlines()
    return len(traced), result


def programs(home: Path) -> list[Path]:
    return sorted(home.glob("idfsr-jax/xla/*/programs/*"))


def test_the_second_process_traces_nothing_and_computes_the_same(tmp_path):
    first = run(tmp_path)
    assert first == (1, "[0.5, 1.5, 4.5] [0.5, 0.5, 0.5]")
    kept = [path.read_bytes() for path in programs(tmp_path)]
    assert run(tmp_path) == (0, first[1]) and [path.read_bytes() for path in programs(tmp_path)] == kept
    # Another shape and another static argument are other programs.
    assert run(tmp_path, length=4) == (1, "[0.5, 1.5, 4.5, 9.5] [0.5, 0.5, 0.5]")
    assert run(tmp_path, power=3) == (1, "[0.5, 1.5, 8.5] [0.5, 0.5, 0.5]")
    assert len(programs(tmp_path)) == 3


@pytest.mark.parametrize("damage", [lambda kept: kept[:100], lambda kept: kept[:-1] + bytes([kept[-1] ^ 1])])
def test_a_damaged_program_is_made_anew(tmp_path, damage):
    traced, result = run(tmp_path)
    (path,) = programs(tmp_path)
    kept = path.read_bytes()
    path.write_bytes(damage(kept))
    assert run(tmp_path) == (traced, result) and path.read_bytes() == kept


def test_without_the_users_cache_it_is_jit(monkeypatch, tmp_path):
    """As in these tests, whose cache is another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    traced = []

    @kept_jit
    def double(x):
        traced.append(x.shape)
        return 2 * x

    for _ in range(2):
        np.testing.assert_array_equal(double(jnp.ones(3)), 2 * np.ones(3))
    assert traced == [(3,)] and not list(tmp_path.rglob("*"))
    np.testing.assert_array_equal(jax.jit(lambda x: double(x) + 1)(jnp.ones(3)), 3 * np.ones(3))


RESTORE = """
import sys
import numpy as np
from idfsr_jax.runtime.compile_cache import use_compile_cache
use_compile_cache()
import jax
jax.config.update("jax_platforms", "cpu")
from idfsr_jax import load
from idfsr_jax.config import FitConfig
restorer = load(sys.argv[1])
me = restorer.fit(["me.png"], config=FitConfig(steps=0))
result = restorer.restore("tiny.png", me, ["me.png"])
np.save(sys.argv[2], result.images[0])
"""


@pytest.mark.timeout(900)  # Three processes compile.
def test_restorations_are_kept(tiny_model, astronaut, face_crop, tmp_path):
    """Their programs can be kept, are found again, and compute what `jax.jit` does."""
    Image.fromarray(astronaut).save(tmp_path / "me.png")
    Image.fromarray(face_crop.image).resize((8, 8), Image.Resampling.BOX).save(tmp_path / "tiny.png")
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

    def run_real(name: str, **more: str) -> np.ndarray:
        subprocess.run(
            [sys.executable, "-c", RESTORE, str(tiny_model), name],
            cwd=tmp_path,
            env=environment | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | more,
            check=True,
        )
        return np.load(tmp_path / name)

    first = run_real("first.npy")
    kept = {path: path.read_bytes() for path in programs(tmp_path / "cache")}
    again = run_real("again.npy")
    plain = run_real("plain.npy", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert len(kept) >= 5 and kept == {path: path.read_bytes() for path in programs(tmp_path / "cache")}
    np.testing.assert_array_equal(again, first)
    assert np.abs(first.astype(int) - plain).max() <= 1


def test_what_cannot_be_exported_is_computed_all_the_same(tmp_path, monkeypatch):
    from idfsr_jax.runtime import programs as module

    monkeypatch.setattr(module, "folder_in_use", lambda: tmp_path)
    monkeypatch.setattr(jax, "device_count", lambda: 1)

    @kept_jit
    def through_the_host(x):
        return jax.pure_callback(lambda value: np.asarray(value) + 1, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    np.testing.assert_array_equal(through_the_host(np.ones(3, np.float32)), 2 * np.ones(3))
    assert not list(tmp_path.rglob("*"))


def test_other_settings_of_jax_are_another_program(tmp_path, monkeypatch):
    from idfsr_jax.runtime import programs as module

    monkeypatch.setattr(module, "folder_in_use", lambda: tmp_path)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    product = kept_jit(lambda a: a @ a)
    for precision in ("default", "highest", "default"):
        with jax.default_matmul_precision(precision):
            product(np.eye(2, dtype=np.float32))
    assert len(list((tmp_path / "programs").iterdir())) == 2


def test_what_was_kept_can_be_read_ahead(tmp_path, monkeypatch):
    """In a thread, while another caller waits for it; what was not kept is not compiled."""
    from idfsr_jax.runtime import programs as module

    monkeypatch.setattr(module, "folder_in_use", lambda: tmp_path)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    traced, x = [], np.arange(3, dtype=np.float32)

    def double(x):
        traced.append(x.shape)
        return 2 * x

    first, second = kept_jit(double), kept_jit(double)
    assert first(x, only_read=True) is None and not traced and not list(tmp_path.rglob("*"))
    np.testing.assert_array_equal(first(x), 2 * x)
    thread = threading.Thread(target=second, args=(x,), kwargs={"only_read": True})
    thread.start()
    np.testing.assert_array_equal(second(x), 2 * x)
    thread.join()
    assert traced == [(3,)] and second(x, only_read=True) is None


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of CPUs")
def test_on_cpus_no_library_takes_products_over_where_the_compiler_can_be_told():
    assert not is_compiler_option("xla_cpu_no_such_option")
    if is_compiler_option("xla_cpu_experimental_ynn_fusion_type"):
        product = jax.jit(lambda x: jnp.tanh(x @ x).sum(axis=0), compiler_options=compiler_options())
        assert "ynn" not in product.lower(jnp.ones((512, 512))).compile().as_text()
    else:
        assert not compiler_options()
