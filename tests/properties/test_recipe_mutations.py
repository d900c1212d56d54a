"""Whatever becomes of a recipe file, it gives a recipe or lines for the user, never another exception."""

import tomllib
from datetime import date

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe import Recipe
from cartpole_cli.recipe_files import load_recipe, shipped_recipes

VALID = [load_recipe(path).model_dump(mode="json", exclude_none=True) for path in shipped_recipes().values()]
VALID += [tomllib.loads(path.read_text()) for path in shipped_recipes().values()]
WORDS = sorted(
    {word for recipe in VALID for section, fields in recipe.items() for word in (section, *fields)}
    | {"ppo", "reinforce", "grpo", "dpo", "group_size", "branch_from", "reference_every", "label_smoothing"}
    | {"native", "gymnasium", "CartPole-v1", "ContinuousCartPole-v1", "gaussian", "wandb", "vector_entry_point"}
)

words = st.sampled_from(WORDS) | st.text(max_size=8)
numbers = (
    st.integers(-3, 1000)
    | st.integers(-(10**400), 10**400)
    | st.sampled_from([2**31, 2**63, -(2**63), 10**308])
    | st.floats()
)
values = st.recursive(
    numbers | words | st.booleans() | st.just(date(2024, 2, 29)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
snippets = st.sampled_from(
    ["9" * 5000, "0x" + "f" * 5000, "[" * 2000, "]", "[[", "=", ".", "\n", '"', "'''", "\\", "\x00", "inf", "\ufeff"]
) | st.text(max_size=10)
overrides = st.lists(
    st.text(max_size=30)
    | st.builds("{}.{}={}".format, words, words, values | snippets)
    | st.builds("{}={}".format, st.sampled_from([f"{s}.{f}" for r in VALID for s, v in r.items() for f in v]), values),
    max_size=4,
)


@st.composite
def mutated(draw):
    """A valid recipe with fields dropped, renamed, changed, moved and nested."""
    data = {section: dict(fields) for section, fields in draw(st.sampled_from(VALID)).items()}
    for _ in range(draw(st.integers(0, 4))):
        table = draw(st.sampled_from([data, *(fields for fields in data.values() if isinstance(fields, dict))]))
        if not table:
            continue
        key = draw(st.sampled_from(list(table)))
        match draw(st.sampled_from(["drop", "rename", "change", "nest", "copy", "add"])):
            case "drop":
                del table[key]
            case "rename":
                table[draw(words)] = table.pop(key)
            case "change":
                table[key] = draw(values)
            case "nest":
                table[key] = {draw(words): table[key]}
            case "copy":
                table[draw(words)] = table[key]
            case "add":
                table[draw(words)] = draw(values)
    return data


@st.composite
def scribbled(draw):
    """The bytes of a mutated recipe with text, bytes and repeated lines put in anywhere."""
    source = tomli_w.dumps(draw(mutated())).encode()
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            lines = source.splitlines(keepends=True) or [b""]
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
            source = b"".join(lines)
        else:
            at = draw(st.integers(0, len(source)))
            source = source[:at] + draw(snippets.map(str.encode) | st.binary(max_size=4)) + source[at:]
    return source


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("mutations") / "mutated.toml"


def check(path, source, changes):
    path.write_bytes(source)
    try:
        recipe = load_recipe(path, changes)
    except CartpoleError as error:
        problems = error.problems
    else:
        assert Recipe.model_validate(tomllib.loads(recipe.to_toml())) == recipe
        return
    assert problems
    for problem in problems:
        assert problem.strip()
        assert len(problem.splitlines()) == 1
        assert "Traceback" not in problem


often = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@often
@given(data=mutated())
def test_a_mutated_recipe_is_accepted_or_explained(path, data):
    check(path, tomli_w.dumps(data).encode(), [])


@often
@given(source=scribbled())
def test_a_scribbled_recipe_file_is_accepted_or_explained(path, source):
    check(path, source, [])


@often
@given(data=st.sampled_from(VALID) | mutated(), changes=overrides)
def test_random_overrides_are_accepted_or_explained(path, data, changes):
    check(path, tomli_w.dumps(data).encode(), changes)
