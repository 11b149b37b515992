"""Runs: from an array and settings to snapshots and a result."""
