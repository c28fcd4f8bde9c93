"""A number of seconds on the command line."""

import math
from typing import Any

import click


class Seconds(click.FloatRange):
    """As `click.FloatRange`, which lets NaN through: no comparison with it holds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A finite number within the range."""
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds
