//! Keys.

use askalf_bridge_auth::{
    KeyDigest, KeyPrefix, KeyRecord, KeyStatus, Lookup, Scopes, UnixMillis, UserStatus,
};
use askalf_bridge_core::stores::{Key, KeyStore, KeyUse, Kind, NewKey, Principal, StoreError};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::{SqliteStore, fault::Fault, reach, timestamp};
use crate::column;

/// How many keys may share one prefix. Minting never lets two, so this bounds what hand-made rows can cost; beyond it a
/// look-up is [`StoreError::Unavailable`], since a part of the rows would let a good key be called unknown.
pub const MAX_KEYS_PER_PREFIX: usize = 1024;

const SELECT: &str =
    "select api_keys.id, tenant_id, user_id, name, key_prefix, scopes, status, device_id, created_at,
    expires_at, revoked_at, last_used_at, usage_count
    from api_keys left join askalf_key_devices on askalf_key_devices.key_id = api_keys.id";

#[async_trait]
impl KeyStore for SqliteStore {
    async fn find_keys(&self, lookup: &Lookup) -> Result<Vec<KeyRecord>, StoreError> {
        let prefix = match lookup {
            Lookup::ByPrefix { prefix } => prefix.as_str().to_owned(),
            _ => {
                return Err(StoreError::Unavailable(
                    "it does not know this way to look a key up".to_owned(),
                ));
            }
        };
        self.read(move |connection| find_by_prefix(connection, &prefix))
            .await
    }

    async fn add_key(&self, who: &Principal, key: NewKey) -> Result<Key, StoreError> {
        let who = who.clone();
        self.write(move |connection| add(connection, &who, key)).await
    }

    async fn keys(&self, who: &Principal, limit: u32) -> Result<Vec<Key>, StoreError> {
        let condition = reach::keys(who);
        self.read(move |connection| {
            let order = "created_at desc, api_keys.id desc";
            reach::list(connection, SELECT, &condition, order, limit, read_key, |key| {
                key.id.len() + key.name.len() + key.scopes.iter().map(str::len).sum::<usize>()
            })
        })
        .await
    }

    async fn revoke_key(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<Key, StoreError> {
        if matches!(who, Principal::Device { .. }) {
            return Err(StoreError::NotFound(Kind::Key));
        }
        let condition = reach::keys(who).and("api_keys.id = ?", [id]);
        self.write(move |connection| {
            let sql = format!(
                "update api_keys set status = 'revoked', revoked_at = coalesce(revoked_at, ?)
                 where status <> 'revoked' and {}",
                condition.sql()
            );
            let now = timestamp::to_text(now);
            connection
                .prepare_cached(&sql)?
                .execute(condition.after(&[&now]))?;
            let key = reach::first(connection, SELECT, &condition, read_key)?;
            key.ok_or_else(|| StoreError::NotFound(Kind::Key).into())
        })
        .await
    }

    async fn count_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let uses = uses.to_vec();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "update api_keys set last_used_at = ?, usage_count = min(coalesce(usage_count, 0) + ?, 2147483647)
                 where id = ?",
            )?;
            for used in &uses {
                statement.execute(params![timestamp::to_text(used.last_used_at), used.count, used.key_id])?;
            }
            Ok(())
        })
        .await
    }

    async fn key(&self, _: &Principal, _: &str) -> Result<Key, StoreError> {
        Err(StoreError::Unavailable("not yet".to_owned()))
    }

    async fn rotate_key(&self, _: &Principal, _: &str, _: NewKey, _: UnixMillis) -> Result<Key, StoreError> {
        Err(StoreError::Unavailable("not yet".to_owned()))
    }

    async fn repair_key_prefix(
        &self,
        _: &Principal,
        _: &str,
        _: &KeyPrefix,
        _: &str,
        _: UnixMillis,
    ) -> Result<Key, StoreError> {
        Err(StoreError::Unavailable("not yet".to_owned()))
    }

    async fn keys_now(&self, _: &[String]) -> Result<Vec<KeyRecord>, StoreError> {
        Err(StoreError::Unavailable("not yet".to_owned()))
    }

    async fn all_keys(&self, _: Option<&str>, _: u32) -> Result<Vec<KeyRecord>, StoreError> {
        Err(StoreError::Unavailable("not yet".to_owned()))
    }

    async fn malformed_prefixes(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn keep_digests(&self, _: &[KeyDigest]) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("not yet".to_owned()))
    }
}

fn find_by_prefix(connection: &Connection, prefix: &str) -> Result<Vec<KeyRecord>, Fault> {
    // One statement: the key, its user and its device as they are at one moment.
    let mut statement = connection.prepare_cached(
        "select api_keys.id, api_keys.tenant_id, user_id, name, key_hash, key_prefix, scopes, api_keys.status, expires_at,
           users.status, device_id
         from api_keys left join users on users.id = api_keys.user_id
           left join askalf_key_devices on askalf_key_devices.key_id = api_keys.id
         where key_prefix = ? limit ?",
    )?;
    let mut rows = statement.query(params![prefix, (MAX_KEYS_PER_PREFIX + 1) as i64])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        if records.len() == MAX_KEYS_PER_PREFIX {
            let text = format!("more than {MAX_KEYS_PER_PREFIX} keys share one prefix");
            return Err(StoreError::Unavailable(text).into());
        }
        records.push(read_record(row)?);
    }
    Ok(records)
}

fn read_record(row: &Row<'_>) -> Result<KeyRecord, Fault> {
    Ok(KeyRecord {
        id: row.get(0)?,
        tenant_id: row.get(1)?,
        user_id: row.get(2)?,
        name: row.get(3)?,
        key_hash: row.get(4)?,
        key_prefix: row.get(5)?,
        scopes: scopes_from_json(row.get(6)?)?,
        status: key_status(row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)?)?,
        expires_at: timestamp::from_optional_text(row.get(8)?)?,
        // A status that is null, or none that we know, is no user that may come in.
        user_status: row
            .get::<_, Option<String>>(9)?
            .as_deref()
            .and_then(UserStatus::parse),
        device_id: row.get(10)?,
        digest_binding: None,
    })
}

fn add(connection: &Connection, who: &Principal, key: NewKey) -> Result<Key, Fault> {
    if matches!(who, Principal::Device { .. }) {
        return Err(StoreError::User("a device cannot make keys".to_owned()).into());
    }
    let (tenant_id, user_id) = owner_of_new_key(connection, who, key.user_id.as_deref())?;
    let name = column::varchar("name of the key", key.name, 255)?;
    let preview = column::varchar("preview of the key", key.preview, 20)?;
    // Looked up and not left to an index: the forge's table may hold prefixes that are shared or made up.
    if exists(
        connection,
        "select 1 from api_keys where key_prefix = ?",
        key.prefix.as_str(),
    )? {
        return Err(StoreError::Conflict("a key with this prefix".to_owned()).into());
    }
    if exists(connection, "select 1 from api_keys where id = ?", &key.id)? {
        return Err(StoreError::Conflict("a key with this id".to_owned()).into());
    }
    connection
        .prepare_cached(
            "insert into api_keys
               (id, tenant_id, user_id, name, key_hash, key_prefix, key_preview, scopes, expires_at, created_at)
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            key.id,
            tenant_id,
            user_id,
            name,
            key.hash.to_string(),
            key.prefix.as_str(),
            preview,
            scopes_to_json(&key.scopes),
            key.expires_at.map(timestamp::to_text),
            timestamp::to_text(key.created_at),
        ])?;
    if let Some(device_id) = &key.device_id {
        bind(connection, &key.id, device_id, (&tenant_id, &user_id))?;
    }
    let condition = reach::keys(&Principal::Bridge).and("api_keys.id = ?", [&key.id]);
    reach::first(connection, SELECT, &condition, read_key)?.ok_or_else(|| Fault::damaged_row("a new key"))
}

fn bind(connection: &Connection, key_id: &str, device_id: &str, owner: (&str, &str)) -> Result<(), Fault> {
    let bound = connection
        .prepare_cached(
            "insert into askalf_key_devices (key_id, device_id)
             select ?, id from agent_devices where id = ? and tenant_id = ? and user_id = ?",
        )?
        .execute(params![key_id, device_id, owner.0, owner.1])?;
    if bound == 0 {
        return Err(StoreError::NotFound(Kind::Device).into());
    }
    Ok(())
}

/// Tenant and user of a new key. An operator makes keys for itself alone; who sees everybody must name one of several.
fn owner_of_new_key(
    connection: &Connection,
    who: &Principal,
    named: Option<&str>,
) -> Result<(String, String), Fault> {
    let own = who.owner();
    let wanted = named.or(own.map(|(_, user)| user));
    let mut statement = connection.prepare_cached(
        "select tenant_id, id from users
         where status is not 'deleted' and (?1 is null or id = ?1) and (?2 is null or (tenant_id = ?2 and id = ?3))
         limit 2",
    )?;
    let users: Vec<(String, String)> = statement
        .query_map(
            params![wanted, own.map(|(tenant, _)| tenant), own.map(|(_, user)| user)],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?
        .collect::<Result<_, _>>()?;
    let trouble = match (users.as_slice(), wanted) {
        ([one], _) => return Ok(one.clone()),
        ([], Some(name)) => format!("there is no user '{}'", name.escape_debug()),
        ([], None) => "there is no user yet".to_owned(),
        _ => "there are several users: one must be named".to_owned(),
    };
    Err(StoreError::User(trouble).into())
}

fn exists(connection: &Connection, sql: &str, value: &str) -> Result<bool, Fault> {
    Ok(connection
        .prepare_cached(sql)?
        .query_row([value], |_| Ok(()))
        .optional()?
        .is_some())
}

fn read_key(row: &Row<'_>) -> Result<Key, Fault> {
    Ok(Key {
        id: row.get(0)?,
        tenant_id: row.get(1)?,
        user_id: row.get(2)?,
        name: row.get(3)?,
        prefix: row.get(4)?,
        scopes: scopes_from_json(row.get(5)?)?,
        status: key_status(row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?)?,
        device_id: row.get(7)?,
        created_at: timestamp::from_text(row.get_ref(8)?.as_str().map_err(rusqlite::Error::from)?)?,
        expires_at: timestamp::from_optional_text(row.get(9)?)?,
        revoked_at: timestamp::from_optional_text(row.get(10)?)?,
        last_used_at: timestamp::from_optional_text(row.get(11)?)?,
        usage_count: row
            .get::<_, Option<i64>>(12)?
            .and_then(|count| count.try_into().ok())
            .unwrap_or(0),
    })
}

fn key_status(word: &str) -> Result<KeyStatus, Fault> {
    KeyStatus::parse(word).ok_or_else(|| Fault::damaged_row("the status of a key"))
}

fn scopes_to_json(scopes: &Scopes) -> String {
    Value::from_iter(scopes.iter()).to_string()
}

/// A null array holds no scope; neither does an element that is no text.
fn scopes_from_json(json: Option<String>) -> Result<Scopes, Fault> {
    let Some(json) = json else {
        return Ok(Scopes::default());
    };
    let array: Vec<Value> =
        serde_json::from_str(&json).map_err(|_| Fault::damaged_row("the scopes of a key"))?;
    Ok(Scopes::parse(array.iter().filter_map(Value::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_json_array_and_what_is_no_name_grants_nothing() {
        let scopes = Scopes::parse(["admin", "ü\"x"]);
        let json = scopes_to_json(&scopes);
        assert_eq!(json, r#"["admin","ü\"x"]"#);
        assert_eq!(scopes_from_json(Some(json)).unwrap(), scopes);
        assert!(
            scopes_from_json(Some(r#"[1, null, ["admin"]]"#.to_owned()))
                .unwrap()
                .is_empty()
        );
        assert!(scopes_from_json(None).unwrap().is_empty());
        assert!(scopes_from_json(Some("{}".to_owned())).is_err());
    }
}
