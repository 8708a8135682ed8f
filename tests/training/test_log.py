"""The log of a run, which is gone on with."""

import json

from idfsr_jax.training.log import run_log


def test_steps_that_are_done_again_are_once_in_the_log(tmp_path):
    for first, done in ((1, 0), (3, 2), (4, 3)):
        with run_log(tmp_path, done) as log:
            for step in range(first, first + 3):
                log(step, {"loss": float(done)})
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write('{"step": 7, "lo')  # as a killed run leaves it
    with run_log(tmp_path, 6):
        pass
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0), (2, 0), (3, 2), (4, 3), (5, 3), (6, 3)]
    with run_log(tmp_path, 0):
        pass
    assert (tmp_path / "log.jsonl").read_text() == ""
