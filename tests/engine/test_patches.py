"""What replaces functions of verl computes what they compute."""

from __future__ import annotations

import pytest
import torch
import verl.utils.torch_functional as functional

from grrm.verl_plugin import patches


@pytest.fixture
def original():  # type: ignore[no-untyped-def]
    return functional.logprobs_from_logits_v2.__wrapped__


@pytest.mark.parametrize("shape", [(7,), (3, 5)])
@pytest.mark.parametrize("chunk", [1, 40, 2**22])
def test_log_probabilities_and_gradients_are_those_of_verl(  # type: ignore[no-untyped-def]
    original, shape: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patches, "_CHUNK_ELEMENTS", chunk)
    torch.manual_seed(0)
    labels = torch.randint(0, 11, shape)
    logits = (torch.randn(*shape, 11) * 5).requires_grad_()
    same_logits = logits.detach().clone().requires_grad_()
    expected = original(logits, labels)
    found = functional.logprobs_from_logits_v2(same_logits, labels)
    torch.testing.assert_close(found, expected)
    expected.sum().backward()
    found.sum().backward()
    torch.testing.assert_close(same_logits.grad, logits.grad)


def test_half_precision_is_left_to_verl(original) -> None:  # type: ignore[no-untyped-def]
    logits, labels = torch.randn(4, 11, dtype=torch.bfloat16), torch.tensor([0, 3, 5, 10])
    assert torch.equal(functional.logprobs_from_logits_v2(logits, labels), original(logits, labels))
