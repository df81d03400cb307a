"""Runs the OpenHands agent-server images end to end, every variant on every platform."""

__version__ = "0.1.0"
