"""Measurements: one script per goal of the design, each prints its ratio to a reference of the same run."""
