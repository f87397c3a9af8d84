//! Keys, as operators handle them.

use askalf_bridge_auth::{KeyDigest, KeyPrefix, KeyRecord, KeyStatus, Lookup, Scope, Scopes, UnixMillis};
use askalf_bridge_core::stores::{Key, KeyStore, KeyUse, Kind, NewKey, Principal, StoreError};
use async_trait::async_trait;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    key_lookup::{self, AFTER_ID, BY_IDS, FROM_FIRST},
    rotation,
    session::{Session, after, numbered},
    timestamp::{self, Timestamp},
    trail::NewAct,
};
use crate::{
    column, key_rules,
    reach::{self, Condition},
};

const SELECT: &str =
    "select api_keys.id, tenant_id, user_id, name, key_prefix, scopes, status, device_id, created_at,
    expires_at, revoked_at, last_used_at, usage_count
    from api_keys left join askalf_key_devices on askalf_key_devices.key_id = api_keys.id";

const GONE: StoreError = StoreError::NotFound(Kind::Key);

#[async_trait]
impl KeyStore for PostgresStore {
    async fn find_keys(&self, lookup: &Lookup) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(self.look_up(lookup).await?)
    }

    async fn add_key(&self, who: &Principal, key: NewKey) -> Result<Key, StoreError> {
        key_rules::refuse_device(who, "keys")?;
        let session = self.begin().await?;
        let added = add(&session, who, key).await;
        Ok(session.settle(added).await?)
    }

    async fn keys(&self, who: &Principal, limit: u32) -> Result<Vec<Key>, StoreError> {
        let session = self.session().await?;
        let order = "created_at desc, api_keys.id collate \"C\" desc";
        let condition = reach::keys(who);
        let listed = session.list(SELECT, &condition, order, limit, read_key, |key| {
            key.id.len() + key.name.len() + key.scopes.iter().map(str::len).sum::<usize>()
        });
        Ok(listed.await?)
    }

    async fn revoke_key(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<Key, StoreError> {
        let condition = operators_key(who, id)?;
        let session = self.begin().await?;
        let revoke = async {
            let by = who.to_string();
            revoke(&session, &condition, &by, now).await?;
            if let Some(key) = first(&session, &condition).await? {
                rotation::key_revoked(&session, &key.id, &by, now).await?;
            }
            let key = session.first(SELECT, &condition, read_key).await?;
            key.ok_or_else(|| GONE.into())
        };
        let key = revoke.await;
        Ok(session.settle(key).await?)
    }

    async fn count_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let ids: Vec<&str> = uses.iter().map(|used| used.key_id.as_str()).collect();
        let counts: Vec<i64> = uses.iter().map(|used| used.count.into()).collect();
        let times: Vec<Timestamp> = uses.iter().map(|used| Timestamp(used.last_used_at)).collect();
        // All in one statement. The rows are locked in the order of their ids, so that two of these cannot wait for each
        // other.
        let update = "with used as (
               select id, least(sum(count), 2147483647) as count, max(at) as at
               from unnest($1::text[], $2::int8[], $3::timestamptz[]) as used (id, count, at) group by id
             ), locked as materialized (
               select id from api_keys where id = any($1) order by id for no key update
             )
             update api_keys set last_used_at = used.at,
               usage_count = least(coalesce(usage_count, 0)::int8 + used.count, 2147483647)::int4
             from used join locked using (id) where api_keys.id = used.id";
        self.session()
            .await?
            .execute(update, &[&ids, &counts, &times])
            .await?;
        Ok(())
    }

    async fn key(&self, who: &Principal, id: &str) -> Result<Key, StoreError> {
        let condition = reach::keys(who).and("api_keys.id = ?", [&column::text(id.to_owned())]);
        let session = self.session().await?;
        let key = session.first(SELECT, &condition, read_key).await?;
        key.ok_or(GONE)
    }

    async fn rotate_key(
        &self,
        who: &Principal,
        id: &str,
        new: NewKey,
        old_ends: UnixMillis,
    ) -> Result<Key, StoreError> {
        let condition = operators_key(who, id)?;
        let session = self.begin().await?;
        let rotated = rotate(&session, who, &condition, new, old_ends).await;
        Ok(session.settle(rotated).await?)
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
        let preview = column::varchar("preview of the key", preview.to_owned(), 20)?;
        let session = self.begin().await?;
        let repair = async {
            session
                .update(
                    "update api_keys set key_prefix = $1, key_preview = $2 where true",
                    &[&prefix.as_str(), &preview],
                    &condition,
                )
                .await?;
            let key = session.first(SELECT, &condition, read_key).await?.ok_or(GONE)?;
            let owner = key.user_id.as_deref().map(|user| (key.tenant_id.as_str(), user));
            act(&who.to_string(), now, owner, "key.repair", &key.id)
                .keep(&session)
                .await?;
            Ok(key)
        };
        let key = repair.await;
        let key = session.settle(key).await?;
        // What it has left must not be searched for a moment longer.
        self.malformed.forget();
        Ok(key)
    }

    async fn keys_now(&self, ids: &[String]) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(self.records(BY_IDS, &[&ids]).await?)
    }

    async fn all_keys(&self, after_id: Option<&str>, limit: u32) -> Result<Vec<KeyRecord>, StoreError> {
        let limit = i64::from(limit.min(reach::MAX_ROWS));
        let records = match after_id {
            Some(id) => {
                self.records(AFTER_ID, &[&column::text(id.to_owned()), &limit])
                    .await
            }
            None => self.records(FROM_FIRST, &[&limit]).await,
        };
        Ok(records?)
    }

    async fn malformed_prefixes(&self) -> Result<u64, StoreError> {
        Ok(self.malformed.count(&self.pool, self.patience).await?)
    }

    async fn keep_digests(&self, digests: &[KeyDigest]) -> Result<(), StoreError> {
        let session = self.begin().await?;
        let kept = key_lookup::keep_digests(&session, digests).await;
        Ok(session.settle(kept).await?)
    }
}

/// One key that a principal may change; no device may, not even its own.
fn operators_key(who: &Principal, id: &str) -> Result<Condition, StoreError> {
    match who {
        Principal::Device { .. } => Err(GONE),
        _ => Ok(reach::keys(who).and("api_keys.id = ?", [&column::text(id.to_owned())])),
    }
}

fn act<'a>(
    by: &'a str,
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

async fn add(session: &Session, who: &Principal, key: NewKey) -> Result<Key, Fault> {
    let owner = Owner::of_new(session, who, key.user_id.as_deref()).await?;
    insert(session, &owner, &key).await?;
    act(&who.to_string(), key.created_at, owner.ids(), "key.mint", &key.id)
        .keep(session)
        .await?;
    by_id(session, &key.id).await
}

/// Revokes the keys of `condition` that are not revoked.
pub(super) async fn revoke(
    session: &Session,
    condition: &Condition,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let sql = format!(
        "update api_keys set status = 'revoked', revoked_at = coalesce(revoked_at, $1)
         where status <> 'revoked' and {} returning id, tenant_id, user_id",
        numbered(condition.sql(), 1)
    );
    for row in session.rows(&sql, &after(&[&Timestamp(now)], condition)).await? {
        let (id, tenant, user): (&str, &str, Option<&str>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        act(by, now, user.map(|user| (tenant, user)), "key.revoke", id)
            .keep(session)
            .await?;
    }
    Ok(())
}

async fn rotate(
    session: &Session,
    who: &Principal,
    condition: &Condition,
    new: NewKey,
    old_ends: UnixMillis,
) -> Result<Key, Fault> {
    let now = new.created_at;
    let old = session.first(SELECT, condition, read_key).await?.ok_or(GONE)?;
    key_rules::refuse_rotation(&old, now)?;
    let owner = Owner::of_new(session, who, old.user_id.as_deref()).await?;
    let new = NewKey {
        device_id: match &old.device_id {
            Some(device_id) => Some(device_id.clone()),
            None => device_to_keep(session, &old).await?,
        },
        scopes: old.scopes,
        ..new
    };
    insert(session, &owner, &new).await?;
    let ends = old.expires_at.map_or(old_ends, |end| end.min(old_ends));
    session
        .execute(
            "update api_keys set expires_at = $1 where id = $2",
            &[&Timestamp(ends), &old.id],
        )
        .await?;
    act(&who.to_string(), now, owner.ids(), "key.rotate", &old.id)
        .keep(session)
        .await?;
    by_id(session, &new.id).await
}

/// The device that registered with a key which is not bound: its next key is, so that the device stays the one it was. An
/// operator's key is left as it is, since a bound one is no operator's.
async fn device_to_keep(session: &Session, old: &Key) -> Result<Option<String>, Fault> {
    if old.scopes.contains(&Scope::Admin) {
        return Ok(None);
    }
    let row = session
        .row(
            "select id from agent_devices where api_key_id = $1 and tenant_id = $2 and user_id = $3
             order by created_at, id limit 1",
            &[&old.id, &old.tenant_id, &old.user_id],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Adds a key for `owner`, whatever user `key` names.
pub(super) async fn insert(session: &Session, owner: &Owner, key: &NewKey) -> Result<(), Fault> {
    let name = column::varchar("name of the key", key.name.clone(), 255)?;
    let preview = column::varchar("preview of the key", key.preview.clone(), 20)?;
    // Looked up and not left to an index: the forge's table may hold prefixes that are shared or made up. Two that are
    // made at the same moment wait for each other.
    session.lock("key prefix", key.prefix.as_str()).await?;
    let prefix = key.prefix.as_str();
    let taken = session
        .row("select 1 from api_keys where key_prefix = $1 limit 1", &[&prefix])
        .await?;
    if taken.is_some() {
        return Err(StoreError::Conflict("a key with this prefix".to_owned()).into());
    }
    let scopes: Vec<&str> = key.scopes.iter().collect();
    let added = session
        .execute(
            "insert into api_keys
               (id, tenant_id, user_id, name, key_hash, key_prefix, key_preview, scopes, expires_at, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (id) do nothing",
            &[
                &key.id,
                &owner.tenant_id,
                &owner.user_id,
                &name,
                &key.hash.to_string(),
                &prefix,
                &preview,
                &scopes,
                &key.expires_at.map(Timestamp),
                &Timestamp(key.created_at),
            ],
        )
        .await?;
    if added == 0 {
        return Err(StoreError::Conflict("a key with this id".to_owned()).into());
    }
    if let Some(device_id) = &key.device_id {
        owner.check_device(session, device_id).await?;
        session
            .execute(
                "insert into askalf_key_devices (key_id, device_id) values ($1, $2)",
                &[&key.id, &device_id],
            )
            .await?;
    }
    Ok(())
}

pub(super) async fn first(session: &Session, condition: &Condition) -> Result<Option<Key>, Fault> {
    session.first(SELECT, condition, read_key).await
}

async fn by_id(session: &Session, id: &str) -> Result<Key, Fault> {
    let condition = Condition::default().and("api_keys.id = ?", [id]);
    session
        .first(SELECT, &condition, read_key)
        .await?
        .ok_or_else(|| Fault::damaged_row("a new key"))
}

/// Tenant and user of a new key or code.
pub(super) struct Owner {
    pub(super) tenant_id: String,
    pub(super) user_id: String,
}

impl Owner {
    /// An operator makes keys for itself alone; who sees everybody must name one of several.
    pub(super) async fn of_new(
        session: &Session,
        who: &Principal,
        named: Option<&str>,
    ) -> Result<Self, Fault> {
        let own = who.owner();
        let wanted = named.or(own.map(|(_, user)| user));
        let mut condition = Condition::default().and("status is distinct from 'deleted'", []);
        if let Some(user) = wanted {
            condition = condition.and("id = ?", [&column::text(user.to_owned())]);
        }
        if let Some((tenant, user)) = own {
            condition = condition.and("tenant_id = ? and id = ?", [tenant, user]);
        }
        let sql = format!(
            "select tenant_id, id from users where {} limit 2",
            numbered(condition.sql(), 0)
        );
        let rows = session.rows(&sql, &after(&[], &condition)).await?;
        let [one] = rows.as_slice() else {
            return Err(key_rules::unclear_user(rows.len(), wanted).into());
        };
        Ok(Self {
            tenant_id: one.try_get(0)?,
            user_id: one.try_get(1)?,
        })
    }

    pub(super) fn ids(&self) -> Option<(&str, &str)> {
        Some((&self.tenant_id, &self.user_id))
    }

    /// Whether the user is still there.
    pub(super) async fn exists(&self, session: &Session) -> Result<bool, Fault> {
        let row = session
            .row(
                "select 1 from users where id = $1 and tenant_id = $2 and status is distinct from 'deleted'",
                &[&self.user_id, &self.tenant_id],
            )
            .await?;
        Ok(row.is_some())
    }

    /// A key acts as a device of its own user alone. The device is not removed until the transaction ends.
    pub(super) async fn check_device(&self, session: &Session, device_id: &str) -> Result<(), Fault> {
        let row = session
            .row(
                "select 1 from agent_devices where id = $1 and tenant_id = $2 and user_id = $3 for key share",
                &[
                    &column::text(device_id.to_owned()),
                    &self.tenant_id,
                    &self.user_id,
                ],
            )
            .await?;
        row.map(drop)
            .ok_or_else(|| StoreError::NotFound(Kind::Device).into())
    }
}

fn read_key(row: &Row) -> Result<Key, Fault> {
    Ok(Key {
        id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        user_id: row.try_get(2)?,
        name: row.try_get(3)?,
        prefix: row.try_get(4)?,
        scopes: scopes(row, 5)?,
        status: key_status(row, 6)?,
        device_id: row.try_get(7)?,
        created_at: timestamp::read(row, 8)?,
        expires_at: timestamp::read_optional(row, 9)?,
        revoked_at: timestamp::read_optional(row, 10)?,
        last_used_at: timestamp::read_optional(row, 11)?,
        usage_count: row
            .try_get::<_, Option<i32>>(12)?
            .and_then(|count| count.try_into().ok())
            .unwrap_or(0),
    })
}

pub(super) fn key_status(row: &Row, column: usize) -> Result<KeyStatus, Fault> {
    let word: &str = row.try_get(column)?;
    KeyStatus::parse(word).ok_or_else(|| Fault::damaged_row("the status of a key"))
}

/// A null array holds no scope; neither does a null among its elements.
pub(super) fn scopes(row: &Row, column: usize) -> Result<Scopes, Fault> {
    let names: Option<Vec<Option<&str>>> = row.try_get(column)?;
    Ok(Scopes::parse(names.unwrap_or_default().into_iter().flatten()))
}
