"""Which layout a folder or list of photographs has, and so which class and group each photograph belongs to."""

from data_utils.layouts.recognise import recognise
from data_utils.layouts.source import Record, Source

__all__ = ["Record", "Source", "recognise"]
