"""The repository as a whole: what is tracked, and what imports what."""

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "idfsr_jax").rglob("*.py"))

# A part may import only parts that stand before it, and `latent`, inside functions, wherever a config asks for it.
PARTS = [
    "io",
    "config",
    "runtime",
    "interop",
    "face",
    "diffusion",
    "networks",
    "method",
    "data",
    "restore",
    "training",
    "latent",
    "export",
    "evaluation",
    "app",
    "commands",
    "cli",
    "__init__",
]
NEVER_IMPORTED = {"cloudpickle", "dill", "marshal", "pickle", "shelve", "tensorflow", "torch"}
# Written apart, so that this file does not find itself.
PLACES = re.compile("|".join(["/wor" + "k/", "/ho" + "me/", "/ro" + "ot/", "/Us" + "ers/", "/opt/" + "(wheels|pypi)"]))


def _tracked() -> list[Path]:
    """Tracked files, and those that would be with the next `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def _part(path: Path) -> str:
    return path.relative_to(ROOT / "idfsr_jax").with_suffix("").parts[0]


def _imports(path: Path) -> set[str]:
    """Full names of what a file imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_photograph_of_lfw_is_tracked():
    assert [path.name for path in _tracked() if re.search(r"_\d{4}\.(jpe?g|png)$", path.name, re.IGNORECASE)] == []


def test_files_are_small():
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in _tracked()}
    assert {name: size for name, size in sizes.items() if size > 20e6} == {}
    assert sum(sizes.values()) < 70e6


def test_no_place_of_one_machine_is_named():
    found = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in PLACES.finditer(text)]
    assert found == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt", "Makefile", ".ci/run", "pyproject.toml"])
def test_set_up_uses_the_users_own_index(name: str):
    assert re.findall(r"index-url|find-links|https?://", (ROOT / name).read_text()) == []


def test_imports_run_downwards():
    for path in SOURCES:
        part = _part(path)
        assert part in PARTS, "a new part of the package: give it its place in PARTS"
        used = {name.split(".")[1] for name in _imports(path) if name.startswith("idfsr_jax.")}
        allowed = {"io", "config"} if part == "diffusion" else set(PARTS[: PARTS.index(part)])
        assert used - allowed - {part, "latent"} == set(), path


def test_what_is_imported_is_required():
    required = {_normal(name) for name in re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].values()
    required |= {_normal(re.split(r"[<>=]", line)[0]) for extra in extras for line in extra}
    for path in SOURCES:
        modules = {name.split(".")[0] for name in _imports(path)} - {"idfsr_jax"} - set(sys.stdlib_module_names)
        owners = {name: {_normal(owner) for owner in _providers().get(name, [])} for name in modules}
        assert [name for name in modules if not owners[name] & required] == [], path


def test_nothing_unpickles_or_needs_another_framework():
    # One pickle is read: that of a package, by its SHA-256 and with nothing but arrays allowed in it. Another, on the
    # user's demand, by PyTorch with nothing but tensors allowed in it; there PyTorch is optional.
    allowed = {"lpips_weights.py": {"pickle"}, "torch_weights.py": {"torch"}}
    for path in SOURCES:
        found = {name.split(".")[0] for name in _imports(path)} & NEVER_IMPORTED
        assert found == allowed.get(path.name, set()), path


def test_optional_packages_are_imported_inside_functions_only():
    optional = {"diffusers", "fastapi", "gradio", "jax2onnx", "onnx", "onnxruntime", "pillow_heif", "torch", "uvicorn"}
    # Two files are the page, and are themselves imported inside functions only.
    for path in SOURCES:
        if path.parent.name == "app" and path.name in ("desk.py", "page.py"):
            continue
        assert {name.split(".")[0] for name in _imported_at_once(path)} & optional == set(), path


def test_latents_are_imported_inside_functions_only():
    for path in SOURCES:
        if _part(path) != "latent":
            assert [name for name in _imported_at_once(path) if name.startswith("idfsr_jax.latent")] == [], path


def _imported_at_once(path: Path) -> set[str]:
    """Modules that a file imports when it is imported itself."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    names = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in body if isinstance(node, ast.ImportFrom)}


@functools.cache
def _providers() -> dict[str, list[str]]:
    # The wheel of dlib-bin does not list `dlib` among the modules that it brings.
    # What reads HEIC need not be installed here.
    known = {"dlib": ["dlib-bin"], "pillow_heif": ["pillow-heif"]}
    return {**known, **importlib.metadata.packages_distributions()}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
