"""Files of code with places for data, `@NAME@`: filled, and read back from what was written."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cartpole_cli.actions import MAX_FORCE
from cartpole_cli.policy.network import OBSERVATION_LIMIT

FOLDER = Path(__file__).parent / "templates"
PLACE = re.compile(r"@([A-Z_]+)@")
LIMITS = {"LIMIT": OBSERVATION_LIMIT, "MAX_FORCE": MAX_FORCE}
NOT_IN_PAGES = re.compile(r"[<>&\x7f]")


def fill(name: str, data: Mapping[str, str], folder: Path = FOLDER) -> str:
    """The template of that name with data in all its places."""
    return PLACE.sub(lambda place: data[place[1]], (folder / name).read_text(encoding="ascii"))


def data_of(name: str, text: str) -> dict[str, str]:
    """What stands in the places of the template of that name.

    Raises:
        ValueError: the text is not that template with data in it.
    """
    parts = PLACE.split((FOLDER / name).read_text(encoding="ascii"))
    pattern = "".join(f"(?P<{part}>.*?)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    found = re.fullmatch(pattern, text, re.DOTALL)
    if found is None:
        raise ValueError(f"not as {name} is")
    return found.groupdict()


def ascii_json(value: Any) -> str:
    """JSON in one line of printable ASCII; nothing in it ends a comment of HTML or a script's element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return NOT_IN_PAGES.sub(lambda character: f"\\u{ord(character[0]):04x}", text)
