"""Recipe -> policy network."""

from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe import PolicyRecipe


def build_policy(
    recipe: PolicyRecipe,
    streams: Streams,
    *,
    observation_size: int,
    actions: int | tuple[tuple[float, ...], tuple[float, ...]],
    value_network: bool,
) -> PolicyNetwork:
    """The network a recipe describes, for an environment's sizes.

    Args:
        recipe: sizes of the network.
        streams: seeds of the initial weights, one network each.
        observation_size: O.
        actions: the number of discrete actions, or the lowest and highest continuous action.
        value_network: whether the algorithm learns a value function.

    Raises:
        CartpoleError: the recipe's action head does not fit the environment's actions.
    """
    num_actions = actions if isinstance(actions, int) else None
    low, high = ((), ()) if isinstance(actions, int) else actions
    fitting = "gaussian" if num_actions is None else "categorical"
    if recipe.action_head not in {"auto", fitting}:
        raise CartpoleError(
            f"policy.action_head = {recipe.action_head!r}: does not fit the environment's actions; "
            f"allowed: 'auto', {fitting!r}"
        )
    architecture = Architecture(
        observation_size=observation_size,
        hidden_sizes=recipe.hidden_sizes,
        activation=recipe.activation,
        value_network=value_network,
        num_actions=num_actions,
        action_low=low,
        action_high=high,
        squash=recipe.squash,
        initial_log_std=recipe.initial_log_std,
        features=recipe.features,
    )
    return PolicyNetwork(architecture, streams)
