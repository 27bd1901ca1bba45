"""What a run is told: frozen, kept in the run's folder, and the same again when the run resumes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from services.trainer.masking import Recipe


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lora(_Section):
    """Hu et al. 2021; rank 16, and alpha twice that, as LLM2Vec §3.1 and D.1."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.05, ge=0.0, lt=1.0)
    """The published script's default."""


class Optimiser(_Section):
    """AdamW (Loshchilov and Hutter 2019), its rate falling in a line to nothing: the published script sets neither
    optimiser nor schedule, so these are the defaults of the Hugging Face ``TrainingArguments`` that it runs with."""

    learning_rate: float = Field(default=5e-5, gt=0.0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    gradient_norm: float = Field(default=1.0, gt=0.0)
    """Gradients together are scaled down to this length."""
    warmup_steps: int = Field(default=0, ge=0)
    decay_steps: int | None = Field(default=None, ge=1)
    """When the rate reaches nothing; None: with the last step. The published runs stop after 1,000 steps of a decay
    over three passes through their text."""


class Training(_Section):
    """What every loop needs."""

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=1000, ge=1)
    """D.1."""
    batch: int = Field(default=32, ge=1)
    """Rows that a step learns from; D.1."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Rows that are computed at once; None: as many as memory has room for."""
    gradient_checkpointing: bool | None = None
    """Whether activations are computed twice rather than kept; None: when memory asks for it."""
    lora: Lora = Lora()
    optimiser: Optimiser = Optimiser()
    report_steps: int = Field(default=10, ge=1)
    """Losses are read back, checked and told so often."""
    checkpoint_steps: int = Field(default=100, ge=1)


class Mntp(Training):
    """Masked next-token prediction: LLM2Vec §2.2 and D.1."""

    block_tokens: int = Field(default=512, ge=2)
    compiled: bool = False
    """Whether the decoder goes through ``torch.compile`` first: minutes, for many steps. It draws other dropout
    from the same seed."""
    recipe: Recipe | None = None
    """None: the published one for the model's family."""


class SimCse(Training):
    """Unsupervised contrastive learning (Gao et al. 2021) as in LLM2Vec §2.3 and the repository's
    ``train_configs/simcse``: dropout 0.3, a loss scale of 20, which is a temperature of 0.05, 128 sentences a step."""

    batch: int = Field(default=128, ge=2)
    optimiser: Optimiser = Optimiser(learning_rate=3e-5)
    dropout: float = Field(default=0.3, gt=0.0, lt=1.0)
    """Of attention weights: what makes two readings of one sentence differ."""
    temperature: float = Field(default=0.05, gt=0.0)
    sentence_tokens: int = Field(default=128, ge=1)
    """Longer sentences are cut."""


class Sft(Training):
    """Supervised fine-tuning on questions and answers. Rate and batch are those of QLoRA's runs at 7 B (Dettmers et al.
    2023, appendix B); how many steps follows from the data (``sft.fitted``)."""

    batch: int = Field(default=16, ge=1)
    optimiser: Optimiser = Optimiser(learning_rate=2e-4)
    row_tokens: int = Field(default=1024, ge=2)
    """Longer exchanges are left out."""
    system: str = ""
    """What stands before every question, where the model is told something there when it is asked."""
