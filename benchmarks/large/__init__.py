"""
Figures at the size where growth would show: two logs of ten million leaves, twenty busy logs.

They take a quarter of an hour and 20 GB of disk, so they are a suite of their own.
"""

from typing import Final

MODULES: Final = ("ten_million", "busy")
