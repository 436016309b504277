"""Every exception the package raises on purpose.

* ClipAssetsError
  + ConfigurationError        a setting or an argument is wrong
  + StoreError
    - LayoutVersionError      another version of the package wrote this store
    - MissingArtifactError    run the stage that writes it
    - DamagedError            a published file is gone or is not what was published
    - SchemaError             a file does not hold what the layout says
    - StorageFullError        no space left while publishing
    - BusyError               another process is writing the same thing
  + SourceError
    - SourceMissingError      a planned source file is gone
    - SourceChangedError      a planned source file is not the one that was planned
    - SourceFormatError       a source file cannot be read as pairs
  + DownloadError             the network of this machine is at fault, not the urls
  + ModelError
    - ModelMismatchError      two models would meet in one store or index
    - ModelLoadError          weights, configuration or tokenizer cannot be loaded
  + ImageError                bytes are no image that can be embedded
  + AlignmentError            arrays that must be row-aligned are not
  + DeviceBusyError           more steps want an accelerator than there are
  + DeviceLostError           an accelerator stopped working
  + NotReadyError             an upstream partition has not been tried yet; waiting helps
  + CheckFailedError          a stage's own figures contradict each other
    - UnsoundVectorsError     embeddings are NaN, not of length 1, or all alike
    - LowRecallError          an index finds too little to be served

A bad row (dead link, undecodable image, malformed line) is data, not an exception:
it becomes a row with a status and a count in the stage's report. Exceptions are for
faults that must stop a partition. Everything except ``NotReadyError`` is permanent:
running the same thing again gives the same error.
"""

from clip_assets.masking import encodable, masked


class ClipAssetsError(Exception):
    """A fault that stops a partition: where it is, what was found and expected, what to do.

    Args:
        where: the file, url, column, setting or partition at fault.
        found: what is there.
        expected: what should be there.
        advice: the next step for the person who reads this.

    Secrets of urls in them are masked: an error goes to records, logs and Dagster's events.
    """

    def __init__(self, where: str, found: str, expected: str, advice: str) -> None:
        # The constructor's own arguments stay in `args`, so the error survives the
        # pickling that Dagster's multiprocess executor and Ray do.
        super().__init__(*(masked(encodable(text)) for text in (where, found, expected, advice)))
        self.where, self.found, self.expected, self.advice = self.args

    def __str__(self) -> str:
        """One sentence of facts, one of advice."""
        return f"{self.where}: found {self.found}, expected {self.expected}. {self.advice}"


class ConfigurationError(ClipAssetsError):
    """A setting or an argument is wrong."""


class StoreError(ClipAssetsError):
    """The store does not hold what it should."""


class LayoutVersionError(StoreError):
    """Another version of the package wrote this store."""


class MissingArtifactError(StoreError):
    """A stage asked for a file that no stage has written."""


class DamagedError(StoreError):
    """A published file is gone, or is not the one that its manifest names."""


class SchemaError(StoreError):
    """A file's columns or types are not the layout's."""


class StorageFullError(StoreError):
    """The disk filled up while a file was being published; nothing was published."""


class BusyError(StoreError):
    """Another process holds the lock of the thing to be written."""


class SourceError(ClipAssetsError):
    """A source of pairs cannot be used."""


class SourceMissingError(SourceError):
    """A planned source file is gone."""


class SourceChangedError(SourceError):
    """A planned source file is not the one that was planned."""


class SourceFormatError(SourceError):
    """A source file cannot be read as pairs."""


class DownloadError(ClipAssetsError):
    """The network of this machine is at fault, not the urls."""


class ModelError(ClipAssetsError):
    """A model cannot be used."""


class ModelMismatchError(ModelError):
    """Two models would meet in one store or index."""


class ModelLoadError(ModelError):
    """Weights, configuration or tokenizer cannot be loaded."""


class ImageError(ClipAssetsError):
    """Bytes are no image that can be embedded; ``found`` is a reason to count by.

    Args:
        where: see ``ClipAssetsError``.
        found: likewise; one of few reasons.
        expected: likewise.
        advice: likewise.
        detail: of this image: its size, or what the decoder said.
    """

    def __init__(
        self, where: str, found: str, expected: str, advice: str, detail: str = ""
    ) -> None:
        super().__init__(where, found, expected, advice)
        self.detail = masked(detail)
        self.args = (*self.args, self.detail)

    def __str__(self) -> str:
        """The reason with its detail, and the advice."""
        reason = f"{self.found} ({self.detail})" if self.detail else self.found
        return f"{self.where}: found {reason}, expected {self.expected}. {self.advice}"


def at_least(where: str, value: int, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        ConfigurationError: it is.
    """
    if value < least:
        raise ConfigurationError(where, str(value), f"{least} or more", "Choose another one.")


class AlignmentError(ClipAssetsError):
    """Arrays or tables that must be row-aligned are not."""


class DeviceBusyError(ClipAssetsError):
    """More steps want an accelerator than there are."""


class DeviceLostError(ClipAssetsError):
    """An accelerator stopped working in the middle of a step."""


class NotReadyError(ClipAssetsError):
    """An upstream partition has not been tried yet; the same call can work later."""


class CheckFailedError(ClipAssetsError):
    """A stage's own figures contradict each other."""


class UnsoundVectorsError(CheckFailedError):
    """Embeddings that are NaN, of another length than 1, or all alike."""


class LowRecallError(CheckFailedError):
    """An index that finds less than a bound, or much less than the version before."""
