"""Turns a request's JSON into a `ChatRequest`, or refuses it as the service would."""

from .chat import read_chat

__all__ = ["read_chat"]
