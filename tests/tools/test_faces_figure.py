"""The grid of faces shows what the product restores, and says whose photographs they are."""

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.commands.demo import largest_face
from idfsr_jax.face import read_image, read_metadata
from idfsr_jax.restore.restorer import Restorer
from tools import faces_figure


@pytest.fixture
def people(astronaut, tmp_path):
    for name in ("b", "a"):
        (tmp_path / "people" / name).mkdir(parents=True)
        Image.fromarray(astronaut).save(tmp_path / "people" / name / "1.png")
        Image.fromarray(255 - (255 - astronaut) // 2).save(tmp_path / "people" / name / "2.png")
    return tmp_path / "people"


def test_a_row_is_a_photograph_inputs_and_results_and_the_truth(people, tiny_model, monkeypatch):
    monkeypatch.setattr(faces_figure, "SCALES", (4, 8))
    restorer = Restorer.load(tiny_model)
    given, four, restored, eight, _, truth = faces_figure.row_of(restorer, people / "a")
    photographs = [largest_face(people / "a" / f"{number}.png") for number in (1, 2)]
    for panel, crop in ((given, photographs[0]), (truth, photographs[1])):
        expected = Image.fromarray(crop.image).resize((32, 32), Image.Resampling.LANCZOS)
        assert np.abs(panel.astype(int) - np.asarray(expected)).mean() < 3
    for small, scale in ((four, 4), (eight, 8)):
        assert small.shape[0] == 32 // scale
        np.testing.assert_array_equal(small, np.asarray(Image.fromarray(truth).reduce(scale)))
    (expected,) = restorer.restore(four, restorer.fit(photographs[:1]), photographs[:1]).images
    np.testing.assert_array_equal(restored, expected)


def test_the_command_writes_the_first_people_and_the_credit(people, tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(faces_figure, "SCALES", (8,))
    shown = []
    row = lambda _, folder: shown.append(folder.name) or [np.zeros((32, 32, 3), np.uint8)] * 4  # noqa: E731
    monkeypatch.setattr(faces_figure, "row_of", row)
    out = tmp_path / "faces.png"
    call = [str(people), "--people", "1", "--weights", str(tiny_model), "--credit", "by somebody", "--out", str(out)]
    assert faces_figure.main(call) == 0 and shown == ["a"]
    assert read_metadata(out)["Copyright"] == "by somebody" and "synthesised" in read_metadata(out)["Comment"]
    image = read_image(out)
    assert image.shape[1] == 4 * 128 and (image[-20:] < 128).any() and (image[-20:] > 250).any()
    assert faces_figure.main([str(people / "a"), *call[1:]]) == 2 and "holds no folders" in capsys.readouterr().err


def test_somebody_with_one_photograph_is_named(people, tiny_model, tmp_path, capsys):
    (people / "a" / "2.png").unlink()
    out = tmp_path / "faces.png"
    assert faces_figure.main([str(people), "--weights", str(tiny_model), "--credit", "c", "--out", str(out)]) == 2
    assert f"{people / 'a'}: holds 1 photographs; give one to fit" in capsys.readouterr().err and not out.exists()
