"""Steps of training end to end, which may stop at any moment and go on from a checkpoint."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from virnucpro.errors import RunError
from virnucpro.training.fragments import FrameBatch
from virnucpro.training.trainee import Teacher, Trainee

if TYPE_CHECKING:
    from virnucpro.training.recipe import Recipe

PHASES = ("pretrain", "train")
#: Lines of progress in each phase.
_LINES = 20


@dataclass
class Position:
    """How far training is.

    Attributes:
        phase: index into `PHASES`; 2 when all is done.
        step: steps done of it.
        times_resumed: each time other fragments are cut.
    """

    phase: int = 0
    step: int = 0
    times_resumed: int = 0


@dataclass
class Loop:
    """Training by a recipe.

    Attributes:
        trainee: on its device.
        recipe: what to do.
        checkpoint: where to keep all that is needed to go on; None to keep nothing.
        seconds: after which to stop, with a checkpoint.
        teacher: whose answers are learned too.
        position: how far it is.
    """

    trainee: Trainee
    recipe: "Recipe"
    checkpoint: Path | None = None
    seconds: float = math.inf
    teacher: Teacher | None = None
    position: Position = field(default_factory=Position)

    def __post_init__(self) -> None:
        self._average: dict[str, Tensor] = {}
        self._optimizer = self._new_optimizer()
        self._deadline = time.monotonic() + self.seconds
        if self.checkpoint is not None and self.checkpoint.exists():
            self._resume(self.checkpoint)

    @property
    def is_over(self) -> bool:
        """Whether both phases are done."""
        return self.position.phase == len(PHASES)

    def run(self, batches_of: Callable[[int], Iterator[FrameBatch]]) -> None:
        """Train until all is done or the time is over.

        Args:
            batches_of: starts an endless stream of batches; its argument differs each time that
                training goes on.
        """
        stream = batches_of(self.position.times_resumed)
        while not self.is_over and time.monotonic() < self._deadline:
            self._phase(stream)
            if self.position.step >= self._steps():
                self.position = Position(self.position.phase + 1, 0, self.position.times_resumed)
                self._optimizer = self._new_optimizer()
        if self.checkpoint is not None:
            self._save(self.checkpoint)

    def averaged(self) -> dict[str, Tensor]:
        """Return the classifier's weights, averaged over the steps where the recipe says so."""
        return self._average or self.trainee.classifier.state_dict()

    def _steps(self) -> int:
        return (self.recipe.pretrain_steps, self.recipe.train_steps)[self.position.phase]

    def _phase(self, stream: Iterator[FrameBatch]) -> None:
        name, steps = PHASES[self.position.phase], self._steps()
        every = max(1, steps // _LINES)
        window = torch.zeros(2, device=self.trainee.classifier.device)
        started, first = time.monotonic(), self.position.step
        self.trainee.train()
        while self.position.step < steps and time.monotonic() < self._deadline:
            window += self._step(next(stream), classify=name == "train")
            if self.position.step % every == 0:
                hidden, virus = (window / every).tolist()
                rate = (self.position.step - first) / (time.monotonic() - started)
                print(
                    f"{name} {self.position.step}/{steps}  hidden tokens {hidden:.3f}  "
                    f"virus {virus:.4f}  {rate:.1f} steps/s",
                    flush=True,
                )
                window.zero_()

    def _step(self, batch: FrameBatch, *, classify: bool) -> Tensor:
        """Do one step; return both losses."""
        recipe, trainee = self.recipe, self.trainee
        device = trainee.classifier.device
        rate = recipe.learning_rate * _schedule(self.position.step, self._steps())
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            restore, decide = trainee.losses(
                batch.to(device), recipe.mask_rate, classify=classify, teacher=self.teacher
            )
        (decide + recipe.mask_weight * restore if classify else restore).backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.position.step += 1
        if classify and recipe.average:
            self._add_to_average()
        return torch.stack([restore.detach(), decide.detach()])

    @torch.no_grad()
    def _add_to_average(self) -> None:
        """Let the average follow the weights; less slowly at first."""
        state = self.trainee.classifier.state_dict()
        kept = min(self.recipe.average, self.position.step / (self.position.step + 10))
        for name, tensor in state.items():
            before = self._average.get(name)
            if before is None or not tensor.is_floating_point():
                self._average[name] = tensor.detach().clone()
            else:
                before.lerp_(tensor, 1 - kept)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        parameters = list(self.trainee.parameters())
        groups: Iterable[dict[str, Any]] = (
            {
                "params": [p for p in parameters if p.dim() == 2],
                "weight_decay": self.recipe.weight_decay,
            },
            {"params": [p for p in parameters if p.dim() != 2], "weight_decay": 0.0},
        )
        fused = self.trainee.classifier.device.type == "cuda"
        rate = self.recipe.learning_rate
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=fused)

    def _save(self, path: Path) -> None:
        content = {
            "recipe": repr(self.recipe),
            "position": vars(self.position),
            "trainee": self.trainee.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average,
        }
        beside = path.with_name(path.name + ".partial")
        torch.save(content, beside)
        beside.replace(path)

    def _resume(self, path: Path) -> None:
        device = self.trainee.classifier.device
        content = torch.load(path, map_location=device, weights_only=True)
        if content["recipe"] != repr(self.recipe):
            raise RunError(f"{path}: is of another recipe ({content['recipe']}); give another file")
        self.position = Position(**content["position"])
        self.position.times_resumed += 1
        self.trainee.load_state_dict(content["trainee"])
        self._average = content["average"]
        if not self.is_over:
            self._optimizer.load_state_dict(content["optimizer"])


def _schedule(step: int, steps: int) -> float:
    """Return the share of the peak rate: 5 % linear warm-up, then a cosine to 2 %."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
