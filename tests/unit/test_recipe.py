"""What a recipe may say, and what a user is told when it says something else."""

import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe import (
    GymnasiumEnvironment,
    NativeEnvironment,
    PPORecipe,
    Recipe,
    ReinforceRecipe,
)
from cartpole_cli.recipe_files import (
    SECTIONS,
    VARIANTS,
    copy_recipe,
    describe,
    find_recipe,
    load_recipe,
    shipped_recipes,
)

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
    assert recipe.algorithm.name in name


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


def test_an_empty_file_is_the_default_recipe(write):
    recipe = load_recipe(write(""))
    assert recipe == Recipe()
    assert isinstance(recipe.algorithm, ReinforceRecipe)
    assert isinstance(recipe.environment, NativeEnvironment)


def test_a_section_without_backend_is_the_native_one(write):
    assert load_recipe(write("[environment]\nnum_envs = 3")).environment == NativeEnvironment(num_envs=3)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_documented(model):
    tags = {tag for tag, _ in VARIANTS.values()}
    undocumented = [name for name, field in model.model_fields.items() if name not in tags and not field.description]
    assert model.__doc__
    assert undocumented == []


@pytest.mark.parametrize("model", [Recipe, *MODELS], ids=lambda model: model.__name__)
def test_a_recipe_cannot_be_changed(model):
    section: BaseModel = GymnasiumEnvironment(backend="gymnasium") if model is GymnasiumEnvironment else model()
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
        f"{path}: policy.hidden_sizes.1 = 0: ": "greater than or equal to 1",
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
        ("algorithm.name=zzz", "'reinforce', 'ppo'"),
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


@pytest.mark.parametrize("override", ["seed", "seed=1", "=1", "", ".seed=1", "trainer.=1", "a.b.c=1", "ppo.toml"])
def test_what_is_not_an_override_is_shown_how_it_would_be_right(override):
    problem = the_problem(find_recipe("ppo"), override)
    assert problem.startswith(f"command line: {override!r}: ")
    assert "trainer.num_steps=5000" in problem


def test_malformed_overrides_are_reported_together():
    assert len(problems(find_recipe("ppo"), "seed=1", "a.b.c=1", "trainer.seed=-1")) == 3


def test_nothing_is_evaluated(tmp_path):
    trap = tmp_path / "evaluated"
    text = f"__import__('pathlib').Path('{trap}').touch()"
    recipe = load_recipe(find_recipe("ppo"), ["environment.backend=gymnasium", f"environment.id={text}"])
    assert recipe.environment.id == text
    assert not trap.exists()


# Changing the algorithm or the backend


def test_a_new_algorithm_brings_its_defaults_and_keeps_what_the_recipe_sets_for_it(write):
    path = write('[algorithm]\nname = "reinforce"\ngamma = 0.5\nbaseline = "batch"')
    assert load_recipe(path, ["algorithm.name=ppo"]).algorithm == PPORecipe(gamma=0.5)


def test_the_default_algorithm_can_be_changed_without_a_section(write):
    assert load_recipe(write(""), ["algorithm.name=ppo"]).algorithm == PPORecipe()


@pytest.mark.parametrize("order", [1, -1])
def test_other_overrides_go_on_top_of_the_new_algorithm_in_any_order(write, order):
    changes = ["algorithm.name=ppo", "algorithm.clip_range=0.3"][::order]
    assert load_recipe(write('[algorithm]\nname = "reinforce"'), changes).algorithm == PPORecipe(clip_range=0.3)


def test_a_field_of_the_old_algorithm_is_unknown_to_the_new_one():
    problem = the_problem(find_recipe("reinforce"), "algorithm.name=ppo", "algorithm.baseline=value")
    assert problem.startswith("command line: algorithm.baseline = 'value': unknown field")


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
    assert target.read_bytes() == source.read_bytes()
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
    assert "not SECTION.FIELD=VALUE" in the_problem(find_recipe("ppo"), "+trainer.seed=3")


def test_a_word_in_place_of_a_list_is_told_what_a_list_looks_like():
    assert "a list, as in [64, 64]" in the_problem(find_recipe("ppo"), "policy.hidden_sizes=64,64")


def test_a_recipe_in_place_of_an_override_is_recognized():
    for word in ("ppo", "ppo.toml"):
        assert the_problem(find_recipe("reinforce"), word).endswith("did you mean --recipe ppo?")
    assert "did you mean" not in the_problem(find_recipe("reinforce"), "nonsense")
