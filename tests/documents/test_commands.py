"""Every command in README and docs is run by a test or has a reason why not; and every one is understood."""

import functools
import importlib
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from idfsr_jax import cli

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
RUN = {
    "README.md": "test_use.py",
    "docs/photographs.md": "test_use.py",
    "docs/quickstart.md": "test_use.py",
    "docs/training.md": "test_training.py",
}


@pytest.fixture
def parsed(monkeypatch) -> list[str]:
    """Names of the commands that were understood; none of them does anything."""
    understood: list[str] = []

    def idle(name: str, command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def stub(*arguments: object, **options: object) -> int:
            understood.append(name)
            return 0

        return stub

    monkeypatch.setattr(cli, "COMMANDS", {name: idle(name, command) for name, command in cli.COMMANDS.items()})
    for name in ("run_evaluation", "run_plan", "run_training"):
        monkeypatch.setattr(cli, name, idle(name, getattr(cli, name)))
    return understood


def test_every_command_is_run_or_says_why_not(commands_in, to_be_run, apart):
    assert [page for page in PAGES if to_be_run(page)] == sorted(RUN)
    for page, file in RUN.items():
        assert page in (Path(__file__).parent / file).read_text(encoding="utf-8")
    lines = [line for page in PAGES for line in commands_in(page)]
    assert len(lines) > 60
    for pattern, (why, test) in apart.items():
        assert any(re.match(pattern, line) for line in lines), f"{pattern}: no document has such a command any more"
        assert why and (ROOT / test).exists(), test


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood_by_the_real_parser(page, commands_in, parsed):
    for line in commands_in(page):
        found = re.search(r"\b(?:idfsr|python(?= (?:train|evaluate)\.py)) (.*)", line)
        if found is None or re.match("(make|pip|tfds) ", line):
            continue
        name, *words = shlex.split(found[1].rstrip('"'))
        name = name.removesuffix(".py")
        # The documents also speak of configs that are the reader's.
        words = [re.sub(r"^(?:configs/)?mine\.py$", "configs/lfw128.py", word) for word in words]
        words = [str(ROOT / word) if re.fullmatch(r"configs/\w+\.py", word) else word for word in words]
        before = len(parsed)
        assert cli.main([name, *words]) == 0, line
        assert len(parsed) == before + 1
        # With options, a config's fields among them, another function is called than without.
        runs = {"evaluate": "run_evaluation", "plan": "run_plan", "train": "run_training"}
        assert parsed[-1] in (name, runs.get(name)), line


def test_a_wrong_option_is_not_understood(parsed, capsys):
    assert cli.main(["fit", "--photos", "photos", "--outt", "me.safetensors"]) == 2
    assert "--outt" in capsys.readouterr().err and not parsed


def test_modules_know_the_options_that_the_documents_give_them(commands_in, monkeypatch, capsys):
    lines = [line.split() for page in PAGES for line in commands_in(page) if line.startswith("python ")]
    lines = [words for words in lines if words[1] not in ("train.py", "evaluate.py")]
    assert len(lines) > 3
    for words in lines:
        name = words[2] if words[1] == "-m" else "idfsr_jax.export.run"
        assert words[1] in ("-m", "exported/run.py")
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit) as stop:
            _main_of(name)()
        known = set(re.findall(r"--[\w.-]+", capsys.readouterr().out))
        assert stop.value.code == 0
        assert {word for word in words if word.startswith("--")} <= known, words


def test_other_programs_are_given_what_is_there(commands_in):
    lines = [line for page in PAGES for line in commands_in(page)]
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in lines if line.startswith("make ")} == {"demo", "test"} == targets
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {name for line in lines for name in re.findall(r"pip install \"\.\[(\w+)\]\"", line)}
    assert asked and asked <= set(extras)


def _main_of(name: str) -> Callable[[], object]:
    if name == "idfsr_jax.evaluation.make_protocol":
        import tyro

        return lambda: tyro.cli(importlib.import_module(name).main)
    return importlib.import_module(name).main
