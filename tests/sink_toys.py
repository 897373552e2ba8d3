"""Two toys that learn a sink: a head that must write nothing, and one that must tell everybody the same."""

from __future__ import annotations

import torch
from torch import nn


class Head(nn.Module):
    """One attention head without biases, before which the stream is normalised; it keeps what it did."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.q, self.k, self.v = (nn.Linear(dim, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.norm(x)
        self.values = self.v(z)
        q = self.q(z)
        scores = q @ self.k(z).transpose(1, 2) / q.shape[-1] ** 0.5
        self.pattern = scores.softmax(-1)
        return self.out(self.pattern @ self.values)


class Silent(nn.Module):
    """Tokens on one side of a plane are to be erased, the others left: ``x -> 0`` or ``x -> x``.

    Token 0 is a null token: an input of zeros to which a learned vector is added. The adaptive no-op of arXiv
    2606.08105, appendix A.
    """

    def __init__(self, dim: int = 32, tokens: int = 16) -> None:
        super().__init__()
        self.null = nn.Parameter(0.02 * torch.randn(dim))
        self.place = nn.Parameter(0.02 * torch.randn(tokens, dim))
        self.head = Head(dim, dim)
        self.register_buffer("plane", nn.functional.normalize(torch.randn(dim), dim=0))

    def draw(self, batch: int) -> torch.Tensor:
        x = torch.randn(batch, *self.place.shape)
        x[:, 0] = 0
        return x

    def active(self, x: torch.Tensor) -> torch.Tensor:
        """Boolean ``[batch, token]``: where the head has to write."""
        return x @ self.plane > 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = x + self.place
        start = torch.cat([start[:, :1] + self.null, start[:, 1:]], 1)
        return x + self.head(start)

    def loss(self, batch: int) -> torch.Tensor:
        x = self.draw(batch)
        target = x.masked_fill(self.active(x)[..., None], 0.0)
        return (self(x) - target)[:, 1:].square().mean()


class Layer(nn.Module):
    """A head and an MLP."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.head, self.norm = Head(dim, width), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def after(self, x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        """The layer's output where its head writes `update`."""
        x = x + update
        return x + self.mlp(self.norm(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(x, self.head(x))


class Telling(nn.Module):
    """Every token is to be given the one that lies farthest along a direction, turned: ``x_i + R x_j*``.

    Equation 3 of arXiv 2606.08105, but for two things that make a short training enough: the winner is clear,
    moved on by `ahead`, and the first layer's head is too narrow to carry the message.
    """

    ahead = 3.0

    def __init__(self, dim: int = 32, tokens: int = 16) -> None:
        super().__init__()
        self.place = nn.Parameter(0.02 * torch.randn(tokens, dim))
        self.first, self.second = Layer(dim, 4), Layer(dim, dim)
        self.register_buffer("along", nn.functional.normalize(torch.randn(dim), dim=0))
        self.register_buffer("turn", torch.linalg.qr(torch.randn(dim, dim))[0])

    def draw(self, batch: int) -> torch.Tensor:
        x = torch.randn(batch, *self.place.shape)
        x[torch.arange(batch), self.chosen(x)] += self.ahead * self.along
        return x

    def chosen(self, x: torch.Tensor) -> torch.Tensor:
        """``j*``, ``[batch]``."""
        return (x @ self.along).argmax(1)

    def payload(self, x: torch.Tensor) -> torch.Tensor:
        """``R x_j*``, ``[batch, dim]``."""
        return x[torch.arange(len(x)), self.chosen(x)] @ self.turn.T

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x + self.place)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.middle(x))

    def loss(self, batch: int) -> torch.Tensor:
        x = self.draw(batch)
        return (self(x) - x - self.payload(x)[:, None]).square().mean()


def trained(kind: type[nn.Module], steps: int, *, rate: float, batch: int = 256, seed: int = 0) -> nn.Module:
    """Train a toy from scratch; the seed decides everything."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        toy = kind()
        optimizer = torch.optim.AdamW(toy.parameters(), lr=rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
        for _ in range(steps):
            loss = toy.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return toy.eval().requires_grad_(False)
