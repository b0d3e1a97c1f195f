"""Attention of the teacher's decoding step on a GPU, as two Triton kernels; `Sampler.reference_attention` is their
slow twin, and `check.py` compares them.

Each sequence attends to a prefix that all share and to its own tokens after it. The first kernel does the prefix for
many (sequence, head) rows at a time, so that its keys are read once for all of them; the second does the rest, one
program for each sequence and key head, and merges both by their log-sum-exp. Rotary embedding happens inside.

Shapes: H heads, KVH key heads, G = H / KVH, HALF half the head size. qkv is [batch, H + 2 KVH, 2 HALF]; cos and sin
are [positions, HALF]; `length` is the prefix's, [1]; `pos` the position of the token, [batch].
"""

import triton
import triton.language as tl

BELOW_ALL = tl.constexpr(-1e30)  # less than any score, and finite: a row without keys must not become NaN


@triton.jit
def prefix_attention_kernel(
    qkv, key, value, length, pos, cos, sin, out, lse, batch,
    H: tl.constexpr, KVH: tl.constexpr, G: tl.constexpr, HALF: tl.constexpr,
    P: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, scale,
):  # fmt: skip
    """Attention of ROWS (sequence, head) pairs to the shared prefix, in tiles of BLOCK keys.

    key, value: [KVH, P, 2 HALF]; out: [batch, H, 2 HALF]; lse, the log-sum-exp of the scores: [batch, H].
    """
    kvh = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    alive = row < batch * G
    b = row // G
    h = kvh * G + row % G
    d = tl.arange(0, HALF)
    p = tl.load(pos + b, mask=alive, other=0)
    c = tl.load(cos + p[:, None] * HALF + d[None, :])
    s = tl.load(sin + p[:, None] * HALF + d[None, :])
    at = b[:, None] * ((H + 2 * KVH) * 2 * HALF) + h[:, None] * (2 * HALF) + d[None, :]
    q1 = tl.load(qkv + at, mask=alive[:, None], other=0.0).to(tl.float32)
    q2 = tl.load(qkv + at + HALF, mask=alive[:, None], other=0.0).to(tl.float32)
    r1 = ((q1 * c - q2 * s) * scale).to(key.dtype.element_ty)
    r2 = ((q2 * c + q1 * s) * scale).to(key.dtype.element_ty)

    n = tl.load(length)
    m = tl.full([ROWS], BELOW_ALL, tl.float32)
    l = tl.zeros([ROWS], tl.float32)
    a1 = tl.zeros([ROWS, HALF], tl.float32)
    a2 = tl.zeros([ROWS, HALF], tl.float32)
    for start in range(0, n, BLOCK):
        j = start + tl.arange(0, BLOCK)
        ok = j < n
        kat = kvh * (P * 2 * HALF) + j[:, None] * (2 * HALF) + d[None, :]
        k1 = tl.load(key + kat, mask=ok[:, None], other=0.0)
        k2 = tl.load(key + kat + HALF, mask=ok[:, None], other=0.0)
        x = tl.dot(r1, tl.trans(k1)) + tl.dot(r2, tl.trans(k2))
        x = tl.where(ok[None, :], x, BELOW_ALL)
        new = tl.maximum(m, tl.max(x, 1))
        w = tl.exp(x - new[:, None])
        fade = tl.exp(m - new)
        l = l * fade + tl.sum(w, 1)
        v1 = tl.load(value + kat, mask=ok[:, None], other=0.0)
        v2 = tl.load(value + kat + HALF, mask=ok[:, None], other=0.0)
        w = w.to(v1.dtype)
        a1 = a1 * fade[:, None] + tl.dot(w, v1)
        a2 = a2 * fade[:, None] + tl.dot(w, v2)
        m = new
    oat = b[:, None] * (H * 2 * HALF) + h[:, None] * (2 * HALF) + d[None, :]
    norm = 1.0 / tl.maximum(l, 1e-30)
    tl.store(out + oat, (a1 * norm[:, None]).to(out.dtype.element_ty), mask=alive[:, None])
    tl.store(out + oat + HALF, (a2 * norm[:, None]).to(out.dtype.element_ty), mask=alive[:, None])
    tl.store(lse + b * H + h, m + tl.log(tl.maximum(l, 1e-30)), mask=alive)


@triton.jit
def decode_attention_kernel(
    qkv, key, value, prefix_out, prefix_lse, length, pos, cos, sin, out,
    H: tl.constexpr, KVH: tl.constexpr, G: tl.constexpr, HALF: tl.constexpr,
    L: tl.constexpr, GP: tl.constexpr, BLOCK: tl.constexpr, scale,
):  # fmt: skip
    """One new token per sequence: writes its key and value, attends, merges the prefix's part.

    key, value: [batch, KVH, L, 2 HALF]; out: [batch, H, 2 HALF]; GP is G padded to a legal dot size.
    """
    b = tl.program_id(0).to(tl.int64)
    kvh = tl.program_id(1)
    p = tl.load(pos + b)
    own = p - tl.load(length)  # tokens of this sequence already cached
    d = tl.arange(0, HALF)
    c = tl.load(cos + p * HALF + d)
    s = tl.load(sin + p * HALF + d)
    g = tl.arange(0, GP)
    live = g < G
    base = qkv + b * ((H + 2 * KVH) * 2 * HALF)
    qat = (kvh * G + g)[:, None] * (2 * HALF) + d[None, :]
    q1 = tl.load(base + qat, mask=live[:, None], other=0.0).to(tl.float32)
    q2 = tl.load(base + qat + HALF, mask=live[:, None], other=0.0).to(tl.float32)
    r1 = ((q1 * c[None, :] - q2 * s[None, :]) * scale).to(key.dtype.element_ty)
    r2 = ((q2 * c[None, :] + q1 * s[None, :]) * scale).to(key.dtype.element_ty)
    kin = base + (H + kvh) * (2 * HALF) + d
    x1 = tl.load(kin).to(tl.float32)
    x2 = tl.load(kin + HALF).to(tl.float32)
    k1 = (x1 * c - x2 * s).to(key.dtype.element_ty)
    k2 = (x2 * c + x1 * s).to(key.dtype.element_ty)
    vin = base + (H + KVH + kvh) * (2 * HALF) + d
    v1 = tl.load(vin)
    v2 = tl.load(vin + HALF)
    cache = (b * KVH + kvh) * (L * 2 * HALF)
    tl.store(key + cache + own * (2 * HALF) + d, k1)
    tl.store(key + cache + own * (2 * HALF) + HALF + d, k2)
    tl.store(value + cache + own * (2 * HALF) + d, v1)
    tl.store(value + cache + own * (2 * HALF) + HALF + d, v2)

    # The softmax starts from two known parts: the prefix and the token itself.
    oat = b * (H * 2 * HALF) + (kvh * G + g)[:, None] * (2 * HALF) + d[None, :]
    a1 = tl.load(prefix_out + oat, mask=live[:, None], other=0.0).to(tl.float32)
    a2 = tl.load(prefix_out + oat + HALF, mask=live[:, None], other=0.0).to(tl.float32)
    lse = tl.load(prefix_lse + b * H + kvh * G + g, mask=live, other=0.0)
    x = tl.sum(r1.to(tl.float32) * k1.to(tl.float32)[None, :], 1)
    x += tl.sum(r2.to(tl.float32) * k2.to(tl.float32)[None, :], 1)
    m = tl.maximum(lse, x)
    w0 = tl.exp(lse - m)
    w1 = tl.exp(x - m)
    l = w0 + w1
    a1 = a1 * w0[:, None] + w1[:, None] * v1.to(tl.float32)[None, :]
    a2 = a2 * w0[:, None] + w1[:, None] * v2.to(tl.float32)[None, :]
    for start in range(0, own, BLOCK):
        j = start + tl.arange(0, BLOCK)
        ok = j < own
        kat = cache + j[:, None] * (2 * HALF) + d[None, :]
        y1 = tl.load(key + kat, mask=ok[:, None], other=0.0)
        y2 = tl.load(key + kat + HALF, mask=ok[:, None], other=0.0)
        y = tl.dot(r1, tl.trans(y1)) + tl.dot(r2, tl.trans(y2))
        y = tl.where(ok[None, :], y, BELOW_ALL)
        new = tl.maximum(m, tl.max(y, 1))
        w = tl.exp(y - new[:, None])
        fade = tl.exp(m - new)
        l = l * fade + tl.sum(w, 1)
        z1 = tl.load(value + kat, mask=ok[:, None], other=0.0)
        z2 = tl.load(value + kat + HALF, mask=ok[:, None], other=0.0)
        w = w.to(z1.dtype)
        a1 = a1 * fade[:, None] + tl.dot(w, z1)
        a2 = a2 * fade[:, None] + tl.dot(w, z2)
        m = new
    norm = 1.0 / l
    tl.store(out + oat, (a1 * norm[:, None]).to(out.dtype.element_ty), mask=live[:, None])
    tl.store(out + oat + HALF, (a2 * norm[:, None]).to(out.dtype.element_ty), mask=live[:, None])
