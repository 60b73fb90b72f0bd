"""How pixels of more than 8 bits become 8, and the exception that says why an image cannot go into a shard."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Window = tuple[float, float] | Literal["file", "range"]
"""The values that become black and white; the window that a file names; or an image's smallest and largest value."""


class Refused(Exception):  # noqa: N818 - not an error: it carries a problem to the one place that reports it
    """An image that cannot go into a shard."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def windowed(values: npt.NDArray[Any], window: Window | None, what: str) -> npt.NDArray[np.uint8]:
    """Map values to 0 … 255."""
    if window is None:
        raise Refused(
            "unsupported_type",
            f"pixels of more than 8 bits ({what}), which training loaders turn white. Convert it to 8 bits with a window "
            "of your choice, or build with --window (window=)",
        )
    if window == "file":
        raise Refused("unsupported_type", "the file names no window. Build with --window range or two values")
    numbers = values.astype(np.float64)
    low, high = (numbers.min(), numbers.max()) if window == "range" else window
    if not np.isfinite([low, high]).all():
        raise Refused("corrupt_image", "it has pixels that are no numbers")
    scaled = (numbers - low) / max(high - low, np.finfo(float).tiny)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
