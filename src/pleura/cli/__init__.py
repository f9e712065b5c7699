"""Parsing and printing only; nothing heavy is imported before a command runs."""
