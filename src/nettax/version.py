"""The version, for every layer; `nettax.__version__` is the same."""

__version__ = "0.1.0"
