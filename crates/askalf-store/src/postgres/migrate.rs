//! The schema and its versions.
//!
//! Migrations are numbered from 1, only add, and are never changed once released. Each runs in a transaction of its own
//! together with its row in `askalf_migrations`, so that a crash leaves it done or not begun. None touches a table of the
//! forge that is there already: where the forge has made its tables, the first one has nothing to do.

use askalf_bridge_auth::UnixMillis;
use tokio_postgres::types::ToSql;

use super::{connect_error::ConnectError, fault::Fault, session::Session, timestamp::Timestamp};
use crate::Inspection;

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const FORGE_TABLES: i32 = 1;

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: FORGE_TABLES,
        name: "forge_tables",
        sql: include_str!("../../migrations/postgres/0001_forge_tables.sql"),
    },
    Migration {
        version: 2,
        name: "key_devices",
        sql: include_str!("../../migrations/postgres/0002_key_devices.sql"),
    },
    Migration {
        version: 3,
        name: "key_digests",
        sql: include_str!("../../migrations/postgres/0003_key_digests.sql"),
    },
    Migration {
        version: 4,
        name: "pair_codes",
        sql: include_str!("../../migrations/postgres/0004_pair_codes.sql"),
    },
    Migration {
        version: 5,
        name: "trail",
        sql: include_str!("../../migrations/postgres/0005_trail.sql"),
    },
    Migration {
        version: 6,
        name: "audit_heads",
        sql: include_str!("../../migrations/postgres/0006_audit_heads.sql"),
    },
    Migration {
        version: 7,
        name: "rotations",
        sql: include_str!("../../migrations/postgres/0007_rotations.sql"),
    },
];

/// The newest schema that this program knows.
const NEWEST: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// The forge's tables, with the columns that are read and written here.
const NEEDED: &[(&str, &[&str])] = &[
    ("tenants", &["id", "name", "slug", "created_at"]),
    (
        "users",
        &[
            "id",
            "tenant_id",
            "email",
            "email_normalized",
            "password_hash",
            "display_name",
            "status",
            "created_at",
        ],
    ),
    (
        "api_keys",
        &[
            "id",
            "tenant_id",
            "user_id",
            "name",
            "key_hash",
            "key_prefix",
            "key_preview",
            "scopes",
            "usage_count",
            "last_used_at",
            "expires_at",
            "revoked_at",
            "status",
            "created_at",
        ],
    ),
    (
        "forge_agents",
        &["id", "owner_id", "name", "slug", "status", "created_at"],
    ),
    (
        "forge_executions",
        &[
            "id",
            "agent_id",
            "owner_id",
            "status",
            "input",
            "output",
            "error",
            "metadata",
            "device_id",
            "iterations",
            "input_tokens",
            "output_tokens",
            "total_tokens",
            "cost",
            "duration_ms",
            "started_at",
            "completed_at",
            "created_at",
        ],
    ),
    (
        "agent_devices",
        &[
            "id",
            "user_id",
            "tenant_id",
            "api_key_id",
            "device_name",
            "hostname",
            "os",
            "platform_capabilities",
            "status",
            "last_seen_at",
            "created_at",
            "updated_at",
            "device_type",
            "device_category",
            "max_concurrent_tasks",
            "protocol",
        ],
    ),
];

/// What a database holds, read without writing.
#[derive(Debug, PartialEq, Eq)]
enum Contents {
    /// No table at all.
    Nothing,
    /// Tables, none of which is the forge's.
    Foreign,
    /// Tables of a forge, with what is missing to a whole one.
    Forge { missing: Vec<String> },
}

/// Whether the database is one to work on, and its schema. Writes nothing.
pub(super) async fn check(session: &Session, place: &str) -> Result<Inspection, ConnectError> {
    let failed = |fault| ConnectError::from_fault(place, fault);
    let place = place.to_owned();
    let found = version(session).await.map_err(failed)?;
    if found > NEWEST {
        return Err(ConnectError::Newer {
            place,
            found,
            known: NEWEST,
        });
    }
    let inspection = Inspection {
        schema: found.into(),
        newest: NEWEST.into(),
    };
    match contents(session).await.map_err(failed)? {
        Contents::Nothing => Ok(inspection),
        Contents::Forge { missing } if missing.is_empty() => Ok(inspection),
        Contents::Forge { missing } => Err(ConnectError::Foreign {
            place,
            reason: format!("it lacks {}", missing.join(", ")),
        }),
        Contents::Foreign => Err(ConnectError::Foreign {
            place,
            reason: "it has tables, but not those of a forge".to_owned(),
        }),
    }
}

/// Brings the schema to the newest, where it is not there yet. Several processes may do so at once: each step looks again
/// under a lock.
pub(super) async fn bring_up_to_date(
    session: &Session,
    now: UnixMillis,
    place: &str,
) -> Result<(), ConnectError> {
    let failed = |fault| ConnectError::from_fault(place, fault);
    if version(session).await.map_err(failed)? < NEWEST {
        for migration in MIGRATIONS {
            session.begin().await.map_err(failed)?;
            let step = apply(session, migration, now).await;
            session.settle(step).await.map_err(failed)?;
        }
    }
    // Again: a newer program may have migrated it in between.
    check(session, place).await.map(drop)
}

/// The newest migration that was applied; 0 where there is none.
async fn version(session: &Session) -> Result<i32, Fault> {
    let row = session
        .row("select to_regclass('askalf_migrations') is not null", &[])
        .await?;
    let is_ours = row.map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
    if !is_ours {
        return Ok(0);
    }
    let row = session
        .row("select coalesce(max(version), 0) from askalf_migrations", &[])
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
}

async fn contents(session: &Session) -> Result<Contents, Fault> {
    let rows = session
        .rows(
            "select c.relname::text, a.attname::text
             from pg_class c join pg_attribute a on a.attrelid = c.oid
             where pg_table_is_visible(c.oid) and c.relname = any($1) and c.relkind in ('r', 'p')
               and a.attnum > 0 and not a.attisdropped",
            &[&NEEDED.iter().map(|(table, _)| *table).collect::<Vec<_>>()],
        )
        .await?;
    let mut found: Vec<(String, String)> = Vec::with_capacity(rows.len());
    for row in rows {
        found.push((row.try_get(0)?, row.try_get(1)?));
    }
    if found.is_empty() {
        let row = session
            .row(
                "select exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                   where n.nspname = any(current_schemas(false)) and c.relkind in ('r', 'p', 'v', 'm', 'f'))",
                &[],
            )
            .await?;
        let has_tables = row.map(|row| row.try_get(0)).transpose()?.unwrap_or(true);
        return Ok(if has_tables {
            Contents::Foreign
        } else {
            Contents::Nothing
        });
    }
    let mut missing = Vec::new();
    for (table, columns) in NEEDED {
        if !found.iter().any(|(name, _)| name == table) {
            missing.push(format!("the table {table}"));
            continue;
        }
        for column in *columns {
            if !found.iter().any(|(name, of)| name == table && of == column) {
                missing.push(format!("the column {table}.{column}"));
            }
        }
    }
    Ok(Contents::Forge { missing })
}

async fn apply(session: &Session, migration: &Migration, now: UnixMillis) -> Result<(), Fault> {
    session.lock("migrations", "askalf_migrations").await?;
    session
        .batch(
            "create table if not exists askalf_migrations
             (version integer primary key, name text not null, applied_at timestamptz not null)",
        )
        .await?;
    let applied = session
        .row(
            "select 1 from askalf_migrations where version = $1",
            &[&migration.version],
        )
        .await?;
    if applied.is_some() {
        return Ok(());
    }
    // The forge's own tables stay as the forge has made them.
    if migration.version != FORGE_TABLES || !has_forge(session).await? {
        session.batch(migration.sql).await?;
        if migration.version == FORGE_TABLES {
            add_default_user(session, now).await?;
        }
    }
    let values: [&(dyn ToSql + Sync); 3] = [&migration.version, &migration.name, &Timestamp(now)];
    session
        .execute(
            "insert into askalf_migrations (version, name, applied_at) values ($1, $2, $3)",
            &values,
        )
        .await?;
    Ok(())
}

async fn has_forge(session: &Session) -> Result<bool, Fault> {
    let row = session
        .row("select to_regclass('api_keys') is not null", &[])
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}

/// Gives a new database the tenant and the user that a bridge of one operator needs.
async fn add_default_user(session: &Session, now: UnixMillis) -> Result<(), Fault> {
    session
        .execute(
            "insert into tenants (id, name, slug, created_at) values ('default', 'Default', 'default', $1)",
            &[&Timestamp(now)],
        )
        .await?;
    // The empty password hash matches no password, as for the forge's own synthetic user.
    session
        .execute(
            "insert into users (id, tenant_id, email, email_normalized, password_hash, created_at)
             values ('default', 'default', 'default@localhost', 'default@localhost', '', $1)",
            &[&Timestamp(now)],
        )
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_from_one() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, index as i32 + 1, "{}", migration.name);
        }
    }

    #[test]
    fn nothing_but_the_first_migration_names_a_table_of_the_forge_to_change_it() {
        for migration in &MIGRATIONS[1..] {
            for statement in migration.sql.split(';') {
                let code: String = statement
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("--"))
                    .collect::<Vec<_>>()
                    .join(" ");
                let words: Vec<&str> = code.split_whitespace().collect();
                let made = match words.as_slice() {
                    [] => continue,
                    ["create", "table", "if", "not", "exists", table, ..] => *table,
                    ["create", "index", "if", "not", "exists", _, "on", table, ..] => *table,
                    [
                        "create",
                        "unique",
                        "index",
                        "if",
                        "not",
                        "exists",
                        _,
                        "on",
                        table,
                        ..,
                    ] => *table,
                    other => panic!("{}: {other:?}", migration.name),
                };
                assert!(made.starts_with("askalf_"), "{}: {made}", migration.name);
            }
        }
    }
}
