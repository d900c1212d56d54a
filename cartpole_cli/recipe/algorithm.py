"""What a recipe's [algorithm] section may say: one class per algorithm.

`recipe.py` has the other sections and the rules between them.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from cartpole_cli.recipe.sections import Fraction, NonNegativeFloat, Section

NumEpochs = Annotated[int, Field(ge=1, le=1_000)]
GroupSize = Annotated[int, Field(ge=2, le=65_536)]


class ReinforceRecipe(Section):
    """REINFORCE: one gradient step per batch of `environment.num_envs` whole episodes."""

    name: Literal["reinforce"] = "reinforce"
    gamma: Fraction = 0.99
    """Discount factor."""
    baseline: Literal["none", "batch", "leave_one_out", "value"] = "value"
    """Baseline subtracted from a step's return: none, the batch's mean return (batch), the other episodes' mean return
    at the same step (leave_one_out), or a learned value function (value)."""
    normalize_advantage: bool = True
    """Scale the batch's advantages to mean 0 and standard deviation 1."""
    value_coefficient: NonNegativeFloat = 0.5
    """Weight of the value loss, with baseline = "value"."""
    entropy_coefficient: NonNegativeFloat = 0.0
    """Weight of the entropy bonus."""


class PPORecipe(Section):
    """PPO: `num_epochs` passes over `steps_per_iteration` x `environment.num_envs` transitions."""

    name: Literal["ppo"] = "ppo"
    steps_per_iteration: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Time steps collected in each environment per iteration."""
    num_epochs: NumEpochs = 10
    """Passes over the collected transitions."""
    minibatch_size: PositiveInt = 256
    """Transitions per gradient step."""
    gamma: Fraction = 0.98
    """Discount factor."""
    gae_lambda: Fraction = 0.8
    """Lambda of generalized advantage estimation: 0 uses one-step TD errors, 1 whole returns."""
    clip_range: PositiveFloat = 0.2
    """Farther than this from 1, the probability ratio is clipped and passes no gradient."""
    clip_range_schedule: Literal["constant", "linear"] = "constant"
    """How `clip_range` changes: not at all, or linearly to 0 at `trainer.schedule_steps`."""
    normalize_advantage: bool = True
    """Scale each minibatch's advantages to mean 0 and standard deviation 1."""
    value_coefficient: NonNegativeFloat = 0.5
    """Weight of the value loss."""
    value_clip_range: PositiveFloat | None = None
    """Distance from the old value at which the value loss is clipped, in units of return; unset: no clipping."""
    entropy_coefficient: NonNegativeFloat = 0.0
    """Weight of the entropy bonus."""
    target_kl: PositiveFloat | None = None
    """End an update early once the estimated KL divergence from the collecting policy exceeds 1.5 times this value;
    unset: never."""


class GRPORecipe(Section):
    """GRPO: groups of `group_size` whole episodes from one start state (see `branch_from`), each compared with its
    group."""

    name: Literal["grpo"]
    group_size: GroupSize = 16
    """Episodes from each start state; `environment.num_envs` / `group_size` start states per iteration."""
    branch_from: Literal["start", "episode", "none"] = "start"
    """Where groups begin: at an episode's start (start), or at a random step of an extra episode, and training returns
    count from there (episode). With none, each episode has its own start, for comparison."""
    credit: Literal["outcome", "to_go"] = "outcome"
    """Return credited to a step: the whole episode's (outcome), or the return from this step on (to_go)."""
    gamma: Fraction = 1.0
    """Discount factor of the return from a step on, with credit = "to_go"."""
    advantage_scale: Literal["none", "group", "batch"] = "batch"
    """Divide advantages by nothing (none), or by the standard deviation of the group's or the batch's returns."""
    scale_floor: NonNegativeFloat = 5.0
    """Smallest standard deviation to divide by, in units of return: near the best return, deviations get tiny."""
    aggregation: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    """Weight of a step: 1 / its episode's length (grpo), the same for all (dapo), or 1 / the time limit (dr_grpo)."""
    num_epochs: NumEpochs = 4
    """Passes over the collected episodes."""
    minibatch_size: PositiveInt | None = None
    """Transitions per gradient step; unset: one step per epoch, over all of them."""
    clip_range: PositiveFloat = 0.2
    """Farther than this below or above 1, the probability ratio is clipped and passes no gradient."""
    clip_range_high: PositiveFloat | None = None
    """Clip range above 1; unset: `clip_range`."""
    kl_weight: NonNegativeFloat = 0.0
    """Weight of the KL divergence from the reference policy."""
    kl_estimator: Literal["exact", "k2", "k3"] = "exact"
    """How the KL divergence is computed: exactly, or estimated from the actions taken (k2, k3)."""
    reference_every: PositiveInt = 1
    """Iterations after which the current policy becomes the reference policy."""


class DPORecipe(Section):
    """DPO: pairs of episodes from one start state, the one with the higher return preferred."""

    name: Literal["dpo"]
    group_size: GroupSize = 16
    """Episodes from each start state; `environment.num_envs` / `group_size` start states per iteration."""
    branch_from: Literal["start", "episode", "before_failure"] = "start"
    """Where groups begin: at an episode's start (start), at a random step of an extra episode (episode), or shortly
    before that episode fails (before_failure)."""
    steps_before_failure: PositiveInt = 20
    """Steps from the start of a group to the failure, with branch_from = "before_failure"."""
    pairs: Literal["best_worst", "all"] = "best_worst"
    """Which episodes of a group are paired: the best with the worst, the second best with the second worst, and so on
    (best_worst), or each with each, the widest margins first (all)."""
    max_pairs: PositiveInt = 8
    """Largest number of pairs per group."""
    min_margin: NonNegativeFloat = 0.0
    """Smallest difference of returns within a pair; closer pairs are dropped, equal ones always."""
    rater: Literal["deterministic", "bradley_terry"] = "deterministic"
    """Rater who compares returns: always prefers the higher (deterministic), or errs more often the closer they are
    (bradley_terry)."""
    rater_temperature: PositiveFloat = 10.0
    """Difference of returns at which the bradley_terry rater is right 73 times in 100."""
    window: Literal["same_length", "last_k", "full"] = "same_length"
    """Steps of a pair that are compared: both episodes up to the shorter one's length (same_length), the last steps of
    these (last_k), or whole episodes (full)."""
    window_steps: PositiveInt = 20
    """Number of last steps compared, with window = "last_k"."""
    loss: Literal["sigmoid", "ipo", "hinge", "robust"] = "sigmoid"
    """Loss function of the margin between the chosen and the rejected episode's log-ratios."""
    beta: PositiveFloat = 0.1
    """Inverse temperature; the larger it is, the closer the policy stays to the reference."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of preferences expected to be wrong, with loss = "sigmoid" or "robust"."""
    sft_weight: NonNegativeFloat = 0.0
    """Weight of the chosen steps' negative log-likelihood, which keeps them probable."""
    num_epochs: NumEpochs = 4
    """Passes over the pairs."""
    groups_per_minibatch: PositiveInt | None = None
    """Groups per gradient step; unset: one step per epoch, over all of them."""
    reference_every: PositiveInt = 1
    """Iterations after which the current policy becomes the reference policy."""


AlgorithmRecipe = Annotated[ReinforceRecipe | PPORecipe | GRPORecipe | DPORecipe, Field(discriminator="name")]
"""What `Recipe.algorithm` may be: `algorithms/build.py` makes an algorithm of each."""
