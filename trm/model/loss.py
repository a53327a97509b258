"""The loss of one supervision step and the counts its metrics are made of
(docs/specification.md#loss)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from trm.data.batches import IGNORE_LABEL
from trm.model.act import Carry, StepOutput
from trm.model.layers import at_least_fp32


def _widest_float(device: torch.device) -> torch.dtype:
    # The published loss is in float64, which Apple's MPS does not have.
    return torch.float32 if device.type == "mps" else torch.float64


def stablemax_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0) -> Tensor:
    """-log(s(x_label) / Σ s(x)), s(x) = x+1 for x ≥ 0, 1/(1-x) below (arXiv 2501.04697).

    logits [B, S, V], labels [B, S]; returns [B, S], zero where the label is ignored. A share
    `label_smoothing` of the target is spread evenly over all V tokens (arXiv 1512.00567).
    """
    x = logits.to(_widest_float(logits.device))
    # Clamped, as the branch not taken would divide by zero at x = 1, and 0 · ∞ is NaN in the
    # gradient: in bfloat16 a logit of exactly 1 is an everyday value.
    s = torch.where(x < 0, 1 / (1 - x.clamp(max=0)), x + 1)
    log_p = torch.log(s / s.sum(dim=-1, keepdim=True))
    scored = labels != IGNORE_LABEL
    index = labels.masked_fill(~scored, 0).long()
    picked = log_p.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    if label_smoothing > 0:
        picked = (1 - label_smoothing) * picked + label_smoothing * log_p.mean(-1)
    return torch.where(scored, -picked, 0.0)


def softmax_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0) -> Tensor:
    """Ordinary cross-entropy in fp32 at least; shapes as `stablemax_cross_entropy`."""
    flat = F.cross_entropy(
        at_least_fp32(logits).flatten(0, -2),
        labels.long().flatten(),
        ignore_index=IGNORE_LABEL,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return flat.view(labels.shape)


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "stablemax_cross_entropy": stablemax_cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
}


def decaying_weights(steps: Tensor, decay: float, maximum: int) -> Tensor:
    """Weights [B] of the losses of rows at their supervision steps [B], from 1 to `maximum`:
    decay^(t − 1), divided by the sum over all steps (arXiv 2511.08653)."""
    return decay ** (steps - 1) / sum(decay**t for t in range(maximum))


def act_loss(
    loss_type: str,
    carry: Carry,
    output: StepOutput,
    label_smoothing: float = 0,
    weights: Tensor | None = None,
    halting_weight: float = 0.5,
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Loss summed over the rows, metrics as sums over rows, predictions [B, S].

    `weights` [B] are of the rows in the loss, not in the metrics; `halting_weight` is that of the
    losses of halting and continuing. Metrics other than losses count only rows that halted at this
    step and have a label: divide them by `count`; divide the losses by the global batch size.
    """
    labels = carry.current.labels
    scored = labels != IGNORE_LABEL
    labelled = scored.sum(-1)  # [B]
    divisor = labelled.clamp_min(1)
    with torch.no_grad():
        preds = output.logits.argmax(dim=-1)  # [B, S]
        right = scored & (preds == labels)
        fully_right = right.sum(-1) == labelled
        valid = carry.halted & (labelled > 0)
        share = (right.float() / divisor.unsqueeze(-1)).sum(-1)
        metrics = {
            "count": valid.sum(),
            "accuracy": torch.where(valid, share, 0.0).sum(),
            "exact_accuracy": (valid & fully_right).sum(),
            "q_halt_accuracy": (valid & ((output.q_halt >= 0) == fully_right)).sum(),
            "steps": torch.where(valid, carry.steps, 0).sum(),
        }

    token_losses = LOSSES[loss_type](output.logits, labels, label_smoothing)  # [B, S]
    token_losses = token_losses / divisor.unsqueeze(-1)
    lm_loss = token_losses.sum()
    q_losses = _q_losses(output, fully_right, "sum")
    metrics |= {"lm_loss": lm_loss.detach()} | {k: loss.detach() for k, loss in q_losses.items()}
    if weights is None:
        return lm_loss + halting_weight * sum(q_losses.values()), metrics, preds
    q_of_rows = sum(_q_losses(output, fully_right, "none").values())
    return (weights * (token_losses.sum(-1) + halting_weight * q_of_rows)).sum(), metrics, preds


def _q_losses(output: StepOutput, fully_right: Tensor, reduction: str) -> dict[str, Tensor]:
    """The losses of halting and, where that is learned, of continuing."""
    targets = {"q_halt_loss": (output.q_halt, fully_right.to(output.q_halt.dtype))}
    if output.target_q_continue is not None:
        targets["q_continue_loss"] = output.q_continue, output.target_q_continue
    return {
        name: F.binary_cross_entropy_with_logits(logits, target, reduction=reduction)
        for name, (logits, target) in targets.items()
    }
