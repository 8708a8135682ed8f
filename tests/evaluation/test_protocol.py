import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from idfsr_jax.data.index import Index
from idfsr_jax.evaluation import make_protocol as command
from idfsr_jax.evaluation.protocol import (
    DEGRADATIONS,
    check_protocol,
    make_protocol,
    read_protocol,
    setting_name,
    write_protocol,
)
from idfsr_jax.io.errors import BadConfig

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "protocols").glob("*.json"))


def index_of(people: dict[str, int]) -> Index:
    names = tuple(people)
    person = np.repeat(np.arange(len(names)), list(people.values()))
    photos = tuple(f"{name}/{name}_{i:04d}.jpg" for name, count in people.items() for i in range(1, count + 1))
    n = len(photos)
    return Index(
        names,
        person,
        photos,
        np.zeros((n, 68, 2), np.float32),
        np.zeros((n, 2, 3), np.float32),
        np.zeros((n, 4), np.float32),
        "test",
    )


INDEX = index_of({"Zoe": 2, "Ada": 20, "Bo": 7, "Lone": 1})


@pytest.fixture
def protocol():
    return make_protocol(INDEX, "val", name="toy")


def test_whoever_has_two_photographs_takes_part(protocol):
    assert [plan.name for plan in protocol.people] == ["Ada", "Bo", "Zoe"]
    assert [(len(plan.photographs), len(plan.restored)) for plan in protocol.people] == [(10, 3), (5, 2), (1, 1)]


def test_no_photograph_is_fitted_on_and_restored(protocol):
    for plan in protocol.people:
        assert not set(plan.photographs) & set(plan.restored)
        assert all(photo.startswith(f"{plan.name}/") for photo in plan.photographs + plan.restored)


def test_the_draw_is_a_function_of_seed_and_person(protocol):
    fewer = make_protocol(index_of({"Ada": 20, "Zoe": 2}), "val", name="toy")
    assert fewer.people == (protocol.people[0], protocol.people[2])
    assert make_protocol(INDEX, "val", name="toy", seed=1).people != protocol.people
    assert make_protocol(INDEX, "val", name="toy").digest == protocol.digest
    assert replace(protocol, seeds=(1,)).digest != protocol.digest


def test_nobody_with_two_photographs():
    with pytest.raises(BadConfig, match="nobody has two photographs"):
        make_protocol(index_of({"Lone": 1}), "val", name="toy")


def test_reads_what_it_writes(protocol, tmp_path):
    write_protocol(tmp_path / "p.json", protocol)
    assert read_protocol(tmp_path / "p.json") == protocol


def test_the_command_writes_a_protocol(faces_dataset, tmp_path, capsys):
    command.main(faces_dataset, tmp_path / "faces.json", scales=(4,))
    protocol = read_protocol(tmp_path / "faces.json")
    assert protocol.name == "faces" and protocol.scales == (4,) and len(protocol.people) == 3
    assert "3 people, 3 photographs to restore" in capsys.readouterr().out


def test_a_protocol_of_drawn_scales_is_measured_once(faces_dataset, tmp_path):
    kinds = ("area", "messenger", "severe")
    command.main(faces_dataset, tmp_path / "faces.json", scales=(4, 8.53), degradations=kinds)
    protocol = read_protocol(tmp_path / "faces.json")
    named = {(4, "area"): "4x, area", (8.53, "area"): "8.53x, area", (4, "messenger"): "4x, messenger",
             (8.53, "messenger"): "8.53x, messenger", (None, "severe"): "severe"}  # fmt: skip
    assert {setting: setting_name(setting) for setting in protocol.settings} == named
    with pytest.raises(BadConfig, match="--degradations fog: is none of area, classical"):
        command.main(faces_dataset, tmp_path / "fog.json", degradations=("fog",))
    assert not (tmp_path / "fog.json").exists()


def spoil(facts: dict, change: dict) -> dict:
    return {key: value for key, value in (facts | change).items() if value is not ...}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scales": []}, "scales must be a list of numbers of at least 1"),
        ({"counts": [0]}, "counts must be a list of whole numbers of at least 1"),
        ({"degradations": ["fog"]}, "degradations must be some of area, classical"),
        ({"people": {}}, "names nobody"),
        ({"people": ...}, "a protocol holds"),
        ({"extra": 1}, "a protocol holds"),
        ({"people": {"Ada": {"photographs": ["a"]}}}, "Ada must hold photographs and restored"),
        ({"people": {"Ada": {"photographs": [], "restored": ["a"]}}}, "Ada needs a photograph to fit on"),
        ({"people": {"Ada": {"photographs": ["a"], "restored": ["a"]}}}, "a is fitted on and restored"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(protocol, tmp_path, change, said):
    path = tmp_path / "p.json"
    write_protocol(path, protocol)
    path.write_text(json.dumps(spoil(json.loads(path.read_text()), change)))
    with pytest.raises(BadConfig, match=said) as error:
        read_protocol(path)
    assert str(path) in str(error.value)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(BadConfig, match="cannot be read"):
        read_protocol(tmp_path / "nowhere.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BadConfig, match="is not JSON"):
        read_protocol(tmp_path / "broken.json")


def test_a_data_set_that_lacks_somebody_is_named(protocol):
    check_protocol(replace(protocol, scales=(8, 16)), INDEX, 64)
    with pytest.raises(BadConfig, match="Bo is not in the split val"):
        check_protocol(protocol, index_of({"Ada": 20, "Zoe": 2}), 64)
    with pytest.raises(BadConfig, match=r"photograph Bo/Bo_0007.jpg of Bo is not in the split"):
        check_protocol(protocol, index_of({"Ada": 20, "Bo": 6, "Zoe": 2}), 64)
    for scale, size in ((32, 64), (1, 64), (18.3, 64)):
        with pytest.raises(BadConfig, match=f"scale {scale} does not leave 4 to {size // 2} of the model's"):
            check_protocol(replace(protocol, scales=(scale,)), INDEX, size)


def test_shipped_protocols_are_sound_and_share_nobody():
    protocols = [read_protocol(path) for path in SHIPPED]
    assert {protocol.split for protocol in protocols} == {"val", "test"}
    names = [plan.name for protocol in protocols for plan in protocol.people]
    assert len(names) == len(set(names)) == 80
    for protocol in protocols:
        assert protocol.counts == (1, 3, 5, 10) and protocol.scales == (8, 16, 32)
        assert protocol.degradations == DEGRADATIONS
