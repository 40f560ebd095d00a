"""`basalt worker`: a worker on a machine of its own."""

from pathlib import Path

from basalt.cli.options import Directory, load_project
from basalt.worker import serve_worker


def worker(directory: Directory = Path()) -> None:
    """Run the project's jobs, schedules and outgoing requests beside a database that runs already. Ctrl-C stops it."""
    serve_worker(load_project(directory).project_dir)
