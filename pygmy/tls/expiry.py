"""The line that a node writes every day while its certificates are about to expire."""

from datetime import datetime, timedelta

from pygmy.logs import Logger
from pygmy.tls.contexts import Credentials
from pygmy.tls.lifetimes import EXPIRING_DAYS

log = Logger()
DAY = 86_400.0


def warn_of_expiry(own: Credentials, now: datetime) -> None:
    """Log when the node's certificate ends, or the last CA that it believes, if that is within 30 days."""
    last = max(authority.not_valid_after_utc for authority in own.trusted)
    for what, end in ((f"the certificate of {own.node}", own.certificate.not_valid_after_utc), ("the CA", last)):
        if end - now < timedelta(days=EXPIRING_DAYS):
            log.warn(
                "{what} expires on {day}: renew it by pygmy certs, and restart the nodes",
                what=what,
                day=f"{end:%Y-%m-%d}",
            )
