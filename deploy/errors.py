"""Errors of the deployment room."""

from __future__ import annotations

from core.errors import CandidateError


class ConversionError(CandidateError):
    """A network that cannot be converted: recorded with its reason, and the search or the other recipes go on."""


class DeadLayerError(ConversionError):
    """An int8 layer whose output is always 0, which no other way of converting would change."""
