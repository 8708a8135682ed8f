import json

import numpy as np
import pytest
from skimage.color import lab2rgb

from idfsr_jax.evaluation.groups import differences, main, skin_angle, table, thirds
from idfsr_jax.io.errors import InputError


@pytest.mark.parametrize(("lightness", "yellow", "degrees"), [(70, 20, 45.0), (40, 10, -45.0), (50, 15, 0.0)])
def test_the_skin_angle_is_that_of_the_cheeks(face_crop, lightness, yellow, degrees):
    skin = np.round(lab2rgb(np.array([lightness, 8.0, yellow])) * 255).astype(np.uint8)
    image = np.broadcast_to(skin, (64, 64, 3)).copy()
    image[:20] = 0  # hair
    assert abs(skin_angle(image, face_crop.landmarks) - degrees) < 1.5


def test_thirds_are_of_equal_size_and_in_order():
    groups = thirds({"a": 3.0, "b": -1.0, "c": 9.0, "d": 4.0, "e": 0.0, "f": 7.0}, ("low", "middle", "high"))
    assert groups == {"b": "low", "e": "low", "a": "middle", "d": "middle", "f": "high", "c": "high"}


def test_each_group_has_a_row():
    pictures = [{"person": p, "photo": p, "metrics": {"psnr_face": v}} for p, v in zip("abc", (1.0, 2.0, 4.0))]
    skin = dict(zip("abc", ("darkest third", "middle third", "lightest third")))
    rows = table(pictures, {"skin": skin}, ["psnr_face"])
    assert [row[:2] for row in rows] == [[f"skin: {name}", "1 of 1"] for name in skin.values()]
    assert [row[2].split()[0] for row in rows] == ["1.000", "2.000", "4.000"]


def test_a_group_is_compared_with_all_others():
    pictures = [{"person": p, "photo": p, "metrics": {"psnr_face": v}} for p, v in zip("abc", (1.0, 2.0, 4.0))]
    skin = dict(zip("abc", ("darkest third", "middle third", "lightest third")))
    rows = differences(pictures, {"skin": skin}, ["psnr_face", "lpips_vgg"])
    assert [row[1].split()[0] for row in rows] == ["-2.000", "-0.500", "+2.500"]
    assert [row[2] for row in rows] == [""] * 3


def test_the_command_reads_an_evaluation(faces_dataset, tmp_path, capsys):
    people = ("Ada", "Bo", "Cleo")
    pictures = [
        {"method": "fitted", "scale": 16, "degradation": "area", "person": name, "photo": f"{name}/{name}_0000.jpg",
         "metrics": {"identity/j": 0.5, "psnr_face": 20.0, "lpips_vgg": 0.3}}
        for name in people
    ]  # fmt: skip
    results = tmp_path / "results.json"
    results.write_text(
        json.dumps({"protocol": {"split": "val"}, "judges": [{"name": "j"}], "pictures": pictures}), "utf-8"
    )
    main(results, faces_dataset)
    printed = capsys.readouterr().out
    assert printed.count("| skin: ") == 6 and printed.count("| pose: ") == 6 and "| identity/j |" in printed
    with pytest.raises(InputError, match="has no pictures of"):
        main(results, faces_dataset, scale=8)
    with pytest.raises(InputError, match=r"is no results\.json"):
        main(tmp_path, faces_dataset)
