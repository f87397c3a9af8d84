//! Keys.

use askalf_bridge_auth::{KeyDigest, KeyPrefix, KeyRecord, KeyStatus, Lookup, Scopes, UnixMillis};
use askalf_bridge_core::stores::{Key, KeyStore, KeyUse, Kind, NewKey, Principal, StoreError};
use async_trait::async_trait;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    key_lookup::{AFTER_ID, BY_IDS, FROM_FIRST},
    session::Session,
    timestamp::{self, Timestamp},
};
use crate::{column, reach};

const SELECT: &str =
    "select api_keys.id, tenant_id, user_id, name, key_prefix, scopes, status, device_id, created_at,
    expires_at, revoked_at, last_used_at, usage_count
    from api_keys left join askalf_key_devices on askalf_key_devices.key_id = api_keys.id";

/// The most ids of one [`KeyStore::keys_now`], and the most rows of one [`KeyStore::all_keys`].
const MAX_IDS: usize = 1000;

#[async_trait]
impl KeyStore for PostgresStore {
    async fn find_keys(&self, lookup: &Lookup) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(self.look_up(lookup).await?)
    }

    async fn add_key(&self, who: &Principal, key: NewKey) -> Result<Key, StoreError> {
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
        if matches!(who, Principal::Device { .. }) {
            return Err(StoreError::NotFound(Kind::Key));
        }
        let condition = reach::keys(who).and("api_keys.id = ?", [&column::text(id.to_owned())]);
        let session = self.begin().await?;
        let revoke = async {
            session
                .update(
                    "update api_keys set status = 'revoked', revoked_at = coalesce(revoked_at, $1)
                     where status <> 'revoked'",
                    &[&Timestamp(now)],
                    &condition,
                )
                .await?;
            let key = session.first(SELECT, &condition, read_key).await?;
            key.ok_or_else(|| StoreError::NotFound(Kind::Key).into())
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
        key.ok_or(StoreError::NotFound(Kind::Key))
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

    async fn keys_now(&self, ids: &[String]) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(self.records(BY_IDS, &[&&ids[..ids.len().min(MAX_IDS)]]).await?)
    }

    async fn all_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<KeyRecord>, StoreError> {
        let limit = i64::from(limit).min(MAX_IDS as i64);
        let records = match after {
            Some(after) => {
                self.records(AFTER_ID, &[&column::text(after.to_owned()), &limit])
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
        let ids: Vec<&str> = digests.iter().map(|digest| digest.key_id.as_str()).collect();
        let secrets: Vec<&str> = digests
            .iter()
            .map(|digest| digest.digest_key_id.as_str())
            .collect();
        let values: Vec<&[u8]> = digests
            .iter()
            .map(|digest| digest.digest.as_bytes().as_slice())
            .collect();
        let bindings: Vec<&[u8]> = digests.iter().map(|digest| digest.binding.as_slice()).collect();
        // The last one of a key counts, as if they came one by one. In the order of the ids, for the same reason as above.
        let insert = "insert into askalf_key_digests (key_id, digest_key_id, digest, binding)
             select distinct on (id) id, secret, value, binding
             from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[]) with ordinality
               as kept (id, secret, value, binding, place)
             where exists (select 1 from api_keys where api_keys.id = kept.id)
             order by id, place desc
             on conflict (key_id) do update
               set digest_key_id = excluded.digest_key_id, digest = excluded.digest, binding = excluded.binding";
        self.session()
            .await?
            .execute(insert, &[&ids, &secrets, &values, &bindings])
            .await?;
        Ok(())
    }
}

pub(super) async fn add(session: &Session, who: &Principal, key: NewKey) -> Result<Key, Fault> {
    if matches!(who, Principal::Device { .. }) {
        return Err(StoreError::User("a device cannot make keys".to_owned()).into());
    }
    let (tenant_id, user_id) = owner_of_new(session, who, key.user_id.as_deref()).await?;
    insert(session, &key, (&tenant_id, &user_id)).await?;
    let condition = reach::keys(&Principal::Bridge).and("api_keys.id = ?", [&key.id]);
    session
        .first(SELECT, &condition, read_key)
        .await?
        .ok_or_else(|| Fault::damaged_row("a new key"))
}

async fn insert(session: &Session, key: &NewKey, owner: (&str, &str)) -> Result<(), Fault> {
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
                &owner.0,
                &owner.1,
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
    match &key.device_id {
        Some(device_id) => bind(session, &key.id, device_id, owner).await,
        None => Ok(()),
    }
}

async fn bind(session: &Session, key_id: &str, device_id: &str, owner: (&str, &str)) -> Result<(), Fault> {
    let bound = session
        .execute(
            "insert into askalf_key_devices (key_id, device_id)
             select $1, id from agent_devices where id = $2 and tenant_id = $3 and user_id = $4",
            &[&key_id, &column::text(device_id.to_owned()), &owner.0, &owner.1],
        )
        .await?;
    if bound == 0 {
        return Err(StoreError::NotFound(Kind::Device).into());
    }
    Ok(())
}

/// Tenant and user of something new. An operator makes things for itself alone; who sees everybody must name one of
/// several.
pub(super) async fn owner_of_new(
    session: &Session,
    who: &Principal,
    named: Option<&str>,
) -> Result<(String, String), Fault> {
    let own = who.owner();
    let wanted = named.or(own.map(|(_, user)| user));
    let rows = session
        .rows(
            "select tenant_id, id from users
             where status is distinct from 'deleted' and ($1::text is null or id = $1)
               and ($2::text is null or (tenant_id = $2 and id = $3))
             limit 2",
            &[
                &wanted.map(|user| column::text(user.to_owned())),
                &own.map(|(tenant, _)| tenant),
                &own.map(|(_, user)| user),
            ],
        )
        .await?;
    let trouble = match (rows.as_slice(), wanted) {
        ([one], _) => return Ok((one.try_get(0)?, one.try_get(1)?)),
        ([], Some(name)) => format!("there is no user '{}'", name.escape_debug()),
        ([], None) => "there is no user yet".to_owned(),
        _ => "there are several users: one must be named".to_owned(),
    };
    Err(StoreError::User(trouble).into())
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
