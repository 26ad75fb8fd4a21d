"""GPT-2, the next token."""

from peers.language import Family

__all__ = ["Family"]
