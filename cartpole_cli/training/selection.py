"""Which of a seed's policies is best, by held-out scores, and whether fresh episodes confirm that it is solved."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress

from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.training.evaluation import Evaluation, Evaluator

NO_SCORE = (-math.inf, -math.inf)
"""Of a seed that has no best checkpoint."""
Evaluations = list[Evaluation | None]


class Selection:
    """Scores policies, and remembers each seed's best score: (mean return, confirmed return)."""

    def __init__(self, evaluator: Evaluator, num_seeds: int, stop_at_return: float | None) -> None:
        self.evaluator, self.stop_at_return = evaluator, stop_at_return
        self.best_score = [NO_SCORE] * num_seeds

    def keep_seeds(self, indices: Sequence[int]) -> None:
        """Go on with some of the seeds, by their places among these."""
        self.best_score = [self.best_score[index] for index in indices]

    def evaluate(
        self, policy: PolicyNetwork, streams: Streams, iteration: int, due: list[bool]
    ) -> tuple[Evaluations, Evaluations]:
        """Selection scores of the seeds that are due, and confirmation scores of those that are solved by these."""

        def of_wanted(
            evaluate: Callable[[PolicyNetwork, Streams], list[Evaluation]], wanted: list[bool]
        ) -> Evaluations:
            places = list(compress(range(len(wanted)), wanted))
            if not places:
                return [None] * len(wanted)
            evaluations = iter(evaluate(policy.select(places), streams.select(places)))
            return [next(evaluations) if want else None for want in wanted]

        selected = of_wanted(self.evaluator.selection, due)
        confirm = partial(self.evaluator.confirmation, iteration=iteration)
        return selected, of_wanted(confirm, [self.is_solved_by(evaluation) for evaluation in selected])

    def is_solved_by(self, evaluation: Evaluation | None) -> bool:
        """Whether the mean return is as high as it has to be."""
        return evaluation is not None and self.stop_at_return is not None and evaluation.mean >= self.stop_at_return

    def improves(self, index: int, evaluation: Evaluation, confirmation: Evaluation | None) -> bool:
        """Whether this is the best score so far; of equals the one confirmed for longer, then the later one."""
        returns, confirmed = evaluation.returns, -math.inf
        if confirmation is not None:
            returns, confirmed = returns + (confirmation.within_limit or confirmation.returns), confirmation.mean
        score = (sum(returns) / len(returns), confirmed)
        if score < self.best_score[index]:
            return False
        self.best_score[index] = score
        return True
