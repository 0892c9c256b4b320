"""Analysis of losses (audit, explanation, table) and of trained models (inspection, failures, embedding map)."""
