"""Ids of Gymnasium's kind `module:id`, whose module is imported: that is code, and the user's to allow.

What a file says (a checkpoint, a run's recipe, an ONNX file's metadata) chooses among the environments that are
registered. An id on the command line, or in the recipe that a training is begun by, is the user's own word.
"""

import importlib
import sys
from collections.abc import Sequence

from cartpole_cli.errors import CartpoleError, one_line

REFUSAL = (
    "a file cannot have a module imported; if you trust it, give the id yourself: "
    "eval with --environment ID, train with environment.id=ID"
)


def import_module_of(environment_id: str) -> None:
    """Import the module before the colon of an id that the user gave; it registers its environments.

    Raises:
        CartpoleError: there is none of that name, or it cannot be imported.
    """
    module = _module_of(environment_id)
    if not module:
        return
    try:
        importlib.import_module(module)
    except Exception as error:  # other people's code raises anything
        reason = f"its module cannot be imported: {one_line(error)}"
        raise CartpoleError(f"environment.id = {environment_id!r}: {reason}") from error


def check_registered(environment_id: str, source: str) -> None:
    """Raises CartpoleError if the id that the file `source` gives names a module that nobody has imported."""
    if not _is_imported(environment_id):
        raise CartpoleError(f"{source}: environment.id = {environment_id!r}: {REFUSAL}")


def check_registered_or_repeated(environment_id: str, source: str, overrides: Sequence[str]) -> None:
    """The same for a run that goes on, unless `environment.id` is among the overrides: then its module is imported.

    Call it when the id is known to be the run's own, so that the override repeats it.

    Raises:
        CartpoleError: it is not repeated, or its module cannot be imported.
    """
    if any(override.partition("=")[0].strip() == "environment.id" for override in overrides):
        import_module_of(environment_id)
    else:
        check_registered(environment_id, source)


def registered_id(environment_id: str) -> str:
    """The id less its module: Gymnasium makes the environment of it and imports none.

    Raises:
        CartpoleError: its module has not been imported.
    """
    if not _is_imported(environment_id):
        raise CartpoleError(REFUSAL)
    return environment_id.rpartition(":")[2] if _module_of(environment_id) else environment_id


def _module_of(environment_id: str) -> str:
    return environment_id.rpartition(":")[0]


def _is_imported(environment_id: str) -> bool:
    module = _module_of(environment_id)
    return not module or module in sys.modules
