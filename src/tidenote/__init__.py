"""Tidenote keeps a person's Markdown notes the same on all their devices."""

from __future__ import annotations

__version__ = "0.1.0"
