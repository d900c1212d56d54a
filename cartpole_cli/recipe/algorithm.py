"""What a recipe's [algorithm] section may say: one class per algorithm.

`recipe.py` has the other sections and the rules between them.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from cartpole_cli.recipe.sections import Fraction, NonNegativeFloat, Section

NumEpochs = Annotated[int, Field(ge=1, le=1_000)]
GroupSize = Annotated[int, Field(ge=2, le=65_536)]


class ReinforceRecipe(Section):
    """REINFORCE: one step per batch of `environment.num_envs` whole episodes."""

    name: Literal["reinforce"] = "reinforce"
    gamma: Fraction = 0.99
    """Discount factor."""
    baseline: Literal["none", "batch", "leave_one_out", "value"] = "value"
    """What is subtracted from a step's return: nothing (none), the batch's mean return (batch), the other episodes'
    mean return at the same step (leave_one_out), or a learned value function (value)."""
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
    """Distance from 1 beyond which the probability ratio is clipped, and passes no gradient."""
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
    """An update ends early once the estimated KL divergence from the collecting policy exceeds 1.5 times this value;
    unset: it never does."""


class GRPORecipe(Section):
    """GRPO: groups of `group_size` whole episodes from one start state, each compared with its group."""

    name: Literal["grpo"]
    group_size: GroupSize = 16
    """Episodes from each start state; `environment.num_envs` / `group_size` start states per iteration."""
    branch_from: Literal["start", "episode", "none"] = "start"
    """Where groups begin: at an episode's start (start), at a random step of an extra episode, from which training
    returns then count (episode), or each episode at a start of its own, for comparison (none)."""
    credit: Literal["outcome", "to_go"] = "outcome"
    """Return that a step is credited with: that of the whole episode (outcome), or from this step on (to_go)."""
    gamma: Fraction = 1.0
    """Discount factor of the return from a step on, with credit = "to_go"."""
    advantage_scale: Literal["none", "group", "batch"] = "batch"
    """What advantages are divided by: nothing, or the standard deviation of the group's or of the batch's returns."""
    scale_floor: NonNegativeFloat = 5.0
    """Least standard deviation to divide by, in units of return; near the best return, deviations get tiny."""
    aggregation: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    """Weight of a step: 1 / its episode's length (grpo), the same for all (dapo), or 1 / the time limit (dr_grpo)."""
    num_epochs: NumEpochs = 4
    """Passes over the collected episodes."""
    minibatch_size: PositiveInt | None = None
    """Transitions per gradient step; unset: one step per epoch, over all of them."""
    clip_range: PositiveFloat = 0.2
    """Distance below 1, and above it, beyond which the probability ratio is clipped, and passes no gradient."""
    clip_range_high: PositiveFloat | None = None
    """Distance above 1 beyond which the probability ratio is clipped; unset: `clip_range`."""
    kl_weight: NonNegativeFloat = 0.0
    """Weight of the KL divergence from the reference policy."""
    kl_estimator: Literal["exact", "k2", "k3"] = "exact"
    """How that divergence is computed: exactly, or estimated from the actions taken (k2, k3)."""
    reference_every: PositiveInt = 1
    """Iterations after which the current policy becomes the reference policy."""


class DPORecipe(Section):
    """DPO: pairs of episodes from one start state, the one with the higher return preferred."""

    name: Literal["dpo"]
    group_size: GroupSize = 16
    """Episodes from each start state; `environment.num_envs` / `group_size` start states per iteration."""
    branch_from: Literal["start", "episode", "before_failure"] = "start"
    """Where groups begin: at an episode's start (start), at a random step of an extra episode (episode), or shortly
    before its failure (before_failure)."""
    steps_before_failure: PositiveInt = 20
    """Steps before that failure at which groups begin, with branch_from = "before_failure"."""
    pairs: Literal["best_worst", "all"] = "best_worst"
    """Which episodes of a group are paired: the best with the worst, the second best with the second worst, and so on
    (best_worst), or each with each, those of the widest margin first (all)."""
    max_pairs: PositiveInt = 8
    """Largest number of pairs per group."""
    min_margin: NonNegativeFloat = 0.0
    """Least difference of returns; closer pairs are dropped, and pairs of equal returns always are."""
    rater: Literal["deterministic", "bradley_terry"] = "deterministic"
    """Who states the preferences: a rater who sees the returns (deterministic), or one who errs more often the closer
    the returns are (bradley_terry)."""
    rater_temperature: PositiveFloat = 10.0
    """Difference of returns that the bradley_terry rater judges correctly 73 times in 100."""
    window: Literal["same_length", "last_k", "full"] = "same_length"
    """Which steps of a pair are compared: the first of both, as many as the shorter has (same_length), the last of
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
    """Weight of the chosen steps' negative log-likelihood, which keeps their probability up."""
    num_epochs: NumEpochs = 4
    """Passes over the pairs."""
    groups_per_minibatch: PositiveInt | None = None
    """Groups per gradient step; unset: one step per epoch, over all of them."""
    reference_every: PositiveInt = 1
    """Iterations after which the current policy becomes the reference policy."""


AlgorithmRecipe = Annotated[ReinforceRecipe | PPORecipe | GRPORecipe | DPORecipe, Field(discriminator="name")]
"""What `Recipe.algorithm` may be: `algorithms/build.py` makes an algorithm of each."""
