"""The cluster file: what it may say, and that everything else is refused where it is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pygmy.cluster import Cluster, ClusterError, Node, Role, load_cluster, parse_cluster


def places(cluster: Cluster) -> list[str]:
    return [f"{node.name} {node.url}" for node in cluster.nodes]


def test_no_file_means_two_catalogs_two_orders_and_one_front_end_on_localhost() -> None:
    assert places(load_cluster(None)) == [
        "catalog-0 http://localhost:5000",
        "catalog-1 http://localhost:5003",
        "order-0 http://localhost:5001",
        "order-1 http://localhost:5004",
        "frontend-0 http://localhost:5002",
    ]


def test_a_given_port_does_not_shift_the_ports_of_the_hosts_after_it() -> None:
    cluster = parse_cluster("a:80 ,b,  10.0.0.1\nc\n[::1], [2001:DB8::2]:7000\n\n  \n")
    assert places(cluster) == [
        "catalog-0 http://a:80",
        "catalog-1 http://b:5003",
        "catalog-2 http://10.0.0.1:5006",
        "order-0 http://c:5001",
        "frontend-0 http://[::1]:5002",
        "frontend-1 http://[2001:db8::2]:7000",
    ]


def test_windows_line_ends_and_a_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "cluster"
    file.write_bytes(b"\xef\xbb\xbfa\r\nb\r\nc")
    assert [node.host for node in load_cluster(str(file)).nodes] == ["a", "b", "c"]


def test_only_names_of_this_very_machine_are_local() -> None:
    cluster = parse_cluster("localhost,127.0.0.2,[::1]\nLOCALHOST,10.0.0.1,[::2]\nlocalhost.example")
    assert [node.local for node in cluster.nodes] == [True, True, True, True, False, False, False]


def test_nodes_are_found_by_tier_and_by_name() -> None:
    cluster = load_cluster(None)
    assert cluster.node("order-1") == Node(Role.ORDER, 1, "localhost", 5004) == cluster.tier(Role.ORDER)[1]
    with pytest.raises(KeyError):
        cluster.node("order-2")


nine = ",".join(f"h{i}" for i in range(10))
hundred = ",".join(f"h{i}" for i in range(100))


@pytest.mark.parametrize(
    ("text", "line", "column", "expected"),
    [
        ("", 1, 1, "catalog hosts"),
        ("a\n", 2, 1, "order hosts"),
        ("a\nb\n\n\n", 3, 1, "front-end hosts"),
        ("a\n\nb", 2, 1, "expected a host"),
        ("a\nb\nc\n\nd", 4, 1, "end of the file"),
        ("a,\nb\nc", 1, 3, "expected a host"),
        ("a, ,b\nb\nc", 1, 4, "expected a host"),
        ("a\nb b\nc", 2, 1, "expected a host name"),
        ("a\tb\nb\nc", 1, 1, "expected a host name"),
        ("a\nhttp://b\nc", 2, 6, "port"),
        ("a\nb\n c:0", 3, 4, "port 1..65535"),
        ("a\nb\nc:65536", 3, 3, "port 1..65535"),
        ("a\nb\nc:", 3, 3, "port 1..65535"),
        ("a\nb\nc:٣", 3, 3, "port 1..65535"),
        ("a\nb\nc: 80", 3, 3, "port 1..65535"),
        ("::1\nb\nc", 1, 1, "brackets"),
        ("[::1\nb\nc", 1, 5, "']'"),
        ("a, [::g]\nb\nc", 1, 5, "IPv6"),
        ("[fe80::1%eth0]\nb\nc", 1, 2, "zone"),
        ("[::1]x\nb\nc", 1, 6, "':'"),
        ("256.1.1.1\nb\nc", 1, 1, "IPv4"),
        ("1.2.3\nb\nc", 1, 1, "IPv4"),
        ("-a\nb\nc", 1, 1, "host name"),
        ("a" * 64 + "\nb\nc", 1, 1, "host name"),
        (nine + "\nb\nc", 1, 28, "at most 9"),
        ("a\nb\n" + hundred, 3, len(hundred) - 2, "at most 99"),
        ("a:7\nb\n A:7", 3, 2, "catalog-0"),
        ("a\na:5000\nb", 2, 1, "catalog-0"),
        ("[::1]:7\nb\n[0::0:1]:7", 3, 1, "catalog-0"),
    ],
)
def test_anything_else_is_refused_with_its_place(text: str, line: int, column: int, expected: str) -> None:
    with pytest.raises(ClusterError) as caught:
        parse_cluster(text, "my file")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert expected in caught.value.expected
    assert str(caught.value) == f"my file, line {line}, column {column}: {caught.value.expected}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    with pytest.raises(ClusterError, match=r"nothing: cannot be read: No such file"):
        load_cluster(missing)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ClusterError, match="UTF-8"):
        load_cluster(str(tmp_path / "bytes"))
    (tmp_path / "huge").write_text("a" * 70_000)
    with pytest.raises(ClusterError, match="not more than"):
        load_cluster(str(tmp_path / "huge"))


hosts = st.one_of(
    st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z][a-z0-9]{0,5}){0,2}", fullmatch=True),
    st.ip_addresses().map(str),
)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    places = draw(
        st.lists(st.tuples(hosts, st.integers(1, 65535)), min_size=3, max_size=20, unique=True).filter(bool)
    )
    catalogs = draw(st.integers(1, min(9, len(places) - 2)))
    orders = draw(st.integers(max(1, len(places) - catalogs - 99), min(9, len(places) - catalogs - 1)))
    parts = (places[:catalogs], places[catalogs : catalogs + orders], places[catalogs + orders :])
    tiers = [
        tuple(Node(role, i, host, port) for i, (host, port) in enumerate(part))
        for role, part in zip(Role, parts, strict=True)
    ]
    return Cluster(*tiers)


@given(clusters())
def test_a_cluster_written_and_read_again_is_the_same(cluster: Cluster) -> None:
    assert parse_cluster(cluster.text) == cluster


@given(st.text(alphabet="a1.:,[]% \n\t-_\0é"))
def test_no_text_is_anything_but_a_cluster_or_a_placed_error(text: str) -> None:
    try:
        cluster = parse_cluster(text)
    except ClusterError as error:
        place = (error.line, error.column)
        assert min(place) >= 1
    else:
        assert parse_cluster(cluster.text) == cluster
