"""Hyperparameters of a network that reads six frames and is trained end to end."""

from dataclasses import dataclass, field, replace

from virnucpro.classify.classifier import ClassifierConfig
from virnucpro.encoders.six_frames import SixFramesConfig
from virnucpro.sequences import FrameRule
from virnucpro.training.trainee import Losses

#: Chunk lengths that the fragments cover, the default first.
CHUNK_LENGTHS = (500, 300)
ALL_FRAMES = FrameRule("all")


def sized(frame_layers: int, frame_width: int, layers: int, width: int) -> ClassifierConfig:
    """Return the sizes of a network that reads six frames."""
    config = SixFramesConfig(frame_layers, frame_width, layers, width, head_width=32)
    return ClassifierConfig(config, None, head_hidden=128)


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the trained network.

    Attributes:
        network: sizes of the network.
        pretrain_steps: number of steps that only restore hidden windows.
        train_steps: number of steps that train the classifier.
        bases: bases of one step.
        learning_rate: peak of each phase, after a linear warm-up and before a cosine.
        hidden_share: share of the windows of a fragment that is hidden.
        losses: weights of the losses.
        substitution_rate: share of the bases that is replaced in a fragment.
        divergence: largest further share replaced in two of three fragments.
        weight_decay: weight decay of matrices.
        average: decay of the moving average of the weights per step; 0 keeps the last weights.
        seed: seed of weights, fragments and hidden windows.
    """

    network: ClassifierConfig = field(default_factory=lambda: sized(2, 96, 4, 192))
    pretrain_steps: int = 1_230
    train_steps: int = 12_300
    bases: int = 600_000
    learning_rate: float = 8e-4
    hidden_share: float = 0.15
    losses: Losses = field(default_factory=Losses)
    substitution_rate: float = 0.003
    divergence: float = 0.2
    weight_decay: float = 0.05
    average: float = 0.999
    seed: int = 1

    def scaled(self, factor: float) -> "Recipe":
        """Return the recipe with `factor` times as many steps."""
        return replace(
            self,
            pretrain_steps=round(self.pretrain_steps * factor),
            train_steps=max(1, round(self.train_steps * factor)),
        )
