"""Checks what training relies on: `model.py` against transformers, and the teacher's kernels against their slow twin.

The first runs on the CPU in float32 and compares logits and gradients; the second needs a GPU and is left out, with a
line that says so, where there is none. Ends with an AssertionError where something differs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from model import NanoForward, nano_config, new_model, slice_widths
from teacher import Sampler, TeacherConfig
from tokens import BOS, PAD, SPECIAL

WIDTH, LAYERS, VOCABULARY = 256, 10, 512

# Relative errors in float32 (epsilon 6e-8): a few hundred roundings in sequence stay under the first; the gradient of
# the smallest parameters is a difference of large sums and loses two digits more.
LOGIT_ERROR, GRADIENT_ERROR = 1e-5, 1e-3
# bfloat16 keeps 8 bits; the kernels round the weights of the softmax and the outputs, each by at most 2^-9.
KERNEL_ERROR = 2**-7


def relative_error(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


def check_model() -> None:
    config = nano_config(
        vocab_size=VOCABULARY, vocab_size_per_layer_input=VOCABULARY, sliding_window=16, intermediate_size=WIDTH
    )
    model = new_model(config, 0).float()
    with torch.no_grad():  # leave no parameter at a value that hides a mistake
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.05)
        model.model.embed_tokens.weight[PAD] = 0
    forward = NanoForward(model, torch.float32, compiled=False)
    tokens = torch.randint(len(SPECIAL), VOCABULARY, (3, 64))
    tokens[:, 0] = BOS
    full = [WIDTH] * LAYERS
    for widths in (full, [128] * LAYERS, [64, 128, 192, 256] * 2 + [64, 128]):
        with torch.no_grad():
            error = relative_error(forward.logits(tokens, widths), slice_widths(model, widths)(tokens).logits)
        print(f"widths {widths}: relative error {error:.2e}")
        assert error < LOGIT_ERROR

    # Documents in one row do not see each other.
    a, b = tokens[:1, :32], torch.cat([torch.tensor([[BOS]]), tokens[1:2, 1:32]], 1)
    packed = forward.logits(torch.cat([a, b], 1), full)
    error = max(
        relative_error(packed[:, :32], forward.logits(a, full)),
        relative_error(packed[:, 32:], forward.logits(b, full)),
    )
    print(f"packed documents: relative error {error:.2e}")
    assert error < LOGIT_ERROR

    # Gradients. Transformers clamps AltUp's coefficients in training mode, far from these values.
    target = torch.randint(0, VOCABULARY, tokens.shape)
    model.zero_grad()
    F.cross_entropy(model(tokens).logits.flatten(0, 1), target.flatten()).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    F.cross_entropy(forward.logits(tokens, full).flatten(0, 1), target.flatten()).backward()
    error, name = max(
        (relative_error(p.grad, expected[n]), n) for n, p in model.named_parameters() if expected[n].norm() > 0
    )
    print(f"gradients: worst relative error {error:.2e} in {name}")
    assert error < GRADIENT_ERROR
    print("parameters of the default model:", sum(p.numel() for p in new_model(nano_config(), 0).parameters()))


def check_kernels() -> None:
    """Attention of a random one-layer teacher, slots at different places after a prefix of no round length."""
    if not torch.cuda.is_available():
        print("teacher's kernels: not checked, no GPU")
        return
    torch.manual_seed(0)
    config = TeacherConfig(
        layers=1, hidden=576, heads=9, kv_heads=3, head_dim=64, ffn=8, vocab=64, eps=1e-5, rope_theta=1e4
    )
    batch, prefix, columns = 37, 131, (config.heads + 2 * config.kv_heads) * config.head_dim

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.bfloat16, device="cuda")

    sampler = Sampler(config, {"embed": random(config.vocab, config.hidden), "layers": []}, eos=[0], batch=batch)
    for cache in (sampler.key, sampler.value, sampler.prefix_key, sampler.prefix_value):
        cache.copy_(random(*cache.shape))
    sampler.prefix_length.fill_(prefix)
    sampler.position.copy_(prefix + torch.arange(batch, device="cuda") * 5)
    qkv = random(batch, columns)
    with torch.no_grad():
        fast = sampler.attention(0, qkv).clone()
        slow = sampler.reference_attention(0, qkv)
    error = relative_error(fast.float(), slow.float())
    print(f"teacher's kernels: relative error {error:.2e}")
    assert error < KERNEL_ERROR


if __name__ == "__main__":
    check_model()
    check_kernels()
