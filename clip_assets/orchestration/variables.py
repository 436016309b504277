"""Environment variables that shape the code location.

Dagster reads them with the code, before any pool and its settings are known.
"""

import os

from clip_assets.errors import ConfigurationError


def whole_number(variable: str, default: int) -> int:
    """A positive number that an environment variable sets.

    Raises:
        ConfigurationError: the variable is no such number.
    """
    value = os.environ.get(variable, str(default))
    if not value.isdecimal() or not int(value):
        raise ConfigurationError(variable, repr(value), "a whole number above 0", "Correct it.")
    return int(value)
