"""What stands below each field of a recipe's classes in their source.

Pydantic would read it whenever a class is made, for every command that reads a recipe; only few commands show it.
"""

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise


@cache
def documentation_of(model: type) -> dict[str, str]:
    """The text of each field that has one, without its indentation."""
    module = ast.parse(inspect.getsource(sys.modules[model.__module__]))
    body = next(node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == model.__name__)
    texts = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
    return texts
