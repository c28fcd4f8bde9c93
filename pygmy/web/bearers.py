"""Who is at the other end of the connection that a request has come by."""

from twisted.web.iweb import IRequest


def names_borne(request: IRequest) -> frozenset[str]:
    """The nodes whose name it has proven to bear, by a certificate of our CA; none on a plain connection."""
    found: frozenset[str] = getattr(getattr(request, "channel", None), "bears", frozenset())
    return found


def for_people(request: IRequest) -> bool:
    """Whether it has come by a port that nodes are not let in by."""
    return bool(getattr(getattr(getattr(request, "channel", None), "site", None), "people", False))
