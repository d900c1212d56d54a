"""Recipes: the validated description of a run. Every field is documented here, once.

`recipe_files.py` finds and reads recipe files and explains what is wrong with them.
"""

from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
MAX_ROWS = 2**24
NumEnvs = Annotated[int, Field(ge=1, le=65_536)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ReinforceRecipe(_Section):
    """REINFORCE: one step per batch of `environment.num_envs` whole episodes."""

    name: Literal["reinforce"] = "reinforce"
    gamma: Fraction = 0.99
    """Discount factor."""
    baseline: Literal["none", "batch", "leave_one_out", "value"] = "value"
    """What is subtracted from the return: nothing, the batch's mean return, the mean return of the other episodes
    at the same time step, or a learned value function."""
    normalize_advantage: bool = True
    """Scale the batch's advantages to mean 0 and standard deviation 1."""
    value_coefficient: NonNegativeFloat = 0.5
    """Weight of the value loss (baseline = "value")."""
    entropy_coefficient: NonNegativeFloat = 0.0
    """Weight of the entropy bonus."""


class PPORecipe(_Section):
    """PPO: `num_epochs` passes over `steps_per_iteration` x `environment.num_envs` transitions."""

    name: Literal["ppo"] = "ppo"
    steps_per_iteration: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Time steps collected in each environment per iteration."""
    num_epochs: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Passes over the collected transitions."""
    minibatch_size: PositiveInt = 256
    """Transitions per gradient step."""
    gamma: Fraction = 0.98
    """Discount factor."""
    gae_lambda: Fraction = 0.8
    """GAE's lambda: 0 is the one-step TD error, 1 the whole return."""
    clip_range: PositiveFloat = 0.2
    """How far the probability ratio may leave 1 before its gradient is cut."""
    clip_range_schedule: Literal["constant", "linear"] = "constant"
    """Linear: down to 0 at `trainer.num_steps`."""
    normalize_advantage: bool = True
    """Scale each minibatch's advantages to mean 0 and standard deviation 1."""
    value_coefficient: NonNegativeFloat = 0.5
    """Weight of the value loss."""
    value_clip_range: PositiveFloat | None = None
    """Clip the value loss around the old value, in units of return; unset: no clipping."""
    entropy_coefficient: NonNegativeFloat = 0.0
    """Weight of the entropy bonus."""
    target_kl: PositiveFloat | None = None
    """End an update before the step at which the estimated KL passes 1.5 times this; unset: never."""


class NativeEnvironment(_Section):
    """Our own batched cart-pole, on the training device."""

    backend: Literal["native"] = "native"
    id: Literal["CartPole-v1", "ContinuousCartPole-v1"] = "CartPole-v1"
    """The task: pushes of +-10 N, or any force in between."""
    num_envs: NumEnvs = 16
    """Environments per seed; for REINFORCE also the episodes per iteration."""
    max_episode_steps: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Time limit of an episode, in steps of 0.02 s."""


class GymnasiumEnvironment(_Section):
    """Any Gymnasium environment with Box observations and Discrete or bounded one-dimensional Box actions."""

    backend: Literal["gymnasium"]
    id: Annotated[str, Field(min_length=1)] = "CartPole-v1"
    """The environment's Gymnasium id, with "module:" before it where a module registers it."""
    num_envs: NumEnvs = 16
    """Environments per seed; for REINFORCE also the episodes per iteration."""
    vectorization_mode: Literal["sync", "async", "vector_entry_point"] = "sync"
    """One process, a process per environment, or the environment's own vector implementation."""
    max_episode_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Time limit of an episode in steps; unset: the environment's own."""


class PolicyRecipe(_Section):
    """The policy network; a value network, where the algorithm has one, has the same sizes."""

    action_head: Literal["auto", "categorical", "gaussian"] = "auto"
    """Discrete logits or a continuous force; auto: what the environment takes."""
    hidden_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4_096)], ...], Field(strict=False, min_length=1, max_length=16)
    ] = (64, 64)
    """Width of each hidden layer. Multiples of 16 keep a seed's bits the same beside other seeds."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Non-linearity after each hidden layer."""
    squash: Literal["clip", "tanh"] = "clip"
    """How a Gaussian action is brought into the environment's range."""
    initial_log_std: Annotated[float, Field(ge=-3, le=0.5)] = -0.5
    """Gaussian head: initial log standard deviation, in units of half the action range."""


class TrainerRecipe(_Section):
    """Budget, optimizer, evaluation and files. An iteration is one collection and its update."""

    num_steps: Annotated[int, Field(ge=1, le=10**15)] = 100_000
    """Budget in environment steps; the iteration that reaches it is the last."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every random number of the run."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's step size."""
    learning_rate_schedule: Literal["constant", "linear"] = "linear"
    """Linear: down to 0 at `num_steps`."""
    max_grad_norm: PositiveFloat = 0.5
    """Gradients are scaled down to this norm."""
    evaluate_every: PositiveInt = 10
    """Iterations between held-out evaluations; the best evaluation's weights become best.pth."""
    evaluation_episodes: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Episodes of each held-out evaluation (the selection set)."""
    stop_at_return: float | None = None
    """Stop once the mean held-out return reaches this, and 100 fresh episodes confirm it; unset: never. The
    cart-pole's confirming episodes last twice as long, and their returns are halved: a slow drift falls later."""
    save_every: Annotated[int, Field(ge=0)] = 0
    """Iterations between snapshots in checkpoints/; 0: none."""
    checkpoint_every: PositiveInt = 25
    """Iterations between writes of last.pth: what a crash can lose."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto: CUDA, then MPS, then CPU."""
    num_threads: Annotated[int, Field(ge=1, le=1_024)] = 1
    """CPU threads; one is fastest for networks this small, and what bit-exact promises are made for."""


class LoggerRecipe(_Section):
    """Where metrics go besides metrics.jsonl."""

    type: Literal["disabled", "wandb"] = "disabled"
    """Weights & Biases, or nothing."""
    mode: Literal["online", "offline", "disabled"] = "online"
    """W&B's mode; offline files are uploaded later with `wandb sync`."""
    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\w.-]+$")] = "cartpole"
    """W&B project."""


class Recipe(_Section):
    """A whole run. Missing sections and fields take their defaults; an [algorithm] section has to name its own."""

    algorithm: Annotated[ReinforceRecipe | PPORecipe, Field(discriminator="name")] = ReinforceRecipe()
    environment: Annotated[NativeEnvironment | GymnasiumEnvironment, Field(discriminator="backend")] = (
        NativeEnvironment()
    )
    policy: PolicyRecipe = PolicyRecipe()
    trainer: TrainerRecipe = TrainerRecipe()
    logger: LoggerRecipe = LoggerRecipe()

    @model_validator(mode="after")
    def _check_across_fields(self) -> "Recipe":
        problems = list(self._cross_field_problems())
        if problems:
            raise PydanticCustomError("across_fields", "{text}", {"text": str(problems), "problems": problems})
        return self

    def _cross_field_problems(self) -> list[tuple[str, Any, str]]:
        """(dotted key, given, what is allowed) for every rule between fields that is broken."""
        problems: list[tuple[str, Any, str]] = []
        algorithm, environment = self.algorithm, self.environment
        if isinstance(algorithm, PPORecipe):
            rows = algorithm.steps_per_iteration * environment.num_envs
            if rows > MAX_ROWS:
                most = f"allowed: at most {MAX_ROWS // environment.num_envs}"
                reason = f"too large a rollout with {environment.num_envs} environments; {most}"
                problems.append(("algorithm.steps_per_iteration", algorithm.steps_per_iteration, reason))
            if algorithm.minibatch_size > rows:
                problems.append(
                    (
                        "algorithm.minibatch_size",
                        algorithm.minibatch_size,
                        f"larger than the rollout; allowed: at most {rows} (algorithm.steps_per_iteration "
                        f"{algorithm.steps_per_iteration} x environment.num_envs {environment.num_envs})",
                    )
                )
        elif algorithm.baseline in {"batch", "leave_one_out"} and environment.num_envs < 2:
            problems.append(
                (
                    "environment.num_envs",
                    environment.num_envs,
                    f"algorithm.baseline = {algorithm.baseline!r} compares episodes; allowed: at least 2",
                )
            )
        if isinstance(environment, NativeEnvironment):
            fitting = "gaussian" if environment.id == "ContinuousCartPole-v1" else "categorical"
            if self.policy.action_head not in {"auto", fitting}:
                problems.append(
                    (
                        "policy.action_head",
                        self.policy.action_head,
                        f"does not fit environment.id = {environment.id!r}; allowed: 'auto', {fitting!r}",
                    )
                )
            target = self.trainer.stop_at_return
            if target is not None and target > environment.max_episode_steps:
                problems.append(
                    (
                        "trainer.stop_at_return",
                        target,
                        "no episode can return more than environment.max_episode_steps; "
                        f"allowed: at most {environment.max_episode_steps}",
                    )
                )
        return problems

    def to_toml(self) -> str:
        """The resolved recipe, every field with its value (fields that are unset are left out)."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
