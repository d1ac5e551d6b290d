"""Get the sources: downloads that resume, checked and safely unpacked, or the steps only a person can take.

Input: names of sources and the folder that holds one folder a source. Output: that folder, ready for `build`,
and an outcome for each file. Named so, and not `fetch`, because `brainatlas_text.fetch` is the function.
"""

from brainatlas_text.download.catalog import RemoteFile
from brainatlas_text.download.fetching import FetchConfig, FetchSummary, Outcome, fetch
from brainatlas_text.download.transfer import Patience

__all__ = ["FetchConfig", "FetchSummary", "Outcome", "Patience", "RemoteFile", "fetch"]
