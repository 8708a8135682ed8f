"""What the documents' commands are run on: one person, whose face is in the public domain, and a way to run a line."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from idfsr_jax import cli

ROOT = Path(__file__).parents[2]

_APART = {
    # A pattern of command lines that are not run as they stand: why, and the test that runs what they are about.
    r"make demo": ("needs a package index", "tests/commands/test_demo.py"),
    r"make test": ("is this", ""),
    r"pip install ": ("needs a package index", ""),
    r"tfds build ": ("needs the network and TensorFlow; the result is read in", "tests/data/test_catalogue.py"),
    r"idfsr app\b": ("serves until it is stopped", "tests/app/test_server.py"),
    r"idfsr convert ": ("needs somebody's checkpoint; one is written in", "tests/interop/test_torch_weights.py"),
    r"idfsr \w+ .*arcface:": ("needs ArcFace; a tiny one is trained with in", "tests/restore/test_arcface.py"),
    r"idfsr \w+ .*run/model": ("needs a model of ArcFace", "tests/restore/test_arcface.py"),
    r"idfsr train mine.py": ("needs a data set of ArcFace's embeddings", "tests/training/test_kill.py"),
    r"idfsr \w+ .*celebahq": (
        "needs CelebA-HQ; latents are trained on and restored in",
        "tests/latent/test_run.py",
    ),
    r"python -m idfsr_jax.latent.train_autoencoder ": ("takes minutes", "tests/latent/test_train_autoencoder.py"),
    r"python -m idfsr_jax.evaluation.make_protocol ": ("needs LFW", "tests/evaluation/test_protocol.py"),
    r"python evaluate.py ": ("needs LFW and minutes", "tests/evaluation/test_run.py"),
    r"python -m benchmarks.whole_photographs ": ("needs LFW", "tests/benchmarks/test_benchmarks.py"),
    r"python -m benchmarks.light ": ("needs LFW", "tests/evaluation/test_light.py"),
    r"idfsr export .*onnx": ("needs jax2onnx", "tests/export/test_denoiser.py"),
    r"idfsr export .*identity|python exported/run.py ": ("takes half a minute", "tests/export/test_folder.py"),
    r"python -m tools.faces_figure ": ("needs the London Set", "tests/tools/test_faces_figure.py"),
    r"python -m tools.method_figure ": ("needs a package index", "tests/tools/test_method_figure.py"),
    r"idfsr train .*--data.on-device": ("is another program, to be compiled", "tests/training/test_run.py"),
    r"idfsr train .*--train.start-from": ("is how the others there begin", "tests/documents/test_training.py"),
    r"idfsr plan ": ("takes minutes of the compiler's time", "tests/training/test_plan.py"),
    r"idfsr train .*--devices": ("needs several devices", "tests/training/test_mesh.py"),
    r"idfsr train .*--distributed|srun |mpirun |gcloud ": (
        "needs several machines",
        "tests/training/test_distributed.py",
    ),
}
_PROGRAMS = r"(gcloud|idfsr [a-z]|make|mpirun|pip|python|srun|tfds) ?"


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder with the files that the documents speak of."""
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


@pytest.fixture(scope="session")
def commands_of():
    """A function that gives the commands which a Markdown file shows, each on one line and without its comment."""

    def read(path: Path) -> list[str]:
        blocks = re.findall(r"^```\w*\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        lines = [
            line.split("  ")[0].strip() for block in blocks for line in re.sub(r" *\\\n *", " ", block).splitlines()
        ]
        return [line.removeprefix("$ ") for line in lines]

    return read


@pytest.fixture(scope="session")
def commands_in(commands_of):
    """A function that gives the commands of a page, of the programs that there are."""

    def read(page: str) -> list[str]:
        return [line for line in commands_of(ROOT / page) if re.match(_PROGRAMS, line)]

    return read


@pytest.fixture(scope="session")
def apart() -> dict[str, tuple[str, str]]:
    """Patterns of the commands that are not run as they stand; why, and the test of what they are about."""
    return _APART


@pytest.fixture(scope="session")
def to_be_run(commands_in):
    """A function that gives those commands of a page that are run as they stand."""

    def read(page: str) -> list[str]:
        return [line for line in commands_in(page) if not any(re.match(pattern, line) for pattern in _APART)]

    return read


@pytest.fixture
def run(monkeypatch):
    """A function that runs a line of `idfsr` in a folder, as a shell would; gives the exit code."""

    def ran(line: str, folder: Path) -> int:
        words: list[str] = []
        for word in shlex.split(line):
            words += sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else [word]
        assert words[0] == "idfsr", line
        monkeypatch.chdir(folder)
        return cli.main(words[1:])

    return ran
