"""What exported code computes where it is meant to run: in Node, or compiled by gcc. Floats go in and out as bytes."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from commands import missing

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wdouble-promotion", "-Wshadow")
NODE = """
import { readFileSync } from "node:fs";
const { force, info, outputs, selfTest } = await import(process.argv[2]);
const states = new Float64Array(new Uint8Array(readFileSync(0)).buffer);
const rows = [];
for (let start = 0; start < states.length; start += 4) {
  const state = states.subarray(start, start + 4);
  rows.push([...outputs(...state), force(...state)].map(String));
}
console.log(JSON.stringify({ rows, info, wrong: selfTest() }));
"""
C = """
#include <stdio.h>
#include "policy.h"
int main(void)
{
    float state[4], outputs[CARTPOLE_OUTPUTS];
    printf("%s\\n%d %.9g\\n", cartpole_info(), cartpole_self_test(), (double)CARTPOLE_CONTROL_HZ);
    while (fread(state, sizeof(float), 4, stdin) == 4) {
        cartpole_outputs(state[0], state[1], state[2], state[3], outputs);
        for (int index = 0; index < CARTPOLE_OUTPUTS; index++) printf("%.9g ", (double)outputs[index]);
        printf("%.9g\\n", (double)cartpole_force(state[0], state[1], state[2], state[3]));
    }
    return 0;
}
"""


@dataclass
class Ran:
    """Outputs [N, V] and forces [N] for the states, what the code says of the policy, and its self test's answer."""

    outputs: np.ndarray
    forces: np.ndarray
    info: Any
    wrong: int


def run_js(text: str, folder: Path, states: np.ndarray) -> Ran:
    """In Node; states [N, 4]."""
    (folder / "policy.mjs").write_text(text, encoding="ascii")
    (folder / "run.mjs").write_text(NODE, encoding="ascii")
    command = [tool("node"), str(folder / "run.mjs"), str(folder / "policy.mjs")]
    done = json.loads(
        subprocess.run(command, input=states.astype("<f8").tobytes(), capture_output=True, check=True).stdout
    )
    rows = np.array([[float(cell) for cell in row] for row in done["rows"]]).reshape(len(states), -1)
    return Ran(rows[:, :-1], rows[:, -1], done["info"], done["wrong"])


def run_c(text: str, folder: Path, states: np.ndarray, *options: str) -> Ran:
    """Compiled by gcc without a warning; states [N, 4]."""
    (folder / "policy.h").write_text(text, encoding="ascii")
    (folder / "run.c").write_text(C, encoding="ascii")
    command = [tool("gcc"), *STRICT, *options, "run.c", "-o", "run", "-lm"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    given = states.astype(np.float32).tobytes()
    done = subprocess.run([folder / "run"], input=given, capture_output=True, check=True)
    info, numbers, *lines = done.stdout.decode("ascii").splitlines()
    rows = np.array([[float(cell) for cell in line.split()] for line in lines]).reshape(len(states), -1)
    return Ran(rows[:, :-1], rows[:, -1], json.loads(info), int(numbers.split()[0]))


def tool(name: str) -> str:
    return shutil.which(name) or missing(f"{name} is not on the PATH")
