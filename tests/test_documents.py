"""The commands of README.md and docs/photographs.md, run with the shipped model on photographs that are made here."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from idfsr_jax import cli
from idfsr_jax.face import read_image, read_metadata

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the files that the documents speak of; one person, whose face is in the public domain."""
    folder = tmp_path_factory.mktemp("documents")
    person = Image.fromarray(skimage.data.astronaut())
    (folder / "photos").mkdir()
    (folder / "album" / "summer").mkdir(parents=True)
    person.save(folder / "photos" / "a.png")
    person.resize((400, 400)).save(folder / "photos" / "b.jpg", quality=95)
    tiny = person.crop((150, 20, 300, 170)).resize((8, 8), Image.Resampling.BOX)
    for name in ("tiny.png", "tiny/a.png", "tiny/b.png", "album/a.png", "album/summer/b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        tiny.save(folder / name)
    group = Image.fromarray(np.full((520, 640, 3), (120, 110, 100), np.uint8))
    # The face is 100 px wide in the photograph, around x 222, y 110: where the documents' boxes and eyes are.
    for width, (x, y) in ((20, (320, 444)), (28, (120, 200))):
        small = person.resize((round(512 * width / 100),) * 2, Image.Resampling.LANCZOS)
        group.paste(small, (x - round(2.22 * width), y - round(1.1 * width)))
    group.save(folder / "group.jpg", quality=95)
    return folder


def _run(line: str, folder: Path, monkeypatch) -> int:
    words: list[str] = []
    for word in shlex.split(line):
        # What a shell would do.
        words += sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else [word]
    monkeypatch.chdir(folder)
    return cli.main(words[1:])


@pytest.mark.timeout(900)
def test_the_commands_of_the_guide_to_photographs_run(place, commands_of, monkeypatch, capsys):
    lines = [line for line in commands_of(ROOT / "docs" / "photographs.md") if line.startswith("idfsr ")]
    assert len(lines) >= 8
    for line in lines:
        code, said = _run(line, place, monkeypatch), capsys.readouterr().err
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
def test_the_commands_of_the_readme_for_use_run(place, commands_of, monkeypatch, capsys):
    readme = commands_of(ROOT / "README.md")
    lines = [line for line in readme if line.startswith(("idfsr fit", "idfsr identity", "idfsr restore"))]
    assert len(lines) >= 6
    for line in lines:
        line = line.replace("--photos DIR", "--photos photos").replace("412,96,30,34", "310,434,20,20")
        code = _run(line, place, monkeypatch)
        assert code == 0, (line, capsys.readouterr().err)
    assert (place / "restored.png").is_file() and (place / "sheets").is_dir()
