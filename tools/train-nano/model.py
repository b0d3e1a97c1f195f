"""Gemma 3n (text) for training: the arithmetic of transformers, in compilable pieces.

The parameters live in a stock `Gemma3nForCausalLM`, so every checkpoint loads in transformers unchanged. This file
only re-states the forward pass: streams are laid out [batch, time, altup, hidden], each piece is a pure function of
tensors, and `widths` gives the number of feed-forward units each layer uses (MatFormer: the first m rows of gate and
up, the first m columns of down). `check.py` proves the equality with transformers.

Shapes: B batch, T time, H heads (over a single key head), D head size, A AltUp streams.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Gemma3nForCausalLM, Gemma3nTextConfig

from tokens import BOS, PAD, STOP, VOCABULARY

HALF = math.sqrt(0.5)  # a sum of two independent parts keeps its variance
RMS_EPSILON = 1e-6  # transformers' `rms_norm_eps`
# Under a square root whose input may be zero (padding has a zero embedding): keeps its gradient finite.
ROOT_EPSILON = 1e-12


def nano_config(sparse_layers: int = 3, **overrides: Any) -> Gemma3nTextConfig:
    """The shape of Unicorn Nano: four sliding layers and a full one, twice; the last four share KV.

    `sparse_layers` is how many of the first layers keep only the 5% largest gates.
    """
    layers = overrides.get("num_hidden_layers", 10)
    values = {
        "vocab_size": VOCABULARY,
        "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size": 320,
        "hidden_size_per_layer_input": 32,
        "intermediate_size": 1536,
        "num_hidden_layers": layers,
        "layer_types": ["full_attention" if i % 5 == 4 else "sliding_attention" for i in range(layers)],
        "num_attention_heads": 5,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "num_kv_shared_layers": 4,
        "sliding_window": 128,
        "max_position_embeddings": 2048,
        "laurel_rank": 32,
        "altup_num_inputs": 4,
        "activation_sparsity_pattern": [0.95] * sparse_layers + [0.0] * (layers - sparse_layers),
        "final_logit_softcapping": 30.0,
        "pad_token_id": PAD,
        "eos_token_id": STOP,
        "bos_token_id": BOS,
        "tie_word_embeddings": True,
    }
    return Gemma3nTextConfig(**{**values, **overrides})


def new_model(config: Gemma3nTextConfig, seed: int) -> Gemma3nForCausalLM:
    """A fresh stock model with initial values suited to a short training run."""
    torch.manual_seed(seed)
    model = Gemma3nForCausalLM(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                p.fill_(config.head_dim**-0.25)  # attention has no 1/sqrt(d) of its own
            elif name.endswith("correct_output_scale"):
                p.fill_(1.0)  # zero would cut the per-layer inputs off
            elif name.endswith("modality_router.weight"):
                p.normal_(0, 2.0)  # its input is divided by the hidden size
    return model


# ---------------------------------------------------------------- pieces


def rms(x: Tensor, weight: Tensor | None) -> Tensor:
    """Root-mean-square norm over the last dimension, in float32."""
    y = x.float()
    y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + RMS_EPSILON)
    return (y if weight is None else y * weight).to(x.dtype)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight.to(x.dtype))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [B, T, H, D]; cos and sin are [T, 1, D / 2]."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


def modalities(x: Tensor, norm: Tensor, router: Tensor) -> Tensor:
    """AltUp's routing of the active stream, [B, T, A]."""
    return torch.tanh(linear(rms(x, norm) * (1.0 / x.shape[-1]), router).float())


def same_magnitude(x: Tensor, like: Tensor) -> Tensor:
    """Rescales x to the root mean square of `like`, as AltUp does at both ends (1e-5 is transformers' floor)."""
    target = (like.float().pow(2).mean(-1, keepdim=True) + ROOT_EPSILON).sqrt()
    y = x.float()
    return (y * target / y.pow(2).mean(-1, keepdim=True).clamp(min=1e-5).sqrt()).to(x.dtype)


def embed(
    tokens: Tensor,
    table: Tensor,
    ple_table: Tensor,
    ple_projection: Tensor,
    ple_norm: Tensor,
    *altup: Tensor,
    layers: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Tokens [B, T] to streams [B, T, A, hidden] and per-layer inputs [B, T, layers, per-layer size]."""
    hidden, ple_size = table.shape[1], ple_norm.shape[0]
    x = (F.embedding(tokens, table) * math.sqrt(hidden)).to(dtype)
    ple = (F.embedding(tokens, ple_table) * math.sqrt(ple_size)).to(dtype)
    shape = (*tokens.shape, layers, ple_size)
    projected = rms((linear(x, ple_projection) * hidden**-0.5).view(shape), ple_norm)
    streams = [x] + [same_magnitude(linear(x, w), x) for w in altup]
    return torch.stack(streams, -2), (projected + ple.view(shape)) * HALF


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, window: int | None) -> Tensor:
    """q: [B, T, H, D], k and v: [B, T, 1, D]; mask is additive; window None means full attention.

    A sliding layer cuts the time axis into chunks of one window: a chunk sees itself
    and the chunk before, which covers every key its queries may reach.
    """
    b, t, h, d = q.shape
    if window is None:
        k, v = (x.transpose(1, 2).expand(-1, h, -1, -1) for x in (k, v))
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=mask, scale=1.0)
        return y.transpose(1, 2).reshape(b, t, h * d)
    n = t // window

    def pairs(x: Tensor) -> Tensor:  # [B, T, 1, D] -> [B * n, 1, 2 * window, D]
        x = x.view(b, n, window, d)
        before = F.pad(x, (0, 0, 0, 0, 1, 0))[:, :-1]
        return torch.cat([before, x], 2).view(b * n, 1, 2 * window, d)

    q = q.reshape(b * n, window, h, d).transpose(1, 2)
    k, v = (pairs(x).expand(-1, h, -1, -1) for x in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return y.transpose(1, 2).reshape(b, t, h * d)


def before_ffn(
    streams: Tensor,
    kv: tuple[Tensor, Tensor] | None,
    mask: Tensor,
    cos: Tensor,
    sin: Tensor,
    p: dict[str, Tensor],
    window: int | None,
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """AltUp prediction, LAuReL, attention.

    kv is the shared pair of a layer that computes none. Returns the predictions [B, T, A, hidden], the active stream,
    its norm for the feed-forward (both [B, T, hidden]), and the keys and values used.
    """
    coefs = linear(modalities(streams[..., 0, :], p["router_norm"], p["router"]), p["predict"])
    n = streams.shape[-2]
    coefs = coefs.view(*coefs.shape[:-1], n, n).float()
    mixed = (coefs[..., None] * streams[..., None, :, :].float()).sum(-2)
    predictions = (streams.float() + mixed).to(streams.dtype)
    active = predictions[..., 0, :]
    x = rms(active, p["input_norm"])
    laurel = x + rms(linear(linear(x, p["laurel_left"]), p["laurel_right"]), p["laurel_norm"])
    b, t, _ = x.shape
    d = p["q_norm"].shape[0]
    q = rotate(rms(linear(x, p["q"]).view(b, t, -1, d), p["q_norm"]), cos, sin)
    if kv is None:
        k = rotate(rms(linear(x, p["k"]).view(b, t, -1, d), p["k_norm"]), cos, sin)
        kv = (k, rms(linear(x, p["v"]).view(b, t, -1, d), None))
    y = linear(attend(q, *kv, mask, window), p["o"])
    x = (active + rms(y, p["attention_norm"]) + laurel) * HALF
    return predictions, x, rms(x, p["ffn_norm"]), kv


def ffn(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, width: int, threshold: float) -> Tensor:
    """The first `width` units only. threshold > 0 keeps the units above mean + threshold * deviation."""
    g = linear(x, gate[:width])
    if threshold > 0:
        y = g.float()
        mean = y.mean(-1, keepdim=True)
        std = ((y - mean).pow(2).mean(-1, keepdim=True) + ROOT_EPSILON).sqrt()
        g = F.relu(y - (mean + std * threshold)).to(x.dtype)
    return linear(F.gelu(g, approximate="tanh") * linear(x, up[:width]), down[:, :width])


def after_ffn(predictions: Tensor, x: Tensor, y: Tensor, ple: Tensor, p: dict[str, Tensor]) -> Tensor:
    """AltUp correction by the feed-forward's output y, then the per-layer input. Returns the next streams."""
    activated = x + rms(y, p["ffn_post_norm"])
    coefs = linear(modalities(activated, p["router_norm"], p["router"]), p["correct"]).float() + 1.0
    innovation = (activated - predictions[..., 0, :]).float()
    corrected = predictions.float() + coefs[..., None] * innovation[..., None, :]
    first = (corrected[..., 0, :] * p["output_scale"]).to(x.dtype)
    gated = F.gelu(linear(first, p["ple_gate"]), approximate="tanh") * ple
    extra = rms(linear(gated, p["ple_projection"]), p["ple_norm"]).float()[..., None, :]
    keep_first = torch.ones(corrected.shape[-2], 1, device=x.device)
    keep_first[0] = 0.0
    return (corrected + keep_first * extra).to(x.dtype)


def merge(streams: Tensor, norm: Tensor, *unembed: Tensor) -> Tensor:
    """The streams' mean, normed: [B, T, hidden]."""
    first = streams[..., 0, :]
    parts = [first] + [same_magnitude(linear(streams[..., i + 1, :], w), first) for i, w in enumerate(unembed)]
    return rms(torch.stack(parts).float().mean(0).to(first.dtype), norm)


def head(x: Tensor, table: Tensor, cap: float) -> Tensor:
    """Logits in float32, softly held within +-cap."""
    return cap * torch.tanh(linear(x, table).float() / cap)


# ---------------------------------------------------------------- whole model

LAYER_NAMES = {
    "router_norm": "altup.router_norm.weight",
    "router": "altup.modality_router.weight",
    "predict": "altup.prediction_coefs.weight",
    "correct": "altup.correction_coefs.weight",
    "output_scale": "altup.correct_output_scale",
    "input_norm": "input_layernorm.weight",
    "laurel_left": "laurel.linear_left.weight",
    "laurel_right": "laurel.linear_right.weight",
    "laurel_norm": "laurel.post_laurel_norm.weight",
    "q": "self_attn.q_proj.weight",
    "k": "self_attn.k_proj.weight",
    "v": "self_attn.v_proj.weight",
    "o": "self_attn.o_proj.weight",
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
    "attention_norm": "post_attention_layernorm.weight",
    "ffn_norm": "pre_feedforward_layernorm.weight",
    "ffn_post_norm": "post_feedforward_layernorm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
    "ple_gate": "per_layer_input_gate.weight",
    "ple_projection": "per_layer_projection.weight",
    "ple_norm": "post_per_layer_input_norm.weight",
}
# What each piece of a layer takes.
BEFORE = """router_norm router predict input_norm laurel_left laurel_right laurel_norm q k v o q_norm k_norm
attention_norm ffn_norm""".split()
AFTER = "router_norm router correct output_scale ffn_post_norm ple_gate ple_projection ple_norm".split()


class NanoForward:
    """Forward pass over the parameters of a stock model, with a feed-forward width per layer."""

    def __init__(self, model: Gemma3nForCausalLM, dtype: torch.dtype, compiled: bool) -> None:
        """`dtype` is the one activations have; `compiled` sends each piece through torch.compile."""
        c = self.config = model.config
        self.dtype = dtype
        p = dict(model.model.named_parameters())
        self.table = p["embed_tokens.weight"]
        extra = range(c.altup_num_inputs - 1)
        self.embed_args = [
            self.table,
            p["embed_tokens_per_layer.weight"],
            p["per_layer_model_projection.weight"],
            p["per_layer_projection_norm.weight"],
            *(p[f"altup_projections.{i}.weight"] for i in extra),
        ]
        self.merge_args = [p["norm.weight"], *(p[f"altup_unembed_projections.{i}.weight"] for i in extra)]
        self.layers = [
            {short: p.get(f"layers.{i}.{name}") for short, name in LAYER_NAMES.items()}
            for i in range(c.num_hidden_layers)
        ]
        self.first_shared = c.num_hidden_layers - c.num_kv_shared_layers
        normal = torch.distributions.Normal(0, 1)
        self.thresholds = [float(normal.icdf(torch.tensor(s))) if s > 0 else 0.0 for s in c.activation_sparsity_pattern]
        device, half = self.table.device, c.head_dim // 2
        self.rope = {}
        for kind in set(c.layer_types):
            theta = c.rope_parameters[kind]["rope_theta"]
            frequency = theta ** (-torch.arange(half, device=device).float() / half)
            angle = torch.arange(c.max_position_embeddings, device=device).float()[:, None, None] * frequency
            self.rope[kind] = (angle.cos(), angle.sin())
        pieces = (embed, before_ffn, ffn, after_ffn, merge)
        if compiled:
            pieces = tuple(torch.compile(piece, dynamic=False) for piece in pieces)
        self.embed, self.before, self.ffn, self.after, self.merge = pieces

    @torch.no_grad()
    def masks(self, tokens: Tensor) -> dict[str, Tensor]:
        """Additive masks by layer type: documents (each starts with <bos>) do not see each other.

        Full: [B, 1, T, T]. Sliding: [B * T / window, 1, window, 2 * window], see `attend`; T is a multiple of window.
        """
        c, (b, t), w = self.config, tokens.shape, self.config.sliding_window
        doc = (tokens == c.bos_token_id).cumsum(-1)
        at = torch.arange(t, device=tokens.device)
        full = (doc[:, :, None] == doc[:, None, :]) & (at[:, None] >= at[None, :])
        n = t // w
        doc = doc.view(b, n, w)
        keys = torch.cat([F.pad(doc, (0, 0, 1, 0), value=-1)[:, :-1], doc], 2)
        i, j = torch.arange(w, device=tokens.device), torch.arange(2 * w, device=tokens.device)
        reach = (j[None, :] <= i[:, None] + w) & (j[None, :] > i[:, None])
        sliding = (doc[..., :, None] == keys[..., None, :]) & reach

        def additive(seen: Tensor) -> Tensor:
            zeros = torch.zeros(seen.shape, dtype=self.dtype, device=seen.device)
            return zeros.masked_fill_(~seen, -torch.inf)

        return {
            "full_attention": additive(full)[:, None],
            "sliding_attention": additive(sliding).view(b * n, 1, w, 2 * w),
        }

    def hidden(self, tokens: Tensor, masks: dict[str, Tensor], widths: Sequence[int]) -> Tensor:
        """Final hidden states, [B, T, hidden]."""
        c, t = self.config, tokens.shape[1]
        streams, ple = self.embed(tokens, *self.embed_args, layers=c.num_hidden_layers, dtype=self.dtype)
        shared = {}
        for i, p in enumerate(self.layers):
            kind = c.layer_types[i]
            window = c.sliding_window if kind == "sliding_attention" else None
            cos, sin = (x[:t] for x in self.rope[kind])
            kv = shared[kind] if i >= self.first_shared else None
            predictions, x, y, kv = self.before(streams, kv, masks[kind], cos, sin, {n: p[n] for n in BEFORE}, window)
            if i < self.first_shared:
                shared[kind] = kv
            y = self.ffn(y, p["gate"], p["up"], p["down"], widths[i], self.thresholds[i])
            streams = self.after(predictions, x, y, ple[:, :, i], {n: p[n] for n in AFTER})
        return self.merge(streams, *self.merge_args)

    def logits(self, tokens: Tensor, widths: Sequence[int]) -> Tensor:
        """[B, T, vocabulary], float32."""
        x = self.hidden(tokens, self.masks(tokens), widths)
        return head(x, self.table, self.config.final_logit_softcapping)


def slice_widths(model: Gemma3nForCausalLM, widths: Sequence[int]) -> Gemma3nForCausalLM:
    """A stock model whose feed-forward layers hold only their first `widths[i]` units."""
    config = type(model.config)(**{**model.config.to_dict(), "intermediate_size": list(widths)})
    small = Gemma3nForCausalLM(config).to(next(model.parameters()).dtype)
    state = model.state_dict()
    for i, m in enumerate(widths):
        mlp = f"model.layers.{i}.mlp."
        for name in ("gate_proj", "up_proj"):
            state[mlp + name + ".weight"] = state[mlp + name + ".weight"][:m]
        state[mlp + "down_proj.weight"] = state[mlp + "down_proj.weight"][:, :m]
    small.load_state_dict(state)
    return small.eval()
