//! The forge's schema and ours, compared: they must not drift apart.

#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

use std::collections::BTreeMap;

use askalf_bridge_auth::UnixMillis;
use askalf_store::{OpenOptions, SqliteStore};
use rusqlite::Connection;

const FORGE: &str = include_str!("../../../vectors/forge.sql");

/// A column, in SQLite's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    kind: &'static str,
    not_null: bool,
    primary_key: bool,
    default: Option<String>,
    /// Conditions of its checks and of its type, unique and reference clauses, spaces taken out; sorted.
    rules: Vec<String>,
}

type Table = (Vec<Column>, Vec<String>);

#[test]
fn the_tables_are_the_forges_own() {
    let (forge, ours) = (tables(FORGE), ours());
    assert_eq!(forge.len(), 6, "all of forge.sql is read");
    for (name, (columns, constraints)) in &forge {
        let (our_columns, our_constraints) = ours.get(name).unwrap_or_else(|| panic!("table {name}"));
        let names = |columns: &[Column]| {
            columns
                .iter()
                .map(|column| column.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(our_columns), names(columns), "{name}");
        for (our, forge) in our_columns.iter().zip(columns) {
            assert_eq!(our, forge, "{name}");
        }
        assert_eq!(our_constraints, constraints, "{name}");
    }
    let beside: Vec<_> = ours.keys().filter(|name| !forge.contains_key(*name)).collect();
    assert!(
        beside.iter().all(|name| name.starts_with("askalf_")),
        "{beside:?}"
    );
}

#[test]
fn the_catalogue_says_what_the_text_of_the_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let connection = database(&folder);
    for (table, (columns, _)) in ours() {
        let mut statement = connection
            .prepare("select name, type, \"notnull\", pk from pragma_table_info(?) order by cid")
            .unwrap();
        let catalogue: Vec<(String, String, bool, bool)> = statement
            .query_map([&table], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let text: Vec<_> = columns
            .into_iter()
            .map(|column| {
                (
                    column.name,
                    column.kind.to_owned(),
                    column.not_null,
                    column.primary_key,
                )
            })
            .collect();
        assert_eq!(
            catalogue
                .into_iter()
                .map(|(name, kind, n, p)| (name, kind.to_lowercase(), n, p))
                .collect::<Vec<_>>(),
            text,
            "{table}"
        );
    }
}

#[test]
fn types_refuse_what_postgresql_would() {
    let folder = tempfile::tempdir().unwrap();
    let connection = database(&folder);
    connection
        .execute_batch("insert into forge_agents (id, owner_id, name, slug) values ('a', 'o', 'n', 's')")
        .unwrap();
    let key = |column: &str, value: &str| {
        format!(
            "insert into api_keys (id, tenant_id, name, key_hash, key_prefix, {column})
             values (hex(randomblob(8)), 'default', 'n', 'h', 'p', {value})"
        )
    };
    let execution = |column: &str, value: &str| {
        format!(
            "insert into forge_executions (id, agent_id, owner_id, input, {column})
             values (hex(randomblob(8)), 'a', 'o', 'i', {value})"
        )
    };
    for (good, bad) in [
        (
            key("expires_at", "'2026-11-24T07:33:00.000Z'"),
            key("expires_at", "'2026-11-24 07:33:00'"),
        ),
        (
            key("revoked_at", "null"),
            key("revoked_at", "'2026-02-30T07:33:00.000Z'"),
        ),
        (
            key("expires_at", "'9999-12-31T23:59:59.999Z'"),
            key("expires_at", "'soon'"),
        ),
        (key("scopes", "'[]'"), key("scopes", "'{}'")),
        (key("scopes", "null"), key("scopes", "'admin'")),
        (
            key("key_preview", "'üüüüüüüüüüüüüüüüüüüü'"),
            key("key_preview", "'üüüüüüüüüüüüüüüüüüüüü'"),
        ),
        (key("usage_count", "7"), key("usage_count", "'many'")),
        (key("status", "'revoked'"), key("status", "'expired'")),
        (key("user_id", "'default'"), key("user_id", "'nobody'")),
        (execution("cost", "9999.999999"), execution("cost", "10000")),
        (execution("metadata", "'[1]'"), execution("metadata", "'{'")),
        (execution("status", "'timeout'"), execution("status", "'done'")),
    ] {
        connection
            .execute_batch(&good)
            .unwrap_or_else(|error| panic!("{good}: {error}"));
        connection.execute_batch(&bad).expect_err(&bad);
    }
    let times: Vec<bool> = connection
        .prepare("select created_at glob '20??-??-??T??:??:??.???Z' from api_keys")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(
        times.iter().all(|is_one| *is_one),
        "the default of a time is a time"
    );
}

fn database(folder: &tempfile::TempDir) -> Connection {
    let path = folder.path().join("bridge.db");
    SqliteStore::open(&path, &OpenOptions::new(UnixMillis(0))).unwrap();
    Connection::open(path).unwrap()
}

fn ours() -> BTreeMap<String, Table> {
    let folder = tempfile::tempdir().unwrap();
    let connection = database(&folder);
    let mut statement = connection
        .prepare("select sql from sqlite_schema where type = 'table' and name not like 'sqlite_%'")
        .unwrap();
    let sql: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    tables(&sql.join(";\n"))
}

/// The tables of a script in either dialect, both in SQLite's terms.
fn tables(sql: &str) -> BTreeMap<String, Table> {
    let code: String = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(" ");
    let code = code.to_lowercase();
    let mut tables = BTreeMap::new();
    for statement in code.split(';') {
        let Some(rest) = statement.trim().strip_prefix("create table ") else {
            continue;
        };
        let (name, rest) = rest.split_once('(').unwrap();
        let body = &rest[..rest.rfind(')').unwrap()];
        let (mut columns, mut constraints, mut key) = (Vec::<Column>::new(), Vec::new(), String::new());
        for item in split_outside_parentheses(body, ',') {
            if item.starts_with("unique ") || item.starts_with("unique(") {
                constraints.push(squeezed(&item));
            } else if item.starts_with("primary key") {
                key = squeezed(&item);
            } else {
                columns.push(column(&item));
            }
        }
        let of_key = key.trim_start_matches("primarykey(").trim_end_matches(')');
        for column in &mut columns {
            column.primary_key |= of_key.split(',').any(|name| name == column.name);
        }
        tables.insert(name.trim().to_owned(), (columns, constraints));
    }
    tables
}

fn column(text: &str) -> Column {
    // `varchar(255)` and `default (...)` are one word each.
    let text = text.replace("numeric(10, 6)", "numeric(10,6)");
    let words: Vec<String> = split_outside_parentheses(&text, ' ');
    let mut words = words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.is_empty())
        .peekable();
    let name = words.next().unwrap().to_owned();
    let mut rules = Vec::new();
    let declared = words.next().unwrap();
    let kind = match declared {
        "text" => "text",
        "integer" => "integer",
        "real" => "real",
        "blob" => "blob",
        "timestamptz" => {
            rules.push(format!("check({name}isstrftime('%y-%m-%dt%h:%m:%fz',{name}))"));
            "text"
        }
        "jsonb" => {
            rules.push(format!("check(json_valid({name}))"));
            "text"
        }
        "text[]" => {
            rules.push(format!("check(json_valid({name})andjson_type({name})='array')"));
            "text"
        }
        "numeric(10,6)" => {
            rules.push(format!("check({name}between-9999.999999and9999.999999)"));
            "real"
        }
        other => {
            let length = other
                .strip_prefix("varchar(")
                .and_then(|rest| rest.strip_suffix(')'));
            rules.push(format!(
                "check(length({name})<={})",
                length.unwrap_or_else(|| panic!("type {other}"))
            ));
            "text"
        }
    };
    let (mut not_null, mut primary_key, mut default) = (false, false, None);
    while let Some(word) = words.next() {
        match word {
            "not" => {
                assert_eq!(words.next(), Some("null"), "{text}");
                not_null = true;
            }
            "primary" => {
                assert_eq!(words.next(), Some("key"), "{text}");
                (primary_key, not_null) = (true, true);
            }
            "autoincrement" => rules.push("autoincrement".to_owned()),
            "unique" => rules.push("unique".to_owned()),
            "default" => default = words.next().map(translated_default),
            "check" => rules.push(format!("check{}", squeezed(words.next().unwrap()))),
            "references" => {
                // The rest of the clause, up to the next that is not its own.
                let mut clause = format!("references{}", words.next().unwrap());
                while let Some(word) = words.next_if(|word| {
                    word.starts_with('(') || ["on", "delete", "cascade", "set", "null"].contains(word)
                }) {
                    clause.push_str(&squeezed(word));
                }
                rules.push(clause);
            }
            other => panic!("'{other}' in '{text}'"),
        }
    }
    rules.sort();
    Column {
        name,
        kind,
        not_null,
        primary_key,
        default,
        rules,
    }
}

fn translated_default(default: &str) -> String {
    match squeezed(default).as_str() {
        "now()" => "(strftime('%y-%m-%dt%h:%m:%fz','now'))".to_owned(),
        "array['read','write','execute']" => r#"'["read","write","execute"]'"#.to_owned(),
        other => other.to_owned(),
    }
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Pieces between separators that stand in no parentheses, brackets or quotes.
fn split_outside_parentheses(text: &str, separator: char) -> Vec<String> {
    let (mut pieces, mut depth, mut quoted) = (vec![String::new()], 0, false);
    for character in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match character {
            '\'' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        if character == separator && depth == 0 && !quoted {
            pieces.push(String::new());
        } else if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
    }
    pieces.iter().map(|piece| piece.trim().to_owned()).collect()
}
