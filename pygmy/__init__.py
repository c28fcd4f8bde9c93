"""Pygmy: a bookstore you can pull the plug on, replicated on Twisted."""

__version__ = "0.1.0"
