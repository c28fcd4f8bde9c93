"""The simulated network: messages and calls that get lost, doubled, late and out of order; links that are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from pygmy.errors import Problem
from pygmy.messages.internal import Answer, AnswerBody, Call, CallBody, OneWay, Refused
from pygmy.peers import LinkDown, as_refused, encode, problem_of
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.process import Process

_ONE_WAY = msgspec.json.Decoder(OneWay)
_ANSWER = msgspec.json.Decoder(Answer)
_CALL = msgspec.json.Decoder(Call)


class Network:
    """Between all nodes. `dropped` takes out single kinds of messages, for schedules written by hand."""

    def __init__(self, world: World, loss: float, mean_delay: float, wire: bool) -> None:
        self.world = world
        self.loss = loss
        self.mean_delay = mean_delay
        self.wire = wire  # encode and decode everything, as on a real wire
        self.cut: set[tuple[str, str]] = set()
        self.dropped: set[tuple[str, str, str]] = set()
        self.nodes: dict[str, Process] = {}
        self.prompt = False  # what may wait for company does not
        self.voters_elsewhere = False  # an atomic register does not need the nodes of this history to be up

    def delay(self) -> float:
        random = self.world.random
        delay = random.expovariate(1 / self.mean_delay) + 0.0005
        return delay * 20 if random.random() < 0.01 else delay

    def lost(self, sender: str, to: str) -> bool:
        return (sender, to) in self.cut or self.world.random.random() < self.loss

    def send(self, sender: str, to: str, message: Any, wire: Any) -> None:
        """One way; perhaps twice, perhaps never. `wire` is the form in which it travels."""
        if to not in self.nodes:
            return
        if self.dropped and (sender, to, _kind(message)) in self.dropped:
            return
        if sender != to and self.lost(sender, to):
            return
        for _ in range(2 if self.world.random.random() < self.loss else 1):
            self.world.at(self.delay(), self._deliver, sender, to, wire)

    def _deliver(self, sender: str, to: str, message: Any) -> None:
        node = self.nodes[to]
        if node.up:
            node.clock.run(self._arrive, node, sender, message)

    def _arrive(self, node: Process, sender: str, message: Any) -> None:
        if isinstance(message, Raw):
            message = _ONE_WAY.decode(message)
        if self.world.trace:
            self.world.say(f"{sender} -> {node.name} {message}")
        node.arrive(sender, message)

    def cut_off(self, name: str) -> bool:
        """True if a node hears, or is heard by, no majority of nodes that are up."""
        reached = sum(
            ((node.up and not node.frozen) or self.voters_elsewhere)
            and (name, other) not in self.cut
            and (other, name) not in self.cut
            for other, node in self.nodes.items()
        )
        return reached <= len(self.nodes) / 2


def _kind(message: Any) -> str:
    return str(type(message).__struct_config__.tag)


class Links:
    """What a node takes for `pygmy.peers.Links`."""

    waiting = 0

    def __init__(self, network: Network, node: Process) -> None:
        self._network = network
        self._node = node
        self._clock = node.clock

    def tell(self, names: Any, message: Any, heartbeat: bool = False, within: float = 0.0) -> None:
        if not self._clock.alive:
            return
        wire = encode(message) if self._network.wire else message
        for name in names:
            if within and not self._network.prompt:  # it waits for another message to go along with
                wait = self._network.world.random.uniform(0, within)
                self._clock.callLater(wait, self._network.send, self._node.name, name, message, wire)
            else:
                self._network.send(self._node.name, name, message, wire)

    def owe(self, name: str) -> None:
        """Here nothing goes with answers."""

    def reply(self, name: str, message: Any) -> None:
        self.tell((name,), message)

    def call(self, name: str, body: CallBody, request_id: str, timeout: float) -> Deferred[AnswerBody]:
        """A call and its answer; each way may fail."""
        network, me = self._network, self._node.name
        if not self._clock.alive:
            return fail(LinkDown("lost", sent=True))
        call = Call(0, request_id, body)
        if network.wire:
            call = _CALL.decode(msgspec.json.encode(call))
        exchange = _Exchange(network, self._clock, me, name, timeout)
        if not network.lost(me, name):
            network.world.at(network.delay(), exchange.arrive, call)
        return exchange.deferred


class _Exchange:
    """One call under way."""

    def __init__(self, network: Network, clock: Any, caller: str, callee: str, timeout: float) -> None:
        self.network, self.caller, self.callee, self._clock = network, caller, callee, clock
        self.deferred: Deferred[AnswerBody] = Deferred(lambda _: self._settle())
        self._timer = clock.callLater(timeout, self.end, LinkDown("timeout", sent=True))

    def _settle(self) -> None:
        if self._timer.active():
            self._timer.cancel()

    def end(self, result: Any) -> None:
        """Tell the caller, once."""
        self._settle()
        if self.deferred.called:
            return
        if isinstance(result, LinkDown):
            self.deferred.errback(result)
        elif isinstance(result, Refused):
            self.deferred.errback(problem_of(result))
        else:
            self.deferred.callback(result)

    def back(self, result: Any) -> None:
        """Something goes back to the caller: an answer, or the news that there will be none."""
        network = self.network
        if not network.lost(self.callee, self.caller):
            network.world.at(network.delay(), self._clock.run, self.end, result)

    def arrive(self, call: Call) -> None:
        node = self.network.nodes[self.callee]
        if not node.up:
            self.back(LinkDown("refused", sent=False))
        else:
            node.clock.run(self._serve, node, call)

    def _serve(self, node: Process, call: Call) -> None:
        node.calls[self] = None
        self.network.world.say(f"{self.caller} calls {node.name}: {call.body}")
        node.answer(self.caller, call).addBoth(self._answered, node, node.clock)

    def _answered(self, result: Any, node: Process, clock: Any) -> None:
        if not clock.alive:
            return
        node.calls.pop(self, None)
        if isinstance(result, Failure):
            result = refused(result, self.network.world)
        if self.network.wire:
            result = _ANSWER.decode(msgspec.json.encode(Answer(0, result))).body
        self.network.world.say(f"{node.name} answers {self.caller}: {result}")
        self.back(result)


def refused(failure: Failure, world: World) -> Refused:
    """As `pygmy.web.internal.refused`; what is no Problem is a bug."""
    error = failure.value
    if not isinstance(error, Problem):
        world.violate(f"a call failed: {failure.getTraceback()}")
        return Refused(500, "Internal error", "", outcome_unknown=True)
    return as_refused(error)


class Client:
    """What a node takes for its HTTP client, all of which it uses to ask other nodes for their /health."""

    def __init__(self, network: Network, node: Process) -> None:
        self._network = network
        self._node = node
        self._clock = node.clock

    def health(self, url: str, timeout: float) -> Deferred[tuple[int, Any]]:
        """As `pygmy.peers.get_json` of http://host:port/health: status and body, or LinkDown."""
        network, me = self._network, self._node.name
        target = next(node for node in network.nodes.values() if url.startswith(node.node.url + "/"))
        asked: Deferred[Any] = Deferred()
        timer = self._clock.callLater(timeout, lambda: end(LinkDown("timeout", sent=True)))

        def back(result: Any) -> None:
            if not network.lost(target.name, me):
                network.world.at(network.delay(), self._clock.run, end, result)

        def end(result: Any) -> None:
            timer.cancel()
            if not asked.called:
                asked.errback(result) if isinstance(result, LinkDown) else asked.callback(result)

        def answer() -> None:
            health = target.health()
            back((200 if health.message == "Healthy" else 503, health))

        def arrive() -> None:
            if target.up:
                target.clock.run(answer)
            else:
                back(LinkDown("refused", sent=False))

        if not network.lost(me, target.name):
            network.world.at(network.delay(), arrive)
        return asked


def get_json(client: Client, url: str, type: Any, timeout: float, clock: Any) -> Deferred[tuple[int, Any]]:
    """What nodes take for `pygmy.peers.get_json`."""
    return client.health(url, timeout)
