"""The house's rules, held by reading the source: imports point down only, and modules stay small."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cartpole_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Lower layers first. A module may import from lower layers and from its own folder.
LAYERS = [
    ["actions", "errors", "estimate", "libraries", "memory", "randomness"],
    ["files", "intervals", "tasks"],
    ["recipe"],
    ["policy", "environments"],
    ["experience"],
    ["algorithms"],
    ["training"],
    ["runs"],
    ["deploy", "workers"],
    ["scoring"],
    ["plots"],
    ["sweep", "view"],
    ["cli"],
    ["__main__"],
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
LEAVES = [
    "actions.py",
    "environments/physics.py",
    "algorithms/advantages.py",
    "algorithms/losses.py",
    "randomness.py",
    "estimate.py",
]
WITHOUT_TORCH = [
    "actions.py",
    "errors.py",
    "estimate.py",
    "files.py",
    "intervals.py",
    "libraries.py",
    "tasks.py",
    "environments/registered.py",
    "environments/registration.py",
    "environments/__init__.py",
    *(f"recipe/{path.name}" for path in sorted((PACKAGE / "recipe").glob("*.py"))),
]
USER_INTERFACE = {"typer", "rich", "wandb"}
RECIPES = r"cartpole_cli\.recipe\.(recipe|algorithm|environment)\b"
MAY_SEE_RECIPES = {f"cli/{name}.py" for name in ("train", "train_parts", "train_report", "workers", "recipes")} | {
    f"{name}.py"
    for name in (
        "runs/session",
        "runs/seed_run",
        "runs/trackers",
        "runs/saved_policy",
        "runs/resume",
        "runs/changes",
        "runs/manifest",
        "runs/parts",
        "workers/study",
        "scoring/candidates",
        "scoring/scorecard",
        "sweep/search",
        "sweep/dimensions",
        "sweep/space",
        "sweep/trials",
        "sweep/finalists",
    )
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def project_parts(path: Path) -> set[str]:
    """The parts of our own package a file imports: 'policy', 'errors', ..."""
    ours = (name.split(".") for name in imports(path) if name.startswith("cartpole_cli."))
    return {parts[1] for parts in ours}


def top_level(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        assert not list(imports(path))
        return
    wrong = {other for other in project_parts(path) if other != part and RANK[other] >= RANK[part]}
    assert not wrong, f"{name_of(path)} must not import {wrong}"


@pytest.mark.parametrize("name", LEAVES)
def test_leaves_import_nothing_of_ours(name: str) -> None:
    assert not project_parts(PACKAGE / name)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_light_modules_load_no_torch(name: str) -> None:
    assert "torch" not in top_level(PACKAGE / name)
    light = {"actions", "errors", "estimate", "files", "tasks", "recipe", "environments"}
    assert project_parts(PACKAGE / name) <= light


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_and_the_trackers_talk_to_users_or_services(path: Path) -> None:
    allowed = {"cli": USER_INTERFACE - {"wandb"}, "runs/trackers.py": {"wandb"}}
    name = name_of(path)
    assert top_level(path) & USER_INTERFACE <= allowed.get(name, allowed.get(name.split("/")[0], set()))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_builders_and_sessions_see_recipes(path: Path) -> None:
    name = name_of(path)
    if path.name != "build.py" and name not in MAY_SEE_RECIPES and not name.startswith("recipe/"):
        seen = {match[1] for other in imports(path) if (match := re.match(RECIPES, other))}
        assert seen <= ({"algorithm"} if name.startswith("algorithms/") else set())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.shapes
def test_a_wrong_shape_raises_where_shapes_are_checked(pytestconfig: pytest.Config) -> None:
    """The shape letters in signatures are checked, not decoration."""
    if not pytestconfig.getoption("jaxtyping_packages"):
        pytest.skip("shapes are checked in a run of their own: .ci/run")
    import torch

    from cartpole_cli.algorithms.losses import weighted_sum

    with pytest.raises(Exception, match="Type-check"):
        weighted_sum(torch.zeros(2, 3), torch.zeros(2, 4))
