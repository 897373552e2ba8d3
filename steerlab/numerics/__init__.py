"""Numerics as plain functions on tensors; nothing here knows of models or hooks."""
