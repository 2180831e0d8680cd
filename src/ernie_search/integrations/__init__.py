"""What other software reaches this package by: frameworks, assistants, evaluation suites."""
