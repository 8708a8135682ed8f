"""The commands for use, of README, quick start and the guide to photographs, run with the shipped model."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from idfsr_jax.face import read_image, read_metadata
from idfsr_jax.io.files import write_summed_json
from idfsr_jax.method.model import read_description, shipped_model


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The shipped model, without guidance, which takes minutes to compile for every length of a batch.

    What is compiled is optimised here: little optimised, so large a model would run for many minutes.
    """
    for path in shipped_model().iterdir():
        if path.name != "model.json":
            (tmp_path / path.name).symlink_to(path)
    description = read_description(shipped_model())
    description["config"]["sample"]["guidance"] = 0
    write_summed_json(tmp_path / "model.json", description)
    monkeypatch.setenv("IDFSR_MODEL", str(tmp_path))
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("shipped")
def test_the_commands_of_the_guide_to_photographs_run(place, to_be_run, run, capsys):
    lines = to_be_run("docs/photographs.md")
    assert len(lines) >= 8
    for line in lines:
        code, said = run(line, place), capsys.readouterr().err
        # The same person is in the group twice, so that the program must ask which is meant.
        assert code == 0 or ("group-any" in line and "they are numbered in out/group-any-faces.png" in said), (
            line,
            said,
        )
    for name in ("group", "group-2", "tiny", "tiny-2", "tiny-mean", "tiny-spread", "sheet"):
        assert read_image(place / "out" / f"{name}.png").ndim == 3
    assert "synthesised" in " ".join(read_metadata(place / "out" / "group.png").values())
    assert read_image(place / "out" / "group-eyes.jpg").shape == (520, 640, 3)
    assert {path.name for path in (place / "restored").rglob("*.png")} == {"a.png", "b.png"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("page", "count"), [("README.md", 2), ("docs/quickstart.md", 6)])
def test_the_commands_to_begin_with_run(page, count, place, to_be_run, run, tiny_model, monkeypatch, capsys):
    # The guide's are run with the shipped model, these with a small one, which takes a tenth of the time.
    monkeypatch.setenv("IDFSR_MODEL", str(tiny_model))
    lines = to_be_run(page)
    assert len(lines) == count
    for line in lines:
        code = run(line.replace("--photos DIR", "--photos photos"), place)
        assert code == 0, (line, capsys.readouterr().err)
    assert (place / "restored.png").is_file()
    assert page == "README.md" or {path.name for path in (place / "sheets").iterdir()} == {"a.png", "b.png"}
