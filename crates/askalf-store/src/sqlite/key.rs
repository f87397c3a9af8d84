//! Keys, as operators handle them.

use askalf_bridge_auth::{KeyDigest, KeyPrefix, KeyRecord, KeyStatus, Lookup, Scope, Scopes, UnixMillis};
use askalf_bridge_core::stores::{Key, KeyStore, KeyUse, Kind, NewKey, Principal, StoreError};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::{
    SqliteStore,
    fault::Fault,
    key_lookup,
    reach::{self, Condition},
    rotation, timestamp,
    trail::NewAct,
};
use crate::{column, key_rules};

const SELECT: &str =
    "select api_keys.id, tenant_id, user_id, name, key_prefix, scopes, status, device_id, created_at,
    expires_at, revoked_at, last_used_at, usage_count
    from api_keys left join askalf_key_devices on askalf_key_devices.key_id = api_keys.id";

const GONE: StoreError = StoreError::NotFound(Kind::Key);

#[async_trait]
impl KeyStore for SqliteStore {
    async fn find_keys(&self, lookup: &Lookup) -> Result<Vec<KeyRecord>, StoreError> {
        let lookup = lookup.clone();
        self.read(move |connection| key_lookup::find(connection, &lookup))
            .await
    }

    async fn add_key(&self, who: &Principal, key: NewKey) -> Result<Key, StoreError> {
        key_rules::refuse_device(who, "keys")?;
        let who = who.clone();
        self.write(move |connection| {
            let owner = Owner::of_new_key(connection, &who, key.user_id.as_deref())?;
            insert(connection, &owner, &key)?;
            act(who.to_string(), key.created_at, owner.ids(), "key.mint", &key.id).keep(connection)?;
            by_id(connection, &key.id)
        })
        .await
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
        let condition = operators_key(who, id)?;
        let by = who.to_string();
        self.write(move |connection| {
            revoke(connection, &condition, &by, now)?;
            if let Some(key) = first(connection, &condition)? {
                rotation::key_revoked(connection, &key.id, &by, now)?;
            }
            reach::first(connection, SELECT, &condition, read_key)?.ok_or_else(|| GONE.into())
        })
        .await
    }

    async fn key(&self, who: &Principal, id: &str) -> Result<Key, StoreError> {
        let condition = reach::keys(who).and("api_keys.id = ?", [id]);
        self.read(move |connection| {
            reach::first(connection, SELECT, &condition, read_key)?.ok_or_else(|| GONE.into())
        })
        .await
    }

    async fn rotate_key(
        &self,
        who: &Principal,
        id: &str,
        new: NewKey,
        old_ends: UnixMillis,
    ) -> Result<Key, StoreError> {
        let condition = operators_key(who, id)?;
        let who = who.clone();
        self.write(move |connection| rotate(connection, &who, &condition, new, old_ends))
            .await
    }

    async fn repair_key_prefix(
        &self,
        who: &Principal,
        id: &str,
        prefix: &KeyPrefix,
        preview: &str,
        now: UnixMillis,
    ) -> Result<Key, StoreError> {
        let condition = operators_key(who, id)?;
        let by = who.to_string();
        let prefix = prefix.as_str().to_owned();
        let preview = column::varchar("preview of the key", preview.to_owned(), 20)?;
        self.write(move |connection| {
            let sql = format!(
                "update api_keys set key_prefix = ?, key_preview = ? where {}",
                condition.sql()
            );
            connection
                .prepare_cached(&sql)?
                .execute(condition.after(&[&prefix, &preview]))?;
            let key = reach::first(connection, SELECT, &condition, read_key)?.ok_or(GONE)?;
            act(by, now, owner_of(&key), "key.repair", &key.id).keep(connection)?;
            Ok(key)
        })
        .await
    }

    async fn keys_now(&self, ids: &[String]) -> Result<Vec<KeyRecord>, StoreError> {
        let ids = ids.to_vec();
        self.read(move |connection| key_lookup::now(connection, &ids))
            .await
    }

    async fn all_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<KeyRecord>, StoreError> {
        let after = after.map(str::to_owned);
        let limit = limit.min(reach::MAX_ROWS);
        self.read(move |connection| key_lookup::page(connection, after.as_deref(), limit))
            .await
    }

    async fn malformed_prefixes(&self) -> Result<u64, StoreError> {
        self.read(key_lookup::count_malformed).await
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

    async fn keep_digests(&self, digests: &[KeyDigest]) -> Result<(), StoreError> {
        let digests = digests.to_vec();
        self.write(move |connection| key_lookup::keep_digests(connection, &digests))
            .await
    }
}

/// One key that a principal may change; no device may, not even its own.
fn operators_key(who: &Principal, id: &str) -> Result<Condition, StoreError> {
    match who {
        Principal::Device { .. } => Err(GONE),
        _ => Ok(reach::keys(who).and("api_keys.id = ?", [id])),
    }
}

fn act<'a>(
    by: String,
    at: UnixMillis,
    owner: Option<(&'a str, &'a str)>,
    what: &'static str,
    subject: &'a str,
) -> NewAct<'a> {
    NewAct {
        at,
        by,
        owner,
        what,
        subject,
    }
}

fn owner_of(key: &Key) -> Option<(&str, &str)> {
    Some((&key.tenant_id, key.user_id.as_deref()?))
}

/// Revokes the keys of `condition` that are not revoked.
pub(super) fn revoke(
    connection: &Connection,
    condition: &Condition,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let sql = format!(
        "update api_keys set status = 'revoked', revoked_at = coalesce(revoked_at, ?)
         where status <> 'revoked' and {} returning id, tenant_id, user_id",
        condition.sql()
    );
    let at = timestamp::to_text(now);
    let revoked: Vec<(String, String, Option<String>)> = connection
        .prepare_cached(&sql)?
        .query_map(condition.after(&[&at]), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    for (id, tenant_id, user_id) in &revoked {
        let owner = user_id.as_deref().map(|user| (tenant_id.as_str(), user));
        act(by.to_owned(), now, owner, "key.revoke", id).keep(connection)?;
    }
    Ok(())
}

fn rotate(
    connection: &Connection,
    who: &Principal,
    condition: &Condition,
    new: NewKey,
    old_ends: UnixMillis,
) -> Result<Key, Fault> {
    let now = new.created_at;
    let old = reach::first(connection, SELECT, condition, read_key)?.ok_or(GONE)?;
    key_rules::refuse_rotation(&old, now)?;
    let owner = Owner::of_new_key(connection, who, old.user_id.as_deref())?;
    let new = NewKey {
        device_id: match old.device_id {
            Some(device_id) => Some(device_id),
            None => device_to_keep(connection, &old)?,
        },
        scopes: old.scopes,
        ..new
    };
    insert(connection, &owner, &new)?;
    let ends = old.expires_at.map_or(old_ends, |end| end.min(old_ends));
    connection
        .prepare_cached("update api_keys set expires_at = ? where id = ?")?
        .execute([&timestamp::to_text(ends), &old.id])?;
    act(who.to_string(), now, owner.ids(), "key.rotate", &old.id).keep(connection)?;
    by_id(connection, &new.id)
}

/// The device that registered with a key which is not bound: its next key is, so that the device stays the one it was. An
/// operator's key is left as it is, since a bound one is no operator's.
fn device_to_keep(connection: &Connection, old: &Key) -> Result<Option<String>, Fault> {
    if old.scopes.contains(&Scope::Admin) {
        return Ok(None);
    }
    Ok(connection
        .prepare_cached(
            "select id from agent_devices where api_key_id = ? and tenant_id = ? and user_id is ?
             order by created_at, id limit 1",
        )?
        .query_row(params![old.id, old.tenant_id, old.user_id], |row| row.get(0))
        .optional()?)
}

/// Adds a key for `owner`, whatever user `key` names.
pub(super) fn insert(connection: &Connection, owner: &Owner, key: &NewKey) -> Result<(), Fault> {
    let name = column::varchar("name of the key", key.name.clone(), 255)?;
    let preview = column::varchar("preview of the key", key.preview.clone(), 20)?;
    // Looked up and not left to an index: the forge's table may hold prefixes that are shared or made up.
    if reach::exists(
        connection,
        "select 1 from api_keys where key_prefix = ?",
        &[key.prefix.as_str()],
    )? {
        return Err(StoreError::Conflict("a key with this prefix".to_owned()).into());
    }
    if reach::exists(connection, "select 1 from api_keys where id = ?", &[&key.id])? {
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
            owner.tenant_id,
            owner.user_id,
            name,
            key.hash.to_string(),
            key.prefix.as_str(),
            preview,
            scopes_to_json(&key.scopes),
            key.expires_at.map(timestamp::to_text),
            timestamp::to_text(key.created_at),
        ])?;
    if let Some(device_id) = &key.device_id {
        owner.check_device(connection, device_id)?;
        connection
            .prepare_cached("insert into askalf_key_devices (key_id, device_id) values (?, ?)")?
            .execute([&key.id, device_id])?;
    }
    Ok(())
}

pub(super) fn first(connection: &Connection, condition: &Condition) -> Result<Option<Key>, Fault> {
    reach::first(connection, SELECT, condition, read_key)
}

fn by_id(connection: &Connection, id: &str) -> Result<Key, Fault> {
    let condition = Condition::default().and("api_keys.id = ?", [id]);
    reach::first(connection, SELECT, &condition, read_key)?.ok_or_else(|| Fault::damaged_row("a new key"))
}

/// Tenant and user of a new key or code.
pub(super) struct Owner {
    pub(super) tenant_id: String,
    pub(super) user_id: String,
}

impl Owner {
    /// An operator makes keys for itself alone; who sees everybody must name one of several.
    pub(super) fn of_new_key(
        connection: &Connection,
        who: &Principal,
        named: Option<&str>,
    ) -> Result<Self, Fault> {
        let own = who.owner();
        let wanted = named.or(own.map(|(_, user)| user));
        let mut condition = Condition::default().and("status is not 'deleted'", []);
        if let Some(user) = wanted {
            condition = condition.and("id = ?", [user]);
        }
        if let Some((tenant, user)) = own {
            condition = condition.and("tenant_id = ? and id = ?", [tenant, user]);
        }
        let sql = format!(
            "select tenant_id, id from users where {} limit 2",
            condition.sql()
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut users: Vec<Self> = statement
            .query_map(condition.after(&[]), |row| {
                Ok(Self {
                    tenant_id: row.get(0)?,
                    user_id: row.get(1)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        if users.len() == 1 {
            return Ok(users.remove(0));
        }
        Err(key_rules::unclear_user(users.len(), wanted).into())
    }

    pub(super) fn ids(&self) -> Option<(&str, &str)> {
        Some((&self.tenant_id, &self.user_id))
    }

    /// Whether the user is still there.
    pub(super) fn exists(&self, connection: &Connection) -> Result<bool, Fault> {
        let sql = "select 1 from users where id = ? and tenant_id = ? and status is not 'deleted'";
        reach::exists(connection, sql, &[&self.user_id, &self.tenant_id])
    }

    /// A key acts as a device of its own user alone.
    pub(super) fn check_device(&self, connection: &Connection, device_id: &str) -> Result<(), Fault> {
        let sql = "select 1 from agent_devices where id = ? and tenant_id = ? and user_id = ?";
        if reach::exists(connection, sql, &[device_id, &self.tenant_id, &self.user_id])? {
            return Ok(());
        }
        Err(StoreError::NotFound(Kind::Device).into())
    }
}

fn read_key(row: &Row<'_>) -> Result<Key, Fault> {
    Ok(Key {
        id: row.get(0)?,
        tenant_id: row.get(1)?,
        user_id: row.get(2)?,
        name: row.get(3)?,
        prefix: row.get(4)?,
        scopes: scopes_from_json(row.get(5)?)?,
        status: status(row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?)?,
        device_id: row.get(7)?,
        created_at: timestamp::from_column(row, 8)?,
        expires_at: timestamp::from_optional_text(row.get(9)?)?,
        revoked_at: timestamp::from_optional_text(row.get(10)?)?,
        last_used_at: timestamp::from_optional_text(row.get(11)?)?,
        usage_count: row
            .get::<_, Option<i64>>(12)?
            .and_then(|count| count.try_into().ok())
            .unwrap_or(0),
    })
}

pub(super) fn status(word: &str) -> Result<KeyStatus, Fault> {
    KeyStatus::parse(word).ok_or_else(|| Fault::damaged_row("the status of a key"))
}

fn scopes_to_json(scopes: &Scopes) -> String {
    Value::from_iter(scopes.iter()).to_string()
}

/// A null array holds no scope; neither does an element that is no text.
pub(super) fn scopes_from_json(json: Option<String>) -> Result<Scopes, Fault> {
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
