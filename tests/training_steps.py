"""Three steps of SFT and three of RL of a tiny model; a line with the digest of the weights after each.

Run by the training environment's python, natively or under an emulator: see engine/test_other_processor.py.
"""

from __future__ import annotations

import hashlib

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from grrm.sampling import SamplingParams, uniform_draws
from grrm.verl_plugin.generation import Request, generate

PROMPTS, ROLLOUTS, LENGTH = 2, 3, 8


def main() -> None:
    """Print capability and digests."""
    torch.manual_seed(0)
    print("capability", torch.backends.cpu.get_cpu_capability(), flush=True)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    model = Qwen2ForCausalLM(config).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.randint(0, config.vocab_size, (8, 24))
    for number in range(3):
        update(model, optimizer, model(input_ids=ids, labels=ids).loss)
        print("sft", number, digest(model), flush=True)
    for number in range(3):
        update(model, optimizer, policy_loss(model, rollouts(model, number)))
        print("rl", number, digest(model), flush=True)


def update(model: Qwen2ForCausalLM, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step of training."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def rollouts(model: Qwen2ForCausalLM, step: int) -> list[Request]:
    """Answers of one length, as the rollout server makes them."""
    requests = [
        Request(
            [5, 6, 7, number // ROLLOUTS],
            SamplingParams(LENGTH),
            uniform_draws(LENGTH, "steps", step, number),
        )
        for number in range(PROMPTS * ROLLOUTS)
    ]
    generate(model.eval(), requests, (), 0)
    return requests


def policy_loss(model: Qwen2ForCausalLM, done: list[Request]) -> torch.Tensor:
    """GSPO's without clipping, of rewards made up from the tokens."""
    rewards = torch.tensor([float(sum(request.tokens) % 7) for request in done]).view(PROMPTS, ROLLOUTS)
    advantages = (rewards - rewards.mean(dim=1, keepdim=True)).view(-1)
    ids = torch.tensor([request.prompt + request.tokens for request in done])
    log_probs = model.train()(input_ids=ids).logits[:, -LENGTH - 1 : -1].log_softmax(-1)
    chosen = log_probs.gather(2, ids[:, -LENGTH:, None])[..., 0].mean(dim=1)
    return -(advantages * (chosen - chosen.detach()).exp()).mean()


def digest(model: Qwen2ForCausalLM) -> str:
    """SHA-256 of all weights."""
    found = hashlib.sha256()
    for parameter in model.parameters():
        found.update(parameter.detach().numpy().tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
