"""What is a gradient worth? Policy gradients of each estimator at fixed policies, beside a reference of many env steps.

    python benchmarks/gradients.py                       # an hour or two of one core; docs/gradients/
    python benchmarks/gradients.py --tiny --docs folder  # all of it in a minute; means nothing

PPO trains a policy for each task; it is kept when the mean return of 64 fresh episodes, played as in training, first
passes a tenth, a half and nine tenths of the way from an untrained policy's to a good one's. At each of these policies
the project's own algorithms collect and compute the gradient of their first step, some hundred times, with numbers of
their own. The reference is the gradient of the undiscounted return, of as many env steps as asked for: REINFORCE with
reward-to-go and the mean of the other episodes as its baseline, which has no bias.

Figures do not depend on how an estimator is scaled, as a learning rate makes up for that. With g one gradient of n env
steps, E g its mean, r the reference:

    angle   between E g and r, degrees: the bias
    noise   n E|g - E g|^2 / |E g|^2: the env steps after which noise is as large as the gradient: the variance
    cosine  of r and a gradient of 10,000 env steps, cos angle / sqrt(1 + noise / 10,000): what such a step is worth

|E g|^2 and (E g) r are taken without the noise's own part: products of different gradients only.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from gradients_estimators import EPISODES, ESTIMATORS, PPO, REFERENCE, REFITTED, STEPS, TASKS
from gradients_figures import write_figures
from jaxtyping import Float
from timing import circumstances
from torch import Tensor

from cartpole_cli.algorithms.build import build_algorithm
from cartpole_cli.environments.build import build_environment
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import collect_episodes
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.files import find_recipe, load_recipe
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.training.build import build_trainer

DOCS = Path(__file__).parent.parent / "docs" / "gradients"
CPU = torch.device("cpu")
MOMENTS = {"early": 0.1, "middle": 0.5, "nearly solved": 0.9}
SEEDS, LOOK_EVERY = 16, 2
FITTING_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Gradients:
    """M gradients of one estimator at one policy, and the env steps of one, on average."""

    each: Float[Tensor, "M P"]
    env_steps: float


@dataclass(frozen=True, slots=True)
class Worth:
    """The figures of the module's docstring, with standard errors from leaving out one twentieth at a time."""

    angle: float | None
    angle_error: float | None
    noise: float | None
    noise_error: float | None
    cosine: float | None
    gradients: int
    env_steps: float


def policies(task: str, seed: int, moments: dict[str, float]) -> dict[str, PolicyNetwork]:
    """The policies of the moments, S = 1, each with the value network of that moment, by a training of PPO."""
    name, changes, low, high = TASKS[task]
    trainer_recipe = _recipe(name, (*changes, f"trainer.seed={seed}"))
    trainer = build_trainer([trainer_recipe], CPU)
    kept: dict[str, PolicyNetwork] = {}
    streams = Streams([seed], CPU, name="moments")
    environment = _environment(trainer_recipe, streams)
    for report in trainer.iterations():
        if report.iteration % LOOK_EVERY:
            continue
        rollout = collect_episodes(environment, trainer.policy, streams, report.iteration)
        reached = (float(rollout.reward[rollout.valid].sum()) / EPISODES - low) / (high - low)
        for moment, share in moments.items():
            if moment not in kept and reached >= share:
                kept[moment] = trainer.policy.select([0])
        if len(kept) == len(moments):
            break
    return kept


def refitted(policy: PolicyNetwork, recipe: Recipe, env_steps: int) -> PolicyNetwork:
    """The policy with a value network that so many env steps of it alone were fitted to, as PPO does that.

    Args:
        policy: S = 1; it is left as it is.
        recipe: PPO's.
        env_steps: at least.
    """
    policy, streams = PolicyNetwork.stack([policy]), Streams([3 * 10**6], CPU)
    environment, algorithm = _environment(recipe, streams), build_algorithm([recipe.algorithm], CPU)
    values = [parameter for name, parameter in policy.named_parameters() if name.startswith("value_network.")]
    optimizer = torch.optim.Adam(values, recipe.trainer.learning_rate)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, -(-env_steps // (EPISODES * STEPS)))
    for iteration in range(decay.total_iters):
        rollout = algorithm.collect(environment, policy, streams, iteration)
        for epoch in algorithm.epochs(algorithm.targets(rollout, policy, policy), streams, iteration, torch.zeros(1)):
            for parts in epoch:
                optimizer.zero_grad()
                for part in parts:
                    algorithm.loss(policy, part).total.sum().backward()
                optimizer.step()
        decay.step()
    return policy


def gradients(policy: PolicyNetwork, recipe: Recipe, seed: int, count: int, env_steps: int) -> Gradients:
    """At least so many gradients of at least so many env steps in all."""
    policy = PolicyNetwork.stack([policy] * SEEDS)
    streams = Streams(range(seed, seed + SEEDS), CPU)
    environment = _environment(recipe, streams)
    algorithm = build_algorithm([recipe.algorithm] * SEEDS, CPU)
    trained = [parameter for name, parameter in policy.named_parameters() if not name.startswith("value_network.")]
    found: list[Tensor] = []
    spent, iteration = 0, 0
    # Environments that go on from one collection to the next are not all at their episodes' beginnings any more.
    settling = -(-environment.max_episode_steps // STEPS) if recipe.algorithm.name == "ppo" else 0
    progress = torch.zeros(SEEDS)
    while len(found) * SEEDS < count or spent < env_steps:
        rollout = algorithm.collect(environment, policy, streams, iteration)
        iteration += 1
        if iteration <= settling:
            continue
        spent += int(rollout.num_steps.sum())
        targets = algorithm.targets(rollout, policy, policy)
        policy.zero_grad()
        for part in next(iter(algorithm.epochs(targets, streams, iteration, progress)))[0]:
            algorithm.loss(policy, part).total.sum().backward()
        found.append(torch.cat([_of_each(parameter) for parameter in trained], dim=1))
    each = torch.cat(found).double()
    return Gradients(each, spent / len(each))


def worth(given: Gradients, reference: Gradients, at: float) -> Worth:
    """How good gradients are; None where their mean is not above their noise."""
    parts = 20
    whole = _figures(given, reference)
    left_out = []
    for part in range(parts):
        kept = torch.arange(len(given.each)) % parts != part
        left_out.append(_figures(Gradients(given.each[kept], given.env_steps), reference))
    angle, noise = whole
    errors: list[float | None] = []
    for place in range(2):
        values = [figures[place] for figures in left_out]
        known = torch.tensor([value for value in values if value is not None])
        spread = math.sqrt((parts - 1) / parts * float((known - known.mean()).square().sum()))
        errors.append(spread if len(known) == parts else None)
    cosine = None
    if angle is not None and noise is not None:
        cosine = math.cos(math.radians(angle)) / math.sqrt(1 + noise / at)
    return Worth(angle, errors[0], noise, errors[1], cosine, len(given.each), given.env_steps)


def _figures(given: Gradients, reference: Gradients) -> tuple[float | None, float | None]:
    """The angle in degrees, and the noise in env steps."""
    signal, truth = _squared_mean(given.each), _squared_mean(reference.each)
    if signal <= 0 or truth <= 0:
        return None, None
    product = float(given.each.mean(dim=0) @ reference.each.mean(dim=0))
    cosine = max(-1.0, min(1.0, product / math.sqrt(signal * truth)))
    power = float(given.each.square().sum(dim=1).mean())
    return math.degrees(math.acos(cosine)), max(0.0, (power - signal) / signal * given.env_steps)


def _squared_mean(each: Float[Tensor, "M P"]) -> float:
    """|E g|^2 without bias: the mean product of two different gradients."""
    count = len(each)
    return float(each.sum(dim=0).square().sum() - each.square().sum()) / (count * (count - 1))


def _of_each(parameter: Tensor) -> Float[Tensor, "S P"]:
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return gradient.flatten(1).clone()


def _environment(recipe: Recipe, streams: Streams) -> TrainingEnvironment:
    """Of EPISODES at once: a training needs eight groups, here one is enough."""
    return build_environment(recipe.environment.model_copy(update={"num_envs": EPISODES}), streams)


def _recipe(name: str, changes: tuple[str, ...]) -> Recipe:
    return load_recipe(find_recipe(name), [*changes, "trainer.stop_at_return=null"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the figures go")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings; the gradients' come from it")
    parser.add_argument("--reference-steps", type=int, default=10_000_000)
    parser.add_argument("--env-steps", type=int, default=1_000_000, help="of each estimator, at least")
    parser.add_argument("--gradients", type=int, default=160, help="of each estimator, at least")
    parser.add_argument("--only", action="append", choices=ESTIMATORS, help="an estimator; may be given again")
    parser.add_argument("--tiny", action="store_true", help="all of it in a minute; means nothing")
    options = parser.parse_args()
    if options.tiny:
        options.reference_steps, options.env_steps, options.gradients = 1_000, 1_000, 2 * SEEDS
    torch.set_num_threads(1)
    results: dict[str, dict[str, dict[str, object]]] = {}
    moments = {"middle": -1.0} if options.tiny else MOMENTS
    for task, (_, changes, _, _) in TASKS.items():
        for moment, policy in policies(task, options.seed, moments).items():
            known = tuple(change for change in changes if change.startswith(("environment.", "policy.")))
            known += ("environment.max_episode_steps=20",) if options.tiny else ()
            place = f"{task}, {moment}"
            name, of_reference = REFERENCE
            steps = options.reference_steps
            reference = gradients(policy, _recipe(name, (*known, *of_reference)), 10**6, 2 * SEEDS, steps)
            fitting = ("algorithm.gae_lambda=0.95", *PPO, "algorithm.num_epochs=4", "algorithm.minibatch_size=256")
            steps = 1 if options.tiny else FITTING_STEPS
            fitted = refitted(policy, _recipe("ppo", (*known, *fitting, "trainer.learning_rate=3e-3")), steps)
            results[place] = {}
            for estimator in options.only or ESTIMATORS:
                name, change = ESTIMATORS[estimator]
                seed = 2 * 10**6 + SEEDS * list(ESTIMATORS).index(estimator)
                recipe = _recipe(name, (*known, *change, "environment.num_envs=1024"))
                given = fitted if estimator.endswith(REFITTED) else policy
                found = gradients(given, recipe, seed, options.gradients, options.env_steps)
                results[place][estimator] = asdict(worth(found, reference, 10_000))
                print(f"{place}: {estimator}: {json.dumps(results[place][estimator])}", flush=True)
    write_figures(results, f"seed {options.seed}, {circumstances()}", options.docs)


if __name__ == "__main__":
    main()
