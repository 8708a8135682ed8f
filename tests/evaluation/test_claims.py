"""What a report says of the method's claims, on numbers that are made up."""

from dataclasses import replace

import pytest

from idfsr_jax.evaluation.claims import difference, expression, fitting_course, photographs, sentences, swap
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.protocol import PersonPlan, Protocol, swap_partners

SETTING = (16, "area")


def protocol_of(count):
    people = tuple(PersonPlan(f"p{i}", (f"p{i}/1",), (f"p{i}/2",)) for i in range(count))
    return Protocol("toy", "val", (1, 3), (16,), ("area",), (0,), people)


def rows_of(protocol, **metrics):
    """A row a person; a metric is a number or a function of the person's place."""
    return [
        {"person": plan.name, "photo": plan.restored[0], "seed": 0}
        | {"metrics": {k: v(i) if callable(v) else v for k, v in metrics.items()}}
        for i, plan in enumerate(protocol.people)
    ]


def test_everybody_is_paired_with_another_once():
    protocol = protocol_of(50)
    partners = swap_partners(protocol)
    assert list(partners) != [plan.name for plan in protocol.people] and set(partners) == {f"p{i}" for i in range(50)}
    assert {plan.name for plan in partners.values()} == set(partners)
    assert all(name != plan.name for name, plan in partners.items())
    assert swap_partners(protocol) == partners


def test_a_difference_is_of_the_pictures_that_both_have():
    rows = rows_of(protocol_of(4), x=lambda i: float(i))
    fewer = [row | {"metrics": {"x": 10.0}} for row in reversed(rows[1:3])]
    for first, second, mean in ((rows, fewer, 1.5 - 10), (fewer, rows, 10 - 1.5)):
        found = difference(first, second, "x")
        assert (found["count"], found["people"]) == (2, 2) and found["mean"] == pytest.approx(mean)


def test_a_swap_is_measured_on_forty_pairs_against_the_own_result():
    protocol = protocol_of(50)
    chosen = list(swap_partners(protocol))[:40]
    # Whoever is none of the forty would spoil the mean.
    towards = lambda i: (0.1 * (i % 2) + 0.5) if f"p{i}" in chosen else 9.0  # noqa: E731
    groups = {
        (SETTING, "unfitted"): rows_of(protocol, **{"identity_other/j": lambda i: 0.1 * (i % 2), "psnr_face": 20.0}),
        (SETTING, "another's identity"): rows_of(protocol, **{"identity_other/j": towards, "psnr_face": 18.5}),
    }
    (entry,) = swap(groups, protocol, "j")
    assert (entry["scale"], entry["degradation"], entry["references"], entry["pairs"]) == (16, "area", True, 40)
    assert entry["towards"]["people"] == 40 and entry["towards"]["mean"] == pytest.approx(0.5)
    assert entry["towards"]["interval"] == pytest.approx([0.5, 0.5])  # paired
    assert entry["lost"]["mean"] == pytest.approx(1.5)
    without = {(place, f"{name}, no reference"): rows for (place, name), rows in groups.items()}
    assert [each["references"] for each in swap(groups | without, protocol, "j")] == [True, False]
    assert swap({}, protocol, "j") == []


def test_expression_counts_only_pictures_that_tell():
    protocol = protocol_of(4)
    rows = rows_of(protocol, expression_kept=lambda i: (1.0, 0.0, None, 1.0)[i])
    (entry,) = expression({(SETTING, "fitted"): rows, (SETTING, "bicubic"): rows})
    assert entry["method"] == "fitted" and entry["kept"]["count"] == 3
    assert entry["kept"]["mean"] == pytest.approx(2 / 3)


def test_what_fitting_gains_by_the_number_of_photographs():
    protocol = protocol_of(4)
    methods = [Method("fitted", photographs=3), Method("fitted, 1 photograph", photographs=1)]
    # The last has one photograph only, and would spoil the means.
    people = [replace(plan, photographs=tuple("abc"[: 3 if i < 3 else 1])) for i, plan in enumerate(protocol.people)]
    protocol = replace(protocol, people=tuple(people))
    own = lambda more: rows_of(protocol, **{"identity/j": lambda i: 0.1 * i + more if i < 3 else 9.0})  # noqa: E731
    groups = {
        (SETTING, "unfitted"): own(0.2),
        (SETTING, "fitted"): own(0.25),
        (SETTING, "fitted, 1 photograph"): own(0.1),
        (SETTING, "unfitted, 1 photograph"): own(0.0),
    }
    one, three = photographs(groups, methods, protocol, "j")
    noisy = {((16, "camera"), name): rows for (_, name), rows in groups.items()}
    assert photographs(groups | noisy, methods, protocol, "j") == [one, three] and one["people"] == 3
    assert (one["photographs"], three["photographs"]) == (1, 3)
    assert one["gain"]["mean"] == pytest.approx(0.1) and three["gain"]["interval"] == pytest.approx([0.05, 0.05])
    assert three["fitted"]["mean"] == pytest.approx(0.35) and three["unfitted"]["mean"] == pytest.approx(0.3)


def test_the_course_of_fitting_is_in_the_order_of_steps():
    protocol = protocol_of(2)
    methods = [
        Method("unfitted", identity="unfitted"),
        Method("fitted"),
        Method("f5", fit_steps=5),
        Method("f50", fit_steps=50),
    ]
    groups = {
        (setting, method.name): rows_of(protocol, **{"identity/j": 0.5, "identity_album/j": 0.6})
        for setting in (SETTING, (8, "area"))
        for method in methods
        if setting == SETTING or method.fit_steps is None
    }
    entries = fitting_course(groups, methods, "j", 12)
    assert [(entry["step"], entry["scale"]) for entry in entries] == [(0, 16), (5, 16), (12, 16), (50, 16)]
    assert entries[0]["truth"]["mean"] == 0.5 and entries[0]["album"]["mean"] == 0.6
    assert fitting_course(groups, methods[:2], "j", 12) == []


def test_claims_are_said_with_their_intervals():
    found = {"mean": 0.31, "interval": [0.25, 0.37], "count": 34, "missing": 6}
    place, none = {"scale": 16, "degradation": "area"}, {"count": 0, "missing": 3}
    said = sentences({
        "swap": [place | {"references": False, "pairs": 40, "towards": found, "lost": found}],
        "expression": [place | {"method": "fitted", "kept": found}, place | {"method": "unfitted", "kept": none}],
        "photographs": [place | {"photographs": 3, "people": 13, "fitted": found, "gain": found}],
    })  # fmt: skip
    assert (
        "16x, area, no reference" in said[0] and "+0.310 [+0.250, +0.370] higher" in said[0] and "40 pairs" in said[0]
    )
    assert "0.31 [0.25, 0.37] of the 34 pictures" in said[1] and "none of the 0 pictures" in said[2]
    assert (
        "Photographs, 16x, area, 3 of each of the 13 people who have enough: fitted to identity 0.310 [0.250" in said[3]
    )
    assert "by fitting +0.310" in said[3]
