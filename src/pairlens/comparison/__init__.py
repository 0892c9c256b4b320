"""Comparison of losses: studies, their runs and tuning, statistics, verdicts, tables and figures."""
