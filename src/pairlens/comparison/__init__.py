"""Losses compared: studies and their running, what they came to, tables and figures."""
