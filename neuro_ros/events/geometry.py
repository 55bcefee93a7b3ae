# SPDX-License-Identifier: Apache-2.0
"""Crop and scaling from a sensor's pixels to a tensor's cells."""

from __future__ import annotations

from dataclasses import dataclass

from neuro_ros.errors import NeuroRosError

__all__ = ["MAX_BITMAP_BYTES", "Geometry", "GeometryError", "check_tensor_size"]

#: Messages beyond this size meet the cliff of the default DDS transports, where latency grows thirtyfold.
MAX_BITMAP_BYTES = 400_000


class GeometryError(NeuroRosError):
    """A crop, a scale or a tensor size that cannot be."""


@dataclass(frozen=True)
class Geometry:
    """A crop of the sensor and the tensor that it is scaled to.

    ``x_out = (x - crop_x0) * width_out // crop_width``, the same for y.

    Parameters
    ----------
    crop_x0, crop_y0 : int
        First column and row inside the crop [px of the sensor].
    crop_width, crop_height : int
        Of the crop [px of the sensor].
    width_out, height_out : int
        Of the tensor [cells].

    Raises
    ------
    GeometryError
        When a number is negative or a size is zero.
    """

    crop_x0: int
    crop_y0: int
    crop_width: int
    crop_height: int
    width_out: int
    height_out: int

    def __post_init__(self) -> None:
        for name in ("crop_x0", "crop_y0"):
            if getattr(self, name) < 0:
                raise GeometryError(f"{name} is {getattr(self, name)}, it must be at least 0")
        for name in ("crop_width", "crop_height", "width_out", "height_out"):
            if getattr(self, name) < 1:
                raise GeometryError(f"{name} is {getattr(self, name)}, it must be at least 1")

    @classmethod
    def fit(
        cls,
        sensor_width: int,
        sensor_height: int,
        width_out: int,
        height_out: int,
        crop: tuple[int, int, int, int] | None = None,
    ) -> Geometry:
        """Lay a crop on a sensor.

        Parameters
        ----------
        sensor_width, sensor_height : int
            [px]
        width_out, height_out : int
            [cells]
        crop : (x0, y0, width, height), optional
            [px of the sensor]; by default the largest centred square.

        Raises
        ------
        GeometryError
            When the crop is not within the sensor.
        """
        if crop is None:
            side = min(sensor_width, sensor_height)
            crop = ((sensor_width - side) // 2, (sensor_height - side) // 2, side, side)
        geometry = cls(*crop, width_out, height_out)
        geometry.check_sensor(sensor_width, sensor_height)
        return geometry

    def check_sensor(self, sensor_width: int, sensor_height: int) -> None:
        """Check that the crop lies within the sensor.

        Raises
        ------
        GeometryError
            When it does not.
        """
        right, bottom = self.crop_x0 + self.crop_width, self.crop_y0 + self.crop_height
        if right > sensor_width or bottom > sensor_height:
            raise GeometryError(
                f"the crop reaches to x={right}, y={bottom}, the sensor has {sensor_width}x{sensor_height} px; "
                "move or shrink the crop"
            )


def check_tensor_size(bins: int, channels: int, height: int, width: int) -> int:
    """Return the bytes of a tensor's bitmap, one bit a cell.

    Raises
    ------
    GeometryError
        When it exceeds `MAX_BITMAP_BYTES`; the text names a size that fits.
    """
    cells = bins * channels * height * width
    size = (cells + 7) // 8
    if size <= MAX_BITMAP_BYTES:
        return size
    for divisor in range(2, max(height, width) + 1):
        small_height, small_width = max(1, height // divisor), max(1, width // divisor)
        if (bins * channels * small_height * small_width + 7) // 8 <= MAX_BITMAP_BYTES:
            remedy = f"scale down by {divisor} to {small_width}x{small_height}"
            break
    else:
        remedy = f"take fewer bins than {bins}"
    raise GeometryError(
        f"a tensor of {bins} bins, {channels} channels, {width}x{height} cells has a bitmap of {size} bytes, "
        f"the limit is {MAX_BITMAP_BYTES}; {remedy}"
    )
