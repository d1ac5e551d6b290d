"""Brain masks by deepbet, a trained network for T1w heads (Fisch et al., Comput. Biol. Med. 2024); an extra.

Its inner `BrainExtraction` is called: that imports torch but no window system and needs no files. It runs on
the processor, single-threaded, so that equal input gives equal output.
"""

from __future__ import annotations

import warnings
from importlib import metadata, util
from typing import Any

import numpy as np

from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.errors import MaskError
from brainatlas_text.volumes import Volume

INSTALL = "pip install 'brainatlas-text[deepbet]'"


def is_installed() -> bool:
    """Whether deepbet can be imported; imports nothing."""
    return util.find_spec("deepbet") is not None


def version() -> str:
    """Version of the installed package, such as `1.0.2`."""
    return metadata.version("deepbet")


def extract_brain(image: Volume) -> BoolArray:
    """The brain mask of a T1w head on the image's grid (closest RAS).

    Raises MaskError where the network finds no brain.
    """
    import torch

    extraction, threads = _load(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        shares = extraction.run_model(image.array.astype(np.float32))
        return np.asarray(extraction.postprocess(shares > 0.5), dtype=bool)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise MaskError(f"deepbet found no brain ({' '.join(str(error).split())[:160]})") from error
    finally:
        torch.set_num_threads(threads)


def _load() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its networks are stored as TorchScript
        from deepbet import BrainExtraction

        return BrainExtraction(no_gpu=True)
