"""From numbers per picture to statements over people: means with intervals, paired differences, acceptance."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from idfsr_jax.evaluation.metrics import acceptance_rate, acceptance_threshold, bootstrap_interval

FALSE_ACCEPTANCE_RATES = (1e-2, 1e-3)
RESAMPLES = 2_000


def real_pairs(vectors: Float[np.ndarray, "n d"], person: Int[np.ndarray, " n"]) -> dict[str, Any]:
    """What a judge says of real photographs: the range in which its verdicts on results are to be read.

    Args:
      vectors: the judge's unit vectors.
      person: whose each is.

    Returns:
      Mean cosine of pairs of the same person (the ceiling) and of different people, and for each false acceptance rate
      that there are pairs enough for the threshold and the share of same-person pairs above it.
    """
    cosines = vectors @ vectors.T
    above = np.triu(np.ones(cosines.shape, bool), 1)
    same = person[:, None] == person[None]
    together, apart = cosines[same & above], cosines[~same & above]
    facts: dict[str, Any] = {
        "same": float(together.mean()) if len(together) else None,
        "different": float(apart.mean()) if len(apart) else None,
        "same_pairs": len(together),
        "different_pairs": len(apart),
        "acceptance": {},
    }
    for far in FALSE_ACCEPTANCE_RATES:
        if far * len(apart) >= 1 and len(together):
            threshold = acceptance_threshold(apart, far)
            facts["acceptance"][f"{far:g}"] = {"threshold": threshold, "same": acceptance_rate(together, threshold)}
    return facts


def summary(values: Sequence[float | None], people: Sequence[str]) -> dict[str, Any]:
    """Mean and 95% interval over people of the values that exist, and how many do not."""
    known = np.array([value is not None for value in values])
    numbers = np.array([value for value in values if value is not None], np.float64)
    facts: dict[str, Any] = {"count": int(known.sum()), "missing": int((~known).sum())}
    if known.any():
        owners = np.asarray(people)[known]
        facts |= {"mean": float(numbers.mean()), "people": len(set(owners))}
        facts["interval"] = list(bootstrap_interval(numbers, owners, resamples=RESAMPLES))
    return facts
