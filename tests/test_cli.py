"""The command line: arguments are checked before work starts, mistakes end in one sentence and exit code 2."""

import dataclasses
import functools
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from idfsr_jax import cli
from idfsr_jax.arguments import output_paths
from idfsr_jax.config import Config
from idfsr_jax.errors import InputError, NoFace
from idfsr_jax.face import read_image, read_metadata, write_image
from idfsr_jax.places import Choice, Place, UndecidedFaces

ROOT = Path(__file__).parent.parent
PLANNED = str(ROOT / "configs" / "lfw64.py")
GREY = np.full((8, 8, 3), 99, np.uint8)


@dataclasses.dataclass
class FakeRestoration:
    """Stands for the restorer's answer."""

    images: list[np.ndarray]
    metadata: ClassVar[dict[str, str]] = {"made-by": "test"}

    said: ClassVar[tuple[str, ...]] = ()

    def save(self, path: Path, *, enlarge: float | None, label: bool, metadata: dict[str, str]) -> None:
        write_image(path, self.images[0], {**self.metadata, **metadata, "enlarge": str(enlarge), "label": str(label)})

    def save_spread(self, path: Path, *, enlarge: float | None, label: bool, metadata: dict[str, str]) -> None:
        for part in ("mean", "spread"):
            write_image(path.with_stem(f"{path.stem}-{part}"), self.images[0], {**self.metadata, **metadata})
        for number in range(2, len(self.images) + 1):
            write_image(path.with_stem(f"{path.stem}-{number}"), self.images[0], {**self.metadata, **metadata})

    def save_sheet(self, path: Path, *, label: bool, metadata: dict[str, str]) -> None:
        write_image(path, np.concatenate(self.images, axis=1), {**self.metadata, **metadata})

    def notes(self) -> list[str]:
        return list(self.said)


class FakeGathering(list):
    """Stands for the photographs that are used: all."""

    @property
    def used(self) -> list[Path]:
        return list(self)

    def lines(self) -> list[str]:
        return [f"used, {len(self)}:"]

    def warnings(self) -> list[str]:
        return ["only one photograph remains."] if len(self) == 1 else []


class FakeIdentity:
    """Stands for a fitted identity."""

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("identity")

    @classmethod
    def load(cls, path: Path) -> "FakeIdentity":
        assert path.read_text() == "identity"
        return cls()


@dataclasses.dataclass
class FakeFound:
    """Stands for a face that was found."""

    options: dict[str, Any]
    pixels: int = 64


class FakeRestorer:
    """Notes what it is asked for; pictures called `bad` show no face."""

    calls: ClassVar[list[Any]] = []
    config = Config()

    @classmethod
    def load(cls, weights: Path | None = None, encoder: str | None = None) -> "FakeRestorer":
        cls.calls.append(("load", weights))
        return cls()

    def check_identity(self, identity: FakeIdentity, name: Path) -> None:
        if name.stem == "other":
            raise InputError(f"{name}: was fitted with another model; fit it again with this one.")

    def gather(self, photos: list[Path], *, keep_all: bool) -> FakeGathering:
        return FakeGathering(photos)

    def references(self, photos: list[Path], identity: FakeIdentity) -> tuple[list[Path], list[str]]:
        return list(photos), []

    def fit(self, photos: list[Path], *, progress: Callable[[int, float], None]) -> FakeIdentity:
        self.calls.append(("fit", list(photos)))
        progress(1, 0.5)
        return FakeIdentity()

    def find(self, picture: Path, identity: FakeIdentity, photos: list[Path], **options: Any) -> FakeFound:
        self.calls.append(("restore", picture, list(photos), options))
        if picture.stem == "bug":
            raise ZeroDivisionError("a fault of ours")
        if picture.stem == "several":
            place = Place((1, 1, 4, 4), np.eye(3))
            raise UndecidedFaces(
                f"{picture}: shows 2 faces; give --face N.", GREY, Choice((place, place), 1, (0.4, 0.6))
            )
        if picture.stem == "bad":
            raise NoFace(f"{picture}: no face was found; give its place with --box.")
        return FakeFound(options)

    def sample(self, found: list[FakeFound], **options: Any) -> list[FakeRestoration]:
        for each in found:
            each.options.update(options)
        return [FakeRestoration([np.zeros((8, 8, 3), np.uint8)] * options["variants"]) for _ in found]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Puts the fakes in place of the restorer; returns the list of what it was asked for."""
    module = types.ModuleType("idfsr_jax.restorer")
    module.Restorer = FakeRestorer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "idfsr_jax.restorer", module)
    module = types.ModuleType("idfsr_jax.identity")
    module.Identity = FakeIdentity  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "idfsr_jax.identity", module)
    monkeypatch.setattr(FakeRestorer, "calls", [])
    return FakeRestorer.calls


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an identity, two photographs of the person and two inputs."""
    monkeypatch.chdir(tmp_path)
    picture = Image.fromarray(np.full((8, 8, 3), 99, np.uint8))
    Path("me").mkdir()
    Path("empty").mkdir()
    for name in ("me/b.jpg", "me/a.png", "tiny.png", "bad.png"):
        picture.save(name)
    Path("me/notes.txt").write_text("no picture")
    Path("me.safetensors").write_text("identity")
    return tmp_path


RESTORE = ["--identity", "me.safetensors", "--photos", "me", "--out"]


def _complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("idfsr: ") and captured.err.count("\n") == 1
    return captured.err.removeprefix("idfsr: ").strip()


def test_help_needs_no_jax():
    code = (
        "import sys\n"
        "from idfsr_jax.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'jax', 'flax', 'dlib', 'tensorflow_datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("prepare", "train", "fit", "restore", "evaluate"))


@pytest.mark.parametrize("arguments", [[], ["bogus"], ["fit", "--bogus"], ["restore", "a.png", "--steps", "many"]])
def test_arguments_that_cannot_be_parsed_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare"], "--photos is missing"),
        (["prepare", "--photos", "me"], "--out is missing"),
        (["prepare", "--photos", "nowhere", "--out", "o"], "nowhere: no such folder"),
        (["prepare", "--photos", "me", "--out", "o", "--splits", "nowhere"], "nowhere: no such folder"),
        (["prepare", "--photos", "me", "--out", "tiny.png"], "tiny.png: is a file"),
        (["prepare", "--photos", "me", "--out", "o", "--workers", "-1"], "--workers -1"),
        (["prepare", "--photos", "me", "--out", "o", "--lists", "train_x.csv"], "train_x.csv: no such list"),
        (["prepare", "--photos", "me", "--out", "o", "--identities", "who.txt"], "who.txt: no such list"),
        (
            ["prepare", "--photos", "tfds:no_such_set", "--out", "o"],
            "tfds build no_such_set --file_format=array_record",
        ),
        (["fit"], "--photos is missing"),
        (["fit", "--photos", "me"], "--out is missing"),
        (["fit", "--photos", "nobody", "--out", "x.safetensors"], "nobody: no such photograph"),
        (["fit", "--photos", ".", "--out", "me"], "safetensors"),
        (["fit", "--photos", "me", "--out", "x.png"], "safetensors"),
        (["fit", "--photos", "me", "--out", "tiny.png/x.safetensors"], "cannot be written to"),
        (["train", "nowhere.py"], "nowhere.py: no such config file"),
        (["evaluate", "nowhere.py", "--name", "x"], "nowhere.py: no such config file"),
        (["export"], "--out is missing"),
        (["export", "--out", "tiny.png"], "tiny.png: is a file"),
        (["export", "--out", "o", "--batch", "0"], "--batch 0"),
        (["export", "--out", "o", "--steps", "0"], "--steps 0"),
        (["export", "--out", "o", "--photos", "me"], "--identity and --photos belong together"),
        (["export", "--out", "o", "--photos", "me", "--identity", "you.safetensors"], "you.safetensors: no such"),
        (["plan", "nowhere.py"], "nowhere.py: no such config file"),
        (["plan", PLANNED, "--devices", "0"], "--devices 0"),
        (["plan", PLANNED, "--fsdp", "9"], "--fsdp 9"),
        (["plan", PLANNED, "--fsdp", "3"], "devices.fsdp is 3, which does not divide 8 devices"),
        (["plan", PLANNED, "--share", "1.5"], "--share 1.5"),
        (["plan", PLANNED, "--peak", "h1000"], "--peak h1000: give TFLOP a second, or one of"),
        (["plan", PLANNED, "--peak", "nan"], "--peak nan"),
        (["plan", PLANNED, "--peak", "300"], "--memory is missing"),
        (["plan", PLANNED, "--memory", "-1"], "--memory -1"),
        (["plan", PLANNED, "--json", "tiny.png/plan.json"], "cannot be written to"),
        (["plan", PLANNED, "--train.batch", "0"], "train.batch is 0"),
        (["restore"], "the picture to restore is missing"),
        (["restore", "tiny.png"], "--identity is missing"),
        (["restore", "tiny.png", "--identity", "you.safetensors"], "you.safetensors: no such identity"),
        (["restore", "tiny.png", "--identity", "me.safetensors"], "--photos is missing"),
        (["restore", "tiny.png", "--identity", "me.safetensors", "--photos", "me"], "--out is missing"),
        (["restore", "tiny.png", *RESTORE, "o.gif"], "o.gif: give a name that ends in .png or .jpg"),
        (["restore", "tiny.png", *RESTORE, "tiny.png"], "tiny.png: would be overwritten"),
        (["restore", "tiny.png", *RESTORE, "."], "tiny.png: would be overwritten"),
        (["restore", "tiny.png", *RESTORE, "me.safetensors/o.png"], "cannot be written to"),
        (["restore", "tiny.png", "bad.png", *RESTORE, "me.safetensors"], "give a folder for the results"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--sheet", "o.png"], "o.png: would be overwritten"),
        (["restore", "bad.png", *RESTORE, "me/x.png", "--sheet", "me/x-3.png", "--variants", "3"], "x-3.png: would be"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--steps", "0"], "--steps 0"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--variants", "0"], "--variants 0"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--scale", "1"], "--scale 1"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--seed", "-1"], "--seed -1"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--consistency", "1.5"], "--consistency 1.5"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--consistency", "nan"], "--consistency nan"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--box", "1,2,3"], "--box 1,2,3"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--box", "1,2,0,4"], "width and height must be positive"),
        (["restore", "tiny.png", "bad.png", *RESTORE, "o", "--box", "1,2,3,4"], "--box belongs to one photograph"),
        (["restore", "me", *RESTORE, "o", "--face", "2"], "--face belongs to one photograph"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--eyes", "1,2,x,4"], "--eyes 1,2,x,4"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--eyes", "1,2,nan,4"], "--eyes 1,2,nan,4"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--eyes", "1,2,3,4", "--face", "1"], "both say which face"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--face", "0"], "--face 0"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--enlarge", "0"], "--enlarge 0"),
        (["restore", "tiny.png", *RESTORE, "o.png", "--enlarge", "inf"], "--enlarge inf"),
        (
            ["restore", "tiny.png", *RESTORE, "a.png", "--variants", "2", "--sheet", "a-mean.png"],
            "a-mean.png: would be",
        ),
        (["restore", "me", *RESTORE, "tiny.png"], "tiny.png: is a file"),
        (["restore", "me", *RESTORE, "o", "--sheet", "tiny.png"], "tiny.png: is a file"),
        (["restore", "empty", *RESTORE, "o"], "empty: holds no pictures"),
        (["identity", "show", "nobody.safetensors"], "nobody"),
    ],
)
def test_mistakes_are_named_before_anything_is_loaded(
    arguments: list[str], said: str, folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
):
    assert said in _complaint(arguments, capsys)
    assert calls == []


def test_photos_of_several_people_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "all").mkdir()
    (folder / "me").rename(folder / "all/me")
    assert "one person" in _complaint(["fit", "--photos", "all", "--out", "x.safetensors"], capsys)


def test_fit_hands_over_the_photographs_of_a_folder(folder: Path, calls: list[Any]):
    assert cli.main(["fit", "--photos", "me", "tiny.png", "--out", "new/you.safetensors", "--weights", "w"]) == 0
    assert calls == [("load", Path("w")), ("fit", [Path("me/a.png"), Path("me/b.jpg"), Path("tiny.png")])]
    assert (folder / "new/you.safetensors").read_text() == "identity"


def test_restore_hands_over_its_options(folder: Path, calls: list[Any]):
    options = ["--box", "1,2,3,4", "--scale", "8", "--steps", "5", "--seed", "7", "--variants", "2"]
    arguments = ["restore", "tiny.png", *RESTORE, "o/x.jpg", *options, "--consistency", "0.5", "--sheet", "o/sheet.png"]
    assert cli.main(arguments) == 0
    expected = {"box": (1, 2, 3, 4), "scale": 8, "steps": 5, "seed": 7, "variants": 2, "consistency": 0.5}
    assert calls[1] == ("restore", Path("tiny.png"), [Path("me/a.png"), Path("me/b.jpg")], expected)
    with Image.open("o/x.jpg") as result:
        assert result.size == (8, 8)
    with Image.open("o/sheet.png") as sheet:
        assert sheet.size == (16, 8) and sheet.text == FakeRestoration.metadata  # type: ignore[attr-defined]


def test_one_bad_input_does_not_stop_the_rest(folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]):
    assert cli.main(["restore", "bad.png", "tiny.png", *RESTORE, "o"]) == 2
    assert sorted(path.name for path in (folder / "o").iterdir()) == ["tiny.png"]
    captured = capsys.readouterr()
    assert captured.err.startswith("idfsr: bad.png: no face was found")
    assert "1 of 2 inputs" in captured.err
    assert captured.out == f"tiny.png -> {Path('o/tiny.png')}\n"


def test_which_face_is_handed_over(folder: Path, calls: list[Any]):
    for option, value, expected in [("--eyes", "1,2,3.5,4", (1.0, 2.0, 3.5, 4.0)), ("--face", "2", 2)]:
        assert cli.main(["restore", "tiny.png", *RESTORE, "o.png", option, value, "--enlarge", "1.5", "--label"]) == 0
        assert calls[-1][3][option.removeprefix("--")] == expected
    metadata = read_metadata(folder / "o.png")
    assert (metadata["enlarge"], metadata["label"]) == ("1.5", "True")


def test_where_the_face_is_not_told_an_overview_is_written(
    folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
):
    (folder / "tiny.png").rename(folder / "several.png")
    assert "o-faces.png" in _complaint(["restore", "several.png", *RESTORE, "o.png"], capsys)
    assert not (folder / "o.png").exists()
    assert max(read_image(folder / "o-faces.png").shape) == 1600
    assert "nothing in it is synthesised" in read_metadata(folder / "o-faces.png")["Description"]


@pytest.fixture
def album(folder: Path) -> Path:
    """A folder of two good pictures, one in a subfolder, one bad, one that meets a bug, and something else."""
    (folder / "album/deep").mkdir(parents=True)
    for name in ("a.png", "deep/a.png", "bad.png", "bug.png"):
        Image.fromarray(GREY).save(folder / "album" / name)
    (folder / "album/notes.txt").write_text("no picture")
    return folder / "album"


def test_an_album_keeps_its_folders_and_says_what_came_of_every_picture(
    album: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["restore", "album", *RESTORE, "album/out", "--sheet", "sheets"]) == 2
    assert read_image(album / "out/a.png").shape == read_image(album / "out/deep/a.png").shape == (8, 8, 3)
    assert Path("sheets/deep/a.png").is_file()
    summary = json.loads((album / "out/summary.json").read_text())
    assert [entry["output"] for entry in summary["restored"]] == ["album/out/a.png", "album/out/deep/a.png"]
    assert [entry["input"] for entry in summary["failed"]] == ["album/bad.png", "album/bug.png"]
    assert "no face" in summary["failed"][0]["why"] and "ZeroDivisionError" in summary["failed"][1]["why"]
    printed = capsys.readouterr().out
    assert "restored" in printed and "no face" in printed


def test_an_album_goes_on_where_it_was(album: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]):
    (album / "bad.png").unlink()
    (album / "bug.png").unlink()

    def restored(*options: str) -> list[str]:
        del calls[:]
        assert cli.main(["restore", "album", *RESTORE, "album/out", *options]) == 0
        return [str(call[1].relative_to("album")) for call in calls if call[0] == "restore"]

    assert restored() == ["a.png", "deep/a.png"]
    assert restored() == []
    assert len(json.loads((album / "out/summary.json").read_text())["skipped"]) == 2
    (album / "out/a.png").unlink()
    assert restored() == ["a.png"]
    Image.fromarray(GREY + 1).save(album / "deep/a.png")
    assert restored() == ["deep/a.png"]
    assert restored("--seed", "1") == ["a.png", "deep/a.png"]
    assert restored("--seed", "1", "--variants", "2") == ["a.png", "deep/a.png"]
    assert restored("--seed", "1", "--variants", "2") == []
    (album / "out/deep/a-spread.png").unlink()
    assert restored("--seed", "1", "--variants", "2") == ["deep/a.png"]
    Path("me.safetensors").rename("you.safetensors")
    Path("me.safetensors").write_text("identity")
    assert restored("--seed", "1", "--variants", "2") == []
    Image.fromarray(GREY - 9).save("me/a.png")
    assert restored("--seed", "1", "--variants", "2") == ["a.png", "deep/a.png"]


def test_notes_and_warnings_go_to_standard_error(
    folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(FakeRestoration, "said", ("the small face is unlike the photographs.",))
    assert cli.main(["restore", "tiny.png", *RESTORE, "o.png"]) == 0
    assert capsys.readouterr().err == "idfsr: note: tiny.png: the small face is unlike the photographs.\n"
    assert cli.main(["fit", "--photos", "tiny.png", "--out", "x.safetensors"]) == 0
    assert "warning: only one photograph" in capsys.readouterr().err


def test_results_of_equal_names_do_not_overwrite_each_other():
    inputs = [Path("a/x.png"), Path("b/x.jpg"), Path("x.bmp"), Path("y.png")]
    names = [path.name for path in output_paths(inputs, Path("out"))]
    assert names == ["x.png", "x.2.png", "x.3.png", "y.png"]


def test_train_takes_defaults_from_the_config_and_overrides_from_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "tiny.py"
    path.write_text(
        "from idfsr_jax.config import Config, TrainConfig\n"
        "config = Config(name='tiny', train=TrainConfig(steps=3, batch=2))\n"
    )
    seen: list[Config] = []
    module = types.ModuleType("idfsr_jax.training.run")
    module.train = lambda config: seen.append(config) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "idfsr_jax.training.run", module)
    assert cli.main(["train", str(path)]) == 0
    options = ["--data.scales", "8", "--data.scale-weights", "1"]
    assert cli.main(["train", str(path), "--train.steps", "9", *options]) == 0
    assert [(config.name, config.train.steps, config.train.batch) for config in seen] == [
        ("tiny", 3, 2),
        ("tiny", 9, 2),
    ]
    assert seen[1].data.scales == (8,)
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", str(path), "--train.stepz", "9"])
    assert stop.value.code == 2 and len(seen) == 2


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (InputError("x: is wrong."), 2)])
def test_exit_codes(error: BaseException, code: int, folder: Path, calls: list[Any], monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(FakeRestorer, "load", fail)
    assert cli.main(["fit", "--photos", "me", "--out", "x.safetensors"]) == code


def test_a_bug_is_not_hidden(folder: Path, calls: list[Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeIdentity, "save", lambda self, path: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["fit", "--photos", "me", "--out", "x.safetensors"])


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_scripts_are_the_commands(script: str):
    command = [sys.executable, str(ROOT / script), "nowhere.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("idfsr: nowhere.py: no such config")) == (2, True), done.stderr


def test_plan_prints_and_writes_what_was_planned(tmp_path, monkeypatch, capsys):
    from idfsr_jax.training import plan

    free = functools.partial(plan.plan_run, cost=lambda config, devices: (1e13, 10**9))
    monkeypatch.setattr(plan, "plan_run", free)
    options = ["--devices", "256", "--peak", "V5E", "--fsdp", "2", "--json", str(tmp_path / "plan.json")]
    assert cli.main(["plan", PLANNED, *options]) == 0
    printed, facts = capsys.readouterr().out, json.loads((tmp_path / "plan.json").read_text())
    assert "lfw64 on 256 x V5E" in printed and "train.batch is 16" in printed and "--train.batch 256" in printed
    assert facts["batch"] == 256 and facts["fsdp"] == 2 and facts["fits"] and facts["peak"] == 197e12
    assert facts["images_per_second"] == pytest.approx(256 * 0.3 * 197e12 * 256 / 1e13)
