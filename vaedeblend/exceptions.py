"""Errors of the package; each is a ValueError that says what was found and what was wanted."""


class VaedeblendError(ValueError):
    """Input that the package cannot use; the base class of all its errors."""


class BandError(VaedeblendError):
    """Images of other bands, or results of VIS, that cannot be measured together, and why."""


class CalibrationError(VaedeblendError):
    """A calibration.json that is damaged or of another version."""


class CatalogueError(VaedeblendError):
    """A catalogue that cannot be used: where, what was found there and what is wanted."""


class CheckpointError(VaedeblendError):
    """A checkpoint that is missing or damaged."""


class DatasetError(VaedeblendError):
    """A dataset that is missing, damaged or not what it claims to be."""


class EmcError(VaedeblendError):
    """A folder without the Morphology Challenge's layout: where, what is there, what is wanted."""


class MerError(VaedeblendError):
    """Products of a MER tile that cannot be used: which, what was found, what is wanted."""


class FileError(VaedeblendError):
    """A result that cannot be written, and why."""


class FolderError(VaedeblendError):
    """A folder into which another job writes, or that holds files of others: which, and where."""


class InspectionError(VaedeblendError):
    """An input that its pixels contradict: what was found, what is wanted, and the likely cause."""


class FieldError(VaedeblendError):
    """An image shows more sources than can be told apart."""


class MosaicError(VaedeblendError):
    """An image, or what belongs to it, that cannot be used, and why."""


class NoData(VaedeblendError):
    """A figure that cannot be drawn, and what it lacks."""


class PageError(VaedeblendError):
    """A page that cannot be written, and why."""


class ProcessError(VaedeblendError):
    """A process that could not do its part of the work, and why."""


class PsfError(VaedeblendError):
    """A PSF image that cannot be used, and why."""


class SceneError(VaedeblendError):
    """A kind of scene that the library cannot provide."""


class SettingsError(VaedeblendError):
    """Settings of a command that cannot be used: which file, what is there, what is wanted."""


class SkyError(VaedeblendError):
    """A field that cannot be simulated as asked for."""


class StampError(VaedeblendError):
    """Stamps, or what belongs to them, that no deblender can use, and why."""


class StyleError(VaedeblendError):
    """A galaxy style that does not exist."""


class SurveyError(VaedeblendError):
    """A survey that cannot be run, merged or gone on with, and why."""


class TphotError(VaedeblendError):
    """T-PHOT priors that cannot be written, and why."""


class TrainingError(VaedeblendError):
    """A training that cannot go on: where, and what is kept."""


class WorkdirError(VaedeblendError):
    """A working directory that is not what it was taken for."""
