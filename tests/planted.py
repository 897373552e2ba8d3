"""Data whose concepts are known: paired groups built from shared and private atoms."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Pairs:
    """Two groups of paired samples with the codes and atoms they were made from.

    Codes ``[sample, atom]``, atoms ``[atom, dim]``, masks ``[atom]``; `image` and `text` are private.
    """

    atoms: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    image: torch.Tensor
    text: torch.Tensor

    @property
    def shared(self) -> torch.Tensor:
        return ~(self.image | self.text)

    @property
    def x(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.first @ self.atoms, self.second @ self.atoms


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rand(*shape: int, g: torch.Generator) -> torch.Tensor:
    return torch.rand(*shape, generator=g, dtype=torch.float64)


def randn(*shape: int, g: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def unit_rows(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def frame(count: int, dim: int, g: torch.Generator) -> torch.Tensor:
    """Orthonormal rows ``[count, dim]``."""
    return torch.linalg.qr(randn(dim, count, g=g))[0].T.contiguous()


def sparse(samples: int, atoms: int, active: int, g: torch.Generator) -> torch.Tensor:
    """Codes ``[sample, atom]`` with `active` entries drawn from U(.5, 1.5)."""
    places = rand(samples, atoms, g=g).topk(active, dim=1).indices
    values = 0.5 + rand(samples, active, g=g)
    return torch.zeros(samples, atoms, dtype=torch.float64).scatter_(1, places, values)


def rendered(codes: torch.Tensor, noise: float, g: torch.Generator) -> torch.Tensor:
    """The same codes as one modality shows them: each scaled by an independent U(1 - noise, 1 + noise)."""
    return codes * (1 + noise * (2 * rand(*codes.shape, g=g) - 1))


def private(samples: int, atoms: int, g: torch.Generator) -> torch.Tensor:
    """Private codes ``[sample, atom]``: the first always 2, the others half the time U(0, 1)."""
    codes = (rand(samples, atoms, g=g) < 0.5) * rand(samples, atoms, g=g)
    codes[:, 0] = 2.0
    return codes


def paired(samples: int = 256, *, seed: int = 0, texts: int | None = None) -> Pairs:
    """Construction G: 40 shared, 4 image and 4 text atoms, orthonormal in 64 dimensions, 5 shared active.

    With `texts` the second group is made of that many unpaired samples of its own.
    """
    g = generator(seed)
    atoms = frame(48, 64, g)
    concepts = sparse(samples, 40, 5, g)
    told = concepts if texts is None else sparse(texts, 40, 5, g)
    count = len(told)
    nothing = torch.zeros(max(samples, count), 4, dtype=torch.float64)
    first = torch.cat([rendered(concepts, 0.1, g), private(samples, 4, g), nothing[:samples]], 1)
    second = torch.cat([rendered(told, 0.1, g), nothing[:count], private(count, 4, g)], 1)
    image, text = torch.zeros(48, dtype=torch.bool), torch.zeros(48, dtype=torch.bool)
    image[40:44], text[44:] = True, True
    return Pairs(atoms, first, second, image, text)


@dataclass(frozen=True)
class Retrieval:
    """Composed retrieval: a source and a caption that adds to it, and the gallery they should find.

    Codes ``[query, atom]`` and ``[sample, atom]``; row i of the gallery is the target of query i.
    """

    atoms: torch.Tensor
    source: torch.Tensor
    caption: torch.Tensor
    gallery: torch.Tensor
    text: torch.Tensor


def leaky(coherence: float, amplitude: float, *, queries: int = 512, seed: int = 0) -> Retrieval:
    """Leaky text atoms: 60 shared, 4 image, 8 text atoms in 96 dimensions, a gallery of 2048.

    Seven text atoms are turned to `coherence` with a random mixture of four shared atoms and fire at
    ``amplitude * U(0, 1)`` in captions. Sources show 4 concepts, captions name 2 more, rendering noise 15 %.
    """
    g = generator(seed)
    atoms = frame(72, 96, g)
    mixture = unit_rows(sparse(7, 60, 4, g)) @ atoms[:60]
    atoms[65:] = coherence * mixture + (1 - coherence**2) ** 0.5 * atoms[65:]
    size = 2048
    order = rand(size, 60, g=g).argsort(1)
    amounts = 0.5 + rand(size, 6, g=g)
    whole = torch.zeros(size, 60, dtype=torch.float64).scatter_(1, order[:, :6], amounts)
    seen = torch.zeros(size, 60, dtype=torch.float64).scatter_(1, order[:, :4], amounts[:, :4])
    told = whole - seen
    style_of_pictures = private(size, 4, g)
    none = torch.zeros(size, 8, dtype=torch.float64)
    style = amplitude * rand(size, 8, g=g)
    style[:, 0] = 2.0

    def pictures(concepts: torch.Tensor) -> torch.Tensor:
        return torch.cat([rendered(concepts, 0.15, g), style_of_pictures, none], 1)

    text = torch.zeros(72, dtype=torch.bool)
    text[64:] = True
    caption = torch.cat([rendered(told, 0.15, g), torch.zeros_like(style_of_pictures), style], 1)
    gallery = pictures(whole)
    return Retrieval(atoms, pictures(seen)[:queries], caption[:queries], gallery, text)


def split(cosine: float, samples: int = 256, *, seed: int = 0) -> Pairs:
    """Split concepts: 40 concepts with an image and a text atom each at `cosine`, and two constant biases."""
    g = generator(seed)
    basis = frame(82, 96, g)
    image, text = basis[:40], cosine * basis[:40] + (1 - cosine**2) ** 0.5 * basis[40:80]
    concepts = sparse(samples, 40, 5, g)
    nothing = torch.zeros(samples, 40, dtype=torch.float64)
    on, off = torch.full((samples, 1), 2.0, dtype=torch.float64), torch.zeros(samples, 1, dtype=torch.float64)
    atoms = torch.cat([image, text, basis[80:]])
    first = torch.cat([rendered(concepts, 0.1, g), nothing, on, off], 1)
    second = torch.cat([nothing, rendered(concepts, 0.1, g), off, on], 1)
    is_image = torch.zeros(82, dtype=torch.bool)
    is_image[:40], is_image[80] = True, True
    return Pairs(atoms, first, second, is_image, ~is_image)


def crowded(samples: int = 1024, *, seed: int = 0) -> Pairs:
    """Coherent atoms: 48 random directions in 32 dimensions, 40 shared, one constant image and text bias."""
    g = generator(seed)
    atoms = unit_rows(randn(48, 32, g=g))
    concepts = sparse(samples, 40, 5, g)
    biases = torch.zeros(samples, 8, dtype=torch.float64)
    first = torch.cat([rendered(concepts, 0.1, g), biases], 1)
    second = torch.cat([rendered(concepts, 0.1, g), biases], 1)
    first[:, 40], second[:, 44] = 2.0, 2.0
    image, text = torch.zeros(48, dtype=torch.bool), torch.zeros(48, dtype=torch.bool)
    image[40:44], text[44:] = True, True
    return Pairs(atoms, first, second, image, text)
