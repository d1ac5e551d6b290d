"""Adapters around outside engines: ITK and brain extraction."""
