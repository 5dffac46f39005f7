"""Tests of Scant; ``tests.contracts`` is importable, so that a user can certify a method or dataset of their own."""
