"""What is known of a network is read anew after every change that can be seen, and only then."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from peft import LoraConfig

from difflens_widgets.models import known_modules, weight_hash
from difflens_widgets.models.content_hash import ContentHash, NotHashable
from difflens_widgets.models.known_modules import check
from pipelines import small_pipeline


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = small_pipeline(DDIMScheduler)
    pipe.unet.extra = torch.nn.Linear(1024, 1024)  # 4 MB: it is sampled
    for name in ("one", "two"):
        pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False), adapter_name=name)
    pipe.unet.set_adapters(["one"], [1.0])
    return pipe


def step(pipe: Any) -> None:
    large = pipe.unet.extra
    optimizer = torch.optim.AdamW(large.parameters(), lr=1e-3)
    large.weight.grad, large.bias.grad = torch.ones_like(large.weight), torch.zeros_like(large.bias)
    optimizer.step()
    large.zero_grad(set_to_none=True)


def replaced(pipe: Any) -> None:
    weight = pipe.unet.extra.weight
    pipe.unet.extra.weight = torch.nn.Parameter(weight.detach().clone())


def one_value(pipe: Any) -> torch.Tensor:
    return pipe.unet.extra.weight[700:701, 7]


def in_inference_mode(pipe: Any) -> None:
    with torch.inference_mode():
        one_value(pipe).add_(1)


def without_gradient(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def changed(pipe: Any) -> None:
        with torch.no_grad():
            change(pipe)

    return changed


def numpy_row(pipe: Any) -> None:
    pipe.unet.extra.weight.detach().numpy()[3] += 1


def numpy_value(pipe: Any) -> None:
    pipe.unet.conv_in.weight.detach().numpy()[1, 1, 0, 0] += 1


def swapped_rows(pipe: Any) -> None:
    weight = pipe.unet.conv_in.weight.data
    weight.copy_(weight.flip(0))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "copy_ of one value": without_gradient(lambda pipe: one_value(pipe).copy_(torch.ones(1))),
    "one value in inference mode": in_inference_mode,
    "an index": without_gradient(lambda pipe: pipe.unet.extra.weight.__setitem__((5, 5), 3.0)),
    "a view of detach": lambda pipe: pipe.unet.extra.weight.detach()[9, 9].add_(1),
    "load_state_dict": lambda pipe: pipe.unet.extra.load_state_dict(torch.nn.Linear(1024, 1024).state_dict()),
    "optimizer": step,
    "an equal parameter": replaced,
    "data of all values": lambda pipe: pipe.unet.extra.weight.data.mul_(1.01),
    "data of one row": lambda pipe: pipe.unet.extra.weight.data[1000].mul_(1.01),
    "other data": lambda pipe: setattr(pipe.unet.extra.weight, "data", torch.randn(1024, 1024)),
    "data of one value of a small tensor": lambda pipe: pipe.unet.conv_in.weight.data[3, 1, 0, 2].add_(0.25),
    "the sign of all values": lambda pipe: pipe.unet.extra.weight.data.neg_(),
    "rows change places": swapped_rows,
    "numpy, one row": numpy_row,
    "numpy, one value of a small tensor": numpy_value,
    "a buffer": lambda pipe: pipe.unet.register_buffer("more", torch.ones(3)),
    "adapters": lambda pipe: pipe.unet.set_adapters(["two"], [1.0]),
    "strength of an adapter": lambda pipe: pipe.unet.set_adapters(["two"], [0.5]),
    "adapters off": lambda pipe: pipe.unet.disable_adapters(),
    "FreeU": lambda pipe: pipe.enable_freeu(0.9, 0.2, 1.2, 1.4),
    "slicing": lambda pipe: pipe.enable_attention_slicing(1),
    "a setting": lambda pipe: setattr(pipe.unet.conv_norm_out, "eps", 0.1),
    "train": lambda pipe: pipe.unet.train(),
    "dtype": lambda pipe: pipe.unet.to(torch.bfloat16),
}


def test_every_kind_of_change_is_seen_and_nothing_else(pipe, monkeypatch) -> None:
    """In a row on one pipeline; the full hashes are computed only after a change, and are right."""
    read: list[int] = []
    full = known_modules.ContentHash.add
    for name, change in CHANGES.items():
        before = check(pipe.unet)
        digest = before.digest
        assert check(pipe.unet) is before, "nothing has changed"
        change(pipe)
        after = check(pipe.unet)
        assert after is not before, name
        assert check(pipe.unet) is after
        assert after.digest == ContentHash().add(pipe.unet).hexdigest()
        if name not in ("an equal parameter",):
            assert after.digest != digest, name
        monkeypatch.setattr(
            known_modules.ContentHash, "add", lambda self, *values: read.append(1) or full(self, *values)
        )
        assert (check(pipe.unet).digest, len(read)) == (after.digest, 2), "a look: the walk, and the sums"
        monkeypatch.undo()
        read.clear()


def test_what_is_not_seen_is_less_than_a_kilobyte_of_a_large_tensor() -> None:
    """As the text of the module says: `.data` is not counted by torch, and every 127th word is read."""
    large = torch.nn.Linear(1024, 1024, bias=False)
    known = check(large)
    large.weight.data.view(-1)[2:254] += 1  # 1008 bytes between two words that are read
    assert check(large) is known
    large.weight.data.view(-1)[2:256] += 1
    assert check(large) is not known


def test_a_network_that_is_gone_is_forgotten() -> None:
    count = len(known_modules._KNOWN)
    small = torch.nn.Linear(3, 3)
    assert check(small).digest == ContentHash().add(small).hexdigest()
    assert len(known_modules._KNOWN) == count + 1
    del small
    gc.collect()
    assert len(known_modules._KNOWN) <= count


def test_odd_tensors() -> None:
    odd = torch.nn.Module()
    odd.bytes = torch.nn.Buffer(torch.arange(13, dtype=torch.uint8)) if hasattr(torch.nn, "Buffer") else None
    odd.register_buffer("halves", torch.ones(7, dtype=torch.bfloat16))
    odd.register_buffer("strided", torch.randn(60, 80).T)
    odd.register_buffer("inside", torch.randn(5001)[1:])
    odd.register_buffer("none", torch.empty(0))
    odd.register_buffer("number", torch.tensor(3.0))
    with torch.inference_mode():
        odd.register_buffer("inference", torch.ones(9))
    for name, tensor in list(odd.named_buffers()):
        known = check(odd)
        assert check(odd) is known
        if tensor.numel():
            with torch.inference_mode():
                tensor.data.view(-1)[-1:].add_(1) if tensor.is_contiguous() else tensor.data[-1:, -1:].add_(1)
            assert check(odd) is not known, name
    odd.meta = torch.nn.Parameter(torch.empty(3, device="meta"))
    with pytest.raises(NotHashable, match="not in memory"):
        check(odd)


def test_the_check_of_a_large_network_takes_a_small_part_of_reading_it() -> None:
    large = torch.nn.Linear(8192, 4096, bias=False)  # 134 MB

    def seconds(function: Callable[[], Any]) -> float:
        began = time.thread_time()
        function()
        return time.thread_time() - began

    assert check(large).digest
    quick = min(seconds(lambda: check(large)) for _ in range(5))
    full = min(seconds(lambda: ContentHash().add(large).hexdigest()) for _ in range(2))
    assert quick < full / 3


def test_the_label_is_computed_again_after_a_change_only(monkeypatch) -> None:
    pipe = small_pipeline(DDIMScheduler)
    label = weight_hash.weight_hash(pipe)
    computed: list[Any] = []
    compute = weight_hash._hash
    monkeypatch.setattr(weight_hash, "_hash", lambda modules: computed.append(1) or compute(modules))
    assert weight_hash.weight_hash(pipe) == label
    assert not computed
    pipe.unet.conv_in.weight.data[0, 0, 0, 0] += 1
    assert weight_hash.weight_hash(pipe) != label
    pipe.unet.mid_block.register_forward_hook(lambda *_: None)  # cannot be known: computed each time
    weight_hash.weight_hash(pipe)
    weight_hash.weight_hash(pipe)
    assert len(computed) == 3
