from idfsr_jax.evaluation.columns import columns_of

PAIRS = {"acceptance": {"0.01": {}}}


def headings(*judges: str) -> list[str]:
    found = columns_of([(judge, judge) for judge in judges], dict.fromkeys(judges, PAIRS))
    return [column.short for column in found if "/" in column.key]


def test_one_judge_needs_no_name():
    assert headings("dlib") == ["cosine", "FAR 0.01", "cosine to photos", "copy-paste", "cosine to another"]


def test_of_several_judges_every_heading_says_which():
    several = headings("dlib", "arcface")
    numbers = ("cosine", "FAR 0.01", "cosine to photos", "copy-paste", "cosine to another")
    assert several == [f"{what}, {judge}" for judge in ("dlib", "arcface") for what in numbers]
