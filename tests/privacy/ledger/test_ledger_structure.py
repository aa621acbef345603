"""No object of the database changes what the ledger reads or writes: it is refused at every use.

`ON_FILE` and `ON_SERVER` list every kind of object and setting, kept by SQLite or PostgreSQL, that could.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from dp_accounting import dp_event as e

from synthgen.errors import ConfigError, DataError
from synthgen.privacy.ledger.ledger import Ledger, Position
from tests.privacy.conftest import SQLITE, Place
from tests.support.ledgers import DELTA, RHO, book, opened

ENTRIES = (
    "CREATE TABLE entries (seq BIGINT NOT NULL, time TEXT NOT NULL, cohort TEXT NOT NULL, "
    "kind TEXT NOT NULL, content TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL, "
    "PRIMARY KEY (seq))"
)
ERASE = (
    "BEGIN DELETE FROM entries WHERE kind = 'reserve'; "
    "UPDATE head SET value = (SELECT seq || ':' || hash FROM entries ORDER BY seq DESC LIMIT 1); END"
)


def made_anew(change) -> list[str]:
    """Statements that make the table of entries anew, with its rows, by another statement."""
    return [
        "ALTER TABLE entries RENAME TO old",
        change(ENTRIES),
        "INSERT INTO entries (seq, time, cohort, kind, content, previous, hash) SELECT * FROM old",
        "DROP TABLE old",
    ]


def changed(old: str, new: str) -> list[str]:
    assert old in ENTRIES
    return made_anew(lambda sql: sql.replace(old, new))


ON_FILE = {
    "trigger that erases spends": [f"CREATE TRIGGER t AFTER UPDATE ON head {ERASE}"],
    "trigger after inserts": [f"CREATE TRIGGER t AFTER INSERT ON entries {ERASE}"],
    "trigger on counters": ["CREATE TRIGGER t AFTER UPDATE ON draws BEGIN UPDATE draws SET counter = 0; END"],
    "trigger named as an index": [
        f"CREATE TRIGGER sqlite_ AFTER INSERT ON entries {ERASE}".replace("sqlite_", "s_")
    ],
    "view in the place of a table": [
        "ALTER TABLE entries RENAME TO e0",
        "CREATE VIEW entries AS SELECT * FROM e0 WHERE kind <> 'reserve'",
    ],
    "view with a trigger instead of inserts": [
        "ALTER TABLE head RENAME TO h0",
        "CREATE VIEW head AS SELECT * FROM h0",
        "CREATE TRIGGER t INSTEAD OF UPDATE ON head BEGIN SELECT 1; END",
    ],
    "view that never ends": [
        "ALTER TABLE layout RENAME TO l0",
        "CREATE VIEW layout AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
        "SELECT 1 AS id, count(*) AS version FROM n",
    ],
    "virtual table": [
        "ALTER TABLE entries RENAME TO e0",
        "CREATE VIRTUAL TABLE entries USING fts5(seq, time, cohort, kind, content, previous, hash)",
    ],
    "generated column": ["ALTER TABLE entries ADD COLUMN more TEXT GENERATED ALWAYS AS (hash) VIRTUAL"],
    "generated column in a column's place": [
        "ALTER TABLE draws RENAME COLUMN counter TO c0",
        "ALTER TABLE draws ADD COLUMN counter BIGINT AS (0) VIRTUAL",
    ],
    "check": changed("kind TEXT NOT NULL", "kind TEXT NOT NULL CHECK (kind <> 'x')"),
    "key that ignores": changed("PRIMARY KEY (seq)", "PRIMARY KEY (seq) ON CONFLICT IGNORE"),
    "key that replaces": changed("PRIMARY KEY (seq)", "PRIMARY KEY (seq) ON CONFLICT REPLACE"),
    "unique constraint that replaces": changed(
        "PRIMARY KEY (seq)", "PRIMARY KEY (seq), UNIQUE (seq, kind) ON CONFLICT REPLACE"
    ),
    "not null that ignores": changed("hash TEXT NOT NULL", "hash TEXT NOT NULL ON CONFLICT IGNORE"),
    "default": changed("content TEXT NOT NULL", "content TEXT NOT NULL DEFAULT '{}'"),
    "collation": changed("cohort TEXT NOT NULL", "cohort TEXT COLLATE NOCASE NOT NULL"),
    "no key": changed(", PRIMARY KEY (seq)", ""),
    "row id of its own": changed("seq BIGINT NOT NULL", "seq INTEGER NOT NULL"),
    "foreign key that cascades": changed(
        "PRIMARY KEY (seq)",
        "PRIMARY KEY (seq), FOREIGN KEY (cohort) REFERENCES cohort_keys ON DELETE CASCADE",
    ),
    "without row ids": made_anew(lambda sql: f"{sql} WITHOUT ROWID"),
    "strict": made_anew(lambda sql: sql.replace("BIGINT", "INT") + " STRICT"),
    "other order of columns": [
        "ALTER TABLE draws RENAME TO d0",
        "CREATE TABLE draws (entry BIGINT NOT NULL, counter BIGINT NOT NULL, hash TEXT NOT NULL, "
        "journal TEXT NOT NULL, PRIMARY KEY (entry))",
        "DROP TABLE d0",
    ],
    "partial index": ["CREATE UNIQUE INDEX i ON entries (kind) WHERE kind = 'never'"],
    "index of an expression": ["CREATE INDEX i ON entries (length(content))"],
    "another table": ["CREATE TABLE other (x)"],
    "counter of rows": [
        "CREATE TABLE s (x INTEGER PRIMARY KEY AUTOINCREMENT)",
        "INSERT INTO s VALUES (9)",
        "DROP TABLE s",
    ],
    "planner's statistics": ["ANALYZE"],
    "statement with a comment": [
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = sql || '/* x */' WHERE name = 'entries'",
    ],
    "statement in other words": [
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = replace(sql, 'hash TEXT NOT NULL', 'hash TEXT') WHERE rootpage = 2",
    ],
    "two tables in one place": [
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'layout') "
        "WHERE name = 'head'",
    ],
    "an index of another table": [
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET rootpage = (SELECT max(rootpage) FROM sqlite_schema) WHERE type = 'index'",
    ],
    "write-ahead log": ["PRAGMA journal_mode = WAL"],
}


def with_history(place: Place) -> Ledger:
    ledger = opened(place.ledger(), "icu")
    number = book(ledger, rho=RHO / 100)
    ledger.draw(number, counted=True)
    return ledger


USES = {
    "reserve": lambda ledger: book(ledger, rho=RHO / 100),
    "count": lambda ledger: ledger.count(2, Position(), Position(1, "x" * 64)),
    "commit": lambda ledger: ledger.commit(2),
    "draw": lambda ledger: ledger.draw(2),
    "note": lambda ledger: ledger.note("icu"),
    "spent": lambda ledger: ledger.spent("icu"),
    "open": lambda ledger: ledger.open_cohort("ward", epsilon=1.0, delta=DELTA),
    "head": lambda ledger: ledger.head(),
    "cohort": lambda ledger: ledger.cohort("icu"),
}


def assert_refused(place: Place, ledger: Ledger, *words: str) -> None:
    """Every use is refused by the open ledger and by one that is opened now, and `verify` says why."""
    for name, use in USES.items():
        with pytest.raises(DataError) as caught:
            use(ledger)
        assert "ledger verify" in caught.value.next_step, name
        with pytest.raises(DataError):
            use(place.ledger(create=False))
    found = place.ledger(create=False).verify()
    assert found
    assert all(any(word in str(problem) for problem in found) for word in words), found


@pytest.mark.parametrize("name", ON_FILE)
def test_no_object_of_a_file_that_could_change_a_spend_gets_past_any_use(tmp_path, name):
    place = Place(tmp_path, SQLITE)
    ledger = with_history(place)
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    for statement in ON_FILE[name]:
        connection.execute(statement)
    connection.close()
    assert_refused(place, ledger)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_a_file_in_another_encoding_is_refused(tmp_path, encoding):
    place = Place(tmp_path, SQLITE)
    ledger = with_history(place)
    old = sqlite3.connect(tmp_path / "ledger.db")
    new = sqlite3.connect(tmp_path / "new.db")
    new.execute(f"PRAGMA encoding = '{encoding}'")
    new.executescript("\n".join(old.iterdump()))
    new.close()
    old.close()
    (tmp_path / "new.db").replace(tmp_path / "ledger.db")
    assert_refused(place, ledger, "encoding")


def test_a_trigger_cannot_erase_twenty_spends_of_a_cap_of_one(tmp_path):
    place = Place(tmp_path, SQLITE)
    ledger = opened(place.ledger(), "icu")
    place.edit(f"CREATE TRIGGER t AFTER UPDATE ON head {ERASE}")
    for _ in range(20):
        with pytest.raises(DataError, match="trigger 't' of 'head'") as caught:
            book(ledger, rho=RHO * 0.9)
        assert caught.value.exit_code == 3
    assert place.edit("SELECT count(*) FROM entries WHERE kind = 'reserve'") == [(0,)]


def test_another_database_is_not_made_a_ledger(tmp_path):
    other = sqlite3.connect(tmp_path / "cookies.db")
    other.execute("CREATE TABLE cookies (x)")
    other.close()
    before = (tmp_path / "cookies.db").read_bytes()
    for create in (True, False):
        with pytest.raises(ConfigError, match="without one"):
            Ledger.connect("sqlite:///cookies.db", base=tmp_path, create=create)
    assert (tmp_path / "cookies.db").read_bytes() == before


def test_what_is_lost_at_the_commit_is_found_by_reading_it_back(place, monkeypatch):
    """As by a connection pool in between, or an object of no known kind: rows vanish once committed."""
    from synthgen.privacy.ledger.draw_counter import DrawsRow
    from synthgen.privacy.ledger.store import Store

    ledger = opened(place.ledger(), "icu")
    number = book(ledger, rho=RHO / 100)
    ledger.draw(number, counted=True)
    honest, lost = Store._read_back, {}

    def after(statement):
        def read_back(self, written):
            place.edit(statement)
            honest(self, written)

        return read_back

    last = "(SELECT max(seq) FROM entries)"
    for name, statement in {
        "reserve": f"DELETE FROM entries WHERE seq = {last}",  # noqa: S608
        "note": "UPDATE head SET value = '1:0'",
        "count": "UPDATE draws SET counter = 0, hash = 'x'",
        "open": "DELETE FROM cohort_keys WHERE cohort = 'ward'",
    }.items():
        lost[name] = statement
        with monkeypatch.context() as patch:
            patch.setattr(Store, "_read_back", after(statement))
            with pytest.raises(DataError, match="what was written to it just now"):
                USES[name](ledger)
        if name in ("note", "reserve"):  # the rest of the list starts from a ledger that verifies
            ((seq, hash_),) = place.edit("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1")
            place.edit("UPDATE head SET value = ?", f"{seq}:{hash_}")
        if name == "count":
            ((hash_,),) = place.edit("SELECT hash FROM entries WHERE seq = ?", number)
            row = DrawsRow.make(number, Position(), reservation=hash_)
            place.edit("UPDATE draws SET counter = 0, journal = '', hash = ?", row.hash)
    assert len(lost) == 4


# PostgreSQL

FUNCTION = (
    "CREATE FUNCTION erase() RETURNS {0} LANGUAGE plpgsql AS $$ BEGIN "
    "DELETE FROM entries WHERE kind = 'reserve'; RETURN NULL; END $$"
)
ON_SERVER = {
    "trigger": [
        FUNCTION.format("trigger"),
        "CREATE TRIGGER t AFTER INSERT ON entries FOR EACH STATEMENT EXECUTE FUNCTION erase()",
    ],
    "trigger at the commit": [
        FUNCTION.format("trigger"),
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        "EXECUTE FUNCTION erase()",
    ],
    "trigger on the head": [
        FUNCTION.format("trigger"),
        "CREATE TRIGGER t BEFORE UPDATE ON head FOR EACH ROW EXECUTE FUNCTION erase()",
    ],
    "rule": ["CREATE RULE r AS ON INSERT TO entries DO INSTEAD NOTHING"],
    "rule that also acts": [
        "CREATE RULE r AS ON UPDATE TO head DO ALSO DELETE FROM entries WHERE kind = 'reserve'"
    ],
    "row-level security": [
        "ALTER TABLE entries ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE entries FORCE ROW LEVEL SECURITY",
        "CREATE POLICY p ON entries USING (kind <> 'reserve')",
    ],
    "policy that waits": ["CREATE POLICY p ON entries USING (kind <> 'reserve')"],
    "view": [
        "ALTER TABLE entries RENAME TO e0",
        "CREATE VIEW entries AS SELECT * FROM e0 WHERE kind <> 'reserve'",
    ],
    "materialized view": [
        "ALTER TABLE entries RENAME TO e0",
        "CREATE MATERIALIZED VIEW entries AS SELECT * FROM e0",
    ],
    "generated column": ["ALTER TABLE draws ADD COLUMN more BIGINT GENERATED ALWAYS AS (counter + 1) STORED"],
    "identity": ["ALTER TABLE entries ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY"],
    "default": ["ALTER TABLE entries ALTER COLUMN content SET DEFAULT '{}'"],
    "domain": [
        "CREATE DOMAIN d AS text CHECK (VALUE <> 'x')",
        "ALTER TABLE entries ALTER COLUMN kind TYPE d",
    ],
    "domain named as a type": [
        'CREATE DOMAIN public."text" AS pg_catalog.text',
        'ALTER TABLE entries ALTER COLUMN kind TYPE public."text"',
    ],
    "another type": ["ALTER TABLE draws ALTER COLUMN counter TYPE smallint"],
    "null": ["ALTER TABLE entries ALTER COLUMN hash DROP NOT NULL"],
    "collation": ['ALTER TABLE entries ALTER COLUMN kind TYPE text COLLATE "C"'],
    "check": ["ALTER TABLE entries ADD CONSTRAINT k CHECK (kind <> 'x')"],
    "unique": ["ALTER TABLE entries ADD CONSTRAINT k UNIQUE (hash)"],
    "exclusion": ["ALTER TABLE entries ADD CONSTRAINT k EXCLUDE USING btree (hash WITH =)"],
    "foreign key that cascades": [
        "ALTER TABLE draws ADD CONSTRAINT k FOREIGN KEY (entry) REFERENCES entries (seq) ON DELETE CASCADE"
    ],
    "foreign key of another table": [
        "CREATE TABLE other (x bigint REFERENCES entries (seq) ON DELETE CASCADE)"
    ],
    "key at the commit": [
        "ALTER TABLE entries DROP CONSTRAINT entries_pkey",
        "ALTER TABLE entries ADD PRIMARY KEY (seq) DEFERRABLE INITIALLY DEFERRED",
    ],
    "no key": ["ALTER TABLE entries DROP CONSTRAINT entries_pkey"],
    "wider key": [
        "ALTER TABLE entries DROP CONSTRAINT entries_pkey",
        "ALTER TABLE entries ADD PRIMARY KEY (seq, kind)",
    ],
    "partial index": ["CREATE INDEX i ON entries (kind) WHERE kind = 'x'"],
    "index of an expression": ["CREATE INDEX i ON entries (length(content))"],
    "inheritance": ["CREATE TABLE child () INHERITS (entries)"],
    "partitions": [
        "ALTER TABLE head RENAME TO h0",
        "CREATE TABLE head (id integer NOT NULL, value text NOT NULL, PRIMARY KEY (id)) "
        "PARTITION BY LIST (id)",
    ],
    "unlogged": ["ALTER TABLE entries SET UNLOGGED"],
    "another schema first": [
        "CREATE SCHEMA synthgen",
        "CREATE TABLE synthgen.entries AS SELECT * FROM public.entries",
    ],
    "event trigger": [
        FUNCTION.format("event_trigger").replace("RETURN NULL; ", ""),
        "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION erase()",
    ],
}


@pytest.fixture(scope="module")
def template(postgresql, tmp_path_factory):
    """A database with a ledger and some history, to copy."""
    for name in ("ledger_template", "ledger_case"):
        postgresql.execute(f"DROP DATABASE IF EXISTS {name}")
    postgresql.execute("CREATE DATABASE ledger_template")
    with_history(Place(tmp_path_factory.mktemp("server"), postgresql.url("ledger_template"), postgresql))
    return postgresql


@pytest.mark.parametrize("name", ON_SERVER)
def test_no_object_of_a_server_that_could_change_a_spend_gets_past_any_use(template, name):
    template.execute("CREATE DATABASE ledger_case TEMPLATE ledger_template")
    try:
        ledger = Ledger.connect(template.url("ledger_case"))
        for statement in ON_SERVER[name]:
            template.execute(statement, database="ledger_case")
        for use in (USES["reserve"], USES["count"]):  # one reads the chain and one does not
            with pytest.raises(DataError) as caught:
                use(ledger)
            assert "ledger verify" in caught.value.next_step
        assert Ledger.connect(template.url("ledger_case"), create=False).verify()
    finally:
        template.execute("DROP DATABASE ledger_case")


def test_a_search_path_with_strange_operators_and_functions_changes_nothing(tmp_path, postgresql):
    """A role's search path can put another equality, or another lock, before the server's own."""
    postgresql.empty()
    place = Place(tmp_path, postgresql.url(), postgresql)
    with_history(place)
    head = place.ledger().head()
    for statement in (
        "CREATE SCHEMA evil",
        "CREATE FUNCTION evil.never(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
        "CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.never)",
        "CREATE FUNCTION evil.pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE sql AS 'SELECT'",
        "CREATE FUNCTION evil.current_schemas(boolean) RETURNS name[] LANGUAGE sql AS 'SELECT NULL::name[]'",
        "ALTER ROLE synthgen SET search_path = evil, public, pg_catalog",
    ):
        postgresql.execute(statement)
    try:
        ledger = place.ledger()
        assert ledger.head() == head
        ledger.count(2, Position(), Position(1, "x" * 64))
        assert ledger.position(2) == Position(1, "x" * 64)
        assert ledger.verify() == []
    finally:
        postgresql.execute("ALTER ROLE synthgen RESET search_path")
        postgresql.execute("DROP SCHEMA evil CASCADE")


def test_temporary_tables_and_settings_of_a_connection_do_not_outlive_it(tmp_path):
    """What is no part of the file cannot be left behind: attached files, switched off checks, triggers."""
    place = Place(tmp_path, SQLITE)
    ledger = with_history(place)
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute(f"ATTACH '{tmp_path / 'other.db'}' AS other")
    connection.execute(f"CREATE TEMP TRIGGER t AFTER INSERT ON main.entries {ERASE}")
    connection.commit()
    before = ledger.spent("icu").entries
    ledger.reserve("icu", e.ZCDpEvent(RHO / 100), purpose="fit", run="r")
    assert ledger.spent("icu").entries == before + 1
    connection.close()
    assert ledger.verify() == []


def test_a_look_at_the_file_does_not_give_up_the_locks_of_a_writer(tmp_path):
    """A process that closes a file gives up all its locks on it, so `verify` may not open it by itself."""
    place = Place(tmp_path, SQLITE)
    ledger = with_history(place)
    store = place.store()
    write = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
        "try: c.execute('BEGIN IMMEDIATE')\n"
        "except sqlite3.OperationalError: sys.exit(7)\n"
    )
    with store.transaction(write=True):
        assert ledger.verify() == []
        assert (
            subprocess.run([sys.executable, "-c", write, str(tmp_path / "ledger.db")], check=False).returncode
            == 7
        )
