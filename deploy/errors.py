"""Errors of the deployment room."""

from __future__ import annotations

from core.errors import CandidateError


class ConversionError(CandidateError):
    """A network that cannot be converted: recorded with its reason, and the search or the other recipes go on."""
