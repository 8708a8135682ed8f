"""What a report says, on numbers that are made up."""

import html
from xml.etree import ElementTree

import numpy as np
import pytest

from idfsr_jax.evaluation.columns import columns_of
from idfsr_jax.evaluation.figures import draw_points, sheet
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.page import TableBlock, account, findings, to_html
from idfsr_jax.evaluation.plots import by_photographs, by_scale, by_steps, write_plots
from idfsr_jax.evaluation.protocol import PersonPlan, Protocol
from idfsr_jax.evaluation.report import Results, claims, differences, summaries, with_acceptance

PEOPLE = tuple(PersonPlan(name, (f"{name}/1", f"{name}/2"), (f"{name}/3",)) for name in ("Ada", "Bo", "Cleo", "Dan"))
METHODS = (
    Method("bicubic", "bicubic", 2),
    Method("unfitted", photographs=2, identity="unfitted"),
    Method("fitted", photographs=2),
    Method("fitted, 1 photograph", photographs=1, area_only=True),
    Method("unfitted, 1 photograph", photographs=1, identity="unfitted", area_only=True),
    Method("fitted, 4 steps", photographs=2, steps=4, scales=(8,)),
)
IDENTITY = {
    "bicubic": 0.1,
    "unfitted": 0.5,
    "fitted": 0.6,
    "fitted, 1 photograph": 0.4,
    "unfitted, 1 photograph": 0.3,
    "fitted, 4 steps": 0.7,
}
NUMBERS = ("psnr", "psnr_face", "ssim", "ssim_face", "lpips_alex", "lpips_vgg", "lpips_alex_face", "lpips_vgg_face")


def results() -> Results:
    protocol = Protocol("toy", "val", (1, 2), (8, 16), ("area",), (0,), PEOPLE)
    rows = []
    for scale in protocol.scales:
        for method in METHODS:
            for place, person in enumerate(PEOPLE if method.applies(scale, "area") else ()):
                metrics = dict.fromkeys(NUMBERS, 1.0 + place) | {"lr_psnr": 40.0}
                metrics |= {"identity/judge": IDENTITY[method.name] + 0.01 * place * (method.name == "unfitted")}
                metrics |= {
                    "identity_album/judge": 0.8,
                    "copy_paste/judge": 0.2,
                    "identity_other/judge": 0.1,
                    "expression_kept": float(place > 1),
                }
                metrics |= {"landmark_error": None if place == 3 else 0.1, "expression_error": 0.1}
                row = {"method": method.name, "person": person.name, "photo": person.restored[0], "scale": scale}
                rows.append(row | {"degradation": "area", "seed": 0, "photographs": 2, "metrics": metrics})
    real = {"same": 0.7, "different": 0.0, "acceptance": {"0.01": {"threshold": 0.5, "same": 0.9}}}
    return Results(
        name="toy",
        protocol=protocol,
        model="0" * 64,
        training_steps=10,
        sampling={"sampler": "ddim", "steps": 2, "temperature": 0.75},
        fitting={"steps": 3},
        judges=(("judge", "judge (same network as the condition)"),),
        methods=METHODS,
        notes=("peer: 1 of 4 pictures are missing.",),
        rows=rows,
        kid={((8, "area"), "fitted"): 1.25},
        real_pairs={"judge": real},
        landmark_net={"8": {"mean": 0.05, "interval": [0.04, 0.06], "photographs": 12}},
    )


@pytest.fixture
def facts():
    import dataclasses

    made = results()
    made = dataclasses.replace(made, rows=with_acceptance(made))
    summary = {"mean": 0.5, "interval": [0.4, 0.6], "count": 4, "missing": 0}
    return {
        "name": "toy",
        "protocol": dataclasses.asdict(made.protocol) | {"sha256": made.protocol.digest},
        "model": {"sha256": made.model, "training_steps": 10},
        "sampling": made.sampling,
        "fitting": made.fitting,
        "judges": [{"name": name, "title": title} for name, title in made.judges],
        "methods": [dataclasses.asdict(method) for method in made.methods],
        "notes": list(made.notes),
        "landmark_net": made.landmark_net,
        "real_pairs": made.real_pairs,
        "summary": summaries(made),
        "differences": differences(made),
        "claims": claims(made),
        "fitting_course": [{"step": step, "truth": summary, "album": summary} for step in (0, 5)],
    }


def entry(entries, method, scale=8):
    return next(e for e in entries if (e["method"], e["scale"]) == (method, scale))


def test_summaries(facts):
    fitted = entry(facts["summary"], "fitted")
    assert fitted["metrics"]["psnr"]["mean"] == pytest.approx(2.5) and fitted["kid"] == 1.25
    assert fitted["metrics"]["landmark_error"]["missing"] == 1
    assert fitted["metrics"]["accepted/judge/0.01"]["mean"] == 1.0
    # At the threshold itself a pair is accepted; below it is not.
    assert entry(facts["summary"], "unfitted")["metrics"]["accepted/judge/0.01"]["mean"] == 1.0
    assert entry(facts["summary"], "fitted, 1 photograph")["metrics"]["accepted/judge/0.01"]["mean"] == 0.0


def test_differences_are_paired(facts):
    numbers = entry(facts["differences"], "bicubic")["metrics"]["identity/judge"]
    assert numbers["mean"] == pytest.approx(0.5)
    assert numbers["interval"] == pytest.approx([0.5, 0.5])
    numbers = entry(facts["differences"], "unfitted")["metrics"]["identity/judge"]
    assert numbers["mean"] == pytest.approx(0.1 - 0.015) and numbers["interval"][0] < 0.085 < numbers["interval"][1]
    # The pictures themselves differ widely, their differences not at all.
    assert entry(facts["differences"], "unfitted")["metrics"]["psnr"]["interval"] == [0.0, 0.0]


def test_findings_follow_the_intervals(facts):
    said = findings(facts)
    assert said[0] == (
        '8x, area, identity by judge: fitted is better than "bicubic", "unfitted", "fitted, 1 photograph", '
        '"unfitted, 1 photograph"; worse than "fitted, 4 steps".'
    )
    assert said[1].startswith('8x, area, LPIPS VGG: fitted is not told apart from "bicubic"')


def test_the_page_holds_every_method_and_unit(facts, tmp_path):
    columns = columns_of(results().judges, results().real_pairs)
    plots = write_plots(facts, tmp_path / "plots")
    blocks = account(facts, columns, plots)
    tables = [block for block in blocks if isinstance(block, TableBlock)]
    assert all(len(row) == len(table.header) for table in tables for row in table.rows)
    page = to_html(blocks, "<toy>")
    assert "peer: 1 of 4 pictures are missing." in page
    assert "same network as the condition" in page and "inter-ocular distances" in page and "1 without" in page
    assert "Expression, 8x, area, fitted: the truth's rather than" in html.unescape(page)
    assert "Photographs, 16x, area, 2 of each of the 4 people who have enough: fitted to identity 0.600" in page
    assert "ddim with 2 steps at temperature 0.75; 3 fitting steps" in page
    assert "<title>&lt;toy&gt;</title>" in page and page.count("<figure>") == len(plots)
    assert "<td>fitted</td><td>0.600 [0.600, 0.600]</td>" in page and "<td>1.2</td>" in page


def test_plots(facts, tmp_path):
    paths = write_plots(facts, tmp_path)
    names = {"identity_scale", "lpips_scale", "identity_photographs", "identity_steps", "lpips_steps", "fitting_course"}
    assert {path.stem for path in paths} == names
    for path in paths:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_plots(facts, tmp_path)] == before


def test_curves(facts):
    methods = {method["name"]: method for method in facts["methods"]}
    key = "identity/judge"
    scales = dict(by_scale(facts["summary"], key))
    assert set(scales) == {"bicubic", "unfitted", "fitted"} and [x for x, _ in scales["fitted"]] == [8, 16]
    photographs = dict(by_photographs(facts["claims"]["photographs"]))
    assert [(x, e["mean"]) for x, e in photographs["fitted, 8x"]] == [(1, pytest.approx(0.4)), (2, pytest.approx(0.6))]
    assert [x for x, _ in photographs["unfitted, 16x"]] == [1, 2]
    steps = dict(by_steps(facts["summary"], methods, key, 2))
    assert list(steps) == ["fitted, 8x"] and [x for x, _ in steps["fitted, 8x"]] == [2, 4]


def test_sheets():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    page = sheet(["one", "two"], [[red, red // 2], [red // 2, red]], ["note", ""])
    assert page.shape == (18 + 256, 256, 3)
    assert page[18 + 200, 200, 0] == 255 and page[18 + 64, 200, 0] == 127
    marked = draw_points(red, [(np.full((68, 2), 0.5, np.float32), "lime")])
    assert tuple(marked[128, 128]) == (0, 255, 0) and tuple(marked[10, 10]) == (255, 0, 0)
