"""The command line as a whole: help, options that cannot be read, configs with options over them, and the scripts."""

import functools
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

import idfsr_jax
from idfsr_jax import cli
from idfsr_jax.config import Config

ROOT = Path(__file__).parent.parent


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


@pytest.mark.parametrize("arguments", [[], ["restore", "a.png", "--steps", "many"]])
def test_arguments_that_cannot_be_parsed_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


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


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_scripts_are_the_commands(script: str):
    command = [sys.executable, str(ROOT / script), "nowhere.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("idfsr: nowhere.py: no such config")) == (2, True), done.stderr


def test_plan_prints_and_writes_what_was_planned(tmp_path, monkeypatch, capsys):
    from idfsr_jax.training import plan

    free = functools.partial(plan.plan_run, cost=lambda config, examples: (1e13, 10**9))
    monkeypatch.setattr(plan, "plan_run", free)
    options = ["--devices", "256", "--memory", "V5E", "--fsdp", "2", "--json", str(tmp_path / "plan.json")]
    assert cli.main(["plan", str(ROOT / "configs" / "lfw128.py"), *options]) == 0
    printed, facts = capsys.readouterr().out, json.loads((tmp_path / "plan.json").read_text())
    assert "256 devices of 16.0 GiB" in printed and "train.batch is 12" in printed and "--train.batch 256" in printed
    assert facts["batch"] == 256 and facts["fsdp"] == 2 and facts["fits"] and facts["memory_bytes"] == 2**34
    assert facts["step_flops"] == 1e13 and facts["working_bytes"] == 10**9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["restor"], "restor: is no command; did you mean restore? "),
        (["Fit"], "Fit: is no command; did you mean fit? "),
        (["bogus"], "bogus: is no command; `idfsr --help` lists them all."),
        (["fit", "--photo", "x"], "--photo: is no option of fit; did you mean --photos? "),
        (["fit", "--keepall"], "did you mean --keep-all? "),
        (["restore", "a.png", "--indentity=x"], "did you mean --identity? "),
        (["prepare", "--qqqqqq"], "--qqqqqq: is no option of prepare; `idfsr prepare --help` lists them all."),
    ],
)
def test_what_was_mistyped_is_named_and_what_was_meant(arguments, said, capsys):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("idfsr: ") and said in captured.err
    assert captured.err.count("\n") == 1


def test_the_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"idfsr {idfsr_jax.__version__}\n"


def test_identity_needs_no_verb(monkeypatch, tmp_path):
    seen = []
    parser = lambda named, args, **options: seen.append(args) or 0  # noqa: E731
    monkeypatch.setattr(cli.tyro.extras, "subcommand_cli_from_dict", parser)
    assert cli.main(["identity", "me.safetensors"]) == 0
    assert cli.main(["identity", "show", "me.safetensors"]) == 0
    assert seen == [["identity", "show", "me.safetensors"]] * 2


def test_home_is_expanded_in_options_and_configs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "mine.py"
    path.write_text(
        "from idfsr_jax.config import Config, DataConfig, EvaluateConfig\n"
        "config = Config(name='t', data=DataConfig(dataset='~/data'), evaluate=EvaluateConfig(ablations=('a=~/b',)))\n"
    )
    seen: list[Config] = []
    module = types.ModuleType("idfsr_jax.training.run")
    module.train = lambda config: seen.append(config) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "idfsr_jax.training.run", module)
    assert cli.main(["train", "~/mine.py", "--train.out=~/run", "--train.start-from", "~/model"]) == 0
    (config,) = seen
    assert (config.data.dataset, config.train.out) == (f"{tmp_path}/data", f"{tmp_path}/run")
    assert config.train.start_from == f"{tmp_path}/model" and config.evaluate.ablations == (f"a={tmp_path}/b",)
    assert cli.main(["fit", "--photos", "~/nobody", "--out=~/x.safetensors"]) == 2
    assert f"{tmp_path}/nobody: no such" in capsys.readouterr().err
