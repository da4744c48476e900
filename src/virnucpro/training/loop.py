"""The training loop of a network that reads six frames; it can stop and resume at any step."""

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from virnucpro.bundles.torch_files import read_torch_file
from virnucpro.errors import RunError, reading
from virnucpro.files import write_whole
from virnucpro.training.hyperparameters import Recipe
from virnucpro.training.trainee import WORD_VECTORS, Trainee
from virnucpro.training.windows import Fragments, Library, substitute

PHASES = ("pretrain", "train")
#: Share of the steps by the length of their fragments in bases.
FRAGMENT_LENGTHS = {150: 0.2, 200: 0.1, 250: 0.1, 300: 0.2, 400: 0.1, 500: 0.3}
_LENGTHS, _ODDS = list(FRAGMENT_LENGTHS), torch.tensor(list(FRAGMENT_LENGTHS.values()))
#: Number of lines of progress in each phase.
_LINES = 20


@dataclass
class Position:
    """The position in the training.

    Attributes:
        phase: index into `PHASES`; 2 after the last phase.
        step: number of finished steps of the phase.
    """

    phase: int = 0
    step: int = 0


@dataclass
class Loop:
    """Trains a network by a recipe.

    Attributes:
        trainee: the trained module, on its device.
        recipe: sizes, steps and rates.
        library: records that fragments are cut from, on the same device.
        checkpoint: file to resume from; None to write no checkpoint.
        seconds: time after which training stops and writes a checkpoint.
        teacher: returns log odds of virus (B,) that are learned as well.
        on_line: receives lines of progress.
        on_loss: receives the loss of the classifier after each step, on the device.
        position: position in the training.
        kept: data of the caller that the checkpoint stores as well.
    """

    trainee: Trainee
    recipe: Recipe
    library: Library
    checkpoint: Path | None = None
    seconds: float = math.inf
    teacher: Callable[[Fragments], Tensor] | None = None
    on_line: Callable[[str], None] | None = print
    on_loss: Callable[[Tensor], None] | None = None
    position: Position = field(default_factory=Position)
    kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._average: dict[str, Tensor] = {}
        self._rate = torch.zeros((), device=self.device)
        self._pool: Any = None
        self._begin_phase()
        self._deadline = time.monotonic() + self.seconds
        if self.checkpoint is not None and self.checkpoint.exists():
            self._resume(self.checkpoint)

    @property
    def device(self) -> torch.device:
        """Device that the network is trained on."""
        return self.trainee.classifier.device

    @property
    def is_over(self) -> bool:
        """Whether both phases are finished."""
        return self.position.phase == len(PHASES)

    def run(self, until: int | None = None) -> None:
        """Train until the last step or until the time is over, then write the checkpoint.

        Args:
            until: step of the second phase after which to stop without a checkpoint.
        """
        while not self.is_over and time.monotonic() < self._deadline:
            self._phase(until if self.position.phase == 1 else None)
            if until is not None and (self.position.phase, self.position.step) == (1, until):
                return
            if self.position.step >= self._steps():
                self.position = Position(self.position.phase + 1)
                if not self.is_over:
                    self._begin_phase()
        self.save()

    def averaged(self) -> dict[str, Tensor]:
        """Return the classifier's weights, averaged over the steps if the recipe asks for it."""
        return self._average or {name: x.detach() for name, x in self._state().items()}

    def _begin_phase(self) -> None:
        """Discard the optimiser and the step functions of the previous phase."""
        self._optimizer = self._new_optimizer()
        self._step_functions: dict[int, Callable[[], Tensor]] = {}
        if self.device.type == "cuda":
            self._pool = torch.cuda.graph_pool_handle()  # memory that the phase's graphs share

    def _steps(self) -> int:
        return (self.recipe.pretrain_steps, self.recipe.train_steps)[self.position.phase]

    def _phase(self, until: int | None) -> None:
        name, steps = PHASES[self.position.phase], self._steps()
        last = steps if until is None else until
        every = max(1, steps // _LINES)
        window, counted = torch.zeros(2, device=self.device), 0
        started, first = time.monotonic(), self.position.step
        self.trainee.train()
        while self.position.step < last and time.monotonic() < self._deadline:
            losses = self._step()
            window += losses
            counted += 1
            if self.on_loss is not None:
                self.on_loss(losses[1].clone())
            if self.on_line is not None and self.position.step % every == 0:
                hidden, virus = (window / counted).tolist()
                rate = (self.position.step - first) / (time.monotonic() - started)
                self.on_line(
                    f"{name} {self.position.step}/{steps}  hidden bases {hidden:.3f}  "
                    f"virus {virus:.4f}  {rate:.1f} steps/s"
                )
                window.zero_()
                counted = 0

    def _step(self) -> Tensor:
        """Train one step on fragments of one length; return both losses."""
        length = _LENGTHS[int(torch.multinomial(_ODDS, 1))]
        self._rate.fill_(self.recipe.learning_rate * _schedule(self.position.step, self._steps()))
        if length not in self._step_functions:
            self._step_functions[length] = self._step_function(length)
        losses = self._step_functions[length]()
        self.position.step += 1
        return losses

    def _step_function(self, length: int) -> Callable[[], Tensor]:
        """Return a function that trains one step; on a GPU it replays a graph of all kernels.

        Capturing a graph computes nothing. Libraries need a step before it to initialise; this step
        is the first one of training.
        """
        if self.device.type != "cuda":
            return lambda: self._train_on(length)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            first = self._train_on(length).clone()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            losses = self._train_on(length)
        unreported = [first]

        def replay() -> Tensor:
            if unreported:
                return unreported.pop()
            graph.replay()
            return losses

        return replay

    def _train_on(self, length: int) -> Tensor:
        """Cut fragments, train on them and return both losses, all on the device."""
        recipe, trainee, device = self.recipe, self.trainee, self.device
        classify = PHASES[self.position.phase] == "train"
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self._optimizer.zero_grad(set_to_none=False)
        fragments = self._fragments(length)
        count = len(fragments.lengths_B)
        hidden_share_B = torch.full((count,), recipe.hidden_share, device=device)
        if classify:
            hidden_share_B = hidden_share_B * (torch.rand(count, device=device) < 0.5)
        teacher_B = self.teacher(fragments) if self.teacher and classify else None
        losses = trainee.losses(fragments, hidden_share_B, dtype, teacher_B=teacher_B)
        (recipe.losses.total(*losses) if classify else losses.bases).backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        self._optimizer.step()
        if classify and recipe.average:
            self._add_to_average()
        return torch.stack([losses.bases.detach(), losses.label.detach()])

    @torch.no_grad()
    def _fragments(self, length: int) -> Fragments:
        """Cut fragments and substitute bases."""
        recipe, device = self.recipe, self.device
        count = max(2, recipe.bases // length)
        fragments = self.library.cut(count, length)
        diverged_B = (torch.rand(count, device=device) * 1.5 - 0.5).clamp(min=0)
        share_B = recipe.substitution_rate + recipe.divergence * diverged_B
        return fragments._replace(bases_BL=substitute(fragments.bases_BL, share_B))

    @torch.no_grad()
    def _add_to_average(self) -> None:
        """Update the moving average of the weights; it starts as a copy of them."""
        state = self._state()
        if not self._average:
            self._average = {name: tensor.detach().clone() for name, tensor in state.items()}
        names = [name for name, tensor in state.items() if tensor.is_floating_point()]
        average, now = [self._average[n] for n in names], [state[n] for n in names]
        torch._foreach_lerp_(average, now, 1 - self.recipe.average)

    def _state(self) -> dict[str, Tensor]:
        """Return the classifier's weights; the vectors of codons include those of residues."""
        state = self.trainee.classifier.state_dict()
        return {**state, WORD_VECTORS: self.trainee.words()}

    def _new_optimizer(self) -> torch.optim.Optimizer:
        parameters = list(self.trainee.parameters())
        decay, is_gpu = self.recipe.weight_decay, self.device.type == "cuda"
        groups = [
            {"params": [p for p in parameters if p.dim() == 2], "weight_decay": decay},
            {"params": [p for p in parameters if p.dim() != 2], "weight_decay": 0.0},
        ]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        return torch.optim.AdamW(
            groups, lr=self._rate, betas=(0.9, 0.98), fused=is_gpu, capturable=is_gpu
        )

    def save(self) -> None:
        """Write the checkpoint, if a file is given."""
        if self.checkpoint is None:
            return
        content: dict[str, Any] = {
            "recipe": repr(self.recipe),
            "position": vars(self.position),
            "trainee": self.trainee.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average,
            "random": torch.get_rng_state(),
            "kept": self.kept,
        }
        if self.device.type == "cuda":
            content["random on the device"] = torch.cuda.get_rng_state(self.device)
        packed = io.BytesIO()
        torch.save(content, packed)
        write_whole(self.checkpoint, packed.getvalue())

    def _resume(self, path: Path) -> None:
        with reading(path, "remove it to start the training again", RunError):
            content: Any = read_torch_file(path)
        if content["recipe"] != repr(self.recipe):
            raise RunError(f"{path}: is of another recipe ({content['recipe']}); give another file")
        self.position = Position(**content["position"])
        self.trainee.load_state_dict(content["trainee"])
        self.kept = content["kept"]
        self._average = {name: x.to(self.device) for name, x in content["average"].items()}
        if not self.is_over:
            self._optimizer.load_state_dict(content["optimizer"])
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate  # each step sets this tensor
        torch.set_rng_state(content["random"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(content["random on the device"], self.device)


def _schedule(step: int, steps: int) -> float:
    """Return the factor on the peak rate: 5 % linear warm-up, then a cosine down to 2 %."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
