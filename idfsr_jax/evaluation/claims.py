"""What the method claims, as measures that every report has: by the first judge, paired, with intervals over people.

The swap: whose ID embedding is given decides who comes out. The expression: the mouth is the LR picture's and not
the reference's. Photographs: fitting gains something, with few of them and with more.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from idfsr_jax.evaluation.methods import Method, main_count
from idfsr_jax.evaluation.protocol import CLEAN, SWAP_PAIRS, Protocol, Setting, setting_name, swap_partners
from idfsr_jax.evaluation.statistics import summary

Row = Mapping[str, Any]
Groups = Mapping[tuple[Setting, str], Sequence[Row]]
"""The pictures of each setting and method."""


def difference(first: Sequence[Row], second: Sequence[Row], key: str) -> dict[str, Any]:
    """The summary of a metric of one method minus that of another, on the pictures that both have."""
    others = {(row["photo"], row["seed"]): row["metrics"][key] for row in second}
    both = [row for row in first if (row["photo"], row["seed"]) in others]
    pairs = [(row["metrics"][key], others[row["photo"], row["seed"]]) for row in both]
    values = [None if a is None or b is None else a - b for a, b in pairs]
    return summary(values, [row["person"] for row in both])


def swap(groups: Groups, protocol: Protocol, judge: str) -> list[dict[str, Any]]:
    """How much nearer a result is to another person with that one's ID embedding, and what it costs.

    Input and references stay the own ones. An entry for each setting with references and without: `towards`, the
    cosine to the mean of the other's photographs minus that of the result with the own embedding, and `lost`, the dB
    of the face's PSNR, over `pairs` of people.
    """
    people = list(swap_partners(protocol))[:SWAP_PAIRS]
    entries = []
    for (scale, degradation), name in groups:
        if not name.startswith("another's identity") or len(people) < 2:
            continue
        own_name = name.replace("another's identity", "unfitted")
        swapped, own = (
            [row for row in groups[(scale, degradation), each] if row["person"] in people] for each in (name, own_name)
        )
        entry = {"scale": scale, "degradation": degradation, "references": name == "another's identity"}
        towards = difference(swapped, own, f"identity_other/{judge}")
        entries.append(
            entry | {"pairs": len(people), "towards": towards, "lost": difference(own, swapped, "psnr_face")}
        )
    return entries


def expression(groups: Groups) -> list[dict[str, Any]]:
    """The share of results whose expression is the truth's rather than the reference's; see `expression_kept`."""
    return [
        {"scale": scale, "degradation": degradation, "method": name}
        | {"kept": summary([row["metrics"]["expression_kept"] for row in rows], [row["person"] for row in rows])}
        for ((scale, degradation), name), rows in groups.items()
        if name in ("unfitted", "fitted")
    ]


def photographs(groups: Groups, methods: Sequence[Method], protocol: Protocol, judge: str) -> list[dict[str, Any]]:
    """Identity by few and by more photographs, not fitted and fitted, and what fitting gained on the same pictures.

    Of clean pictures, and of those people only who have as many photographs as `main_count`, so that every number of
    photographs is measured on the same pictures.
    """
    key, most = f"identity/{judge}", main_count(protocol)
    enough = {person.name for person in protocol.people if len(person.photographs) >= most}
    entries = []
    for (setting, name), rows in groups.items():
        plain = groups.get((setting, f"un{name}"))
        count = next((method.photographs for method in methods if method.name == name), most + 1)
        if plain is None or setting[1] != CLEAN or count > most:
            continue
        fitted, unfitted = ([row for row in each if row["person"] in enough] for each in (rows, plain))
        entry: dict[str, Any] = {"scale": setting[0], "degradation": setting[1], "photographs": count}
        entry |= {"people": len(enough), "gain": difference(fitted, unfitted, key)}
        for kind, each in (("fitted", fitted), ("unfitted", unfitted)):
            entry[kind] = summary([row["metrics"][key] for row in each], [row["person"] for row in each])
        entries.append(entry)
    return sorted(entries, key=lambda entry: (entry["scale"], entry["photographs"]))


def fitting_course(groups: Groups, methods: Sequence[Method], judge: str, own_steps: int) -> list[dict[str, Any]]:
    """Identity to the truth and to the fitting photographs after fits of no, of few and of many steps.

    Over-fitting shows as the latter rising while the former falls. Empty where only the own number was measured.

    Args:
      groups: of all pictures.
      methods: what was compared.
      judge: name.
      own_steps: the model's own number of steps.
    """
    lengths = {method.name: method.fit_steps for method in methods if method.fit_steps is not None}
    settings = {setting for setting, name in groups if name in lengths}
    steps = {"unfitted": 0, "fitted": own_steps} | lengths
    entries = []
    for (setting, name), rows in groups.items():
        if setting in settings and name in steps:
            people = [row["person"] for row in rows]
            both = {"truth": f"identity/{judge}", "album": f"identity_album/{judge}"}
            found = {kind: summary([row["metrics"][key] for row in rows], people) for kind, key in both.items()}
            entries.append({"step": steps[name], "scale": setting[0]} | found)
    return sorted(entries, key=lambda entry: entry["step"])


def sentences(claims: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The claims' measures in words, an entry each."""
    said = []
    for entry in claims["swap"]:
        shown = "the own references" if entry["references"] else "no reference"
        said.append(
            f"Swap, {_setting(entry)}, {shown}: with another's identity the cosine to that person is "
            f"{_number(entry['towards'], '+.3f')} higher and the face loses {_number(entry['lost'], '+.2f')} dB; "
            f"{entry['pairs']} pairs of people."
        )
    for entry in claims["expression"]:
        pairs = entry["kept"]["count"]
        said.append(
            f"Expression, {_setting(entry)}, {entry['method']}: the truth's rather than the nearest reference's in "
            f"{_number(entry['kept'], '.2f')} of the {pairs} pictures where these differ."
        )
    for entry in claims["photographs"]:
        said.append(
            f"Photographs, {_setting(entry)}, {entry['photographs']} of each of the {entry['people']} people who have "
            f"enough: fitted to identity {_number(entry['fitted'], '.3f')}, by fitting "
            f"{_number(entry['gain'], '+.3f')}."
        )
    return said


def _setting(entry: Mapping[str, Any]) -> str:
    return setting_name((entry["scale"], entry["degradation"]))


def _number(found: Mapping[str, Any], form: str) -> str:
    if "mean" not in found:
        return "none"
    low, high = found["interval"]
    return f"{found['mean']:{form}} [{low:{form}}, {high:{form}}]"
