"""Images, text and histograms that a script logs: files in the attempt's `media/`, and a line that points to them.

File names are made from the step and a hash of the metric's name: a name from data is never a path.
"""

from __future__ import annotations

import abc
import io
import math
from pathlib import Path
from typing import Any

import xxhash

from hypertuner import files
from hypertuner.errors import MissingExtraError

_INLINE_TEXT = 4096


class Media(abc.ABC):
    """Something logged that is not a number."""

    @abc.abstractmethod
    def write(self, folder: Path, name: str, step: int) -> dict[str, Any]:
        """Write it below `folder`; what the metrics line says about it."""


def _place(folder: Path, name: str, step: int, extension: str) -> Path:
    files.make_folder(folder)
    stem = f"{step:08d}-{xxhash.xxh3_64_hexdigest(name.encode())}"
    path, repeat = folder / f"{stem}.{extension}", 0
    while path.exists():
        repeat += 1
        path = folder / f"{stem}.{repeat}.{extension}"
    return path


class Image(Media):
    """A picture: a PIL image, a path, or an array or tensor of H×W, H×W×C or C×H×W.

    Floats are taken as 0 to 1, other numbers as 0 to 255. Stored as PNG. Needs Pillow (`hypertuner[media]`).
    """

    def __init__(self, image: Any, caption: str = "") -> None:
        if hasattr(image, "detach"):  # a tensor, whose values may change before they are written
            image = image.detach().cpu().float().numpy() if image.is_floating_point() else image.detach().cpu().numpy()
        self._image = image.copy() if hasattr(image, "copy") else image
        self.caption = caption

    def write(self, folder: Path, name: str, step: int) -> dict[str, Any]:
        """Write a PNG file."""
        picture = self._picture()
        data = io.BytesIO()
        picture.save(data, "PNG")
        path = _place(folder, name, step, "png")
        files.put_new(path, data.getvalue())
        return {
            "media": "image",
            "file": path.name,
            "width": picture.width,
            "height": picture.height,
            "caption": self.caption,
        }

    def _picture(self) -> Any:
        try:
            import PIL.Image
        except ImportError:
            raise MissingExtraError("Pillow", "media", "hypertuner.Image") from None
        if isinstance(self._image, (str, Path)):
            with PIL.Image.open(self._image) as opened:
                opened.load()
                return opened
        if isinstance(self._image, PIL.Image.Image):
            return self._image
        import numpy

        pixels = numpy.asarray(self._image)
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
            pixels = pixels.transpose(1, 2, 0)
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[:, :, 0]
        if pixels.dtype.kind == "f":
            pixels = numpy.nan_to_num(pixels).clip(0, 1) * 255
        return PIL.Image.fromarray(pixels.clip(0, 255).round().astype("uint8"))


class Text(Media):
    """A text, shown as it is."""

    def __init__(self, text: str) -> None:
        self.text = str(text)

    def write(self, folder: Path, name: str, step: int) -> dict[str, Any]:
        """Keep a short text in the line itself, a long one in a file."""
        data = self.text.encode(errors="replace")
        if len(data) <= _INLINE_TEXT:
            return {"media": "text", "text": data.decode()}
        path = _place(folder, name, step, "txt")
        files.put_new(path, data)
        return {"media": "text", "file": path.name, "bytes": len(data)}


class Histogram(Media):
    """How many of some values fall into each of `bins` equal ranges; what is not finite is counted apart."""

    def __init__(self, values: Any, bins: int = 64) -> None:
        if hasattr(values, "detach"):
            values = values.detach().float().cpu().numpy()
        if hasattr(values, "ravel"):
            import numpy

            flat = numpy.asarray(values, dtype="float64").ravel()
            finite = flat[numpy.isfinite(flat)]
            counts, edges = numpy.histogram(finite, bins=bins)
            self.counts, self.edges = counts.tolist(), edges.tolist()
            self.nonfinite = int(flat.size - finite.size)
            return
        numbers = [float(value) for value in values]
        kept = [value for value in numbers if math.isfinite(value)]
        low, high = (min(kept), max(kept)) if kept else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        self.edges = [low + (high - low) * i / bins for i in range(bins + 1)]
        self.counts = [0] * bins
        for value in kept:
            self.counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
        self.nonfinite = len(numbers) - len(kept)

    def write(self, folder: Path, name: str, step: int) -> dict[str, Any]:
        """Nothing is written but the line."""
        return {"media": "histogram", "counts": self.counts, "edges": self.edges, "nonfinite": self.nonfinite}
