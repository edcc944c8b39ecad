"""The one tree of errors a user can meet. Each says the fact, the value, the place, the remedy.

HeadraceError
├── UsageError            wrong call: exit code 2
└── (everything else)     refused or found wrong: exit code 1
    ├── ContractError     an input cannot be read at all (a file, not an event)
    ├── ViewError         a view cannot be maintained
    ├── SeamError         deltas do not meet their base
    ├── LogError          the log is not the one the lake knows
    ├── DamageError       a data file or the catalog is not as it was written
    ├── BrokerError       Kafka cannot be reached, or refused
    ├── LockError         another process holds what is needed
    ├── HomeError         the home cannot be used
    ├── JobError          a batch job failed
    ├── PromotionError    a generation may not go live
    ├── StorageError      the disk or the catalog refused
    └── QueryError        a query was refused or failed
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Root of all errors that are meant for a person. The command ends with exit code 1."""

    exit_code = 1


class UsageError(HeadraceError):
    """The command was called wrongly. Nothing was done; exit code 2."""

    exit_code = 2


class ContractError(HeadraceError):
    """An input could not be read. What was read before it is kept; nothing of it is lost."""


class ViewError(HeadraceError):
    """A view file was refused. No view is loaded, what is served stays as it was."""


class SeamError(HeadraceError):
    """Deltas and base do not meet. No answer is given and no commit is made."""


class LogError(HeadraceError):
    """The log is not the one that the lake was built from. Nothing is read on from it."""


class DamageError(HeadraceError):
    """A data file or the catalog is not as it was written. Nothing is read from it."""


class BrokerError(HeadraceError):
    """Kafka could not be reached, or refused. What was acknowledged is safe; try again."""


class LockError(HeadraceError):
    """Another process holds the lock. Nothing was written; try again when it is done."""


class HomeError(HeadraceError):
    """The home cannot be used: not a directory, damaged, or made by a newer version."""


class JobError(HeadraceError):
    """A batch job failed. The old base goes on serving."""


class PromotionError(HeadraceError):
    """A generation may not go live. The live one goes on serving."""


class StorageError(HeadraceError):
    """The disk or the catalog refused a write. It was not acknowledged and not recorded."""


class QueryError(HeadraceError):
    """A query was refused or could not be run. Nothing was changed."""
