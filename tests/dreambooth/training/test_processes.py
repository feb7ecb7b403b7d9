"""Several processes: the others wait for the main one while it paints, and its errors reach them (B17)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from difflens_widgets.dreambooth.training.processes import PATIENCE, in_main_process
from dreambooth_configs import miniature_config

PROGRAM = """
import sys
from pathlib import Path
from difflens_widgets.dreambooth.training import loop
from difflens_widgets.dreambooth.training.trainer import train_dreambooth
from dreambooth_configs import miniature_config
def full(*_, **__): raise OSError(28, "No space left on device")
loop.save_weights = full
train_dreambooth(miniature_config(Path(sys.argv[1]), train_batch_size=1, max_train_steps=1))
"""


def process(main: bool, flags: list[float], others: float = 0) -> Any:
    def reduce(tensor: torch.Tensor, _: str) -> torch.Tensor:
        flags.append(float(tensor))
        return tensor + others

    return SimpleNamespace(is_main_process=main, num_processes=2, device="cpu", reduce=reduce)


def test_an_error_of_the_main_process_is_told_and_raised() -> None:
    flags: list[float] = []
    with pytest.raises(OSError, match="full"), in_main_process(process(True, flags)):
        raise OSError("full")
    assert flags == [1]
    with (
        pytest.raises(RuntimeError, match="another process of this training failed"),
        in_main_process(process(False, flags, others=1)) as is_main,
    ):
        assert not is_main
    with in_main_process(process(True, flags)):
        pass
    assert flags == [1, 0, 0]


def test_the_others_wait_longer_than_any_painting() -> None:
    assert PATIENCE.timeout >= timedelta(days=1)


@pytest.mark.slow
def test_two_real_processes_end_when_the_disk_of_the_main_one_is_full(tmp_path) -> None:
    miniature_config(tmp_path)  # writes the model
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    tests = Path(__file__).parents[2]
    started = []
    for rank in ("0", "1"):
        where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        environment = {**os.environ, **where, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment |= {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [each.communicate(timeout=150)[1] for each in started]
    assert all(each.returncode for each in started)
    assert "No space left on device" in errors[0]
    assert "another process of this training failed" in errors[1], errors[1][-1500:]
