"""Kinds of figures of a report: functions from a table and the names that say which column is what."""
