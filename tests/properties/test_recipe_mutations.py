"""Whatever becomes of a recipe file, it gives a recipe or lines for the user, never another exception."""

import random
import tomllib
from contextlib import suppress
from datetime import date

import pytest
import tomli_w
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.files import load_recipe, shipped_recipes
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.session import Session

VALID = [load_recipe(path).model_dump(mode="json", exclude_none=True) for path in shipped_recipes().values()]
VALID += [tomllib.loads(path.read_text()) for path in shipped_recipes().values()]
WORDS = sorted(
    {word for recipe in VALID for section, fields in recipe.items() for word in (section, *fields)}
    | {"ppo", "reinforce", "grpo", "dpo", "group_size", "branch_from", "reference_every", "label_smoothing"}
    | {"native", "gymnasium", "CartPole-v1", "ContinuousCartPole-v1", "gaussian", "wandb", "vector_entry_point"}
)

TEXTS = [path.read_text(encoding="utf-8") for path in shipped_recipes().values()]
VALUES = [*(f'"{word}"' for word in WORDS), "0", "1", "-1", "2", "16", "1.0", "0.5", "-0.0", "1e-9", "1e308", "1e999"]
VALUES += [
    "nan",
    "inf",
    "true",
    "false",
    "[]",
    "[16, 16]",
    "[[]]",
    "{}",
    '""',
    "9" * 30,
    "0x7fffffffffffffff",
    "2024-02-29",
]
MUTATIONS = 4_000
TRAINED = 20
SMALL = (
    "environment.num_envs=16",
    "trainer.num_steps=1",
    "trainer.num_seeds=1",
    "trainer.evaluation_episodes=2",
    "trainer.render_every=0",
    "trainer.device=cpu",
    "logger.type=disabled",
    "policy.hidden_sizes=[16]",
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
    | st.builds("~{}.{}".format, words, words)
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


def check(path, source, changes) -> bool:
    """Whether it is a recipe."""
    path.write_bytes(source)
    try:
        recipe = load_recipe(path, changes)
    except CartpoleError as error:
        problems = error.problems
    else:
        assert Recipe.model_validate(tomllib.loads(recipe.to_toml())) == recipe
        return True
    assert problems
    for problem in problems:
        assert problem.strip()
        assert len(problem.splitlines()) == 1
        assert "Traceback" not in problem
    return False


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


def mutated_text(rng: random.Random) -> bytes:
    """A shipped recipe with a few lines, words or characters dropped, doubled, moved or replaced."""
    text = rng.choice(TEXTS)
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        line = rng.randrange(len(lines))
        at = rng.randrange(len(text) + 1)
        match rng.randrange(6):
            case 0:
                del lines[line]
                text = "\n".join(lines)
            case 1:
                lines.insert(rng.randrange(len(lines)), lines[line])
                text = "\n".join(lines)
            case 2:
                key, _, _ = lines[line].partition("=")
                lines[line] = f"{key}= {rng.choice(VALUES)}"
                text = "\n".join(lines)
            case 3:
                lines.insert(line, f"{rng.choice(WORDS)} = {rng.choice(VALUES)}")
                text = "\n".join(lines)
            case 4:
                text = text[:at] + text[at + rng.randint(1, 4) :]
            case 5:
                text = text[:at] + chr(rng.choice([*range(128), 0xE9, 0x2028, 0xFEFF])) + text[at:]
    return text.encode()


def test_thousands_of_mutated_files_are_accepted_or_explained(path):
    rng = random.Random(0)
    accepted = 0
    for _ in range(MUTATIONS):
        source = mutated_text(rng)
        accepted += check(path, source, [])
    assert MUTATIONS / 10 < accepted < MUTATIONS / 2


def test_an_accepted_mutation_trains_or_is_explained(path, tmp_path):
    rng = random.Random(1)
    device, trained = torch.device("cpu"), 0
    while trained < TRAINED:
        path.write_bytes(mutated_text(rng))
        with suppress(CartpoleError):
            recipe = load_recipe(path, SMALL)
            session = Session.create(
                recipe, device=device, recipe_name="mutated", runs_dir=tmp_path, name=None, tell=print
            )
            with session:
                next(session.reports())
            trained += 1
