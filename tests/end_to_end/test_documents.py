"""Every command that the documents show is run, with less to do where it would take minutes."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
ELSEWHERE = {
    "pip install -e .": ".ci/run installs by it",
    "pip install -e '.[dev]'": ".ci/run installs by it",
    "pytest -n auto --dist loadfile": ".ci/run tests by it",
    ".ci/run": "CI runs it",
    "pip install pre-commit": "a matter of the clone's own .git, tried by hand",
    "pre-commit install": "the same",
    "npm ci --ignore-scripts --prefix tests/browser": ".ci/run does it",
    "pip install 'torch<2.14' --index-url https://download.pytorch.org/whl/cpu": "CI reaches no such index",
    "pip install .": ".ci/wheel installs what this builds",
    "uv tool install --torch-backend cpu .": "needs uv and pytorch.org's index",
    "uvx --torch-backend cpu --from . cartpole-cli train --recipe ppo": "the same",
    "uv sync": "needs uv, and downloads gigabytes",
    "uv run pytest": "the same",
}
ANY_NUMBER = re.compile(r"[-+]?\d[\d,.]*(e[-+]\d+)?k?")
SUBSTITUTION = re.compile(r"\$\((cartpole .*?)\)")
BRIEF, EPISODES = "brief.toml", ("--episodes", "1")
FEWER = {"--seeds 32": "--seeds 8", "--confirm 1000": "--confirm 20", "num_steps=20000": "num_steps=2000"}
FEWER |= {"num_steps=40000": "num_steps=4000", "--trials 64": "--trials 4", "--seeds 4": "--seeds 2"}
FEWER |= {"--seeds 256": "--seeds 4"}


def commands(document: Path) -> list[tuple[str, list[str] | None]]:
    """The commands of its sh blocks, `cartpole ...` between its words, and those behind a `$` with what they print."""
    text = document.read_text(encoding="utf-8")
    found: list[tuple[str, list[str] | None]] = []
    for block, language, lines, inline in re.findall(r"(```(\w*)\n(.*?)```)|`(cartpole [^`]+)`", text, re.DOTALL):
        if not block:
            found.append((" ".join(inline.split()), None))  # a command's name alone is no command to run
        elif language == "sh":
            parts = [part for line in lines.splitlines() for part in re.sub(r"\s+#.*", "", line).split(" && ")]
            found += [(part, None) for part in parts]
        elif lines.startswith("$ "):
            for part in lines.removeprefix("$ ").split("\n$ "):
                command, *shown = part.splitlines()
                found.append((command, shown))
    return [(line, shown) for line, shown in found if line]


def brief(words: list[str]) -> list[str]:
    """The shipped suite in a few seconds."""
    return [*(BRIEF if word == "page" else word for word in words), *EPISODES] if "page" in words else words


def shortened(line: str) -> list[str]:
    for shown, fewer in FEWER.items():
        line = line.replace(shown, fewer)
    words = shlex.split(line)[1:]
    if words in (["train"], ["sweep"], ["eval"], ["export"], ["plot"], ["view"]):
        return [*words, "--help"]
    if words[0] == "train" and not {"--resume", "--dry-run"} & set(words) and "trainer.num_steps" not in line:
        return [*words, "trainer.num_steps=2000"]
    if words[0] == "sweep" and not {"--resume", "--dry-run"} & set(words):
        trials = () if "--trials" in words else ("--trials", "4")
        return [*words, "trainer.num_steps=2000", *trials, "--finalists", "1", "--confirm-seeds", "2"]
    return brief(words)


@pytest.fixture(autouse=True)
def _brief_suite(tmp_path: Path) -> None:
    """The shipped suite, as a file, with fewer seconds."""
    suite = (ROOT / "cartpole_cli" / "scoring" / "page" / "suites" / "page.toml").read_text(encoding="utf-8")
    assert "\nseconds = 60\n" in suite
    (tmp_path / BRIEF).write_text(suite.replace("\nseconds = 60\n", "\nseconds = 6\n"), encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_cartpole_command_works_one_after_the_other_and_prints_what_is_shown(document, cartpole):
    for line, shown in commands(document):
        if not line.startswith("cartpole "):
            continue
        line = SUBSTITUTION.sub(lambda inner: cartpole(*shortened(inner[1])).out.strip(), line)  # noqa: PLW2901
        if shown is not None:
            check_printed(cartpole(*brief(shlex.split(line)[1:])), shown)
            continue
        ended = cartpole(*shortened(line))
        assert ended.code == 0 or ("--threshold" in line and ended.code == 1), (line, ended)


def check_printed(ended, shown: list[str]) -> None:
    """That each line shown is the beginning of a line printed, but for its numbers."""
    got = [_without_numbers(line) for line in (ended.out + ended.err).splitlines()]
    for line in shown:
        if line != "...":
            start = _without_numbers(line.removesuffix(" ..."))
            assert any(other.startswith(start) for other in got), (line, got)
    assert ended.code == (2 if shown and shown[0].startswith("error: ") else 0)


def test_every_other_command_is_known_and_run_somewhere():
    for document in DOCUMENTS:
        for line, _ in commands(document):
            if line.startswith("cartpole ") or line in ELSEWHERE:
                continue
            assert re.match(r"python benchmarks/[\w/]+\.py", line), (document, line)


def test_every_benchmark_in_the_documents_is_run_by_a_test_and_takes_the_options_shown(benchmark):
    tested = (Path(__file__).parent / "test_benchmarks.py").read_text(encoding="utf-8")
    shown: dict[str, set[str]] = {}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for script, options in re.findall(r"python (benchmarks/[\w/]+\.py)([^`#\n]*)", text):
            shown.setdefault(script, set()).update(re.findall(r"--[\w-]+", options))
    assert shown
    for script, options in shown.items():
        assert Path(script).name in tested, script
        told = benchmark(Path(script).relative_to("benchmarks"), "--help")
        assert told.code == 0
        assert options <= set(re.findall(r"--[\w-]+", told.out)), script


def test_the_python_in_the_documents_runs():
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    codes = [code for text in texts for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    assert codes
    for code in codes:
        exec(code, {})


def test_every_link_to_a_file_leads_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), (document, target)


def _without_numbers(line: str) -> str:
    """The line with # for each number; columns are as wide as their numbers need."""
    return re.sub(" +", " ", ANY_NUMBER.sub("#", line))
