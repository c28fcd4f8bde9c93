"""The audit: do a store's copies prove that nothing was lost, sold twice or written behind the log's back?

It judges what is on disk (or what a node shows of it): that each log is one chain from its beginning, that the rows
follow from it, that no copy of a book is unaccounted for, and that copies of one tier are copies of one log.  What
clients were told is not its business: that is judged by `pygmy.checker`, from histories.
"""

from pygmy.audit.copy import CopyAudit, Rows
from pygmy.audit.files import Place, audit_place, places
from pygmy.audit.reports import Finding, Report, Unaudited, Unreadable, Verdict
from pygmy.audit.store import StoreAudit

__all__ = [
    "CopyAudit",
    "Finding",
    "Place",
    "Report",
    "Rows",
    "StoreAudit",
    "Unaudited",
    "Unreadable",
    "Verdict",
    "audit_place",
    "places",
]
