"""The settings of a training: every key, its type and its limits, checked by pydantic.

Field names are those of the published code, so that its commands and its saved `all_config.yaml`
are understood. Anything unknown is an error before any work starts.
"""

from __future__ import annotations

from contextlib import suppress
from math import isqrt
from typing import Any, Literal

import pydantic
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from trm.config.architectures import architecture_names, having, options_of
from trm.errors import TrmError


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


class LossConfig(Strict):
    name: Literal["losses@ACTLossHead"] = "losses@ACTLossHead"
    loss_type: Literal["stablemax_cross_entropy", "softmax_cross_entropy"] = (
        "stablemax_cross_entropy"
    )
    label_smoothing: float = Field(0, ge=0, lt=1)
    halting_weight: float = Field(0.5, ge=0)


OWN_OPTIONS = (
    "lambda_",
    "noise_scale",
    "H_init_std",
    "L_init_std",
    "num_heads_t",
    "head_dim",
    "head_dim_t",
    "add_tokens",
    "dropout",
    "equivariant_symbols",
    "bounded_glu",
    "num_chains",
)
"""Settings of single architectures, which list them as options. Those of another architecture do
not have them in their files."""

PUBLISHED_AS = {"loops": "halt_max_steps", "num_layers": "L_layers", "trm_equi": "se_rrm"}
"""Names here of settings, and of an architecture, that a published code names in its own way."""


class ArchConfig(Strict):
    """`arch.*` (docs/specification.md#model); defaults are those of the published `arch=trm`."""

    name: str = "recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1"
    loss: LossConfig = LossConfig()
    halt_exploration_prob: float = Field(0.1, ge=0, le=1)
    halt_max_steps: int = Field(16, ge=1)
    H_cycles: int = Field(3, ge=1)
    L_cycles: int = Field(6, ge=1)
    H_layers: int = Field(0, ge=0)
    L_layers: int = Field(2, ge=0)
    hidden_size: int = Field(512, ge=1)
    num_heads: int = Field(8, ge=1)
    expansion: float = Field(4, gt=0)
    puzzle_emb_ndim: int = Field(512, ge=0)
    puzzle_emb_len: int = Field(16, ge=0)
    pos_encodings: Literal["rope", "rope2d", "learned", "none"] = "rope"
    forward_dtype: Literal["bfloat16", "float16", "float32", "float64"] = "bfloat16"
    mlp_t: bool = False
    no_ACT_continue: bool = True
    one_step_gradient: bool = False
    rms_norm_eps: float = Field(1e-5, gt=0)
    rope_theta: float = Field(10000.0, gt=0)
    # Of single architectures: OWN_OPTIONS.
    lambda_: float = Field(0.95, gt=0, le=1)
    noise_scale: float = Field(0.01, ge=0)
    H_init_std: float = Field(1.0, ge=0)
    L_init_std: float = Field(1.0, ge=0)
    num_heads_t: int = Field(2, ge=1)
    head_dim: int = Field(64, ge=1)
    head_dim_t: int = Field(64, ge=1)
    add_tokens: int = Field(0, ge=0)
    dropout: float = Field(0, ge=0, lt=1)
    equivariant_symbols: bool = True
    bounded_glu: bool = False
    num_chains: int = Field(4, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _published_names(cls, values: Any) -> Any:
        """URM's names of two settings that the others have too."""
        if not isinstance(values, dict):
            return values
        return {PUBLISHED_AS.get(key, key): value for key, value in values.items()}

    @model_serializer(mode="wrap")
    def _without_options_of_others(self, values: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {k: v for k, v in values(self).items() if k not in OWN_OPTIONS or self.has(k)}

    @property
    def architecture(self) -> str:
        """`trm` of `recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1`, or a bare name."""
        module = self.name.split("@")[0].split(".")[-1]
        return PUBLISHED_AS.get(module, module)

    @property
    def prefix_len(self) -> int:
        """Positions that the puzzle embedding takes in front of the tokens."""
        if self.puzzle_emb_ndim == 0 or self.has("puzzle_emb_added"):
            return 0
        needed = -(-self.puzzle_emb_ndim // self.hidden_size)
        if not self.has("puzzle_emb_len"):
            return needed
        return self.puzzle_emb_len or needed

    def has(self, option: str) -> bool:
        """Whether the architecture has an option that not every one has."""
        return option in (options_of(self.architecture) or ())

    @model_validator(mode="after")
    def _consistent(self) -> ArchConfig:
        if options_of(self.architecture) is None:
            raise ValueError(
                f"arch.name={self.name!r} is not an architecture; the architectures are "
                f"{', '.join(architecture_names())}"
            )
        if self.hidden_size < self.num_heads:
            raise ValueError(
                f"arch.num_heads={self.num_heads} is more than arch.hidden_size={self.hidden_size}"
            )
        for option in ("one_step_gradient", "mlp_t", *OWN_OPTIONS):
            changed = getattr(self, option) != type(self).model_fields[option].default
            if changed and not self.has(option):
                raise ValueError(f"arch.{option} is an option of {having(option)}")
        self._check_positions()
        if self.has("puzzle_emb_added"):
            return self
        if self.puzzle_emb_ndim > self.prefix_len * self.hidden_size:
            raise ValueError(
                f"arch.puzzle_emb_ndim={self.puzzle_emb_ndim} does not fit in arch.puzzle_emb_len="
                f"{self.puzzle_emb_len} positions of arch.hidden_size={self.hidden_size}"
            )
        return self

    @property
    def width_of_heads(self) -> int:
        """Width of a head of the attention over positions."""
        return self.head_dim if self.has("head_dim") else self.hidden_size // self.num_heads

    def _check_positions(self) -> None:
        if self.pos_encodings == "rope2d" and not self.has("rope2d"):
            raise ValueError(f"arch.pos_encodings=rope2d is an option of {having('rope2d')}")
        if self.pos_encodings == "rope" and not self.mlp_t and self.width_of_heads % 2:
            raise ValueError(f"rotary positions need an even head size, not {self.width_of_heads}")
        if self.pos_encodings == "rope2d" and self.width_of_heads % 4:
            raise ValueError(
                "rotary positions in rows and columns need a head size that is divisible by 4, "
                f"not {self.width_of_heads}"
            )


class ModelConfig(ArchConfig):
    """An architecture together with the dataset's sizes, which it must fit."""

    seq_len: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    num_puzzle_identifiers: int = Field(ge=1)

    @model_validator(mode="after")
    def _fits_the_board(self) -> ModelConfig:
        if self.pos_encodings == "rope2d" and isqrt(self.seq_len) ** 2 != self.seq_len:
            raise ValueError(
                f"arch.pos_encodings=rope2d needs square boards, not {self.seq_len} cells: "
                "set arch.pos_encodings=rope"
            )
        return self

    @staticmethod
    def of(arch: ArchConfig, seq_len: int, vocab_size: int, num_puzzle_identifiers: int) -> Any:
        return ModelConfig(
            **arch.model_dump(),
            seq_len=seq_len,
            vocab_size=vocab_size,
            num_puzzle_identifiers=num_puzzle_identifiers,
        )


class EvaluatorConfig(Strict):
    """`{name: arc@ARC}`: ARC voting after each evaluation."""

    name: Literal["arc@ARC"]
    pass_Ks: tuple[int, ...] = (1, 2, 5, 10, 100, 1000)

    @field_validator("pass_Ks")
    @classmethod
    def _positive(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        if not ks or min(ks) < 1:
            raise ValueError(f"pass_Ks={list(ks)} must be positive numbers")
        return ks


class DepthStage(Strict):
    """From `start`, a share of all steps, on: the recursion of a training step."""

    start: float = Field(ge=0, lt=1)
    H_cycles: int = Field(ge=1)
    L_cycles: int = Field(ge=1)


SAVABLE_OUTPUTS = (
    "inputs",
    "labels",
    "puzzle_identifiers",
    "preds",
    "logits",
    "q_halt_logits",
    "q_continue_logits",
)


Embeddings = Literal["saved", "reinitialise"]
"""A checkpoint's puzzle embeddings: as they are saved, or each the mean of the saved ones."""

Kernels = Literal["plain", "positions_first", "fused"]
"""Which code computes the nets (`trm.model.kernels`)."""


IMMATERIAL = (
    "project_name",
    "run_name",
    "checkpoint_path",
    "resume",
    "save_every_minutes",
    "save_every_steps",
    "keep_snapshots",
    "device",
    "compile",
    "kernels",
    "wandb",
    "log_interval",
    "micro_batch_size",
    "evaluators",
    "data_paths_test",
    "min_eval_interval",
    "checkpoint_every_eval",
    "eval_save_outputs",
    "eval_halting",
    "eval_halting_threshold",
    "eval_raw",
    "wandb_group",
)
"""Settings that a run may change in its middle: they decide no weight."""


class TrainConfig(Strict):
    """One training run. The defaults are those of config/pretrain.yaml; they are repeated below for
    keys that a saved config may lack because it is older or of the published code."""

    arch: ArchConfig
    data_paths: list[str] = Field(min_length=1)
    data_paths_test: list[str] = []
    evaluators: list[EvaluatorConfig]

    global_batch_size: int = Field(ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    epochs: int = Field(ge=1)
    eval_interval: int | None = Field(ge=1)
    min_eval_interval: int = Field(0, ge=0)
    checkpoint_every_eval: bool

    lr: float = Field(ge=0)
    lr_min_ratio: float = Field(ge=0)
    lr_warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    beta1: float = Field(ge=0, lt=1)
    beta2: float = Field(ge=0, lt=1)
    optimizer: Literal["adam_atan2", "adamw", "muon", "muon_adamw"] = "adam_atan2"
    muon_lr: float | None = Field(None, ge=0)
    muon_weight_decay: float | None = Field(None, ge=0)
    max_grad_norm: float | None = Field(None, gt=0)
    puzzle_emb_lr: float = Field(ge=0)
    puzzle_emb_weight_decay: float = Field(ge=0)

    ema: bool = False
    ema_rate: float = Field(0.999, ge=0, lt=1)
    ema_warmup: bool = False
    ema_start: int = Field(0, ge=0)
    depth_schedule: list[DepthStage] = []
    supervision_decay: float | None = Field(None, gt=0, le=1)
    random_halt_prob: float = Field(0, ge=0, lt=1)
    batches_in_flight: int = Field(1, ge=1)
    freeze_weights: bool = False
    freeze_weights_for: float = Field(0, ge=0, lt=1)
    seed: int = Field(0, ge=0, lt=2**64)

    resume: Literal[True, False, "or_restart"] = True
    save_every_minutes: float = Field(15, gt=0)
    save_every_steps: int | None = Field(None, ge=1)
    keep_snapshots: int = Field(2, ge=1)

    project_name: str | None = None
    run_name: str | None = None
    load_checkpoint: str | None = None
    puzzle_embeddings: Embeddings = "saved"
    checkpoint_path: str | None = None
    eval_save_outputs: list[Literal[SAVABLE_OUTPUTS]] = []  # type: ignore[valid-type]
    eval_halting: Literal["fixed", "act"] = "fixed"
    eval_halting_threshold: float = Field(0, allow_inf_nan=False)
    eval_raw: bool = False

    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    compile: Literal["auto", "on", "max", "off"] = "auto"
    kernels: Kernels = "plain"
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    wandb_group: str | None = None
    log_interval: int = Field(10, ge=1)

    @field_validator("min_eval_interval", mode="before")
    @classmethod
    def _none_is_zero(cls, value: Any) -> Any:
        return 0 if value is None else value

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.eval_interval is not None and self.epochs % self.eval_interval:
            raise ValueError(
                f"epochs={self.epochs} is not a multiple of eval_interval={self.eval_interval}; "
                f"the nearest are {_neighbours(self.epochs, self.eval_interval)}"
            )
        for key in ("muon_lr", "muon_weight_decay"):
            if getattr(self, key) is not None and not self.optimizer.startswith("muon"):
                raise ValueError(f"{key} is an option of optimizer=muon and optimizer=muon_adamw")
        if self.freeze_weights and self.arch.puzzle_emb_ndim == 0:
            raise ValueError(
                "freeze_weights=True with arch.puzzle_emb_ndim=0 leaves nothing to learn"
            )
        if self.freeze_weights_for and self.arch.puzzle_emb_ndim == 0:
            raise ValueError(
                "freeze_weights_for with arch.puzzle_emb_ndim=0 leaves nothing to learn at first"
            )
        if self.eval_save_outputs and self.eval_halting == "act":
            raise ValueError("eval_save_outputs needs eval_halting=fixed")
        if self.eval_halting_threshold != 0 and self.eval_halting == "fixed":
            raise ValueError("eval_halting_threshold needs eval_halting=act")
        if self.depth_schedule:
            self._check_depth_schedule()
        return self

    def _check_depth_schedule(self) -> None:
        starts = [stage.start for stage in self.depth_schedule]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(
                f"depth_schedule starts at {starts}; its first stage starts at 0, each other after "
                "the one before"
            )
        if not self.arch.has("depth_schedule"):
            raise ValueError(f"depth_schedule is an option of {having('depth_schedule')}")

    def check_world_size(self, world_size: int) -> None:
        if self.global_batch_size % world_size:
            raise TrmError(
                f"global_batch_size={self.global_batch_size} is not divisible by the "
                f"{world_size} processes of this run; choose a multiple of {world_size}"
            )
        local = self.global_batch_size // world_size
        if self.micro_batch_size is not None and local % self.micro_batch_size:
            raise TrmError(
                f"micro_batch_size={self.micro_batch_size} does not divide the {local} rows that "
                "each process has of a batch"
            )

    def differences(self, other: dict[str, Any]) -> list[str]:
        """`key: other's value, not own` for the settings that decide the weights.

        A key that `other`, of an earlier version, does not know has its default there.
        """
        with suppress(pydantic.ValidationError):
            other = TrainConfig(**other).model_dump(mode="json")
        mine, theirs = (_flat(c) for c in (self.model_dump(mode="json"), other))
        return [
            f"{key} {theirs.get(key)!r} there, {mine.get(key)!r} here"
            for key in sorted({*mine, *theirs})
            if key.split(".")[0] not in IMMATERIAL and mine.get(key) != theirs.get(key)
        ]

    @property
    def epochs_per_iteration(self) -> int:
        return self.eval_interval or self.epochs

    @property
    def test_paths(self) -> list[str]:
        return self.data_paths_test or self.data_paths


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'arch': {'L_cycles': 6}} as {'arch.L_cycles': 6}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json")
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _neighbours(epochs: int, interval: int) -> str:
    below = epochs // interval * interval
    return " and ".join(str(n) for n in (below, below + interval) if n > 0)
