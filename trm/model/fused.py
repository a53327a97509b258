"""Triton kernels for what takes a step's time on a GPU beside its matrix products.

Importing this module needs Triton; `trm.model.kernels` imports it where it is used. With
TRITON_INTERPRET=1 in the environment the kernels run on the CPU, slowly, for tests. Plain code in
`trm.model.layers` computes the same; it rounds intermediate results to the type of the
activations, which stay in the type of the sums here.

No sum is made by atomics: the same input gives the same result.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

LONGEST = 128  # positions that a tile holds, beside its columns
SPLITS = 32  # parts of the columns over which gradients of weights are summed apart

_TILE = {"COLUMNS": 128, "INNER": 64, "num_warps": 8, "num_stages": 2}
_TILE_BACKWARD = {"COLUMNS": 64, "INNER": 32, "num_warps": 4, "num_stages": 2}
_TILE_WEIGHTS = {"COLUMNS": 64, "INNER": 64, "num_warps": 8, "num_stages": 2}
_TILE_PRODUCT = {"ROWS": 128, "INNER": 128, "DEPTH": 64, "num_warps": 8, "num_stages": 3}


# --- shared by the kernels ------------------------------------------------------------------------


@triton.jit
def _product(a, b, SUM: tl.constexpr):
    return tl.dot(a, b, input_precision="ieee", out_dtype=SUM)


@triton.jit
def _silu_and_slope(gate):
    """silu(gate) and its derivative."""
    share = 1.0 / (1.0 + tl.exp(-gate))
    return gate * share, share * (1.0 + gate * (1.0 - share))


# --- positions: rms(x + W_down(silu(W_gate x) · W_up x)) over the first axis of x [S, N] ----------
#
# A tile is [COLUMNS, LENGTH], transposed as it is loaded, so that the inner values are an operand
# straight from registers. LENGTH is S, padded with zeros to a power of two.


@triton.jit
def _tile_at(tile, S, N, COLUMNS: tl.constexpr, LENGTH: tl.constexpr):
    """Offsets and mask of a tile; in 64 bits, as S·N may be beyond 2^31."""
    column = tile * COLUMNS + tl.arange(0, COLUMNS).to(tl.int64)
    position = tl.arange(0, LENGTH)
    at = position[None, :].to(tl.int64) * N + column[:, None]
    return at, (position[None, :] < S) & (column[:, None] < N)


@triton.jit
def _weight_at(start, LENGTH: tl.constexpr, INNER: tl.constexpr):
    """Offsets of INNER rows of a weight [I, LENGTH]."""
    inner = start + tl.arange(0, INNER)
    return inner[:, None] * LENGTH + tl.arange(0, LENGTH)[None, :]


@triton.jit
def _mix(
    x_at, gate_at, up_at, down_at, out_at, inverse_at, S, N, inner_size, eps,
    SUM: tl.constexpr, LENGTH: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    at, inside = _tile_at(tile, S, N, COLUMNS, LENGTH)
    x = tl.load(x_at + at, mask=inside, other=0.0)
    total = x.to(SUM)
    for start in range(0, inner_size, INNER):
        weight = _weight_at(start, LENGTH, INNER)
        gate = _product(x, tl.trans(tl.load(gate_at + weight)), SUM)
        up = _product(x, tl.trans(tl.load(up_at + weight)), SUM)
        silu, _ = _silu_and_slope(gate)
        total += _product((silu * up).to(x.dtype), tl.load(down_at + weight), SUM)
    inverse = 1.0 / tl.sqrt(tl.sum(total * total, axis=1) / S + eps)
    tl.store(out_at + at, (total * inverse[:, None]).to(x.dtype), mask=inside)
    column = tile * COLUMNS + tl.arange(0, COLUMNS).to(tl.int64)
    tl.store(inverse_at + column, inverse, mask=column < N)


@triton.jit
def _mix_backward(
    grad_at, x_at, gate_at, up_at, down_at, out_at, inverse_at, dx_at, dtotal_at,
    S, N, inner_size,
    SUM: tl.constexpr, LENGTH: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """Gradients of x, and of the sum that was normalised."""
    tile = tl.program_id(0)
    at, inside = _tile_at(tile, S, N, COLUMNS, LENGTH)
    column = tile * COLUMNS + tl.arange(0, COLUMNS).to(tl.int64)
    x = tl.load(x_at + at, mask=inside, other=0.0)
    grad = tl.load(grad_at + at, mask=inside, other=0.0).to(SUM)
    out = tl.load(out_at + at, mask=inside, other=0.0).to(SUM)
    inverse = tl.load(inverse_at + column, mask=column < N, other=0.0)
    along = tl.sum(grad * out, axis=1) / S
    dtotal = (grad - out * along[:, None]) * inverse[:, None]
    dx = dtotal
    rounded = dtotal.to(x.dtype)
    tl.store(dtotal_at + at, rounded, mask=inside)
    for start in range(0, inner_size, INNER):
        weight = _weight_at(start, LENGTH, INNER)
        w_gate = tl.load(gate_at + weight)
        w_up = tl.load(up_at + weight)
        gate = _product(x, tl.trans(w_gate), SUM)
        up = _product(x, tl.trans(w_up), SUM)
        dinner = _product(rounded, tl.trans(tl.load(down_at + weight)), SUM)
        silu, slope = _silu_and_slope(gate)
        dx += _product((dinner * up * slope).to(x.dtype), w_gate, SUM)
        dx += _product((dinner * silu).to(x.dtype), w_up, SUM)
    tl.store(dx_at + at, dx.to(x.dtype), mask=inside)


@triton.jit
def _mix_weights(
    dtotal_at, x_at, gate_at, up_at, down_at, parts_at,
    S, N, inner_size, tiles,
    SUM: tl.constexpr, LENGTH: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
    SPLITS: tl.constexpr,
):  # fmt: skip
    """Gradients of INNER rows of each weight, summed over every SPLITS-th tile of columns, into
    parts [SPLITS, 3, I, LENGTH]."""
    weight = _weight_at(tl.program_id(0) * INNER, LENGTH, INNER)
    split = tl.program_id(1)
    w_gate = tl.load(gate_at + weight)
    w_up = tl.load(up_at + weight)
    w_down = tl.load(down_at + weight)
    dgate = tl.zeros((INNER, LENGTH), dtype=SUM)
    dup = tl.zeros((INNER, LENGTH), dtype=SUM)
    ddown = tl.zeros((INNER, LENGTH), dtype=SUM)
    for tile in range(split, tiles, SPLITS):
        at, inside = _tile_at(tile, S, N, COLUMNS, LENGTH)
        x = tl.load(x_at + at, mask=inside, other=0.0)
        dtotal = tl.load(dtotal_at + at, mask=inside, other=0.0)
        gate = _product(x, tl.trans(w_gate), SUM)
        up = _product(x, tl.trans(w_up), SUM)
        dinner = _product(dtotal, tl.trans(w_down), SUM)
        silu, slope = _silu_and_slope(gate)
        dgate += _product(tl.trans((dinner * up * slope).to(x.dtype)), x, SUM)
        dup += _product(tl.trans((dinner * silu).to(x.dtype)), x, SUM)
        ddown += _product(tl.trans((silu * up).to(x.dtype)), dtotal, SUM)
    size = inner_size * LENGTH
    parts_at += split * 3 * size + weight
    tl.store(parts_at, dgate)
    tl.store(parts_at + size, dup)
    tl.store(parts_at + 2 * size, ddown)


def _sums_in(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _triton_type(dtype: torch.dtype) -> tl.dtype:
    return tl.float64 if dtype == torch.float64 else tl.float32


def _padded(length: int) -> int:
    return max(16, triton.next_power_of_2(length))


def _weights_of(
    x: Tensor, w_gate_up: Tensor, w_down: Tensor
) -> tuple[Tensor, Tensor, Tensor]:  # each [I, LENGTH]
    """Gate, up and transposed down, in the type of x, with zeros for positions beyond S."""
    beyond = (0, _padded(len(x)) - len(x))
    w_gate, w_up = F.pad(w_gate_up.to(x.dtype), beyond).chunk(2)
    return w_gate, w_up, F.pad(w_down.to(x.dtype).t(), beyond).contiguous()


@torch.library.custom_op("trm::mix_positions", mutates_args=())
def mix_positions(
    x: Tensor, w_gate_up: Tensor, w_down: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """x [S, N] -> rms(x + W_down(silu(W_gate x) · W_up x)) over the first axis, [S, N], and the
    inverse of each column's rms before [N]. w_gate_up is [2I, S], w_down [S, I], of any type; S at
    most LONGEST, I a multiple of 64."""
    x = x.contiguous()
    length, columns = x.shape
    out, inverse = _mixed_like(x)
    tile = _TILE
    _mix[(triton.cdiv(columns, tile["COLUMNS"]),)](
        x, *_weights_of(x, w_gate_up, w_down), out, inverse, length, columns, w_down.shape[1], eps,
        SUM=_triton_type(inverse.dtype), LENGTH=_padded(length), **tile,
    )  # fmt: skip
    return out, inverse


@mix_positions.register_fake
def _(x: Tensor, w_gate_up: Tensor, w_down: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return _mixed_like(x)


def _mixed_like(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[1], dtype=_sums_in(x))


@torch.library.custom_op("trm::mix_positions_backward", mutates_args=())
def mix_positions_backward(
    grad: Tensor, x: Tensor, w_gate_up: Tensor, w_down: Tensor, out: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, w_gate_up and w_down. The inner values are computed again from x."""
    x, grad = x.contiguous(), grad.contiguous()
    length, columns = x.shape
    inner = w_down.shape[1]
    weights = _weights_of(x, w_gate_up, w_down)
    dx, dtotal = torch.empty_like(x), torch.empty_like(x)
    sums = {"SUM": _triton_type(inverse.dtype), "LENGTH": _padded(length)}
    tile = _TILE_BACKWARD
    _mix_backward[(triton.cdiv(columns, tile["COLUMNS"]),)](
        grad, x, *weights, out, inverse, dx, dtotal, length, columns, inner, **sums, **tile
    )
    parts = inverse.new_empty(SPLITS, 3, inner, sums["LENGTH"])
    tile = _TILE_WEIGHTS
    _mix_weights[(inner // tile["INNER"], SPLITS)](
        dtotal, x, *weights, parts, length, columns, inner,
        triton.cdiv(columns, tile["COLUMNS"]), SPLITS=SPLITS, **sums, **tile,
    )  # fmt: skip
    dgate, dup, ddown = parts.sum(0)[..., :length]
    dgate_up = torch.cat((dgate, dup)).to(w_gate_up.dtype)
    return dx, dgate_up, ddown.t().contiguous().to(w_down.dtype)


@mix_positions_backward.register_fake
def _(
    grad: Tensor, x: Tensor, w_gate_up: Tensor, w_down: Tensor, out: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(t.new_empty(t.shape) for t in (x, w_gate_up, w_down))


def _keep_for_mixing(ctx, inputs, output) -> None:
    x, w_gate_up, w_down, _ = inputs
    ctx.save_for_backward(x, w_gate_up, w_down, *output)
    ctx.mark_non_differentiable(output[1])


def _mixing_gradients(ctx, grad: Tensor, _: Tensor) -> tuple:
    return *torch.ops.trm.mix_positions_backward(grad, *ctx.saved_tensors), None


mix_positions.register_autograd(_mixing_gradients, setup_context=_keep_for_mixing)


# --- SwiGLU's first half: silu(x W_gate^T) · x W_up^T, rows x [M, K] ------------------------------


@triton.jit
def _gate_and_up(
    x_at, weight_at, row, inner, M, K, inner_size,
    SUM: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    gate = tl.zeros((ROWS, INNER), dtype=SUM)
    up = tl.zeros((ROWS, INNER), dtype=SUM)
    for start in range(0, K, DEPTH):
        k = start + tl.arange(0, DEPTH)
        x = tl.load(
            x_at + row[:, None] * K + k[None, :],
            mask=(row[:, None] < M) & (k[None, :] < K),
            other=0.0,
        )
        at = inner[None, :] * K + k[:, None]
        inside = (inner[None, :] < inner_size) & (k[:, None] < K)
        gate += _product(x, tl.load(weight_at + at, mask=inside, other=0.0), SUM)
        up += _product(x, tl.load(weight_at + inner_size * K + at, mask=inside, other=0.0), SUM)
    return gate, up


@triton.jit
def _gate(
    x_at, weight_at, out_at, M, K, inner_size,
    SUM: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    # Programs of the same rows run one after the other and share them in the cache.
    tiles = tl.cdiv(inner_size, INNER)
    row = (tl.program_id(0) // tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inner = (tl.program_id(0) % tiles) * INNER + tl.arange(0, INNER)
    gate, up = _gate_and_up(x_at, weight_at, row, inner, M, K, inner_size, SUM, ROWS, INNER, DEPTH)
    silu, _ = _silu_and_slope(gate)
    at = row[:, None] * inner_size + inner[None, :]
    inside = (row[:, None] < M) & (inner[None, :] < inner_size)
    tl.store(out_at + at, (silu * up).to(out_at.dtype.element_ty), mask=inside)


@triton.jit
def _gate_backward(
    grad_at, x_at, weight_at, out_at, M, K, inner_size,
    SUM: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Gradients of gate and up, side by side [M, 2I]."""
    tiles = tl.cdiv(inner_size, INNER)
    row = (tl.program_id(0) // tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inner = (tl.program_id(0) % tiles) * INNER + tl.arange(0, INNER)
    gate, up = _gate_and_up(x_at, weight_at, row, inner, M, K, inner_size, SUM, ROWS, INNER, DEPTH)
    silu, slope = _silu_and_slope(gate)
    inside = (row[:, None] < M) & (inner[None, :] < inner_size)
    at = row[:, None] * inner_size + inner[None, :]
    grad = tl.load(grad_at + at, mask=inside, other=0.0).to(SUM)
    out_at += row[:, None] * 2 * inner_size + inner[None, :]
    tl.store(out_at, (grad * up * slope).to(out_at.dtype.element_ty), mask=inside)
    tl.store(out_at + inner_size, (grad * silu).to(out_at.dtype.element_ty), mask=inside)


def _launch_product(kernel, pointers: tuple[Tensor, ...], rows: int, weight: Tensor) -> None:
    inner, depth = weight.shape[0] // 2, weight.shape[1]
    tile = _TILE_PRODUCT
    tiles = triton.cdiv(rows, tile["ROWS"]) * triton.cdiv(inner, tile["INNER"])
    sums = _triton_type(_sums_in(weight))
    kernel[(tiles,)](*pointers, rows, depth, inner, SUM=sums, **tile)


@torch.library.custom_op("trm::gated_product", mutates_args=())
def gated_product(x: Tensor, weight: Tensor) -> Tensor:
    """silu(x W_gate^T) · x W_up^T: x [M, K], weight [2I, K] of the same type -> [M, I]."""
    out = x.new_empty(len(x), len(weight) // 2)
    _launch_product(_gate, (x.contiguous(), weight.contiguous(), out), len(x), weight)
    return out


@gated_product.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0] // 2)


@torch.library.custom_op("trm::gated_product_backward", mutates_args=())
def gated_product_backward(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Gradient of x W^T, [M, 2I]; the product is computed again."""
    out = x.new_empty(len(x), len(weight))
    pointers = (grad.contiguous(), x.contiguous(), weight.contiguous(), out)
    _launch_product(_gate_backward, pointers, len(x), weight)
    return out


@gated_product_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def _keep_for_gating(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gating_gradients(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, weight = ctx.saved_tensors
    of_product = torch.ops.trm.gated_product_backward(grad, x, weight)
    return of_product @ weight, of_product.t() @ x


gated_product.register_autograd(_gating_gradients, setup_context=_keep_for_gating)
