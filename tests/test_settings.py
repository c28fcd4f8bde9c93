"""Settings: who is asked in which order, what a wrong one says, and that commands and nodes see the same."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from twisted.python import usage

from pygmy.cli.main import main
from pygmy.cli.nodes import Store
from pygmy.cluster import Role, load_cluster
from pygmy.settings import TABLE, BadFile, BadSetting, Setting, for_command, for_role, resolve, setting
from pygmy.settings.parsing import text_from
from pygmy.tap import catalog, frontend
from tests.support.processes import without_settings

MANY = Setting("listen", text_from, None, "Further endpoints.", "ENDPOINT", many=True)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_settings(tmp_path, monkeypatch)


def write(text: str, name: str = "pygmy.toml") -> Path:
    path = Path(name).absolute()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def pygmy(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


# ---- layers


def test_a_flag_goes_before_a_variable_before_the_file_before_the_default() -> None:
    file = write("backups = 3\n")
    flags, variables = {"backups": "5"}, {"PYGMY_BACKUPS": "4"}
    seen = [
        resolve([setting("backups")], flags, variables).all["backups"],
        resolve([setting("backups")], {}, variables).all["backups"],
        resolve([setting("backups")], {}, {}).all["backups"],
    ]
    file.unlink()
    seen.append(resolve([setting("backups")], {}, {}).all["backups"])
    assert [(one.value, one.origin) for one in seen] == [
        (5, "--backups"),
        (4, "PYGMY_BACKUPS"),
        (3, str(file)),
        (7, "default"),
    ]


def test_an_empty_variable_says_nothing() -> None:
    assert resolve(TABLE, {}, {"PYGMY_DATA": "", "PYGMY_CONFIG": ""})["data"] == "pygmy-data"


def test_the_file_is_the_one_named_else_that_of_the_data_else_that_of_here() -> None:
    here, data, named = write(""), write("", "data/pygmy.toml"), write("", "named.toml")
    in_data = {"PYGMY_DATA": "data"}
    assert resolve([], {}, {}).file == here
    assert resolve([], {}, in_data).file == data
    assert resolve([], {"data": "data"}, {}).file == data
    assert resolve([], {}, {**in_data, "PYGMY_CONFIG": "named.toml"}).file == named
    assert resolve([], {"config": "data/pygmy.toml"}, {"PYGMY_CONFIG": "named.toml"}).file == data
    for path in (here, data):
        path.unlink()
    assert resolve([], {}, in_data).file is None


def test_a_path_in_the_file_is_seen_from_where_the_file_is() -> None:
    file = write('books = "stock.csv"\ncluster = "/etc/cluster"\n', "etc/pygmy.toml")
    values = resolve(TABLE, {"config": "etc/pygmy.toml"}, {"PYGMY_TOKEN_FILE": "token"})
    assert values["books"] == str(file.parent / "stock.csv")
    assert (values["cluster"], values["token-file"]) == ("/etc/cluster", "token")


def test_a_word_that_is_no_path_stays_what_it_is() -> None:
    one = replace(setting("books"), words=("off",))
    write('books = "off"\n')
    assert resolve([one], {}, {})["books"] == "off"


@pytest.mark.parametrize(("text", "on"), [("no", False), ("OFF", False), ("0", False), ("true", True), ("1", True)])
def test_a_switch_has_words_and_two_flags(text: str, on: bool) -> None:
    assert resolve([setting("cache")], {}, {"PYGMY_CACHE": text})["cache"] is on
    assert resolve([setting("cache")], {"cache": on}, {}).all["cache"].origin == ("--cache" if on else "--no-cache")
    write(f"cache = {str(on).lower()}\n")
    assert resolve([setting("cache")], {}, {})["cache"] is on


def test_a_setting_may_be_given_several_times() -> None:
    assert resolve([MANY], {}, {})["listen"] == ()
    assert resolve([MANY], {"listen": ("a", "b")}, {})["listen"] == ("a", "b")
    assert resolve([MANY], {}, {"PYGMY_LISTEN": " a  b "})["listen"] == ("a", "b")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("backups = 0", "{file}: backups = 0: expected how many backups are kept, 1 to 1000."),
        ("backup-hours = nan", "{file}: backup-hours = nan: expected hours"),
        ("backup-hours = true", "{file}: backup-hours: expected a number, or text in quotes."),
        ("books = 7", "{file}: books: expected a path in quotes."),
        ("cache = []", "{file}: cache: expected true or false."),
        ('cache = "perhaps"', "{file}: cache = perhaps: expected yes or no"),
        ("bakups = 3", "{file}: bakups is no setting of Pygmy. Did you mean backups?"),
        ("backup_hours = 3", "{file}: backup_hours is no setting of Pygmy. Did you mean backup-hours?"),
        ('config = "x"', "{file}: config is no setting of Pygmy."),
        ("[frontend]\ncache = false", "{file}: frontend is no setting of Pygmy. Did you mean frontend-server?"),
        ("\n  backups == 3", "(at line 2, column 12)"),
        ('books = "\\u0000"', "expected a path"),
    ],
)
def test_a_bad_file_is_one_line_with_its_place(written: str, told: str) -> None:
    file = write(written)
    with pytest.raises((BadFile, BadSetting)) as caught:
        resolve(TABLE, {}, {})
    assert told.format(file=file) in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert str(caught.value).isprintable()


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(BadFile, match=r"/nowhere: cannot be read: No such file"):
        resolve([], {"config": "/nowhere"}, {})
    Path("pygmy.toml").write_bytes(b"\xff")
    with pytest.raises(BadFile, match="expected UTF-8"):
        resolve([], {}, {})


@pytest.mark.parametrize(("name", "text"), [("backups", "0"), ("timeout", "nan"), ("frontend-server", "a b")])
def test_a_bad_value_says_which_layer_it_came_from(name: str, text: str) -> None:
    variable = setting(name).names[0]
    with pytest.raises(BadSetting) as flag:
        resolve(TABLE, {name: text}, {})
    with pytest.raises(BadSetting) as said:
        resolve(TABLE, {}, {variable: text})
    assert str(flag.value).startswith(f"--{name} {text}: expected ")
    assert str(said.value).startswith(f"{variable}={text}: expected ")


# ---- variables that are no settings


def test_an_unknown_variable_is_told_without_its_value_and_stops_nothing() -> None:
    values = resolve(TABLE, {}, {"PYGMY_BAKUPS": "secret", "PYGMY_CHAOS_SECONDS": "9", "PYGMYX": "", "HOME": "/"})
    assert values.warnings == ("PYGMY_BAKUPS is no setting of Pygmy. Did you mean PYGMY_BACKUPS?",)


def test_what_kubernetes_tells_of_its_services_is_no_word_of_anyone() -> None:
    """A service named `pygmy` or `pygmy-frontend` puts these into every container of its namespace."""
    links = {
        "PYGMY_PORT": "tcp://10.0.0.1:5002",
        "PYGMY_PORT_5002_TCP": "tcp://10.0.0.1:5002",
        "PYGMY_PORT_5002_TCP_ADDR": "10.0.0.1",
        "PYGMY_PORT_5002_TCP_PROTO": "tcp",
        "PYGMY_SERVICE_HOST": "10.0.0.1",
        "PYGMY_SERVICE_PORT": "5002",
        "PYGMY_FRONTEND_PORT": "tcp://10.0.0.1:5002",
        "PYGMY_FRONTEND_SERVICE_HOST": "10.0.0.1",
        "PYGMY_FRONTEND_SERVICE_PORT_HTTP": "5002",
    }
    values = resolve(TABLE, {}, links)
    assert values.warnings == ()
    assert values.all["port"].origin == "default"


# ---- the commands


def test_config_shows_every_setting_and_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("backups = 3\n")
    monkeypatch.setenv("PYGMY_BACKUP_HOURS", "0.5")
    result = pygmy("--timeout", "3", "config", "--no-cache", "--books", "x.csv")
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert list(lines) == [one.key for one in TABLE]
    assert lines["config"] == [str(file), "found"]
    assert lines["backups"] == ["3", str(file)]
    assert lines["backup-hours"] == ["0.5", "PYGMY_BACKUP_HOURS"]
    assert lines["timeout"] == ["3", "--timeout"]
    assert lines["cache"] == ["no", "--no-cache"]
    assert lines["books"] == [str(Path("x.csv").absolute()), "--books"]
    assert lines["token-file"] == ["(DATA/admin.token)", "default"]
    columns = {line.index(line.split()[1]) for line in result.stdout.splitlines()}
    assert len(columns) == 1
    shown = json.loads(pygmy("--json", "config").stdout)
    assert shown["backups"] == {"value": 3, "from": str(file)}
    assert list(shown) == list(lines)


def test_the_settings_file_counts_for_customers_too() -> None:
    file = write('frontend-server = "shop:81"\n', "other.toml")
    for arguments in (("--config", str(file), "config"), ("config", "--config", str(file))):
        assert json.loads(pygmy("--json", *arguments).stdout)["frontend-server"]["value"] == "http://shop:81"


def test_what_stands_before_a_command_may_stand_after_it() -> None:
    """A person does not think of which half of the line an option belongs to."""
    general = {one.identifier for one in for_command("pygmy")} | {"as_json"}
    for name, command in main.commands.items():
        if name not in ("completion", "open"):  # which ask for nothing; which passes all on
            assert general <= {parameter.name for parameter in command.params}, name
    before = pygmy("--timeout", "3", "--ca", "x", "--json", "config")
    after = pygmy("config", "--timeout", "3", "--ca", "x", "--json")
    assert (after.exit_code, after.stdout) == (0, before.stdout)
    assert json.loads(pygmy("--timeout", "3", "config", "--timeout", "4", "--json").stdout)["timeout"]["value"] == 4


@pytest.mark.parametrize(
    ("written", "variables", "arguments", "told"),
    [
        ("bakups = 1\n", {}, ["lookup", "1"], "Did you mean backups?"),
        ("backups = 0\n", {}, ["up"], "pygmy.toml: backups = 0: expected"),
        ("", {"PYGMY_TIMEOUT": "0"}, ["lookup", "1"], "PYGMY_TIMEOUT=0: expected seconds"),
        ("", {"PYGMY_CONFIG": "x.toml"}, ["start", "all"], "x.toml: cannot be read"),
        ('books = "nosuch.csv"\n', {}, ["start", "all"], "pygmy.toml: there is no file"),
    ],
)
def test_what_variables_and_files_say_wrong_is_one_line_and_exit_code_2(
    written: str, variables: dict[str, str], arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(written)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = pygmy(*arguments)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert told in result.stderr


def test_an_odd_variable_is_told_once_and_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYGMY_DATUM", "x")
    result = pygmy("config")
    assert (result.exit_code, result.stderr) == (0, "PYGMY_DATUM is no setting of Pygmy. Did you mean PYGMY_DATA?\n")


# ---- the nodes


def test_a_node_is_told_what_was_given_as_a_flag_and_where_the_rest_is(tmp_path: Path) -> None:
    cluster = load_cluster(None)
    flags = {"books": "stock.csv", "cache": False, "backups": "3", "timeout": "5", "data": "data"}
    store = Store(cluster, "cluster", tmp_path / "data", flags, tmp_path / "pygmy.toml")
    place = ["--data", f"{tmp_path}/data", "--cluster", f"{tmp_path}/cluster", "--config", f"{tmp_path}/pygmy.toml"]
    told = {
        node.role: store.command(node, daemon=True)[3:]
        for node in (cluster.catalogs[0], cluster.orders[0], cluster.frontends[0])
    }
    assert told == {
        Role.CATALOG: ["pygmy-catalog", "--node", "0", *place, "--books", f"{tmp_path}/stock.csv", "--backups", "3"],
        Role.ORDER: ["pygmy-order", "--node", "0", *place, "--backups", "3"],
        Role.FRONTEND: ["pygmy-frontend", "--node", "0", *place, "--no-cache"],
    }
    (tmp_path / "pygmy.toml").write_text("")
    (tmp_path / "cluster").write_text(cluster.text)
    options = frontend.Options()
    options.parseOptions(told[Role.FRONTEND][1:])
    assert (options.node.name, options.settings["cache"], options.data) == ("frontend-0", False, tmp_path / "data")


def test_advice_names_the_store_as_its_user_did() -> None:
    store = Store(load_cluster(None), "the cluster", Path("/data"), {"cluster": "the cluster", "backups": "3"})
    assert store.advice("stop all") == "pygmy stop all --cluster 'the cluster'"
    assert Store(load_cluster(None), "x", Path("/data"), {}, Path("/x")).advice("stop all") == "pygmy stop all"


def test_nodes_log_where_they_are_told_each_into_its_own_file(tmp_path: Path) -> None:
    cluster = load_cluster(None)
    for named, path in (
        (None, "data/order-1/orders.log"),
        ("-", "data/order-1/orders.log"),
        ("x/{node}", "x/order-1"),
    ):
        assert Store(cluster, None, tmp_path / "data", log_file=named).log(cluster.orders[1]) == tmp_path / path


@pytest.mark.parametrize(("command", "code"), [("up", 1), ("start all", 2), ("start order-0 order-1", 2)])
def test_several_nodes_do_not_share_a_log(command: str, code: int) -> None:
    """Each would turn it over under the others."""
    result = pygmy(*command.split(), "--log-file", "one.log")
    assert (result.exit_code, result.stdout) == (code, "")
    assert "log-file one.log: expected {node} in it, for several nodes." in result.stderr


def test_a_node_asks_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    write('backups = 3\nbackup-hours = 1\nbooks = "x.csv"\n')
    monkeypatch.setenv("PYGMY_BACKUP_HOURS", "2")
    options = catalog.Options()
    options.parseOptions(["--backups", "5"])
    settings = options.settings
    assert (settings["backups"], settings["backup-hours"]) == (5, 2.0)
    assert settings["books"] == str(Path("x.csv").absolute())


def test_a_node_is_named_where_it_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("node = 7\n")
    with pytest.raises(usage.UsageError, match=f"^{file}: node = 7: the cluster has catalog-0, catalog-1.$"):
        catalog.Options().parseOptions([])
    monkeypatch.setenv("PYGMY_NODE", "8")
    with pytest.raises(usage.UsageError, match=r"^PYGMY_NODE=8: "):
        catalog.Options().parseOptions([])


def test_a_flag_of_a_node_can_be_given_several_times_if_the_setting_can(monkeypatch: pytest.MonkeyPatch) -> None:
    from pygmy.settings import table
    from pygmy.tap.options import NodeOptions

    monkeypatch.setattr(table, "TABLE", (*TABLE, replace(MANY, roles=frozenset((Role.FRONTEND,)))))

    class Options(NodeOptions):
        role = Role.FRONTEND

    options = Options()
    options.parseOptions(["--listen", "tcp:1", "--listen", "tcp:2", "--no-cache", "--cache"])
    assert (options.settings["listen"], options.settings["cache"]) == (("tcp:1", "tcp:2"), True)


# ---- the table


def _refusal(one: Setting) -> str:
    for text in ("", "\0"):
        try:
            one.parse(text)
        except ValueError as error:
            return str(error)
    return ""


@pytest.mark.parametrize("one", TABLE, ids=lambda one: one.key)
def test_every_setting_is_whole(one: Setting) -> None:
    assert one.default is None or one.parse(one.default) is not None
    assert one.shown_default
    assert one.help.endswith(".")
    assert one.commands or one.roles
    known = {*main.commands, "pygmy"}
    assert one.commands <= known
    assert re.fullmatch(r"expected .*\.", _refusal(one))


def test_the_page_about_settings_has_them_all() -> None:
    page = (Path(__file__).parent.parent / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    told = {key: default.replace("`", "") for key, default in rows}
    assert list(told.items()) == [(one.key, one.shown_default) for one in TABLE]
    example = "\n".join(re.findall(r"^    (#.*|[a-z-]+ = .*)$", page, re.MULTILINE))
    write(example)
    assert resolve(TABLE, {}, {})["log-format"] == "json"


def test_every_command_takes_what_the_table_says() -> None:
    for name, command in main.commands.items():
        taken = {parameter.name for parameter in command.params}
        assert {one.identifier for one in for_command(name)} <= taken, name
    assert {one.key for one in for_role(Role.ORDER)} >= {"config", "cluster", "data", "node", "port", "backups"}
