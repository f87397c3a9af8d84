//! The rows that a check of a token stands on: a key with its user, its device and its digest, as they are at one moment.

use askalf_bridge_auth::{KeyDigest, KeyRecord, Lookup, UserStatus};
use askalf_bridge_core::stores::StoreError;
use rusqlite::{Connection, Params, Row, params};
use serde_json::Value;

use super::{fault::Fault, key, timestamp};

/// How many rows one look-up may find: keys of one prefix, or keys whose prefix is malformed. Minting never lets two share
/// a prefix and makes none that is malformed, so this bounds what hand-made rows can cost; beyond it a look-up is
/// [`StoreError::Unavailable`], since a part of the rows would let a good key be called unknown.
pub const MAX_KEYS_PER_PREFIX: usize = 1024;

const RECORDS: &str =
    "select api_keys.id, api_keys.tenant_id, user_id, name, key_hash, key_prefix, scopes, api_keys.status, expires_at,
       users.status, askalf_key_devices.device_id, null
     from api_keys left join users on users.id = api_keys.user_id
       left join askalf_key_devices on askalf_key_devices.key_id = api_keys.id";

const BY_DIGEST: &str =
    "select api_keys.id, api_keys.tenant_id, user_id, name, key_hash, key_prefix, scopes, api_keys.status, expires_at,
       users.status, askalf_key_devices.device_id, askalf_key_digests.binding
     from askalf_key_digests join api_keys on api_keys.id = askalf_key_digests.key_id
       left join users on users.id = api_keys.user_id
       left join askalf_key_devices on askalf_key_devices.key_id = api_keys.id
     where digest_key_id = ? and digest = ?";

/// The condition of the index `askalf_malformed_prefixes`, word for word: only then is it used.
const IS_MALFORMED: &str = "length(key_prefix) <> 12 or key_prefix glob '*[' || char(1) || '-' || char(32, 127) || '-' || \
    char(160, 5760, 8192) || '-' || char(8202, 8232, 8233, 8239, 8287, 12288) || ']*'";

pub(super) fn find(connection: &Connection, lookup: &Lookup) -> Result<Vec<KeyRecord>, Fault> {
    match lookup {
        Lookup::ByDigest {
            digest_key_id,
            digest,
        } => records(
            connection,
            BY_DIGEST,
            params![digest_key_id, digest.as_bytes()],
            "one digest",
        ),
        Lookup::ByPrefix { prefix } => {
            records(connection, &by_prefix(), params![prefix.as_str()], "one prefix")
        }
        Lookup::MalformedPrefix => records(connection, &malformed(), [], "no well-formed prefix"),
        _ => {
            let text = "it does not know this way to look a key up".to_owned();
            Err(StoreError::Unavailable(text).into())
        }
    }
}

fn by_prefix() -> String {
    format!("{RECORDS} where key_prefix = ? limit {}", MAX_KEYS_PER_PREFIX + 1)
}

fn malformed() -> String {
    format!("{RECORDS} where {IS_MALFORMED} limit {}", MAX_KEYS_PER_PREFIX + 1)
}

fn by_ids() -> String {
    format!("{RECORDS} where api_keys.id in (select value from json_each(?))")
}

fn after() -> String {
    format!("{RECORDS} where api_keys.id > ? order by api_keys.id limit ?")
}

fn count_of_malformed() -> String {
    format!("select count(*) from api_keys indexed by askalf_malformed_prefixes where {IS_MALFORMED}")
}

fn records(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    share: &str,
) -> Result<Vec<KeyRecord>, Fault> {
    let records = all(connection, sql, values)?;
    if records.len() > MAX_KEYS_PER_PREFIX {
        let text = format!("more than {MAX_KEYS_PER_PREFIX} keys share {share}");
        return Err(StoreError::Unavailable(text).into());
    }
    Ok(records)
}

/// One statement: what it reads belongs to one moment.
fn all(connection: &Connection, sql: &str, values: impl Params) -> Result<Vec<KeyRecord>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(read_record(row)?);
    }
    Ok(records)
}

pub(super) fn now(connection: &Connection, ids: &[String]) -> Result<Vec<KeyRecord>, Fault> {
    let ids = Value::from_iter(ids.iter().map(String::as_str)).to_string();
    all(connection, &by_ids(), [ids])
}

pub(super) fn page(
    connection: &Connection,
    after_id: Option<&str>,
    limit: u32,
) -> Result<Vec<KeyRecord>, Fault> {
    match after_id {
        Some(id) => all(connection, &after(), params![id, limit]),
        None => all(
            connection,
            &format!("{RECORDS} order by api_keys.id limit ?"),
            [limit],
        ),
    }
}

pub(super) fn count_malformed(connection: &Connection) -> Result<u64, Fault> {
    let count: i64 = connection
        .prepare_cached(&count_of_malformed())?
        .query_row([], |row| row.get(0))?;
    Ok(count.try_into().unwrap_or(0))
}

pub(super) fn keep_digests(connection: &Connection, digests: &[KeyDigest]) -> Result<(), Fault> {
    // A digest that stood beside another key goes: one token is one digest, and the last match has it.
    let mut insert = connection.prepare_cached(
        "insert or replace into askalf_key_digests (key_id, digest_key_id, digest, binding)
         select id, ?, ?, ? from api_keys where id = ?",
    )?;
    for digest in digests {
        insert.execute(params![
            digest.digest_key_id,
            digest.digest.as_bytes(),
            digest.binding,
            digest.key_id
        ])?;
    }
    Ok(())
}

fn read_record(row: &Row<'_>) -> Result<KeyRecord, Fault> {
    Ok(KeyRecord {
        id: row.get(0)?,
        tenant_id: row.get(1)?,
        user_id: row.get(2)?,
        name: row.get(3)?,
        key_hash: row.get(4)?,
        key_prefix: row.get(5)?,
        scopes: key::scopes_from_json(row.get(6)?)?,
        status: key::status(row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)?)?,
        expires_at: timestamp::from_optional_text(row.get(8)?)?,
        // A status that is null, or none that we know, is no user that may come in.
        user_status: row
            .get::<_, Option<String>>(9)?
            .as_deref()
            .and_then(UserStatus::parse),
        device_id: row.get(10)?,
        digest_binding: row.get(11)?,
    })
}

#[cfg(test)]
mod tests {
    use askalf_bridge_auth::UnixMillis;

    use super::*;
    use crate::{OpenOptions, sqlite::open};

    fn plan(connection: &Connection, sql: &str) -> Vec<String> {
        let mut statement = connection.prepare(&format!("explain query plan {sql}")).unwrap();
        let values = vec![rusqlite::types::Null; statement.parameter_count()];
        let rows = statement
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn no_look_up_reads_the_whole_table() {
        let connection = open::open_memory(&OpenOptions::new(UnixMillis(0))).unwrap();
        for (sql, first) in [
            (
                BY_DIGEST.to_owned(),
                "SEARCH askalf_key_digests USING INDEX askalf_key_digests_digest (digest_key_id=? AND digest=?)",
            ),
            (
                by_prefix(),
                "SEARCH api_keys USING INDEX api_keys_key_prefix (key_prefix=?)",
            ),
            (malformed(), "SCAN api_keys USING INDEX askalf_malformed_prefixes"),
            (
                count_of_malformed(),
                "SCAN api_keys USING INDEX askalf_malformed_prefixes",
            ),
            (
                by_ids(),
                "SEARCH api_keys USING INDEX sqlite_autoindex_api_keys_1 (id=?)",
            ),
            (
                after(),
                "SEARCH api_keys USING INDEX sqlite_autoindex_api_keys_1 (id>?)",
            ),
        ] {
            let steps = plan(&connection, &sql);
            assert_eq!(steps[0], first, "{sql}");
            for step in &steps[1..] {
                let is_bounded =
                    step.starts_with("SEARCH ") || step.contains("json_each") || step.contains("LIST");
                assert!(is_bounded, "{step} in {sql}");
            }
        }
    }

    #[test]
    fn malformed_is_what_no_token_of_12_characters_starts_with() {
        let connection = open::open_memory(&OpenOptions::new(UnixMillis(0))).unwrap();
        let mut expected = 0;
        // Every character that is white space or a control character, and as many that are not.
        for (index, code) in (1..=0x3001_u32).enumerate() {
            let Some(character) = char::from_u32(code) else {
                continue;
            };
            let is_malformed = character.is_whitespace() || character.is_control();
            if !is_malformed && index % 97 != 0 {
                continue;
            }
            expected += i64::from(is_malformed);
            connection
                .execute(
                    "insert into api_keys (id, tenant_id, name, key_hash, key_prefix) values (?, 'default', 'n', 'h', ?)",
                    params![format!("{code:x}"), format!("sk_live_abc{character}")],
                )
                .unwrap();
        }
        for (id, prefix) in [("short", "sk_live_abc"), ("empty", "")] {
            connection
                .execute(
                    "insert into api_keys (id, tenant_id, name, key_hash, key_prefix) values (?, 'default', 'n', 'h', ?)",
                    [id, prefix],
                )
                .unwrap();
        }
        assert_eq!(count_malformed(&connection).unwrap() as i64, expected + 2);
        assert!(expected > 60, "{expected}");
    }
}
