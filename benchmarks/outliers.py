"""Random weights under which an ESM-2 shows the outliers that trained models show.

(a) 6 channels in 2,560 of the residual stream hold 30 to 100 times the median: by the embedding,
    then by biases of `out` and `down` that keep step with the growing stream.
(b) LayerNorm weights are log-normal (0.5). Even layers and the last norm damp the outlier channels
    to 3 %; in odd layers their columns of `qkv` and `up` are a quarter as large instead.
(c) Weights follow Student's t(5): rows hold 8 to 50 standard deviations. A value channel in 128 is
    4 times larger.
(d) A hidden unit in 1,024 gets 20 to 50 times the usual input.
(e) Attention logits of each head have their own standard deviation, 0.3 to 4, so that some heads
    look at one token and some at all.
"""

import math

import torch
from torch import Tensor, nn

from virnucpro.encoders import Esm2

#: What each half of a block adds to the residual stream, as a share of its first size.
_GROWTH = 0.5


@torch.no_grad()
def fill_with_outliers(network: Esm2, seed: int = 0) -> None:
    """Draw all weights of a network anew, on its device."""
    _Filler(network, seed).fill()


class _Filler:
    def __init__(self, network: Esm2, seed: int) -> None:
        self.network, self.width = network, network.config.width
        self.device = network.embedding.weight.device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.channels = self._some(self.width, max(2, round(self.width * 6 / 2560)))
        signs = self._normal(len(self.channels)).sign()
        self.targets = 0.6745 * (30.0 + 70.0 * self._uniform(len(self.channels))) * signs
        spread = 1.0 + float(self.targets.square().sum()) / self.width
        self.operand = math.sqrt(math.exp(2 * 0.5**2) / spread + 0.1**2)

    def fill(self) -> None:
        embedding = self._normal(*self.network.embedding.weight.shape)
        noise = self._normal(len(embedding), len(self.channels))
        embedding[:, self.channels] = self.targets * (1.0 + 0.2 * noise)
        self.network.embedding.weight.copy_(embedding)
        for index, block in enumerate(self.network.blocks):
            self._fill_block(block, index)
        self._fill_norm(self.network.norm, damped=True)

    def _fill_block(self, block: nn.Module, index: int) -> None:
        damped = index % 2 == 0
        part = {name: block.get_submodule(name) for name in ("qkv", "out", "up", "down")}
        for name in ("attention_norm", "feed_norm"):
            self._fill_norm(block.get_submodule(name), damped=damped)
        before, after = (math.sqrt(1.0 + 2 * i * _GROWTH**2) for i in (index, index + 1))
        rms = {
            "qkv": self.operand, "out": 0.8 / _GROWTH,
            "up": self.operand, "down": 0.75 / _GROWTH,
        }  # fmt: skip
        weights, biases = {}, {}
        for name, linear in part.items():
            rows, columns = linear.get_parameter("weight").shape
            weights[name] = self._student(rows, columns) / (rms[name] * math.sqrt(columns))
            biases[name] = 0.1 * self._normal(rows)
        for name in ("qkv", "up"):
            weights[name][:, self.channels] *= 1.0 if damped else 0.25
        for name in ("out", "down"):
            weights[name][self.channels] *= 4.0
            biases[name][self.channels] = 0.5 * (after - before) * self.targets
        weights["qkv"] *= self._gains()[:, None]
        massive = self._some(4 * self.width, max(2, self.width // 256))
        factor = 8.0 + 8.0 * self._uniform(len(massive))
        weights["up"][massive] *= factor[:, None]
        biases["up"][massive] = factor
        weights["down"][:, massive] *= 0.3
        for name, linear in part.items():
            linear.get_parameter("weight").copy_(weights[name])
            linear.get_parameter("bias").copy_(biases[name])

    def _fill_norm(self, norm: nn.Module, *, damped: bool) -> None:
        weight = torch.exp(0.5 * self._normal(self.width))
        weight[self.channels] *= 0.03 if damped else 1.0
        norm.get_parameter("weight").copy_(weight)
        norm.get_parameter("bias").copy_(0.1 * self._normal(self.width))

    def _gains(self) -> Tensor:
        """Return what the rows of query, key and value are multiplied with."""
        heads = self.network.config.heads
        gain = (0.3 * (4 / 0.3) ** self._uniform(heads)).sqrt()
        gains = gain.repeat_interleave(self.width // heads).repeat(3)
        gains[2 * self.width :] = 1.0
        gains[2 * self.width + self._some(self.width, max(2, self.width // 128))] = 4.0
        return gains

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def _some(self, of: int, count: int) -> Tensor:
        return torch.randperm(of, generator=self.generator, device=self.device)[:count]

    def _student(self, *shape: int) -> Tensor:
        """Student's t(5) at unit variance: chi^2(5) = z^2 - 2 log(u1 u2)."""
        chi = self._normal(*shape).square_()
        for _ in range(2):
            chi -= 2 * self._uniform(*shape).clamp_(1e-7).log_()
        return self._normal(*shape) * chi.rsqrt_() * math.sqrt(3)
