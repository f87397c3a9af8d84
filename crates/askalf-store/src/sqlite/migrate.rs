//! The schema and its versions.
//!
//! Migrations are numbered from 1, only add, and are never changed once released. Each runs in a transaction of its own
//! together with its row in `askalf_migrations`, so that a crash leaves it done or not begun.

use askalf_bridge_auth::UnixMillis;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::timestamp;

struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "forge_tables",
        sql: include_str!("../../migrations/sqlite/0001_forge_tables.sql"),
    },
    Migration {
        version: 2,
        name: "key_devices",
        sql: include_str!("../../migrations/sqlite/0002_key_devices.sql"),
    },
    Migration {
        version: 3,
        name: "key_digests",
        sql: include_str!("../../migrations/sqlite/0003_key_digests.sql"),
    },
    Migration {
        version: 4,
        name: "pair_codes",
        sql: include_str!("../../migrations/sqlite/0004_pair_codes.sql"),
    },
    Migration {
        version: 5,
        name: "trail",
        sql: include_str!("../../migrations/sqlite/0005_trail.sql"),
    },
    Migration {
        version: 6,
        name: "audit_heads",
        sql: include_str!("../../migrations/sqlite/0006_audit_heads.sql"),
    },
    Migration {
        version: 7,
        name: "rotations",
        sql: include_str!("../../migrations/sqlite/0007_rotations.sql"),
    },
];

/// The newest schema that this program knows.
pub(super) const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// What a database holds, read without writing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// No table at all.
    Nothing,
    /// Tables, but none that says they are ours.
    Foreign,
    /// A schema of ours.
    Schema(i64),
}

pub(super) fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
    // One statement, so that another process that migrates at this moment is seen before or after, not in between.
    let (tables, ours): (i64, bool) = connection.query_row(
        "select count(*), coalesce(max(name = 'askalf_migrations'), 0) from sqlite_schema where type = 'table'",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if !ours {
        return Ok(if tables == 0 {
            Contents::Nothing
        } else {
            Contents::Foreign
        });
    }
    let version = connection.query_row(
        "select coalesce(max(version), 0) from askalf_migrations",
        [],
        |row| row.get(0),
    )?;
    Ok(Contents::Schema(version))
}

/// Brings the schema to [`NEWEST`]. Several processes may do so at once: each step looks again under the write lock.
pub(super) fn migrate(connection: &mut Connection, now: UnixMillis) -> rusqlite::Result<()> {
    for migration in MIGRATIONS {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "create table if not exists askalf_migrations
             (version integer not null primary key, name text not null, applied_at text not null) strict",
        )?;
        if !is_applied(&transaction, migration.version)? {
            transaction.execute_batch(migration.sql)?;
            transaction.execute(
                "insert into askalf_migrations (version, name, applied_at) values (?, ?, ?)",
                params![migration.version, migration.name, timestamp::to_text(now)],
            )?;
        }
        transaction.commit()?;
    }
    Ok(())
}

fn is_applied(transaction: &Transaction<'_>, version: i64) -> rusqlite::Result<bool> {
    let row = transaction
        .query_row(
            "select 1 from askalf_migrations where version = ?",
            [version],
            |_| Ok(()),
        )
        .optional()?;
    Ok(row.is_some())
}

/// Gives a database without any tenant and user the ones that a bridge of one operator needs.
pub(super) fn add_default_user(connection: &mut Connection, now: UnixMillis) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let empty: bool = transaction.query_row(
        "select not exists (select 1 from tenants) and not exists (select 1 from users)",
        [],
        |row| row.get(0),
    )?;
    if empty {
        let now = timestamp::to_text(now);
        transaction.execute(
            "insert into tenants (id, name, slug, created_at) values ('default', 'Default', 'default', ?)",
            [&now],
        )?;
        // The empty password hash matches no password, as for the forge's own synthetic user.
        transaction.execute(
            "insert into users (id, tenant_id, email, email_normalized, password_hash, created_at)
             values ('default', 'default', 'default@localhost', 'default@localhost', '', ?)",
            [&now],
        )?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_from_one() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, index as i64 + 1, "{}", migration.name);
        }
    }

    #[test]
    fn migrating_again_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(contents(&connection).unwrap(), Contents::Nothing);
        let schema = |connection: &Connection| -> Vec<(String, Option<String>)> {
            let mut rows = connection
                .prepare("select name, sql from sqlite_schema order by name")
                .unwrap();
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap()
                .map(Result::unwrap)
                .collect()
        };
        migrate(&mut connection, UnixMillis(0)).unwrap();
        let first = schema(&connection);
        migrate(&mut connection, UnixMillis(1)).unwrap();
        assert_eq!(schema(&connection), first);
        assert_eq!(contents(&connection).unwrap(), Contents::Schema(NEWEST));
        // Even the text of a migration may run twice.
        for migration in MIGRATIONS {
            connection.execute_batch(migration.sql).unwrap();
        }
        assert_eq!(schema(&connection), first);
    }

    #[test]
    fn a_step_that_fails_leaves_the_one_before() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("create view askalf_key_devices as select 1")
            .unwrap();
        migrate(&mut connection, UnixMillis(0)).unwrap_err();
        assert_eq!(contents(&connection).unwrap(), Contents::Schema(1));
        connection.execute_batch("drop view askalf_key_devices").unwrap();
        migrate(&mut connection, UnixMillis(0)).unwrap();
        assert_eq!(contents(&connection).unwrap(), Contents::Schema(NEWEST));
    }
}
