"""What the documents say of the program is so: messages, options, code, links; and the README is one screen."""

import ast
import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from idfsr_jax import cli
from idfsr_jax.face import read_metadata
from idfsr_jax.io import errors
from idfsr_jax.restore import places
from tools.command_line import COMMANDS, page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_HOLE = "\0"


def _template(node: ast.AST) -> str:
    """A string, with a hole for each value that is put into it; of anything else nothing but a hole."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else _HOLE for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else _HOLE


def _templates() -> set[str]:
    """Every string of the package that is no docstring, with a hole for each value that is put into it."""
    found: set[str] = set()
    for path in (ROOT / "idfsr_jax").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and id(node) not in docstrings):
                found.add(_template(node))
    quoted = re.findall(r"'([^'\n]+)'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    return found | {re.sub(r"\$\(\w+\)", _HOLE, text) for text in quoted}


# What `fit`, `identity` and `restore` call of ours.
_EVERYDAY = (
    *("commands/identity.py", "commands/options.py", "commands/restore.py", "commands/restoring.py"),
    *("face/*.py", "io/*.py", "method/model.py", "restore/*.py"),
)


def _listed() -> list[str]:
    """The messages of the troubleshooting page."""
    return re.findall(r"^- `(.*)`\\$", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"), re.MULTILINE)


def _complaints(path: Path) -> set[str]:
    """The sentences of a module's user errors, with a hole for each value, and for what is no string as it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            name = node.exc.func.id
            error = getattr(errors, name, None) or getattr(places, name, None)
            if node.exc.args and isinstance(error, type) and issubclass(error, errors.InputError):
                found.add(_template(node.exc.args[0]))
    return found


def test_every_message_of_fit_and_restore_is_on_the_troubleshooting_page():
    known = [".*".join(re.escape(part) for part in message.split("...")) for message in _listed()]
    said = {each for pattern in _EVERYDAY for path in (ROOT / "idfsr_jax").glob(pattern) for each in _complaints(path)}
    assert len(said) > 60
    # What says as good as nothing is put together of words that are looked for elsewhere.
    telling = [each for each in said if len(re.sub(r"\W", "", each)) >= 9]
    assert [each for each in telling if not any(re.fullmatch(one, each, re.DOTALL) for one in known)] == []


def test_every_message_of_the_troubleshooting_page_is_one_of_the_program():
    messages = _listed()
    assert len(messages) >= 60 and len(set(messages)) == len(messages)
    templates = _templates()
    for message in messages:
        fixed = [re.escape(part) for part in message.split("...")]
        assert len(re.sub(r"\W", "", "".join(fixed))) >= 9, f"{message}: says too little to be told from others"
        assert any(re.fullmatch(".*".join(fixed), text, re.DOTALL) for text in templates), message


def test_the_page_of_the_command_line_is_that_of_the_program():
    written = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert written == page(), "write it anew: python -m tools.command_line > docs/command-line.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_the_command_line_has_the_options_of_the_real_parser(name, capsys):
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    section = next(part for part in text.split("\n## ") if part.startswith(f"`idfsr {name}"))
    # The fields of a config are those of `Config` for all three commands that know them, so one is asked.
    configured = [str(ROOT / "configs" / "lfw128.py")] if name == "train" else []
    with pytest.raises(SystemExit):
        cli.main([name, *configured, "--help"])
    listed = re.findall(r"^[│|]? *(--[a-z][\w.-]*)", capsys.readouterr().out, re.MULTILINE)
    listed = [option for option in listed if option != "--help"]
    known = {option.replace("_", "-") for option in listed}
    if configured:
        section += text.partition("## Fields of a config")[2]
    shown = re.findall(r"^\| `(--[\w.-]+)", section, re.MULTILINE)
    assert {option.replace("_", "-") for option in shown} == known


def test_the_page_of_the_command_line_names_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert set(re.findall(r"•\s+(\w+)", capsys.readouterr().out)) == set(COMMANDS)


@pytest.mark.parametrize("name", ["docs/python.md", "README.md"])
def test_the_python_that_is_shown_runs(name, place, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("IDFSR_MODEL", str(tiny_model))
    for linked in ("photos", "tiny.png"):
        (tmp_path / linked).symlink_to(place / linked)
    (tmp_path / "photos of me").symlink_to(place / "photos")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
    assert "synthesised" in " ".join(read_metadata(tmp_path / "restored.png").values())
    if name == "docs/python.md":
        assert (tmp_path / "variants-spread.png").is_file() and abs(float(names["pixels"].std()) - 0.2) < 0.02  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_all_python_is_python(path):
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        compile(block, path.name, "exec")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = path if not name else path.parent / unquote(name)
        assert other.exists(), f"{path.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{path.name}: {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_modules_that_are_named_exist(path):
    for name in re.findall(r"python -m ((?:idfsr_jax|benchmarks|tools)[\w.]*)", path.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(name) is not None, name


def test_every_page_is_listed():
    index, readme = (path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "README.md", ROOT / "README.md"))
    for path in PAGES:
        if path.name != "README.md":
            assert f"({path.name})" in index and f"(docs/{path.name})" in readme, path.name


def test_the_readme_is_one_screen_with_a_picture():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 70 and "](docs/demo.png)" in text


def test_figures_in_readme_and_limits_are_those_of_the_results():
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name in ("README.md", "docs/limits.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("Python 3.11", "")
        figures = re.findall(r"(?<![\w.])\d+\.\d{2,3}(?![\d.])", text)
        assert figures
        assert [figure for figure in figures if figure not in results] == [], name


def test_pictures_are_light_and_say_that_they_are_synthesised():
    for name in ("demo.png", "method.png"):
        path = ROOT / "docs" / name
        assert path.stat().st_size <= 400_000
        with Image.open(path) as picture:
            assert picture.width >= 830
        assert "synthesised" in " ".join(read_metadata(path).values())
