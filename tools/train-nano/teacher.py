"""A small, fast sampler for Llama-shaped teachers stored as GGUF.

The teacher writes the corpus, so only throughput matters: thousands of sequences decode side by side, each slot takes
the next prompt as soon as its answer ends, and one CUDA graph holds a whole step (embedding, layers, sampling, slot
refill). Every prompt of a batch continues one shared prefix (few-shot examples), whose keys and values are stored
once. On a CPU the same step runs through plain PyTorch attention.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

try:
    import triton

    from teacher_kernels import decode_attention_kernel, prefix_attention_kernel
except ImportError:  # a PyTorch for CPUs only comes without it
    triton = None

Weights = dict[str, Any]  # "embed", "norm", and "layers": a dict of tensors each
CONTROL_TOKEN = 3  # GGUF's token type of special tokens
STEPS_PER_LOOK = 32  # steps between looks at whether all is done: a look waits for the device


# ---------------------------------------------------------------- loading


@dataclass(frozen=True)
class TeacherConfig:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    eps: float
    rope_theta: float


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF stores the rows of q and k for interleaved rotary embedding; this goes back to split halves."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def load_gguf(path: str, device: str, dtype: torch.dtype) -> tuple[TeacherConfig, Weights, Tokenizer]:
    """Reads a Llama-architecture GGUF file with a byte-level BPE and a tied head."""
    reader = GGUFReader(path)

    def field(name: str) -> Any:
        return reader.fields[name].contents()

    config = TeacherConfig(
        layers=field("llama.block_count"),
        hidden=field("llama.embedding_length"),
        heads=field("llama.attention.head_count"),
        kv_heads=field("llama.attention.head_count_kv"),
        head_dim=field("llama.rope.dimension_count"),
        ffn=field("llama.feed_forward_length"),
        vocab=field("llama.vocab_size"),
        eps=field("llama.attention.layer_norm_rms_epsilon"),
        rope_theta=field("llama.rope.freq_base"),
    )
    raw = {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors}
    for name in raw:
        if name.endswith("attn_q.weight"):
            raw[name] = unpermute(raw[name], config.heads)
        elif name.endswith("attn_k.weight"):
            raw[name] = unpermute(raw[name], config.kv_heads)

    def tensor(*names: str) -> Tensor:
        parts = [torch.from_numpy(np.ascontiguousarray(raw[n], dtype=np.float32)) for n in names]
        return torch.cat(parts).to(device=device, dtype=dtype)

    layers = []
    for i in range(config.layers):
        b = f"blk.{i}."
        layers.append(
            {
                "attn_norm": tensor(b + "attn_norm.weight"),
                "qkv": tensor(b + "attn_q.weight", b + "attn_k.weight", b + "attn_v.weight"),
                "o": tensor(b + "attn_output.weight"),
                "ffn_norm": tensor(b + "ffn_norm.weight"),
                "gate_up": tensor(b + "ffn_gate.weight", b + "ffn_up.weight"),
                "down": tensor(b + "ffn_down.weight"),
            }
        )
    weights = {
        "embed": tensor("token_embd.weight"),
        "norm": tensor("output_norm.weight"),
        "layers": layers,
    }

    tokens = field("tokenizer.ggml.tokens")
    kinds = field("tokenizer.ggml.token_type")
    merges = [tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True) for t, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    )
    return config, weights, tokenizer


# ---------------------------------------------------------------- pieces of a step


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def feed_forward(x: Tensor, w: dict[str, Tensor], eps: float) -> Tensor:
    h = rms_norm(x, w["ffn_norm"], eps)
    gate, up = F.linear(h, w["gate_up"]).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, w["down"])


def project_qkv(x: Tensor, w: dict[str, Tensor], eps: float) -> Tensor:
    return F.linear(rms_norm(x, w["attn_norm"], eps), w["qkv"])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding over the last dimension, halves split."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


def repeats(history: Tensor, written: Tensor, n: int, nothing: int) -> Tensor:
    """Tokens that would complete an n-gram the answer already has; `nothing` elsewhere.

    history: [batch, time], of which the first `written` ([batch]) count. Returns [batch, time - n + 1].
    """
    span = history.shape[1] - n + 1
    hit = torch.arange(n - 1, history.shape[1], device=history.device)[None] < written[:, None]
    for i in range(n - 1):
        at = (written - (n - 1) + i).clamp(min=0)[:, None]
        hit = hit & (history[:, i : i + span] == history.gather(1, at))
    return torch.where(hit, history[:, n - 1 :], nothing)


def log_total(logits: Tensor) -> Tensor:
    return logits.float().logsumexp(-1)


def sample(logits: Tensor, noise: Tensor, temperature: Tensor, top_p: Tensor) -> Tensor:
    """Top-p sampling without a sort: bisects the smallest kept logit. Returns [batch].

    noise is uniform in (0, 1), as large as logits, [batch, vocabulary]; the argmax of logit + Gumbel noise over the
    kept tokens is a sample of the renormalised distribution. Tokens more than e^10 less likely than the best never
    count, and seven halvings place the border within 10 / 2^7 = 0.08 of a logit.
    """
    x = logits.float() / temperature
    top = x.amax(-1, keepdim=True)
    weight = torch.exp(x - top)
    need = top_p * weight.sum(-1, keepdim=True)
    low, high = top - 10.0, top
    for _ in range(7):
        middle = (low + high) / 2
        enough = torch.where(x >= middle, weight, 0.0).sum(-1, keepdim=True) >= need
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    gumbel = -torch.log(-torch.log(noise))
    return torch.where(x >= low, x + gumbel, -torch.inf).argmax(-1)


@dataclass
class Batch:
    """What a run of `generate` reads and writes on the device. The last row of each is a dummy for idle slots."""

    prompts: Tensor  # [count + 1, max_prompt] ids, padded
    lengths: Tensor  # [count + 1]
    out: Tensor  # [count + 1, max_new] ids of the answers
    out_length: Tensor  # [count + 1]; negative where the answer was cut off
    score: Tensor  # [count + 1] sum of log probabilities


class Sampler:
    """Decodes `batch` sequences at once; see `generate`."""

    def __init__(
        self,
        config: TeacherConfig,
        weights: Weights,
        eos: Sequence[int],
        batch: int,
        max_prefix: int = 768,
        max_prompt: int = 64,
        max_new: int = 256,
        temperature: float = 0.8,
        top_p: float = 0.95,
        ngram: int = 6,
        never: int = 3,
        nudge_after: int = 100,
        nudge_rate: float = 0.025,
        nudge_most: float = 3.5,
    ) -> None:
        """Lengths count tokens.

        An answer repeats no run of `ngram` tokens, and never has the token `never`. After `nudge_after` tokens the
        logits that would end it rise by `nudge_rate` with each token, up to `nudge_most`.
        """
        self.c, self.w, self.batch = config, weights, batch
        self.device = weights["embed"].device
        self.dtype = weights["embed"].dtype
        self.cuda = self.device.type == "cuda"
        self.max_prefix, self.max_prompt, self.max_new = max_prefix, max_prompt, max_new
        self.own = -(-(max_prompt + max_new) // 16) * 16  # own keys of a slot, in whole tiles of 16
        self.temperature, self.top_p = temperature, top_p
        self.ngram, self.never = ngram, never
        self.nudge = (nudge_after, nudge_rate, nudge_most)
        d, half = config.head_dim, config.head_dim // 2

        def new(*shape: int, dtype: torch.dtype = self.dtype) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=self.device)

        self.key = new(config.layers, batch, config.kv_heads, self.own, d)
        self.value = torch.zeros_like(self.key)
        self.prefix_key = new(config.layers, config.kv_heads, max_prefix, d)
        self.prefix_value = torch.zeros_like(self.prefix_key)
        self.prefix_length = new(1, dtype=torch.int32)
        self.prefix_out = new(batch, config.heads, d)
        self.prefix_lse = new(batch, config.heads, dtype=torch.float32)
        self.attention_out = new(batch, config.heads, d)
        angle = torch.arange(max_prefix + self.own).float()[:, None] * (
            config.rope_theta ** (-torch.arange(half).float() / half)
        )
        self.cos, self.sin = angle.cos().to(self.device), angle.sin().to(self.device)
        self.eos = torch.tensor(eos, device=self.device)
        self.token = new(batch, dtype=torch.int64)
        self.position = new(batch, dtype=torch.int32)
        self.slot = new(batch, dtype=torch.int64)
        self.next = new(1, dtype=torch.int64)
        pieces = (project_qkv, feed_forward, sample, log_total)
        if self.cuda:
            pieces = tuple(torch.compile(piece) for piece in pieces)
        self.qkv_fn, self.ffn_fn, self.sample_fn, self.total_fn = pieces

    # -- prefix

    @torch.no_grad()
    def set_prefix(self, ids: Sequence[int]) -> None:
        """Computes the keys and values of the tokens every sequence continues."""
        c, n = self.c, len(ids)
        assert 0 < n <= self.max_prefix
        x = self.w["embed"][torch.tensor(ids, device=self.device)]
        cos, sin = self.cos[:n, None], self.sin[:n, None]
        for i, w in enumerate(self.w["layers"]):
            q, k, v = project_qkv(x, w, c.eps).view(n, -1, c.head_dim).split([c.heads, c.kv_heads, c.kv_heads], 1)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            self.prefix_key[i, :, :n] = k.transpose(0, 1)
            self.prefix_value[i, :, :n] = v.transpose(0, 1)
            y = F.scaled_dot_product_attention(
                q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None],
                is_causal=True, enable_gqa=True,
            )  # fmt: skip
            x = x + F.linear(y[0].transpose(0, 1).reshape(n, -1), w["o"])
            x = feed_forward(x, w, c.eps)
        self.prefix_length.fill_(n)

    # -- one step

    def attention(self, i: int, qkv: Tensor) -> Tensor:
        """Layer i, qkv [batch, (heads + 2 * key heads) * head size] to [batch, heads * head size]; stores the keys."""
        c = self.c
        if not self.cuda:
            return self.reference_attention(i, qkv)
        half, group = c.head_dim // 2, c.heads // c.kv_heads
        rows = 64
        scale = 1 / math.sqrt(c.head_dim)
        prefix_attention_kernel[(triton.cdiv(self.batch * group, rows), c.kv_heads)](
            qkv, self.prefix_key[i], self.prefix_value[i], self.prefix_length, self.position,
            self.cos, self.sin, self.prefix_out, self.prefix_lse, self.batch,
            c.heads, c.kv_heads, group, half, self.max_prefix, rows, 64, scale, num_warps=4,
        )  # fmt: skip
        decode_attention_kernel[(self.batch, c.kv_heads)](
            qkv, self.key[i], self.value[i], self.prefix_out, self.prefix_lse,
            self.prefix_length, self.position, self.cos, self.sin, self.attention_out,
            c.heads, c.kv_heads, group, half, self.own, 16, 64, scale, num_warps=2,
        )  # fmt: skip
        return self.attention_out.view(self.batch, -1)

    def reference_attention(self, i: int, qkv: Tensor) -> Tensor:
        """The same in plain PyTorch: slow twin of the two kernels."""
        c, batch, n = self.c, self.batch, int(self.prefix_length)
        q, k, v = qkv.view(batch, -1, c.head_dim).split([c.heads, c.kv_heads, c.kv_heads], 1)
        at = self.position.long()
        cos, sin = self.cos[at][:, None], self.sin[at][:, None]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        rows = torch.arange(batch, device=self.device)
        self.key[i, rows, :, at - n] = k
        self.value[i, rows, :, at - n] = v
        used = int((at - n).max()) + 1
        key = torch.cat([self.prefix_key[i, None, :, :n].expand(batch, -1, -1, -1), self.key[i, :, :, :used]], 2)
        value = torch.cat([self.prefix_value[i, None, :, :n].expand(batch, -1, -1, -1), self.value[i, :, :, :used]], 2)
        mask = torch.arange(n + used, device=self.device)[None] <= at[:, None]
        return F.scaled_dot_product_attention(
            q[:, :, None], key, value, attn_mask=mask[:, None, None], enable_gqa=True
        ).reshape(batch, -1)

    def logits(self) -> Tensor:
        """[batch, vocabulary] after each slot's current token."""
        c = self.c
        x = self.w["embed"][self.token]
        for i, w in enumerate(self.w["layers"]):
            y = self.attention(i, self.qkv_fn(x, w, c.eps))
            x = self.ffn_fn(x + F.linear(y, w["o"]), w, c.eps)
        return F.linear(rms_norm(x, self.w["norm"], c.eps), self.w["embed"])

    def step(self) -> None:
        """One token for every slot, all on the device: the next of its prompt, or a sampled one of its answer."""
        logits = self.logits()
        noise = torch.rand(logits.shape, device=self.device).clamp_(1e-9, 1 - 1e-7)
        io, slot = self.io, self.slot
        last = io.out.shape[0] - 1
        here = (self.position - self.prefix_length).long()  # index of the token just read
        written = here + 1 - io.lengths[slot]  # how many answer tokens exist already
        answering = written >= 0
        banned = repeats(io.out[slot].long(), written, self.ngram, self.never)
        total = self.total_fn(logits)
        logits.scatter_(1, banned, -torch.inf)
        after, rate, most = self.nudge
        logits[:, self.eos] += ((written - after) * rate).clamp(0, most)[:, None].to(logits.dtype)
        token = self.sample_fn(logits, noise, *self.knobs)
        logprob = logits.gather(1, token[:, None])[:, 0].float() - total
        token = torch.where(answering, token, io.prompts[slot, (here + 1).clamp(max=io.prompts.shape[1] - 1)])
        row = torch.where(answering, slot, last)
        io.out[row, written.clamp(min=0)] = token.to(io.out.dtype)
        io.score.index_add_(0, row, logprob)  # before temperature, top-p and bans
        ended = (token[:, None] == self.eos[None]).any(-1)
        done = answering & (ended | (written + 1 >= self.max_new))
        io.out_length[torch.where(done, slot, last)] = torch.where(ended, written + 1, -(written + 1))
        fresh = (self.next + torch.cumsum(done, 0) - 1).clamp(max=last)
        self.next += done.sum()
        self.slot.copy_(torch.where(done, fresh, slot))
        self.token.copy_(torch.where(done, io.prompts[fresh, 0], token))
        self.position.copy_(torch.where(done, self.prefix_length, self.position + 1))

    # -- many prompts

    @torch.no_grad()
    def generate(
        self,
        prefix_ids: Sequence[int],
        prompts: np.ndarray,
        lengths: np.ndarray,
        seconds: float | None = None,
        log: Callable[[str], None] = print,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Answers to prompts ([count, max_prompt], padded; lengths [count]) after the shared prefix.

        Returns (ids [count, max_new], length [count], mean log probability [count]). length is negative where the
        answer ran into max_new, zero where it was not written. Stops after `seconds`, dropping what is still being
        written.
        """
        count = len(prompts)
        dummy = np.zeros((1, self.max_prompt), np.int64)
        self.io = Batch(
            prompts=torch.from_numpy(np.concatenate([prompts.astype(np.int64), dummy])).to(self.device),
            lengths=torch.from_numpy(np.append(lengths, 1).astype(np.int64)).to(self.device),
            out=torch.zeros(count + 1, self.max_new, dtype=torch.int32, device=self.device),
            out_length=torch.zeros(count + 1, dtype=torch.int64, device=self.device),
            score=torch.zeros(count + 1, device=self.device),
        )
        self.set_prefix(prefix_ids)
        first = torch.arange(self.batch, device=self.device).clamp(max=count)
        self.slot.copy_(first)
        self.next.fill_(self.batch)
        self.token.copy_(self.io.prompts[first, 0])
        self.position.copy_(self.prefix_length.expand(self.batch))
        self.knobs = [torch.tensor(x, device=self.device) for x in (self.temperature, self.top_p)]
        run = self.capture() if self.cuda else self.step
        start, steps = time.time(), 0
        while True:
            for _ in range(STEPS_PER_LOOK):
                run()
            steps += STEPS_PER_LOOK
            finished, at = bool((self.slot == count).all()), time.time() - start
            if steps % 1024 == 0:
                begun = min(int(self.next), count)
                log(f"  {at:6.1f} s, {begun} of {count} prompts, {steps * self.batch / at:,.0f} tokens/s")
            if finished or (seconds and at > seconds):
                break
        out, length, score = (t[:count].cpu().numpy() for t in (self.io.out, self.io.out_length, self.io.score))
        return out, length, score / np.maximum(1, np.abs(length))

    def capture(self) -> Callable[[], None]:
        """Records `step` over the current batch as a CUDA graph and returns its replay; slots restart afterwards."""
        keep = [t.clone() for t in (self.token, self.position, self.slot, self.next)]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        for t, old in zip((self.token, self.position, self.slot, self.next), keep, strict=True):
            t.copy_(old)
        for t in (self.io.out, self.io.out_length, self.io.score):
            t.zero_()
        return graph.replay
