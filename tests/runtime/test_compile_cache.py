"""Where compiled programs are kept, and that nothing goes wrong where they cannot be. Nothing here runs with a home."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from idfsr_jax.runtime import compile_cache
from idfsr_jax.runtime.compile_cache import cache_folder, use_compile_cache

ROOT = Path(__file__).parent.parent
SCRIPT = """
import warnings
warnings.simplefilter("error")
from idfsr_jax.runtime.compile_cache import use_compile_cache
use_compile_cache()
import jax, jax.numpy as jnp
jax.config.update("jax_platforms", "cpu")
jax.jit(lambda x: jnp.sin(x) + 3)(jnp.ones(5)).block_until_ready()
print(jax.config.jax_compilation_cache_dir)
"""


def compiled_in(**environment: str) -> str:
    """The cache of a fresh process that compiled something and said nothing on standard error."""
    hidden = {"JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME", "HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_programs_are_kept_in_the_users_cache(tmp_path):
    folder = Path(compiled_in(XDG_CACHE_HOME=str(tmp_path), HOME="/nowhere"))
    assert folder.parent == tmp_path / "idfsr-jax" / "xla"
    assert folder.name.startswith(f"{jax.__version__}-")
    assert list(folder.glob("*-cache"))
    assert folder.stat().st_mode & 0o077 == 0
    before = sorted(folder.glob("*-cache"))
    compiled_in(XDG_CACHE_HOME=str(tmp_path), HOME="/nowhere")
    assert sorted(folder.glob("*-cache")) == before


def test_jaxs_own_setting_is_kept(tmp_path):
    own = tmp_path / "own"
    assert compiled_in(JAX_COMPILATION_CACHE_DIR=str(own), XDG_CACHE_HOME=str(tmp_path / "xdg")) == str(own)
    assert not (tmp_path / "xdg").exists()


def test_where_nothing_can_be_written_nothing_is_kept_or_said(tmp_path):
    (tmp_path / "file").touch()
    assert compiled_in(XDG_CACHE_HOME=str(tmp_path / "file"), HOME=str(tmp_path / "file")) == "None"


def test_a_cache_that_is_set_already_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    if not before:
        pytest.skip("the tests have no cache of their own here")
    use_compile_cache()
    assert jax.config.jax_compilation_cache_dir == before
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    assert not compile_cache._is_private_and_writable(tmp_path / "shared")
    assert compile_cache._is_private_and_writable(tmp_path / "own" / "deep")
    assert list((tmp_path / "own" / "deep").iterdir()) == []


def test_the_folder_depends_on_jax_and_on_the_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cache_folder("1.2.3")
    assert folder == cache_folder("1.2.3") != cache_folder("1.2.4")
    monkeypatch.setattr(compile_cache, "_processor_features", lambda: "flags: another")
    assert cache_folder("1.2.3") != folder


def test_without_a_home_there_is_no_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/are/ignored")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder("1") is None
