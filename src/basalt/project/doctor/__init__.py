"""`basalt doctor`: what is wrong with a project, why it matters, and what mends it.

Checks of settings are functions (`secrets`, `exposure`, `configuration`, `machine`), checks of the database statements
(`sessions`, `replication`, `server`, `engine_room`, and those of the schema in `basalt.postgres`); `examination` runs
them and says what it could not see.
"""

from basalt.project.doctor.examination import Examination, Unseen, check_names, examine

__all__ = ["Examination", "Unseen", "check_names", "examine"]
