"""README's picture of `cartpole train` on a terminal: the live panel in the middle of a training with PPO.

python benchmarks/panel.py                          # writes docs/train.svg
"""

import argparse
import io
import re
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.terminal_theme import MONOKAI

from cartpole_cli.cli.train_display import TrainingDisplay
from cartpole_cli.cli.train_views import Goal
from cartpole_cli.recipe.files import find_recipe, load_recipe
from cartpole_cli.training.build import build_trainer

COMMAND = "cartpole train --recipe ppo"
COLUMNS = 84
DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DOCS / "train.svg", help="the .svg to write")
    parser.add_argument("--iterations", type=int, default=13, help="of the training that the panel shows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trainer = build_trainer([load_recipe(find_recipe("ppo"))], torch.device("cpu"))
    console = Console(record=True, width=COLUMNS, force_terminal=True, file=io.StringIO())
    display = TrainingDisplay(console, Goal.of(trainer))
    for report in islice(trainer.iterations(), options.iterations):
        display.update(report)
    console.print(f"$ {COMMAND}", "ppo on CartPole-v1, seed 0", "device: cpu", sep="\n", highlight=False)
    console.print(display._shown())
    svg = console.export_svg(title=COMMAND, theme=MONOKAI)
    options.output.write_text(without_fonts(svg), encoding="utf-8")
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


def without_fonts(svg: str) -> str:
    """The picture without fonts from the network: the viewer's own monospaced one does."""
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main()
