"""Decoding of few codes: the rows of the decoder that are needed, and no others."""

from __future__ import annotations

import torch
from torch.nn.functional import embedding_bag


def decode_entries(values: torch.Tensor, index: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
    """``sum_j values_j * decoder[index_j]``, ``[..., dim]``, from ``[..., k]`` codes.

    Only the named rows of `decoder` ``[atom, dim]`` are read: at k = 32 under a tenth of the dense product.
    """
    shape = (*values.shape[:-1], decoder.shape[1])
    if not values.shape[-1] or not values.numel():
        return values.new_zeros(shape)
    flat_index, flat = index.reshape(-1, index.shape[-1]), values.reshape(-1, values.shape[-1])
    return embedding_bag(flat_index, decoder, per_sample_weights=flat, mode="sum").reshape(shape)


def decode_sparse(codes: torch.Tensor, decoder: torch.Tensor, *, most: float = 0.05) -> torch.Tensor:
    """``codes @ decoder``, through the non-zero entries where they are at most the share `most` of all.

    Where gradients are asked for the product is dense: a code of 0 has one too.
    """
    flat = codes.reshape(-1, codes.shape[-1])
    shape = (*codes.shape[:-1], decoder.shape[1])
    if codes.requires_grad or not flat.numel():
        return codes @ decoder
    rows, columns = flat.nonzero(as_tuple=True)
    if len(rows) > most * flat.numel():
        return codes @ decoder
    if not len(rows):
        return codes.new_zeros(shape)
    count = torch.bincount(rows, minlength=len(flat))
    starts = count.cumsum(0) - count
    values = flat[rows, columns]
    return embedding_bag(columns, decoder, starts, per_sample_weights=values, mode="sum").reshape(shape)
