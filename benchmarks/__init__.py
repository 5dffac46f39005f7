"""Speed, side by side with peers in one run: ``make speed``. Not tests; docs/speed.md says what is measured and how."""
