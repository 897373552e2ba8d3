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

SEQUENTIAL, DIVERGING, CYCLIC = "viridis", "PuOr_r", "twilight"
CONTROL = "#8c8c8c"  # what was drawn at random or expected by chance
# The palette of Okabe and Ito, made for colour-blind readers, without its yellow, which is lost on white.
KINDS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = np.array([0.299, 0.587, 0.114])  # how bright red, green and blue look


def canvas(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, drawn by Agg; pyplot and its state are left alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def array(values: Any, axes: str, *, gaps: bool = False) -> np.ndarray:
    """Float numbers with the named axes, from a tensor, an array or nested lists.

    Parameters
    ----------
    values : Tensor, array or list
        What to draw.
    axes : str
        Names of its axes, such as ``"block, head"``, for the error.
    gaps : bool
        Whether some of the numbers, but not all, may be NaN.
    """
    try:
        tensor = torch.as_tensor(np.asarray(values) if isinstance(values, (list, tuple)) else values)
        tensor = tensor.detach().cpu().float()
    except (TypeError, ValueError, RuntimeError):
        raise SteerlabError(f"this figure draws numbers [{axes}], and these are none") from None
    if tensor.ndim != len(axes.split(", ")) or not tensor.numel():
        raise SteerlabError(f"this figure draws values [{axes}], not {list(tensor.shape)}")
    bad = ~torch.isfinite(tensor)
    if gaps and not bool(tensor.isnan().all()):
        bad = tensor.isinf()
    if bool(bad.any()):
        raise SteerlabError(f"{int(bad.sum())} of {tensor.numel()} values to draw are NaN or infinite")
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


def ink(colour: Any) -> str:
    """Black or white, whichever stands out more against a colour by the contrast ratio of WCAG 2."""
    rgb = np.asarray(colour, dtype=float)[:3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # black and white are equally far from a luminance of sqrt(1.05 * 0.05) - 0.05
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.1791 else "white"


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
