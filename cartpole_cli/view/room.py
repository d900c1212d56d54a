"""A page stays small: it shows less of large networks and long trainings."""

import json
from typing import Any

MAX_DATA = 880_000
"""Bytes of a page's data: with the code it is less than a megabyte."""


def fit(policies: list[dict[str, Any]], notes: list[str]) -> None:
    """Leave out moments of the longest trainings, then values, then the last policies, and say so in the notes."""
    sizes = [_size(policy) for policy in policies]
    while sum(sizes) > MAX_DATA:
        histories = [_size(policy.get("history") or []) for policy in policies]
        longest = max(range(len(policies)), key=histories.__getitem__)
        valued = [place for place, policy in enumerate(policies) if policy.get("value")]
        if len(policies[longest].get("history") or []) > 2:
            policies[longest]["history"] = policies[longest]["history"][::2]
        elif valued:
            policies[valued[-1]]["value"] = None
            notes.append(f"{policies[valued[-1]]['name']}: its value map is left out to keep the page small")
            longest = valued[-1]
        elif len(policies) > 1:
            notes.append(f"{policies.pop()['name']}: left out to keep the page small")
            sizes.pop()
            continue
        else:
            return
        sizes[longest] = _size(policies[longest])


def _size(data: Any) -> int:
    return len(json.dumps(data))
