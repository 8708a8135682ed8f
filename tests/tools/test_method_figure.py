"""The figure of the method shows what passes through the model, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import FaceCrop, read_image, read_metadata
from idfsr_jax.io.images import to_uint8
from tools import method_figure


@pytest.fixture(scope="module")
def stages(restorer, face_crop):
    brighter = FaceCrop(255 - (255 - face_crop.image) // 2, face_crop.landmarks, face_crop.transform)
    return method_figure.stages_of(restorer, face_crop, [brighter, face_crop], scale=8, seed=3)


def test_the_steps_lead_to_the_restoration(stages, restorer):
    _, pictures = method_figure.trajectory(restorer, stages.condition, 3)
    assert len(pictures) == restorer.config.sample.steps + 1
    np.testing.assert_allclose(to_uint8(pictures[-1]), stages.restoration.images[0], atol=1)
    np.testing.assert_array_equal(pictures[:-1], stages.noisy)


def test_the_stages_are_those_of_the_model(stages, restorer):
    expected = restorer.restore(stages.restoration.face.y, stages.identity, stages.photographs, scale=8, seed=3)
    np.testing.assert_array_equal(expected.images[0], stages.restoration.images[0])
    np.testing.assert_array_equal(stages.condition.guess, expected.condition.guess)
    assert stages.photographs[stages.reference].image is stages.restoration.reference


def test_the_command_writes_the_figure(tiny_model, astronaut, tmp_path, capsys):
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    Image.fromarray(astronaut[:, ::-1].copy()).save(tmp_path / "b.png")
    files = ["--picture", str(tmp_path / "a.png"), "--photos", str(tmp_path / "b.png"), str(tmp_path / "a.png")]
    out = tmp_path / "method.png"
    code = method_figure.main([*files, "--weights", str(tiny_model), "--scale", "8", "--out", str(out)])
    assert code == 0, capsys.readouterr().err
    image = read_image(out)
    assert image.shape[1] >= 830 and image.shape[0] < image.shape[1]
    # Nothing is cut off at the edges, and there is something everywhere else.
    edges = [image[:4], image[-4:], image[:, :4], image[:, -4:]]
    assert all((edge == 255).all() for edge in edges)
    assert "synthesised" in " ".join(read_metadata(out).values())
    assert method_figure.main([*files[:2], "--out", str(out)]) == 2
    assert capsys.readouterr().err == "method_figure: --picture and --photos belong together; give both, or neither.\n"
