"""What every figure shares: a canvas without global state, colours that everybody can tell apart, saving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from steerlab.errors import SteerlabError

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

SEQUENTIAL, DIVERGING = "viridis", "PuOr_r"


def canvas(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, drawn by Agg; pyplot and its state are left alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def array(values: Any, axes: str) -> np.ndarray:
    """Finite float numbers with the named axes, from a tensor, an array or nested lists.

    Parameters
    ----------
    values : Tensor, array or list
        What to draw.
    axes : str
        Names of its axes, such as ``"block, head"``, for the error.
    """
    tensor = torch.as_tensor(np.asarray(values) if isinstance(values, (list, tuple)) else values)
    tensor = tensor.detach().cpu().float()
    if tensor.ndim != len(axes.split(", ")) or not tensor.numel():
        raise SteerlabError(f"this figure draws values [{axes}], not {list(tensor.shape)}")
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise SteerlabError(f"{bad} of {tensor.numel()} values to draw are NaN or infinite")
    return tensor.numpy()


def colours(values: np.ndarray, *, log: bool = False) -> ScalarMappable:
    """Colours for values: sequential, or diverging around zero where some are negative.

    Parameters
    ----------
    values : array
        What will be drawn.
    log : bool
        Equal factors get equal steps of colour; what is below a millionth of the largest looks alike.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(values.min()), float(values.max())
    if low < 0:
        reach = max(-low, high)
        return ScalarMappable(Normalize(-reach, reach), DIVERGING)
    if log and high > 0:
        positive = values[values > 0]
        floor = max(float(positive.min()), high * 1e-6)
        return ScalarMappable(LogNorm(floor, high if high > floor else 2 * floor, clip=True), SEQUENTIAL)
    return ScalarMappable(Normalize(low, high if high > low else low + 1), SEQUENTIAL)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure, in the format of the path's ending; folders are made.

    Returns
    -------
    Path
        Where it is.
    """
    path = Path(path)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in known:
        raise SteerlabError(f"cannot save a figure as {path.name!r}; endings are {', '.join(sorted(known))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
