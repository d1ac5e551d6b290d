"""Errors a user may meet. One line each: where, what was expected, what was found, what to do.

BrainLDMError             everything this package raises on purpose; exit code 1
├── TrainingError         training cannot go on, such as a loss that is not finite
└── InputError            the user's input is at fault; exit code 2
    ├── RecipeError       a recipe key or value is wrong
    ├── DataError         a data set or sample cannot be used
    ├── CheckpointError   a run folder or checkpoint cannot be used
    ├── EncoderError      a text encoder cannot be used
    └── LaunchError       the processes that were asked for cannot be had
"""


class BrainLDMError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class TrainingError(BrainLDMError):
    """Training cannot go on."""


class InputError(BrainLDMError):
    """The user's input is at fault."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe key or value is wrong."""


class DataError(InputError):
    """A data set or sample cannot be used."""


class CheckpointError(InputError):
    """A run folder or checkpoint cannot be used."""


class EncoderError(InputError):
    """A text encoder cannot be used."""


class LaunchError(InputError):
    """The processes that were asked for cannot be had."""
