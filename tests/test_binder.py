"""What Binder installs: pins that are also the constraints of README's commands, and torch for the CPU."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"


def test_the_pins_name_no_index() -> None:
    """As constraints of README's two commands they would change where pip looks."""
    lines = [line for line in (BINDER / "requirements.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.match(r"[A-Za-z0-9._-]+==\S+", line)] == []


def test_each_pin_can_be_installed_on_every_python_that_it_is_for() -> None:
    """Debian 12 has Python 3.11.2: a pin that needs 3.11.5 there leaves pip without any solution."""
    wrong = []
    for line in (BINDER / "requirements.txt").read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        try:
            found = metadata(pin.name)
        except PackageNotFoundError:
            continue  # of another extra
        needs = SpecifierSet(found["Requires-Python"] or "")
        if pin.specifier.contains(found["Version"], prereleases=True):
            for python in (f"3.{minor}.{patch}" for minor in range(10, 14) for patch in range(10)):
                here = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
                if pin.marker is not None and pin.marker.evaluate(here) and not needs.contains(python):
                    wrong.append((line, python))
    assert wrong == []


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
