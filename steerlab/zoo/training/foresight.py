"""What the video encoder learns from: seeing a part of a clip, say how the pixels go on before and after it.

The encoder is given a few neighbouring time steps of a clip, all places of them. From its outputs at the last
of these steps a small head guesses the tubes of the next steps at the same place, as the change from the last
frame that was seen; from the first step another head guesses the steps before. No motion label is used.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import VideoMAEConfig, VideoMAEModel

__all__ = ["Foresight"]

_REACH = 2  # steps guessed on either side
_LENGTHS = (2, 3, 4)  # steps seen
_HEAD = 256
_MEAN, _SPREAD = 0.5, 0.25  # of pixels, roughly
_SCALE = 5.0  # brings the changes, which are nothing at most pixels, nearer to a spread of one


class Foresight(nn.Module):
    """The encoder with the two heads that are needed for its training alone.

    Parameters
    ----------
    config : VideoMAEConfig
        Of the encoder.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.encoder = VideoMAEModel(config)
        self.steps = config.num_frames // config.tubelet_size
        pixels = _REACH * config.tubelet_size * config.patch_size**2 * config.num_channels
        self.after, self.before = (
            nn.Sequential(nn.Linear(config.hidden_size, _HEAD), nn.GELU(), nn.Linear(_HEAD, pixels))
            for _ in range(2)
        )

    def forward(self, clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean square error of the guesses, a scalar.

        Parameters
        ----------
        clips : Tensor
            ``[clip, frame, 3, row, column]`` in [0, 1].
        generator : Generator
            Draws how many steps are seen, and which by clip.
        """
        length = _LENGTHS[int(torch.randint(len(_LENGTHS), (1,), generator=generator))]
        first = torch.randint(self.steps - length + 1, (len(clips),), generator=generator)
        last = first + length - 1
        tubes = self._tubes(clips)
        step = torch.arange(self.steps)
        unseen = (step < first[:, None]) | (step > last[:, None])
        unseen = unseen.repeat_interleave(tubes.shape[2], dim=1)
        hidden = self.encoder((clips - _MEAN) / _SPREAD, bool_masked_pos=unseen).last_hidden_state
        hidden = hidden.unflatten(1, (length, -1))  # [clip, step, place, dim]
        rows = torch.arange(len(clips))
        errors, counted = [], []
        for head, edge, way, index in ((self.after, last, 1, -1), (self.before, first, -1, 0)):
            guesses = head(hidden[:, index]).unflatten(2, (_REACH, -1))  # [clip, place, reach, pixel]
            nearest = tubes[rows, edge][:, :, index, None]  # the frame next to what is guessed
            for reach in range(_REACH):
                wanted = edge + way * (reach + 1)
                change = tubes[rows, wanted.clamp(0, self.steps - 1)] - nearest
                error = (guesses[:, :, reach] - _SCALE * change.flatten(2)).square().mean((1, 2))
                inside = (wanted >= 0) & (wanted < self.steps)
                errors.append(error * inside)
                counted.append(inside)
        return torch.stack(errors).sum() / torch.stack(counted).sum().clamp_min(1)

    def for_plain_pixels(self) -> VideoMAEModel:
        """The encoder, made to take pixels in [0, 1] as they are: their scale goes into its first weights."""
        projection = self.encoder.embeddings.patch_embeddings.projection
        with torch.no_grad():
            projection.weight.div_(_SPREAD)
            projection.bias.sub_(_MEAN * projection.weight.sum((1, 2, 3, 4)))
        return self.encoder

    def _tubes(self, clips: torch.Tensor) -> torch.Tensor:
        """``[clip, step, place, frame, pixel]``, in the order of the encoder's tokens."""
        config = self.encoder.config
        side, frames = config.patch_size, config.tubelet_size
        cut = clips.unflatten(4, (-1, side)).unflatten(3, (-1, side)).unflatten(1, (-1, frames))
        # [clip, step, frame, colour, row, y, column, x]
        return cut.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(5).flatten(2, 3)
