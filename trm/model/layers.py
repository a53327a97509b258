"""The blocks every architecture is made of. Shapes: B rows, S positions, D width, h heads.

Weights are kept in fp32 and cast to the activations' type where they are used, so that one
set of weights serves fp32, bf16 and evaluation. With `forward_dtype: float64` everything is in
float64, weights included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from trm.runtime.processor import keep_code_by_processor

DEVIATION_AFTER_CUT = math.sqrt(  # 1 − 4·φ(2) / P(|X| < 2)
    1 - 4 * (math.exp(-2.0) / math.sqrt(2 * math.pi)) / math.erf(math.sqrt(2.0))
)
"""Standard deviation of a standard normal that is cut at ±2."""


def truncated_normal_(tensor: Tensor, std: float) -> Tensor:
    """Fill `tensor` with a normal cut at ±2σ whose standard deviation, after the cut, is `std`.

    `nn.init.trunc_normal_` leaves the cut distribution with a smaller deviation than asked for;
    JAX's initialisers divide by the deviation of the standard normal cut at ±2, as done here.
    """
    if std == 0:
        return tensor.zero_()
    scale = std / DEVIATION_AFTER_CUT
    return nn.init.trunc_normal_(tensor, std=scale, a=-2 * scale, b=2 * scale)


def at_least_fp32(x: Tensor) -> Tensor:
    """x in fp32, or in float64 if it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


def _types_to_widen() -> frozenset[torch.dtype]:
    if not torch.backends.mkldnn.is_available():
        return frozenset({torch.bfloat16, torch.float16})
    supported = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported(),
    }
    return frozenset(dtype for dtype, fast in supported.items() if not fast)


TYPES_TO_WIDEN = _types_to_widen()
"""Types that this CPU has no instructions to multiply in (bfloat16, on x86 before AVX-512): torch's
own loops for them are an order of magnitude slower than fp32 (benchmarks/bfloat16.py)."""


def _widened(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in TYPES_TO_WIDEN


class _WidenedProduct(torch.autograd.Function):
    """a b, multiplied and summed in fp32 and rounded to the type of a and b, which are what is kept
    for the backward pass: the arithmetic of a bfloat16 instruction, without one."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:  # [..., K], [K, N] -> [..., N]
        ctx.save_for_backward(a, b)
        return (a.float() @ b.float()).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        grad = grad.float()
        of_b = a.float().flatten(0, -2).t() @ grad.flatten(0, -2)
        return (grad @ b.float().t()).to(a.dtype), of_b.to(b.dtype)


def product(a: Tensor, b: Tensor) -> Tensor:  # [..., K], [K, N] -> [..., N]
    """a b in their type, by way of fp32 where the CPU cannot multiply matrices in it."""
    return _WidenedProduct.apply(a, b) if _widened(a) else a @ b


def in_aligned_rows(matrix: Tensor) -> Tensor:  # [M, N] -> [M, N]
    """The same matrix, each row of which begins at a multiple of 16 bytes: without that, a GPU's
    fast matrix products (by TMA, and in 16-byte loads) cannot read it. 97 positions need it."""
    columns = matrix.shape[1]
    per_16_bytes = 16 // matrix.element_size()
    return F.pad(matrix, (0, -columns % per_16_bytes))[:, :columns]


class Linear(nn.Module):
    """x W^T (+ b), weight [out, in] at σ = 1/√in, bias zero."""

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            truncated_normal_(torch.empty(out_features, in_features), in_features**-0.5)
        )
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:  # [..., in] -> [..., out]
        weight = self.weight.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if not _widened(x):
            return F.linear(x, weight, bias)
        y = product(x, weight.t())
        return y if bias is None else y + bias


class Embedding(nn.Module):
    """Rows of a table [num, D], σ = 1/√D, looked up in `dtype`."""

    def __init__(self, num: int, dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.embedding_weight = nn.Parameter(truncated_normal_(torch.empty(num, dim), dim**-0.5))

    def forward(self, ids: Tensor) -> Tensor:  # [B, S] -> [B, S, D]
        return F.embedding(ids, self.embedding_weight.to(self.dtype))


def rms_norm(x: Tensor, eps: float, dim: int = -1) -> Tensor:
    """x / rms(x) over one axis, in fp32 at least, without a weight."""
    wide = at_least_fp32(x)
    return (wide * torch.rsqrt(wide.square().mean(dim, keepdim=True) + eps)).to(x.dtype)


def gated(gate_and_up: Tensor, dim: int = -1) -> Tensor:  # [..., 2I] -> [..., I]
    """silu(gate) · up, the two side by side on one axis."""
    gate, up = gate_and_up.chunk(2, dim)
    return F.silu(gate) * up


class RotaryPositions(nn.Module):
    """cos and sin of the rotary embedding (arXiv 2104.09864), halves rotated, not interleaved.

    `dtype` is that of the tables, fp32 or float64.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, length: int, theta: float, dtype: torch.dtype) -> None:
        super().__init__()
        angles = self.angles(head_dim, length, theta, dtype).repeat(1, 2)  # [S, head]
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def angles(self, head_dim: int, length: int, theta: float, dtype: torch.dtype) -> Tensor:
        """The angles [S, head / 2] by which each pair of numbers is rotated."""
        frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=dtype) / head_dim)
        return torch.outer(torch.arange(length, dtype=dtype), frequencies)

    def forward(self, x: Tensor) -> Tensor:  # [B, h, S, head] -> same, rotated in the tables' type
        length = len(self.cos)
        if x.shape[-2] > length:  # further positions at the end are not rotated
            return torch.cat((self(x[..., :length, :]), x[..., length:, :]), dim=-2)
        wide = at_least_fp32(x)
        first, second = wide.chunk(2, dim=-1)
        rotated = torch.cat((-second, first), dim=-1)
        return (wide * self.cos + rotated * self.sin).to(x.dtype)


class RotaryGrid(RotaryPositions):
    """The rotary embedding of rows and columns: half of a head's pairs are rotated by the row of a
    position on its square board, half by the column."""

    def angles(self, head_dim: int, length: int, theta: float, dtype: torch.dtype) -> Tensor:
        side = math.isqrt(length)
        along = super().angles(head_dim // 2, side, theta, dtype)  # [side, head / 4]
        cells = torch.arange(length)
        return torch.cat((along[cells // side], along[cells % side]), dim=1)


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Values for queries, keys and values, each [B, h, S, d]."""


def attention_weights(q: Tensor, k: Tensor) -> Tensor:  # [B, h, S, d] -> [B, h, S, S]
    """softmax(q k^T / √d), in fp32 at least."""
    scores = at_least_fp32(q) @ at_least_fp32(k).transpose(-1, -2) * q.shape[-1] ** -0.5
    return torch.softmax(scores, dim=-1)


def written_out_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # [B, h, S, d]
    """softmax(q k^T / √d) v: no less exact than torch's fused kernel."""
    return attention_weights(q, k).to(v.dtype) @ v


class Attention(nn.Module):
    """Full (non-causal) self-attention, one projection for queries, keys and values.

    Heads are `head_dim` wide, by default dim // num_heads, as published: 12 heads of 42 for a width
    of 512.
    """

    def __init__(self, dim: int, num_heads: int, head_dim: int | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.written_out_below = 0  # positions, in training
        heads = (head_dim or dim // num_heads) * num_heads
        self.qkv_proj = Linear(dim, 3 * heads)
        self.o_proj = Linear(heads, dim)

    def forward(
        self, x: Tensor, rotary: RotaryPositions | None, attend: Attend | None = None
    ) -> Tensor:  # [B, S, D]
        """`attend` may be given in place of torch's own."""
        qkv = rearrange(
            self.qkv_proj(x), "b s (three h d) -> three b h s d", three=3, h=self.num_heads
        )
        q, k, v = qkv.unbind(0)
        if rotary is not None:
            q, k = rotary(q), rotary(k)
        if attend is None:
            written_out = torch.is_grad_enabled() and x.shape[1] < self.written_out_below
            attend = written_out_attention if written_out else F.scaled_dot_product_attention
        if _widened(x):
            out = attend(q.float(), k.float(), v.float()).to(x.dtype)
        else:
            out = attend(q, k, v)
        return self.o_proj(rearrange(out, "b h s d -> b s (h d)"))


class SwiGLU(nn.Module):
    """W_down(silu(W_gate x) · W_up x) (arXiv 2002.05202), inner width a multiple of 256."""

    def __init__(self, dim: int, expansion: float) -> None:
        super().__init__()
        inner = math.ceil(round(expansion * dim * 2 / 3) / 256) * 256
        self.gate_up_proj = Linear(dim, 2 * inner)
        self.down_proj = Linear(inner, dim)
        self.fused = False  # by the kernels of `trm.model.fused`, which registers them

    def forward(self, x: Tensor) -> Tensor:  # [..., D] -> [..., D]
        if not self.fused:
            return self.down_proj(self.gate(self.gate_up_proj(x)))
        weight = self.gate_up_proj.weight.to(x.dtype)
        inner = torch.ops.trm.gated_product(x.flatten(0, -2), weight)
        return self.down_proj(inner.unflatten(0, x.shape[:-1]))

    def over_first(self, x: Tensor) -> Tensor:  # [D, N] -> [D, N]
        """`forward` over the first axis of x, not copied: the weights multiply from the left."""
        w_gate_up, w_down = (p.weight.to(x.dtype) for p in (self.gate_up_proj, self.down_proj))
        if x.is_cuda:
            w_gate_up = in_aligned_rows(w_gate_up)
        return product(w_down, self.gate(product(w_gate_up, x), dim=0))

    def gate(self, gate_and_up: Tensor, dim: int = -1) -> Tensor:  # [..., 2I] -> [..., I]
        """What the unit makes of W_gate x and W_up x, side by side on one axis."""
        return gated(gate_and_up, dim)


class BoundedGLU(SwiGLU):
    """W_down(sigmoid(W_gate x) · rms(W_gate x · W_up x)): SwiGLU with a norm in it, which bounds
    what Muon's large updates would let grow (arXiv 2601.19085)."""

    def __init__(self, dim: int, expansion: float, eps: float) -> None:
        super().__init__(dim, expansion)
        self.eps = eps

    def gate(self, gate_and_up: Tensor, dim: int = -1) -> Tensor:
        gate, up = gate_and_up.chunk(2, dim)
        return torch.sigmoid(gate) * rms_norm(gate * up, self.eps, dim)


class AnyBlock(nn.Module):
    """What nets consist of; torch.compile fuses it on the CPU."""

    mixes_with_mlp = False
    positions_first = False


class Block(AnyBlock):
    """h ← rms(h + mix(h)); h ← rms(h + swiglu(h)): post-norm, no biases.

    mix is attention, or with `mlp_t` a SwiGLU over the position axis. The latter is normalised
    over positions too, since the published code adds and normalises before it transposes back.
    """

    def __init__(
        self, dim: int, length: int, num_heads: int, expansion: float, mlp_t: bool, eps: float
    ) -> None:
        super().__init__()
        self.eps = eps
        if mlp_t:
            self.mlp_t = self.make_mlp(length, expansion)
        else:
            self.self_attn = Attention(dim, num_heads)
        self.mixes_with_mlp = mlp_t
        self.mlp = self.make_mlp(dim, expansion)
        self.positions_first = False

    def make_mlp(self, dim: int, expansion: float) -> SwiGLU:
        return SwiGLU(dim, expansion)

    def forward(self, h: Tensor, rotary: RotaryPositions | None) -> Tensor:
        """h [B, S, D] -> the same; with `positions_first` [S, B, D] -> the same."""
        if not self.mixes_with_mlp:
            h = rms_norm(h + self.self_attn(h, rotary), self.eps)
        elif self.positions_first:
            h = self._mix_first(h.flatten(1)).view(h.shape)
        else:
            positions_last = h.transpose(1, 2)  # [B, D, S]
            h = rms_norm(positions_last + self.mlp_t(positions_last), self.eps).transpose(1, 2)
        return rms_norm(h + self.mlp(h), self.eps)

    def _mix_first(self, columns: Tensor) -> Tensor:  # [S, N] -> [S, N], rms-normalised over S
        mlp = self.mlp_t
        if not mlp.fused:
            return rms_norm(columns + mlp.over_first(columns), self.eps, dim=0)
        weights = mlp.gate_up_proj.weight, mlp.down_proj.weight
        mixed, _ = torch.ops.trm.mix_positions(columns, *weights, self.eps)
        return mixed


class BoundedBlock(Block):
    """The same with bounded gated units in place of SwiGLU."""

    def make_mlp(self, dim: int, expansion: float) -> SwiGLU:
        return BoundedGLU(dim, expansion, self.eps)


class Net(nn.Module):
    """net(h, inject) = blocks(h + inject): the one function that all recursions call."""

    def __init__(self, blocks: Sequence[AnyBlock]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)

    def forward(
        self, h: Tensor, inject: Tensor | None, rotary: RotaryPositions | None
    ) -> Tensor:  # [B, S, D], or with `positions_first` [S, B, D]
        if inject is not None:
            h = h + inject
        for block in self.layers:
            h = block(h, rotary)
        return h


def put_positions_first(model: nn.Module, first: bool = True) -> None:
    """Let a model with `mlp_t` recurse on [S, B, D]: positions are then mixed by plain products,
    [I, S] by [S, B·D], instead of by transposing each batch there and back. Others stay.

    The same numbers but for the order in which sums are rounded.
    """
    blocks = [module for module in model.modules() if isinstance(module, AnyBlock)]
    for module in model.modules():
        if hasattr(module, "positions_first"):
            module.positions_first = first and blocks[0].mixes_with_mlp


def compile_model(
    model: nn.Module, device: torch.device, tuned: bool = False, backend: str = "inductor"
) -> None:
    """Let torch.compile fuse what takes memory's time rather than the matrix multiplications'.

    On a GPU each net as a whole; on the CPU each block, which all blocks share: seconds of
    compilation instead of minutes. With `tuned` the kernels are those that were fastest when tried
    (minutes). Sums are rounded differently, so that results differ from eager ones as those of
    another machine do. torch keeps compiled code on disk. `backend` is torch.compile's: with
    "eager" nothing is fused, which is enough to count graphs.
    """
    keep_code_by_processor()
    on_cpu = device.type == "cpu"
    # Without CUDA graphs: a replay overwrites the outputs of the one before, and here these are the
    # next call's inputs.
    mode = "max-autotune-no-cudagraphs" if tuned else "default"
    # An architecture may have its blocks without a net around them.
    whole_nets = not on_cpu and any(isinstance(module, Net) for module in model.modules())
    if on_cpu:
        put_positions_first(model)
    for module in model.modules():
        if isinstance(module, Attention) and on_cpu:
            # The fused kernel's backward is three times as slow for 97 positions, faster for 900.
            module.written_out_below = 256
        if isinstance(module, Net if whole_nets else AnyBlock):
            module.compile(mode=mode, dynamic=False, backend=backend)


def run_eagerly(model: nn.Module) -> None:
    """Undo `compile_model`."""
    put_positions_first(model, False)
    for module in model.modules():
        module._compiled_call_impl = None
        if isinstance(module, Attention):
            module.written_out_below = 0


def eagerly(model: nn.Module) -> AbstractContextManager:
    """A block in which a model runs eagerly even if it is compiled. torch's compiler, which takes
    seconds to import, is left alone where nothing is."""
    if all(module._compiled_call_impl is None for module in model.modules()):
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
