"""ERNIE-Search: dense retrieval taught by late interaction, from a collection to a measured index."""

__version__ = "0.1.0"
