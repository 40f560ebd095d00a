"""Everything about one user: handed out, or erased.

`references` follows foreign keys from `auth.users` and says which rows of which table are the user's. `exporting`
writes them out; `planning` says what an erasure does with each table, by the rules of the settings and the foreign
keys' own; `erasing` does it, in one transaction, or only tells what it would do. Of both a line stays in
`basalt.privacy_log`.
"""

from basalt.project.privacy.erasing import Erasure, erase_user
from basalt.project.privacy.exporting import Export, export_user

__all__ = ["Erasure", "Export", "erase_user", "export_user"]
