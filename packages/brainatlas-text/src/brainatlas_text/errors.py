"""Errors a user may meet. One line each: where, what was expected, what was found, what to do.

BrainAtlasError           everything this package raises on purpose; exit code 1
├── InputError            the user's input is at fault; exit code 2
│   ├── SourceError       a source folder, scan file or spreadsheet cannot be used
│   ├── GeometryError     an affine, grid or orientation cannot be used
│   │   └── OffGridError  labels lie elsewhere than their image
│   ├── EmptyMaskError    a brain mask that came with a scan shows nothing of it
│   ├── LabelError        a label number or label scheme is not known
│   ├── RecipeError       a recipe key or value is wrong
│   ├── PhraseError       a phrase table is wrong
│   ├── OutputError       the output folder cannot be used (another configuration, no space)
│   ├── DatasetError      a folder is no finished data set, or lacks what is asked of it
│   └── SampleKeyError    a data set has no sample of this key; a KeyError as well
├── StageError            a stage failed on input that looked right
│   └── MaskError         the chosen method gave no brain mask of a scan
│       └── ProgramError  because the user's program failed, which is no property of the scan
└── DownloadError         a server did not give what it should
"""


class BrainAtlasError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(BrainAtlasError):
    """The user's input is at fault."""

    exit_code = 2


class SourceError(InputError):
    """A source folder, scan file or spreadsheet cannot be used."""


class GeometryError(InputError):
    """An affine, grid or orientation cannot be used."""


class OffGridError(GeometryError):
    """Labels lie elsewhere than their image."""


class EmptyMaskError(InputError):
    """A brain mask that came with a scan shows nothing of it."""


class LabelError(InputError):
    """A label number or label scheme is not known."""


class RecipeError(InputError):
    """A recipe key or value is wrong."""


class PhraseError(InputError):
    """A phrase table is wrong."""


class OutputError(InputError):
    """The output folder cannot be used."""


class DatasetError(InputError):
    """A folder is no finished data set, or lacks what is asked of it."""


class SampleKeyError(InputError, KeyError):
    """A data set has no sample of this key."""

    __str__ = Exception.__str__  # KeyError would show the sentence in quotes


class StageError(BrainAtlasError):
    """A stage failed on input that looked right."""


class MaskError(StageError):
    """The chosen method gave no brain mask of a scan."""


class ProgramError(MaskError):
    """The user's program gave no brain mask, which is no property of the scan."""


class DownloadError(BrainAtlasError):
    """A server did not give what it should."""


def one_line(text: str) -> str:
    """The text without line breaks, control characters or undecodable bytes: file names may hold them."""
    decodable = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in decodable)
