"""The error of data that cannot be used."""


class DataError(ValueError):
    """Photographs, or a prepared file, that cannot be used; the message names the place and the way out."""
