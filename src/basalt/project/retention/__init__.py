"""Retention: rows that are older than a policy allows go, move or are marked, in small batches by a schedule.

A policy of `[basalt.retention]` becomes a schedule `retention/NAME` (`basalt.jobs`), whose tick is a job
`basalt.retention` that `RetentionJobs` performs; `run_policy` does the same for the command line. Every run has a row
in `basalt.retention_runs`.
"""

from basalt.project.retention.jobs import RetentionJobs
from basalt.project.retention.overview import PolicyRow, describe_policies
from basalt.project.retention.running import run_policy

__all__ = ["PolicyRow", "RetentionJobs", "describe_policies", "run_policy"]
