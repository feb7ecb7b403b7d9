"""What Binder installs: pins that are also the constraints of README's commands, and torch for the CPU."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"


def test_the_pins_name_no_index() -> None:
    """As constraints of README's two commands they would change where pip looks."""
    lines = [line for line in (BINDER / "requirements.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.match(r"[A-Za-z0-9._-]+==\S+", line)] == []


def test_repo2docker_leaves_the_pins_to_post_build() -> None:
    """It installs requirements.txt, whose torch has CUDA, unless there is an environment.yml."""
    environment = (BINDER / "environment.yml").read_text("utf-8")
    assert re.search(r"^dependencies: \[python=3\.\d+, pip\]$", environment, re.M)
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    assert '--extra-index-url https://download.pytorch.org/whl/cpu -c binder/requirements.txt ".[lab,train]"' in (
        script.read_text("utf-8")
    )


def test_the_commands_of_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert 'pip install -c binder/requirements.txt ".[lab]" && difflens demo\n' in text
    assert 'pip install -c binder/requirements.txt ".[test]" && pytest\n' in text
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / path).is_file(), path
