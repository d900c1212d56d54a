"""What a recipe may say, and what a user is told when it says something else."""

import json
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.algorithm import DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.recipe.documentation import documentation_of
from cartpole_cli.recipe.fields import SECTIONS, VARIANTS, entries
from cartpole_cli.recipe.files import (
    copy_recipe,
    describe,
    find_recipe,
    load_recipe,
    shipped_recipes,
)
from cartpole_cli.recipe.recipe import GymnasiumEnvironment, NativeEnvironment, Recipe

SHIPPED = sorted(shipped_recipes().items())
MODELS = [*SECTIONS.values(), *(member for _, members in VARIANTS.values() for member in members.values())]


@pytest.fixture(autouse=True)
def _somewhere_without_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path):
    """Write a recipe file; its path."""

    def to_file(text: str | bytes) -> Path:
        path = tmp_path / "mine.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to_file


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(CartpoleError) as caught:
        load_recipe(path, overrides)
    for problem in caught.value.problems:
        assert len(problem.splitlines()) == 1
    return list(caught.value.problems)


def the_problem(path: Path, *overrides: str) -> str:
    (problem,) = problems(path, *overrides)
    return problem


# Shipped recipes


@pytest.mark.parametrize(("name", "path"), SHIPPED)
def test_a_shipped_recipe_validates_and_says_what_it_is_for(name, path):
    recipe = load_recipe(path)
    assert find_recipe(name) == path
    assert path.read_text().startswith("# ")
    assert len(describe(path)) > 10
    assert recipe.algorithm.name in name or name in {"browser", "unbreakable", "unbreakable-discrete"}


@pytest.mark.parametrize("path", [path for _, path in SHIPPED])
def test_the_resolved_recipe_reads_back_as_the_same_recipe(path, write):
    recipe = load_recipe(path)
    assert load_recipe(write(recipe.to_toml())) == recipe


@pytest.mark.parametrize("path", [path for _, path in SHIPPED])
def test_the_resolved_recipe_names_every_field_that_is_set(path):
    recipe = load_recipe(path)
    resolved = tomllib.loads(recipe.to_toml())
    assert set(resolved) == set(Recipe.model_fields)
    for section, fields in resolved.items():
        model = getattr(recipe, section)
        unset = {name for name in type(model).model_fields if getattr(model, name) is None}
        assert set(fields) == set(type(model).model_fields) - unset


@pytest.mark.parametrize("text", ["", "# a comment is all that was written", "\n\n"])
def test_an_empty_file_is_no_recipe(write, text):
    path = write(text)
    assert the_problem(path, "algorithm.name=ppo") == f"{path}: an empty recipe; expected a section, as in [trainer]"


def test_an_empty_section_is_the_default_recipe(write):
    recipe = load_recipe(write("[trainer]"))
    assert recipe == Recipe()
    assert isinstance(recipe.algorithm, ReinforceRecipe)
    assert isinstance(recipe.environment, NativeEnvironment)


def test_a_section_without_backend_is_the_native_one(write):
    assert load_recipe(write("[environment]\nnum_envs = 3")).environment == NativeEnvironment(num_envs=3)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_documented(model):
    tags = {tag for tag, _ in VARIANTS.values()}
    undocumented = set(model.model_fields) - set(documentation_of(model)) - tags
    assert model.__doc__
    assert not undocumented


@pytest.mark.parametrize("model", [Recipe, *MODELS], ids=lambda model: model.__name__)
def test_a_recipe_cannot_be_changed(model):
    required = {name: field.annotation for name, field in model.model_fields.items() if field.is_required()}
    section: BaseModel = model(**{name: get_args(annotation)[0] for name, annotation in required.items()})
    field = next(iter(model.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(section, field, getattr(section, field))


# Rules between fields


def ppo(rows: int, minibatch_size: int) -> str:
    return f'[algorithm]\nname = "ppo"\nsteps_per_iteration = 8\nminibatch_size = {minibatch_size}\n' + (
        f"[environment]\nnum_envs = {rows // 8}\n"
    )


def test_a_minibatch_may_be_as_large_as_the_rollout_and_no_larger(write):
    assert load_recipe(write(ppo(rows=32, minibatch_size=32))).algorithm.minibatch_size == 32
    path = write(ppo(rows=32, minibatch_size=33))
    problem = the_problem(path)
    assert problem.startswith(f"{path}: algorithm.minibatch_size = 33: ")
    assert "at most 32" in problem


@pytest.mark.parametrize("baseline", ["batch", "leave_one_out"])
def test_a_baseline_of_other_episodes_needs_two(write, baseline):
    text = f'[algorithm]\nname = "reinforce"\nbaseline = "{baseline}"\n[environment]\nnum_envs = '
    assert load_recipe(write(text + "2")).environment.num_envs == 2
    problem = the_problem(write(text + "1"))
    assert "environment.num_envs = 1: " in problem
    assert "at least 2" in problem


@pytest.mark.parametrize("baseline", ["none", "value"])
def test_other_baselines_take_one_episode(write, baseline):
    text = f'[algorithm]\nname = "reinforce"\nbaseline = "{baseline}"\n[environment]\nnum_envs = 1'
    assert load_recipe(write(text)).environment.num_envs == 1


@pytest.mark.parametrize(
    ("task", "fitting", "other"),
    [("CartPole-v1", "categorical", "gaussian"), ("ContinuousCartPole-v1", "gaussian", "categorical")],
)
def test_the_action_head_fits_the_task(write, task, fitting, other):
    text = f'[environment]\nid = "{task}"\n[policy]\naction_head = '
    for head in ("auto", fitting):
        assert load_recipe(write(f'{text}"{head}"')).policy.action_head == head
    problem = the_problem(write(f'{text}"{other}"'))
    assert f"policy.action_head = '{other}': " in problem
    assert f"'{fitting}'" in problem.partition("allowed")[2]


def test_no_target_is_above_what_an_episode_can_return(write):
    text = "[environment]\nmax_episode_steps = 200\n[trainer]\nstop_at_return = "
    assert load_recipe(write(text + "200")).trainer.stop_at_return == 200
    problem = the_problem(write(text + "200.5"))
    assert "trainer.stop_at_return = 200.5: " in problem
    assert "at most 200" in problem


def test_a_gymnasium_task_may_have_any_target(write):
    text = '[environment]\nbackend = "gymnasium"\nmax_episode_steps = 10\n[trainer]\nstop_at_return = 1000'
    assert load_recipe(write(text)).trainer.stop_at_return == 1000


GROUPS = pytest.mark.parametrize("algorithm", ["grpo", "dpo"])


def groups(algorithm: str, size: int, num_envs: int, more: str = "") -> str:
    return f'[environment]\nnum_envs = {num_envs}\n{more}\n[algorithm]\nname = "{algorithm}"\ngroup_size = {size}\n'


@GROUPS
@pytest.mark.parametrize(("size", "num_envs"), [(2, 16), (2, 18), (3, 24), (16, 128), (8192, 65_536)])
def test_eight_whole_groups_or_more_are_accepted(write, algorithm, size, num_envs):
    recipe = load_recipe(write(groups(algorithm, size, num_envs)))
    assert (recipe.algorithm.group_size, recipe.environment.num_envs) == (size, num_envs)


@GROUPS
@pytest.mark.parametrize(
    ("size", "num_envs", "allowed"),
    [(4, 34, "32, 36, 40, ..."), (4, 28, "32, 36, 40, ..."), (16, 16, "128, 144, 160, ..."), (3, 1, "24, 27, 30, ...")],
)
def test_a_part_of_a_group_and_fewer_than_eight_groups_are_refused(write, algorithm, size, num_envs, allowed):
    path = write(groups(algorithm, size, num_envs))
    problem = the_problem(path)
    assert problem.startswith(f"{path}: environment.num_envs = {num_envs}: has to hold 8 groups or more")
    assert f"algorithm.group_size = {size}" in problem
    assert problem.endswith(f"allowed: {allowed}")


@GROUPS
@pytest.mark.parametrize("size", ["1", "0", "-2", "65537", "2.5"])
def test_a_group_is_two_episodes_or_more(write, algorithm, size):
    path = write(f'[environment]\nnum_envs = 16\n[algorithm]\nname = "{algorithm}"\ngroup_size = {size}')
    assert the_problem(path).startswith(f"{path}: algorithm.group_size = {size}: ")


@GROUPS
def test_the_default_environments_do_not_make_eight_of_the_default_groups(write, algorithm):
    path = write(f'[algorithm]\nname = "{algorithm}"')
    assert the_problem(path).startswith(f"{path}: environment.num_envs = 16: has to hold 8 groups or more")
    assert load_recipe(path, ["environment.num_envs=128"]).algorithm.group_size == 16


@GROUPS
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasium_makes_groups_one_environment_at_a_time(write, algorithm, mode):
    path = write(groups(algorithm, 2, 16, 'backend = "gymnasium"'))
    recipe = load_recipe(path, [f"environment.vectorization_mode={mode}"])
    assert recipe.environment == GymnasiumEnvironment(backend="gymnasium", num_envs=16, vectorization_mode=mode)


@GROUPS
def test_a_vector_entry_point_has_one_seed_for_all_and_makes_no_groups(write, algorithm):
    path = write(groups(algorithm, 2, 16, 'backend = "gymnasium"\nvectorization_mode = "vector_entry_point"'))
    problem = the_problem(path)
    assert problem.startswith(f"{path}: environment.vectorization_mode = 'vector_entry_point': ")
    assert "one seed for all environments" in problem
    assert problem.endswith("allowed: 'sync', 'async'")


@pytest.mark.parametrize(("algorithm", "middle"), [("grpo", "episode"), ("dpo", "before_failure")])
def test_groups_begin_in_the_middle_of_native_episodes_only(write, algorithm, middle):
    branching = groups(algorithm, 2, 16) + f'branch_from = "{middle}"'
    assert load_recipe(write(branching)).algorithm.branch_from == middle
    path = write(groups(algorithm, 2, 16, 'backend = "gymnasium"') + f'branch_from = "{middle}"')
    problem = the_problem(path)
    assert problem.startswith(f"{path}: algorithm.branch_from = '{middle}': ")
    assert "Gymnasium" in problem
    assert "'start'" in problem.partition("allowed")[2]
    assert "environment.backend = 'native'" in problem.partition("allowed")[2]
    assert load_recipe(path, ["algorithm.branch_from=start"]).algorithm.branch_from == "start"
    assert load_recipe(path, ["environment.backend=native"]).algorithm.branch_from == middle


def test_groups_that_share_no_start_need_no_environment_that_gives_them_one(write):
    path = write(groups("grpo", 2, 16, 'backend = "gymnasium"\nvectorization_mode = "vector_entry_point"'))
    assert load_recipe(path, ["algorithm.branch_from=none"]).algorithm.branch_from == "none"


def test_only_a_return_to_go_is_discounted(write):
    path = write(groups("grpo", 2, 16) + "gamma = 0.9")
    assert the_problem(path).startswith(f"{path}: algorithm.gamma = 0.9: an outcome is the whole episode's return")
    assert load_recipe(path, ["algorithm.credit=to_go"]).algorithm.gamma == 0.9


@pytest.mark.parametrize("loss", ["sigmoid", "robust"])
def test_label_smoothing_is_for_losses_that_expect_wrong_labels(write, loss):
    text = groups("dpo", 2, 16) + f'loss = "{loss}"\nlabel_smoothing = 0.1'
    assert load_recipe(write(text)).algorithm.label_smoothing == 0.1


@pytest.mark.parametrize("loss", ["ipo", "hinge"])
def test_label_smoothing_is_not_defined_for_other_losses(write, loss):
    text = groups("dpo", 2, 16) + f'loss = "{loss}"\nlabel_smoothing = '
    assert load_recipe(write(text + "0.0")).algorithm.loss == loss
    path = write(text + "0.1")
    problem = the_problem(path)
    assert problem.startswith(f"{path}: algorithm.label_smoothing = 0.1: ")
    assert f"algorithm.loss = '{loss}'" in problem
    assert problem.endswith("allowed: 0.0")


@pytest.mark.parametrize("smoothing", ["0.5", "-0.1", "nan"])
def test_no_more_than_half_of_the_labels_are_expected_to_be_wrong(write, smoothing):
    path = write(groups("dpo", 2, 16) + f"label_smoothing = {smoothing}")
    assert the_problem(path).startswith(f"{path}: algorithm.label_smoothing = {smoothing}: ")


def test_broken_rules_of_groups_are_reported_together(write):
    gymnasium = 'backend = "gymnasium"\nvectorization_mode = "vector_entry_point"'
    options = 'branch_from = "before_failure"\nloss = "ipo"\nlabel_smoothing = 0.1'
    path = write(groups("dpo", 3, 16, gymnasium) + options)
    assert [line.removeprefix(f"{path}: ").split(" = ")[0] for line in problems(path)] == [
        "environment.num_envs",
        "environment.vectorization_mode",
        "algorithm.branch_from",
        "algorithm.label_smoothing",
    ]


@GROUPS
def test_an_algorithm_without_groups_takes_any_number_of_environments_and_the_vector_entry_point(write, algorithm):
    path = write(groups(algorithm, 2, 9, 'backend = "gymnasium"\nvectorization_mode = "vector_entry_point"'))
    recipe = load_recipe(path, ["algorithm.name=reinforce"])
    assert recipe.algorithm == ReinforceRecipe()
    assert recipe.environment.num_envs == 9


def test_broken_rules_are_reported_together(write):
    path = write(ppo(rows=8, minibatch_size=9) + '[policy]\naction_head = "gaussian"\n[trainer]\nstop_at_return = 501')
    found = problems(path)
    assert [line.removeprefix(f"{path}: ").split(" = ")[0] for line in found] == [
        "algorithm.minibatch_size",
        "policy.action_head",
        "trainer.stop_at_return",
    ]


# Messages


def test_all_problems_come_at_once_one_line_each(write):
    path = write(
        """
        [algorithm]
        name = "ppo"
        gama = 0.9
        clip_range = -1
        [environment]
        num_envs = "many"
        [polcy]
        squash = "tanh"
        [policy]
        activation = "tahn"
        hidden_sizes = [64, 0]
        [trainer]
        seed = -1
        """
    )
    found = problems(path, "trainer.learning_rate=fast", "logger.mod=offline")
    expected = {
        f"{path}: algorithm.gama = 0.9: ": "did you mean 'gamma'",
        f"{path}: algorithm.clip_range = -1: ": "greater than 0",
        f"{path}: environment.num_envs = 'many': ": "integer",
        f"{path}: polcy = ": "did you mean 'policy'",
        f"{path}: policy.activation = 'tahn': ": "did you mean 'tanh'",
        f"{path}: policy.hidden_sizes[2] = 0: ": "greater than or equal to 1",
        f"{path}: trainer.seed = -1: ": "greater than or equal to 0",
        "command line: trainer.learning_rate = 'fast': ": "number",
        "command line: logger.mod = 'offline': ": "did you mean 'mode'",
    }
    for start, reason in expected.items():
        (line,) = [line for line in found if line.startswith(start)]
        assert reason in line.removeprefix(start)
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("override", "guess"),
    [
        ("trainr.seed=1", "trainer"),
        ("trainer.learning_rat=1", "learning_rate"),
        ("environment.num_env=1", "num_envs"),
        ("algorithm.name=pppo", "ppo"),
        ("algorithm.name=reinforc", "reinforce"),
        ("algorithm.name=gpro", "grpo"),
        ("algorithm.name=dop", "dpo"),
        ("environment.backend=gymnasum", "gymnasium"),
        ("environment.id=CartPol-v1", "CartPole-v1"),
        ("logger.type=wandbb", "wandb"),
        ("algorithm.clip_range_schedule=linaer", "linear"),
    ],
)
def test_a_misspelt_word_gets_a_guess(override, guess):
    assert f"did you mean '{guess}'?" in the_problem(find_recipe("ppo"), override)


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("trainer.zzz=1", "learning_rate"),
        ("zzz.seed=1", "trainer"),
        ("algorithm.name=zzz", "'reinforce', 'ppo', 'grpo', 'dpo'"),
        ("environment.backend=zzz", "'native', 'gymnasium'"),
        ("logger.mode=zzz", "'online', 'offline' or 'disabled'"),
    ],
)
def test_a_word_like_no_other_gets_the_list(override, allowed):
    problem = the_problem(find_recipe("ppo"), override)
    assert allowed in problem.partition("allowed")[2]
    assert "did you mean" not in problem


@pytest.mark.parametrize(
    "override", ["trainer.seed=x", "trainer.sed=1", "zzz.seed=1", "algorithm.name=3", 'policy.hidden_sizes=[1, "a", 2]']
)
def test_what_the_command_line_broke_is_blamed_on_the_command_line(override):
    found = problems(find_recipe("ppo"), override)
    assert [line.partition(":")[0] for line in found] == ["command line"]


def test_the_file_is_blamed_for_its_own_mistake_beside_an_override(write):
    path = write("[trainer]\nseed = -1")
    assert the_problem(path, "trainer.num_steps=5").startswith(f"{path}: trainer.seed = -1: ")


def test_an_override_mends_the_files_mistake(write):
    assert load_recipe(write("[trainer]\nseed = -1"), ["trainer.seed=1"]).trainer.seed == 1


@pytest.mark.parametrize("value", ["[0]", '[0, 1.5, "a"]'])
def test_each_bad_item_of_a_list_is_one_problem(value):
    found = problems(find_recipe("ppo"), f"policy.hidden_sizes={value}")
    assert len(found) == len(value.split(","))


@pytest.mark.parametrize("section", list(Recipe.model_fields))
@pytest.mark.parametrize("value", ["3", '"text"', "[1]", "true"])
def test_a_section_that_is_no_table_is_one_line(write, section, value):
    path = write(f"{section} = {value}")
    assert the_problem(path).startswith(f"{path}: {section} = ")


def test_a_long_value_is_cut_short(write):
    assert len(the_problem(write(f'[policy]\nactivation = "{"x" * 5000}"'))) < 300


@pytest.mark.parametrize("text", ['"a\\nb" = 1', '[policy]\n"a\\nb" = 1', '["a\\rb"]'])
def test_a_key_with_a_line_break_is_still_one_line(write, text):
    the_problem(write(text))  # which holds every problem to one line


@pytest.mark.parametrize("text", [b"\xff\xfe", b"[trainer]\nseed = \xe9", b"seed =", b"[trainer", b"x = " + b"[" * 999])
def test_a_file_that_is_not_toml_is_one_line(write, text):
    path = write(text)
    assert the_problem(path).startswith(f"{path}: ")


@pytest.mark.parametrize("digits", ["9" * 5000, "0x" + "f" * 5000], ids=["decimal", "hexadecimal"])
def test_a_number_too_long_for_python_is_one_line(write, digits):
    path = write(f"[trainer]\nseed = {digits}")
    assert the_problem(path).startswith(f"{path}: ")
    assert the_problem(find_recipe("ppo"), f"trainer.seed={digits}").startswith("command line: trainer.seed")


@pytest.mark.parametrize("key", ["trainer.num_steps", "environment.max_episode_steps"])
def test_a_count_no_tensor_can_hold_is_refused(key):
    problem = the_problem(find_recipe("ppo"), "environment.backend=gymnasium", f"{key}=1{'0' * 30}")
    assert problem.startswith(f"command line: {key} = 1")


def test_a_folder_and_a_missing_file_are_one_line(tmp_path):
    assert the_problem(tmp_path).startswith(f"{tmp_path}: cannot be read")
    assert the_problem(tmp_path / "none.toml").startswith(f"{tmp_path / 'none.toml'}: cannot be read")


# Overrides


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("trainer.num_steps=5000", 5000),
        ("trainer.num_steps=5_000", 5000),
        ("trainer.num_steps = 5000", 5000),
        ("trainer.learning_rate=3e-4", 3e-4),
        ("trainer.learning_rate=1", 1.0),
        ("trainer.stop_at_return=-2.5", -2.5),
        ("policy.initial_log_std=-1", -1.0),
        ("policy.hidden_sizes=[32, 16]", (32, 16)),
        ("algorithm.normalize_advantage=false", False),
        ("algorithm.normalize_advantage=true", True),
        ("algorithm.target_kl=0.01", 0.01),
        ("logger.type=wandb", "wandb"),
        ('logger.type="wandb"', "wandb"),
        ("logger.type='wandb'", "wandb"),
        ("logger.mode=offline", "offline"),
        ("environment.id=CartPole-v1", "CartPole-v1"),
        ('logger.project="2024"', "2024"),
    ],
)
def test_an_override_is_a_toml_value_or_a_bare_word(override, value):
    section, field = override.partition("=")[0].strip().split(".")
    got = getattr(getattr(load_recipe(find_recipe("ppo"), [override]), section), field)
    assert got == value
    assert type(got) is type(value)


def test_an_override_changes_nothing_else():
    path = find_recipe("ppo")
    before, after = load_recipe(path).model_dump(), load_recipe(path, ["trainer.seed=7"]).model_dump()
    before["trainer"]["seed"] = 7
    assert after == before


def test_of_two_overrides_of_a_field_the_later_counts():
    assert load_recipe(find_recipe("ppo"), ["trainer.seed=1", "trainer.seed=2"]).trainer.seed == 2


@pytest.mark.parametrize(
    "override", ["trainer.seed=1.0", "trainer.seed=true", 'trainer.seed="1"', "trainer.seed=", "trainer.seed=1\nx = 2"]
)
def test_an_override_of_another_type_is_not_converted(override):
    assert the_problem(find_recipe("ppo"), override).startswith("command line: trainer.seed = ")


@pytest.mark.parametrize("override", ["seed", "seed=1", "=1", "", ".seed=1", "trainer.=1", "a.b.c.d=1", "ppo.toml"])
def test_what_is_not_an_override_is_shown_how_it_would_be_right(override):
    problem = the_problem(find_recipe("ppo"), override)
    assert problem.startswith(f"command line: {override!r}: ")
    assert "trainer.num_steps=5000" in problem


def test_malformed_overrides_are_reported_together():
    assert len(problems(find_recipe("ppo"), "seed=1", "a.b.c=1", "trainer.seed=-1")) == 3


# Unsetting


OPTIONAL = {entry.key: entry.variant for entry in entries() if entry.field.default is None}
FITTING = {"grpo": "grpo", "dpo": "dpo", "gymnasium": "ppo", "native": "unbreakable"}


def value_of(recipe: Recipe, key: str):
    value = recipe
    for name in key.split("."):
        value = getattr(value, name, None)
    return value


def test_the_optional_fields_are_those_documented():
    assert {"trainer.stop_at_return", "environment.physics", "environment.position_limit"} < OPTIONAL.keys()
    assert len(OPTIONAL) == 14


@pytest.mark.parametrize("form", ["~{}", "{}=null", " ~{} ", "{} = null"])
@pytest.mark.parametrize("key", OPTIONAL)
def test_every_optional_field_can_be_unset(key, form):
    variant = OPTIONAL[key]
    changes = ["environment.backend=gymnasium", "policy.features=raw"] if variant == "gymnasium" else []
    recipe = load_recipe(find_recipe(FITTING.get(variant, "ppo")), [*changes, form.format(key)])
    assert value_of(recipe, key) is None


@pytest.mark.parametrize("form", ["~{}", "{}=null"])
def test_what_a_recipe_sets_is_unset_and_nothing_else_is_changed(form):
    before = load_recipe(find_recipe("browser"))
    after = load_recipe(find_recipe("browser"), [form.format("environment.angle_limit")])
    assert before.environment.angle_limit is not None
    assert after.environment == before.environment.model_copy(update={"angle_limit": None})


def test_a_range_gets_its_default_and_nothing_else_is_changed():
    before = load_recipe(find_recipe("unbreakable"))
    after = load_recipe(find_recipe("unbreakable"), ["~environment.physics.gravity"])
    assert before.environment.physics.gravity == (4.5, 22.0)
    physics = before.environment.physics.model_copy(update={"gravity": (9.8, 9.8)})
    assert after.environment == before.environment.model_copy(update={"physics": physics})


def test_the_default_of_a_field_of_an_absent_section_makes_no_section():
    assert load_recipe(find_recipe("ppo"), ["~environment.physics.gravity"]).environment.is_gymnasiums


@pytest.mark.parametrize(
    ("name", "key", "default"),
    [
        ("ppo", "trainer.seed", 0),
        ("ppo", "policy.hidden_sizes", (64, 64)),
        ("ppo", "algorithm.gamma", 0.98),
        ("grpo", "algorithm.name", "reinforce"),
        ("unbreakable-discrete", "environment.id", "CartPole-v1"),
        ("unbreakable", "environment.disturb.push_rate", 0.0),
    ],
)
def test_a_tilde_gives_any_field_its_default(name, key, default):
    changes = ["trainer.seed=7", "policy.hidden_sizes=[8]", "policy.action_head=auto", f"~{key}"]
    changes += ["~environment.start", "~trainer.stop_at_return"]
    assert value_of(load_recipe(find_recipe(name), changes), key) == default


def test_the_native_backend_is_the_default_one(write):
    path = write('[environment]\nbackend = "gymnasium"\nvectorization_mode = "async"\nnum_envs = 3')
    assert load_recipe(path, ["~environment.backend"]).environment == NativeEnvironment(num_envs=3)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.seed=null", "trainer.seed: allowed: a valid integer; ~trainer.seed gives its default"),
        ("~trainer.stop_at_retrun", "trainer.stop_at_retrun: unknown field; did you mean 'stop_at_return'?"),
        ("trainer.stop_at_retrun=null", "trainer.stop_at_retrun: unknown field; did you mean 'stop_at_return'?"),
        ("environment.physics.gravity=null", "[lowest, highest]; ~environment.physics.gravity gives its default"),
        ("~environment.phisics.gravity", "unknown field; did you mean 'physics'?"),
        ("~trianer.seed", "unknown section; did you mean 'trainer'?"),
        ("~trainer", "expected SECTION.FIELD=VALUE or ~SECTION.FIELD"),
        ("~trainer.seed=3", "expected SECTION.FIELD=VALUE or ~SECTION.FIELD"),
    ],
)
def test_what_cannot_be_unset_is_told(override, said):
    problem = the_problem(find_recipe("ppo"), override)
    assert problem.startswith("command line: ")
    assert said in problem


@pytest.mark.parametrize(("values", "expected"), [(["=null", "=25.0"], 25.0), (["=25.0", "=null"], None)])
def test_of_several_values_of_a_field_the_last_one_counts(values, expected):
    recipe = load_recipe(find_recipe("ppo"), [f"trainer.stop_at_return{value}" for value in values])
    assert recipe.trainer.stop_at_return == expected


@pytest.mark.parametrize("key", ["trainer.stop_at_return", "algorithm.target_kl", "environment.physics"])
@pytest.mark.parametrize("word", ["", "none", "None", "unset"])
def test_other_words_for_null_are_answered_with_it(key, word):
    assert the_problem(find_recipe("ppo"), f"{key}={word}").endswith("; did you mean null?")


@pytest.mark.parametrize("text", ['[trainer]\nstop_at_return = "none"', '[trainer]\nseed = ""'])
def test_a_file_is_not_told_to_write_null(write, text):
    assert "null" not in the_problem(write(text))


def test_nothing_is_evaluated(tmp_path):
    trap = tmp_path / "evaluated"
    text = f"__import__('pathlib').Path('{trap}').touch()"
    recipe = load_recipe(
        find_recipe("grpo"), ["environment.backend=gymnasium", f"environment.id={text}", "policy.features=raw"]
    )
    assert recipe.environment.id == text
    assert not trap.exists()


# Changing the algorithm or the backend


def test_a_new_algorithm_brings_its_defaults_and_keeps_what_the_recipe_sets_for_it(write):
    path = write('[algorithm]\nname = "reinforce"\ngamma = 0.5\nbaseline = "batch"')
    assert load_recipe(path, ["algorithm.name=ppo"]).algorithm == PPORecipe(gamma=0.5)


def test_the_default_algorithm_can_be_changed_without_a_section(write):
    assert load_recipe(write("[trainer]"), ["algorithm.name=ppo"]).algorithm == PPORecipe()


@pytest.mark.parametrize("order", [1, -1])
def test_other_overrides_go_on_top_of_the_new_algorithm_in_any_order(write, order):
    changes = ["algorithm.name=ppo", "algorithm.clip_range=0.3"][::order]
    assert load_recipe(write('[algorithm]\nname = "reinforce"'), changes).algorithm == PPORecipe(clip_range=0.3)


def test_a_field_of_the_old_algorithm_is_unknown_to_the_new_one():
    problem = the_problem(find_recipe("reinforce"), "algorithm.name=ppo", "algorithm.baseline=value")
    assert problem.startswith("command line: algorithm.baseline = 'value': unknown field")


def test_grpo_and_dpo_keep_of_one_another_what_both_have(write):
    path = write(groups("grpo", 4, 32) + 'reference_every = 5\nkl_weight = 0.1\ncredit = "to_go"')
    changed = load_recipe(path, ["algorithm.name=dpo"]).algorithm
    assert changed == DPORecipe(name="dpo", group_size=4, reference_every=5)
    path = write(groups("dpo", 4, 32) + "num_epochs = 2\nbeta = 0.5")
    changed = load_recipe(path, ["algorithm.name=grpo", "algorithm.kl_weight=0.1"]).algorithm
    assert changed == GRPORecipe(name="grpo", group_size=4, num_epochs=2, kl_weight=0.1)


def test_naming_the_algorithm_the_recipe_has_changes_nothing():
    path = find_recipe("ppo")
    assert load_recipe(path, ["algorithm.name=ppo"]) == load_recipe(path)


def test_a_new_backend_brings_its_defaults_and_keeps_what_the_recipe_sets_for_it(write):
    path = write('[environment]\nid = "CartPole-v1"\nnum_envs = 5')
    environment = load_recipe(path, ["environment.backend=gymnasium"]).environment
    assert environment == GymnasiumEnvironment(backend="gymnasium", id="CartPole-v1", num_envs=5)
    path = write('[environment]\nbackend = "gymnasium"\nnum_envs = 5\nvectorization_mode = "async"')
    assert load_recipe(path, ["environment.backend=native"]).environment == NativeEnvironment(num_envs=5)


def test_a_field_of_no_algorithm_is_not_dropped_with_those_of_the_old_one(write):
    path = write('[algorithm]\nname = "reinforce"\ngama = 0.5')
    assert the_problem(path, "algorithm.name=ppo").startswith(f"{path}: algorithm.gama = 0.5: unknown field")


# Finding recipes


def test_a_recipe_is_looked_up_as_a_path_then_in_recipes_then_among_the_shipped():
    here, local = Path("ppo.toml"), Path("recipes/ppo.toml")
    local.parent.mkdir()
    here.touch()
    local.touch()
    for name in ("ppo", "ppo.toml"):
        assert find_recipe(name) == here
    here.unlink()
    for name in ("ppo", "ppo.toml"):
        assert find_recipe(name) == local
    local.unlink()
    for name in ("ppo", "ppo.toml"):
        assert find_recipe(name) == dict(SHIPPED)["ppo"]


def test_a_path_may_have_any_name(tmp_path):
    path = tmp_path / "deep" / "my.recipe"
    path.parent.mkdir()
    path.touch()
    assert find_recipe(str(path)) == path
    assert find_recipe("deep/my.recipe") == Path("deep/my.recipe")


def test_a_folder_is_not_taken_for_a_recipe():
    Path("ppo").mkdir()
    Path("ppo.toml").mkdir()
    assert find_recipe("ppo") == dict(SHIPPED)["ppo"]


def test_a_recipe_that_is_nowhere_gets_a_guess_and_the_list():
    for name in ("reinforc", "reinforc.toml"):
        with pytest.raises(CartpoleError) as caught:
            find_recipe(name)
        (problem,) = caught.value.problems
        assert repr(name) in problem
        assert "did you mean 'reinforce'?" in problem
        assert ", ".join(shipped_recipes()) in problem


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "", ".", "a\nb"], ids=["long", "nul", "empty", "dot", "break"])
def test_a_name_no_file_can_have_is_one_line(name):
    with pytest.raises(CartpoleError) as caught:
        find_recipe(name)
    (problem,) = caught.value.problems
    assert "not found" in problem
    assert len(problem.splitlines()) == 1


def test_a_copy_is_the_same_and_never_overwrites(tmp_path):
    source = find_recipe("ppo")
    target = copy_recipe("ppo", tmp_path)
    assert target == tmp_path / "ppo.toml"
    assert target.read_bytes() == b"#:schema ./recipe.schema.json\n" + source.read_bytes()
    assert json.loads((tmp_path / "recipe.schema.json").read_text()) == Recipe.model_json_schema()
    again = copy_recipe(str(target), tmp_path / "again.toml")
    assert again.read_bytes() == target.read_bytes()
    target.write_text("mine")
    with pytest.raises(CartpoleError, match="exists already"):
        copy_recipe("ppo", tmp_path)
    assert target.read_text() == "mine"
    with pytest.raises(CartpoleError, match="cannot be written"):
        copy_recipe("ppo", tmp_path / "none" / "ppo.toml")


def test_a_whole_number_may_be_written_with_an_exponent():
    recipe = load_recipe(find_recipe("ppo"), ["trainer.num_steps=1e5", "trainer.learning_rate=1e0"])
    assert recipe.trainer.num_steps == 100_000
    assert recipe.trainer.learning_rate == 1.0


def test_a_rollout_that_no_memory_holds_is_refused():
    found = the_problem(find_recipe("ppo"), "environment.num_envs=65536", "algorithm.steps_per_iteration=65536")
    assert found.endswith("allowed: at most 256")


def test_hydras_plus_is_told_what_is_right():
    assert "expected SECTION.FIELD=VALUE" in the_problem(find_recipe("ppo"), "+trainer.seed=3")


def test_a_word_in_place_of_a_list_is_told_what_a_list_looks_like():
    assert "a list, as in [64, 64]" in the_problem(find_recipe("ppo"), "policy.hidden_sizes=64,64")


def test_a_recipe_in_place_of_an_override_is_recognized():
    for word in ("ppo", "ppo.toml"):
        assert the_problem(find_recipe("reinforce"), word).endswith("did you mean --recipe ppo?")
    assert "did you mean" not in the_problem(find_recipe("reinforce"), "nonsense")


STEPS_OF_THE_LADDER = {
    "1-reinforce": set(),
    "2-reinforce-leave-one-out": {"baseline"},
    "3-grpo-one-epoch": {"name"},
    "4-grpo-clipped-epochs": {"num_epochs"},
    "5-grpo-to-go": {"credit"},
    "6-ppo": {"name"},
}


def test_each_step_of_the_ladder_turns_one_switch_of_the_step_before_and_names_it():
    recipes = {name: load_recipe(shipped_recipes()[f"ladder/{name}"]) for name in STEPS_OF_THE_LADDER}
    assert [name for name in shipped_recipes() if name.startswith("ladder/")] == [f"ladder/{name}" for name in recipes]
    for (before, after), switch in zip(pairwise(recipes.items()), list(STEPS_OF_THE_LADDER.values())[1:], strict=True):
        (_, old), (name, new) = before, after
        assert old.model_dump(exclude={"algorithm"}) == new.model_dump(exclude={"algorithm"})
        changed = {key for key, value in new.algorithm if value != getattr(old.algorithm, key, None)}
        comment = describe(shipped_recipes()[f"ladder/{name}"])
        if switch == {"name"}:  # another algorithm: its own fields come with it
            assert "name" in changed
            assert new.algorithm.name.upper() in comment
        else:
            assert changed == switch
            assert switch.pop() in comment
