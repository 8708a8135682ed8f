"""Errors that a user's input can cause.

Every one carries a single sentence that names the file and says what to do; the command line prints it and exits
with 2.
"""


class InputError(ValueError):
    """Base of all errors caused by what the user gave; its message is one sentence for the user."""


class UnreadableImage(InputError):
    """The file is missing, truncated, too large, or not a picture."""


class NoFace(InputError):
    """No face was found where one is needed."""


class SeveralFaces(InputError):
    """More than one face was found and nothing says which is meant."""


class BadWeights(InputError):
    """A weights, identity or checkpoint file is missing, damaged, or belongs to another model."""


class BadConfig(InputError):
    """A configuration value, or two of them together, make no sense."""
