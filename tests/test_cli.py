"""The command line as a whole: help, options that cannot be read, configs with options over them, and the scripts."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest

import idfsr_jax
from benchmarks.small_run import write_config
from idfsr_jax import cli
from idfsr_jax.config import Config, DataConfig, EvaluateConfig, with_home
from idfsr_jax.training import plan

ROOT = Path(__file__).parent.parent
LFW = str(ROOT / "configs" / "lfw128.py")


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


def test_work_goes_on_when_nobody_reads_what_it_says():
    code = (
        "import sys, time\n"
        "from idfsr_jax.commands.options import say\n"
        "say('one')\n"
        "sys.stdin.readline()\n"
        "for word in ('two', 'three'): say(word)\n"
        "print('done', file=sys.stderr)\n"
    )
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout.readline() == "one\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == "done\n" and process.wait() == 0


def test_train_takes_defaults_from_the_config_and_overrides_from_the_options(tmp_path: Path, capsys):
    path = tmp_path / "tiny.py"
    path.write_text(
        "from idfsr_jax.config import Config, TrainConfig\nconfig = Config(name='tiny', train=TrainConfig(batch=2))\n"
    )
    for batch, options in ((2, []), (6, ["--train.batch", "6"])):
        assert cli.main(["train", str(path), "--devices.data", "4", *options]) == 2
        assert f"train.batch is {batch}; give a multiple of devices.data (4)" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_scripts_are_the_commands(script: str):
    command = [sys.executable, str(ROOT / script), "nowhere.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("idfsr: nowhere.py: no such config")) == (2, True), done.stderr


def test_plan_prints_what_was_planned(tmp_path, monkeypatch, capsys):
    # To compile a step takes minutes; tests/training/test_plan.py does.
    free = functools.partial(plan.plan_run, cost=lambda config, examples: (1e13, 10**9))
    monkeypatch.setattr(plan, "plan_run", free)
    config = write_config(tmp_path / "small.py", Path("faces"), steps=1, batch=12)
    options = ["--devices", "256", "--memory", "V5E", "--devices.fsdp", "2"]
    assert cli.main(["plan", str(config), *options]) == 0
    printed = capsys.readouterr().out
    assert "256 devices of 16.0 GiB" in printed and "train.batch is 12" in printed and "--train.batch 256" in printed
    assert "2 sharing a copy" in printed and "10.00 TFLOP a step" in printed and "954 MiB" in printed


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
        (["fit", "alice"], "alice: give --photos alice; `idfsr fit --help` lists the options."),
        (["prepare", "lfw/"], "lfw/: give --photos lfw/; "),
        (["export", "me.safetensors"], "me.safetensors: give an option's name before it; "),
        ([], "a command is missing; `idfsr --help` lists them all."),
        (["--bogus"], "--bogus: is no option; `idfsr --help` lists them all."),
        (["restore", "a.png", "--steps", "many"], "--steps many: give a whole number."),
        (["restore", "a.png", "--variants=three"], "--variants three: give a whole number."),
        (["restore", "a.png", "--keep_place", "--enlarge", "big"], "--enlarge big: give a number."),
        (["restore", "a.png", "--seed", "--label"], "--seed: give a whole number after it."),
        (["restore", "a.png", "--label", "yes"], "yes: belongs to no option; `idfsr restore --help` lists them all."),
        (["identity", "shwo", "me.safetensors"], "identity shwo: did you mean show? give show."),
        (["identity"], "identity: give FILE after it; `idfsr identity --help` says more."),
        (["export", "--formats", "onxx"], "--formats onxx: did you mean onnx? give jax or onnx."),
        (["train"], "train: give a config file after it, for example configs/lfw128.py."),
        (["evaluate", "--name", "x"], "evaluate: give a config file after it, for example configs/lfw128.py."),
        (["train", LFW, "--train.steps", "many"], "--train.steps many: give a whole number."),
        (
            ["train", LFW, "--train.stepz", "9"],
            "--train.stepz: is no option of train; did you mean --train.steps? `idfsr ",
        ),
        (["train", LFW, "--model.channels", "a", "2"], "--model.channels a 2: give whole numbers."),
        (["evaluate", LFW, "--sample.sampler", "best"], "--sample.sampler best: give dpm++2m or ddim."),
        (["plan", LFW, "--devices", "2.5"], "--devices 2.5: give a whole number."),
        (["plan", LFW, "more"], "more: belongs to no option; `idfsr plan "),
        (["app", "me.safetensors"], "me.safetensors: give an option's name before it; `idfsr app --help` lists "),
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


def test_identity_needs_no_verb(capsys):
    for verb in ([], ["show"]):
        assert cli.main(["identity", *verb, "nobody.safetensors"]) == 2
        assert capsys.readouterr().err.startswith("idfsr: nobody.safetensors: no such identity file")


def test_home_is_expanded_in_options_and_configs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = Config(name="t", data=DataConfig(dataset="~/data"), evaluate=EvaluateConfig(ablations=("a=~/b",)))
    expanded = with_home(config)
    assert expanded.data.dataset == f"{tmp_path}/data" and expanded.evaluate.ablations == (f"a={tmp_path}/b",)
    (tmp_path / "mine.py").write_text(
        "from idfsr_jax.config import Config, DataConfig\nconfig = Config(data=DataConfig(dataset='~/data'))\n"
    )
    assert cli.main(["train", "~/mine.py"]) == 2
    assert f"{tmp_path}/data: holds no prepared data set" in capsys.readouterr().err
    (tmp_path / "file").touch()
    for out in (["--train.out", "~/file"], ["--train.out=~/file"]):
        assert cli.main(["train", "~/mine.py", *out]) == 2
        assert f"{tmp_path}/file: cannot be written to" in capsys.readouterr().err
    assert cli.main(["fit", "--photos", "~/nobody", "--out=~/x.safetensors"]) == 2
    assert f"{tmp_path}/nobody: no such" in capsys.readouterr().err
