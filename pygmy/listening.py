"""Where a node is reached: by everybody at its own port, and a front end by people at others besides."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.application.strports import service as port_service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IProtocolFactory
from twisted.web.resource import IResource

from pygmy.tls.places import with_backlog
from pygmy.web.site import BoundedSite, Limits, Shortcut

if TYPE_CHECKING:
    from pygmy.tls.contexts import Credentials

PEOPLE = Limits(body_of=())  # no envelopes, so no bodies of their size


class Listening(MultiService):
    """Serves `resource` at the endpoint `port`, over TLS if there are credentials, and at those of `listen`.

    What is for people has a site of its own, through which nobody becomes a member of the store.
    """

    def __init__(
        self,
        resource: IResource,
        port: str,
        reactor: Any,
        credentials: "Credentials | None" = None,
        listen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        own = BoundedSite(resource, reactor)
        people = BoundedSite(resource, reactor, PEOPLE, people=True)
        self._sites = (own, people)
        factory: IProtocolFactory = own
        if credentials is not None:
            from pygmy.tls.under import UnderTLS  # a node that speaks no TLS starts the faster without

            factory = UnderTLS(own, credentials, reactor)
        for place, served in ((port, factory), *((place, people) for place in listen)):
            port_service(with_backlog(place), served, reactor=reactor).setServiceParent(self)

    def serve(self, resource: IResource, shortcut: Shortcut | None = None) -> None:
        """See `BoundedSite.serve`."""
        for site in self._sites:
            site.serve(resource, shortcut)

    def drain(self) -> "Deferred[Any]":
        """See `BoundedSite.drain`."""
        return gatherResults([site.drain() for site in self._sites])
