"""Recipes: the validated description of a run. Every field is documented here, once.

`algorithm.py` and `environment.py` have the fields of these sections; `files.py` finds and reads recipe files,
`errors.py` explains what is wrong with them.
"""

from collections.abc import Iterator
from typing import Annotated

import tomli_w
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cartpole_cli.actions import Continuous
from cartpole_cli.recipe.algorithm import (
    AlgorithmRecipe,
    DPORecipe,
    GRPORecipe,
    PPORecipe,
    ReinforceRecipe,
)
from cartpole_cli.recipe.environment import GymnasiumEnvironment, NativeEnvironment, Problem
from cartpole_cli.recipe.sections import LoggerRecipe, PolicyRecipe, Section, TrainerRecipe

MAX_ROWS = 2**24
MIN_GROUPS = 8


class Recipe(Section):
    """A whole run. Missing sections and fields take their defaults; an [algorithm] section has to name its own."""

    algorithm: AlgorithmRecipe = ReinforceRecipe()
    environment: Annotated[NativeEnvironment | GymnasiumEnvironment, Field(discriminator="backend")] = (
        NativeEnvironment()
    )
    policy: PolicyRecipe = PolicyRecipe()
    trainer: TrainerRecipe = TrainerRecipe()
    logger: LoggerRecipe = LoggerRecipe()

    @model_validator(mode="after")
    def _check_across_fields(self) -> "Recipe":
        problems = [*self._algorithm_problems(), *self._task_problems(), *self._study_problems()]
        if problems:
            raise PydanticCustomError("across_fields", "{text}", {"text": str(problems), "problems": problems})
        return self

    def _algorithm_problems(self) -> Iterator[Problem]:
        """(dotted key, given, what is allowed) where the algorithm does not fit the environment or itself."""
        algorithm, environment = self.algorithm, self.environment
        match algorithm:
            case ReinforceRecipe():
                if algorithm.baseline in {"batch", "leave_one_out"} and environment.num_envs < 2:
                    reason = f"algorithm.baseline = {algorithm.baseline!r} compares episodes; allowed: at least 2"
                    yield "environment.num_envs", environment.num_envs, reason
            case PPORecipe():
                rows = algorithm.steps_per_iteration * environment.num_envs
                if rows > MAX_ROWS:
                    most = f"allowed: at most {MAX_ROWS // environment.num_envs}"
                    reason = f"too large a rollout with {environment.num_envs} environments; {most}"
                    yield "algorithm.steps_per_iteration", algorithm.steps_per_iteration, reason
                if algorithm.minibatch_size > rows:
                    reason = (
                        f"larger than the rollout; allowed: at most {rows} (algorithm.steps_per_iteration "
                        f"{algorithm.steps_per_iteration} x environment.num_envs {environment.num_envs})"
                    )
                    yield "algorithm.minibatch_size", algorithm.minibatch_size, reason
            case GRPORecipe():
                yield from _group_problems(algorithm, environment)
                if algorithm.gamma != 1 and algorithm.credit == "outcome":
                    reason = "an outcome is the whole episode's return; allowed: 1.0 (or algorithm.credit = 'to_go')"
                    yield "algorithm.gamma", algorithm.gamma, reason
            case DPORecipe():
                yield from _group_problems(algorithm, environment)
                if algorithm.label_smoothing and algorithm.loss in {"ipo", "hinge"}:
                    reason = f"not defined for algorithm.loss = {algorithm.loss!r}; allowed: 0.0"
                    yield "algorithm.label_smoothing", algorithm.label_smoothing, reason

    def _task_problems(self) -> Iterator[Problem]:
        """The same for what the native tasks allow."""
        environment = self.environment
        if self.policy.features != "raw" and not environment.is_cart_pole:
            yield "policy.features", self.policy.features, "made for the cart-pole; allowed: 'raw'"
        if not isinstance(environment, NativeEnvironment):
            if self.policy.value_sees == "physics":
                yield "policy.value_sees", "physics", "needs environment.backend = 'native'; allowed: 'observation'"
            return
        yield from environment.problems()
        if self.policy.value_sees == "physics" and not isinstance(self.algorithm, PPORecipe | ReinforceRecipe):
            yield "policy.value_sees", "physics", "the algorithm has no value network; allowed: 'observation'"
        fitting = "gaussian" if isinstance(environment.task.actions, Continuous) else "categorical"
        if self.policy.action_head not in {"auto", fitting}:
            reason = f"does not fit environment.id = {environment.id!r}; allowed: 'auto', {fitting!r}"
            yield "policy.action_head", self.policy.action_head, reason
        wanted = self.trainer.stop_at_return
        if wanted is not None and wanted > environment.max_episode_steps:
            reason = (
                "no episode can return more than environment.max_episode_steps; "
                f"allowed: at most {environment.max_episode_steps}"
            )
            yield "trainer.stop_at_return", wanted, reason

    def _study_problems(self) -> Iterator[Problem]:
        if self.seeds[-1] >= 2**63:
            reason = f"too large for trainer.num_seeds = {len(self.seeds)}; allowed: at most {2**63 - len(self.seeds)}"
            yield "trainer.seed", self.trainer.seed, reason
        environment = self.environment
        processes = isinstance(environment, GymnasiumEnvironment) and environment.vectorization_mode == "async"
        if processes and self.trainer.num_seeds > 1:
            reason = "a study steps its seeds' environments in turn; allowed: 'sync', 'vector_entry_point'"
            yield "environment.vectorization_mode", "async", reason

    @property
    def seeds(self) -> range:
        """The seeds trained."""
        return range(self.trainer.seed, self.trainer.seed + self.trainer.num_seeds)

    def for_seed(self, seed: int) -> "Recipe":
        """The recipe that trains one of the seeds alone."""
        trainer = self.trainer.model_copy(update={"seed": seed, "num_seeds": 1})
        return self.model_copy(update={"trainer": trainer})

    def to_toml(self) -> str:
        """The resolved recipe, every field with its value (fields that are unset are left out)."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _group_problems(
    algorithm: GRPORecipe | DPORecipe, environment: NativeEnvironment | GymnasiumEnvironment
) -> Iterator[Problem]:
    size = algorithm.group_size
    if environment.num_envs % size or environment.num_envs < MIN_GROUPS * size:
        reason = (
            f"has to hold {MIN_GROUPS} groups or more of algorithm.group_size = {size}; "
            f"allowed: {MIN_GROUPS * size}, {(MIN_GROUPS + 1) * size}, {(MIN_GROUPS + 2) * size}, ..."
        )
        yield "environment.num_envs", environment.num_envs, reason
    if isinstance(environment, GymnasiumEnvironment) and algorithm.branch_from != "none":
        if environment.vectorization_mode == "vector_entry_point":
            reason = (
                "it has one seed for all environments, so no two start from the same state; allowed: 'sync', 'async'"
            )
            yield "environment.vectorization_mode", environment.vectorization_mode, reason
        if algorithm.branch_from != "start":
            reason = (
                "a Gymnasium environment cannot be put into the middle of an episode; allowed: 'start' "
                "(or environment.backend = 'native')"
            )
            yield "algorithm.branch_from", algorithm.branch_from, reason
