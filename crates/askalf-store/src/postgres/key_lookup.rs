//! Keys as a check of a token reads them.

use std::collections::HashSet;

use askalf_bridge_auth::{KeyDigest, KeyRecord, Lookup, UserStatus};
use askalf_bridge_core::stores::StoreError;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    key::{key_status, scopes},
    session::Session,
    timestamp,
};
use crate::{MAX_KEYS_PER_PREFIX, column};

/// One statement reads the key, its user and its device as they are at one moment. The last column is the binding of a
/// digest, where the row is looked up by one.
macro_rules! select_record {
    ($binding:literal, $from_and_where:literal) => {
        concat!(
            "select api_keys.id, api_keys.tenant_id, api_keys.user_id, api_keys.name, api_keys.key_hash,
               api_keys.key_prefix, api_keys.scopes, api_keys.status, api_keys.expires_at, users.status,
               askalf_key_devices.device_id, ",
            $binding,
            " from api_keys left join users on users.id = api_keys.user_id
               left join askalf_key_devices on askalf_key_devices.key_id = api_keys.id ",
            $from_and_where
        )
    };
}

/// By the index that the forge has on `key_prefix`.
pub(super) const BY_PREFIX: &str = select_record!("null::bytea", "where api_keys.key_prefix = $1 limit $2");

/// By our own index on digests, then by the primary keys of the others.
pub(super) const BY_DIGEST: &str = select_record!(
    "askalf_key_digests.binding",
    "join askalf_key_digests on askalf_key_digests.key_id = api_keys.id
     where askalf_key_digests.digest_key_id = $1 and askalf_key_digests.digest = $2"
);

pub(super) const BY_IDS: &str = select_record!("null::bytea", "where api_keys.id = any($1)");

pub(super) const AFTER_ID: &str = select_record!(
    "null::bytea",
    "where api_keys.id > $1 order by api_keys.id limit $2"
);

pub(super) const FROM_FIRST: &str = select_record!("null::bytea", "order by api_keys.id limit $1");

impl PostgresStore {
    pub(super) async fn look_up(&self, lookup: &Lookup) -> Result<Vec<KeyRecord>, Fault> {
        match lookup {
            Lookup::ByDigest {
                digest_key_id,
                digest,
            } => {
                let values: super::Values<'_> = &[digest_key_id, &digest.as_bytes().as_slice()];
                self.records(BY_DIGEST, values).await
            }
            Lookup::ByPrefix { prefix } => {
                let prefix = column::text(prefix.as_str().to_owned());
                let limit = MAX_KEYS_PER_PREFIX as i64 + 1;
                let records = self.records(BY_PREFIX, &[&prefix, &limit]).await?;
                if records.len() > MAX_KEYS_PER_PREFIX {
                    let text = format!("more than {MAX_KEYS_PER_PREFIX} keys share one prefix");
                    return Err(StoreError::Unavailable(text).into());
                }
                Ok(records)
            }
            Lookup::MalformedPrefix => {
                let ids = self.malformed.ids(&self.pool, self.patience).await?;
                if ids.is_empty() {
                    return Ok(Vec::new());
                }
                self.records(BY_IDS, &[&&*ids]).await
            }
            _ => Err(StoreError::Unavailable("it does not know this way to look a key up".to_owned()).into()),
        }
    }

    pub(super) async fn records(
        &self,
        sql: &str,
        values: super::Values<'_>,
    ) -> Result<Vec<KeyRecord>, Fault> {
        self.rows(sql, values).await?.iter().map(read_record).collect()
    }
}

/// Keeps digests, one per key and one key per digest: the last of each counts.
pub(super) async fn keep_digests(session: &Session, digests: &[KeyDigest]) -> Result<(), Fault> {
    let (mut keys, mut values) = (HashSet::new(), HashSet::new());
    let mut kept: Vec<&KeyDigest> = digests
        .iter()
        .rev()
        .filter(|digest| {
            keys.insert(&digest.key_id) && values.insert((&digest.digest_key_id, digest.digest.as_bytes()))
        })
        .collect();
    // In one order, so that two of these do not wait for each other.
    kept.sort_by(|one, other| one.key_id.cmp(&other.key_id));
    let ids: Vec<&str> = kept.iter().map(|digest| digest.key_id.as_str()).collect();
    let secrets: Vec<&str> = kept.iter().map(|digest| digest.digest_key_id.as_str()).collect();
    let values: Vec<&[u8]> = kept
        .iter()
        .map(|digest| digest.digest.as_bytes().as_slice())
        .collect();
    let bindings: Vec<&[u8]> = kept.iter().map(|digest| digest.binding.as_slice()).collect();
    session
        .execute(
            "delete from askalf_key_digests using unnest($1::text[], $2::text[], $3::bytea[]) as kept (id, secret, value)
             where digest_key_id = kept.secret and digest = kept.value and key_id <> kept.id
               and exists (select 1 from api_keys where api_keys.id = kept.id)",
            &[&ids, &secrets, &values],
        )
        .await?;
    session
        .execute(
            "insert into askalf_key_digests (key_id, digest_key_id, digest, binding)
             select id, secret, value, binding
             from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[]) as kept (id, secret, value, binding)
             where exists (select 1 from api_keys where api_keys.id = kept.id)
             on conflict (key_id) do update
               set digest_key_id = excluded.digest_key_id, digest = excluded.digest, binding = excluded.binding",
            &[&ids, &secrets, &values, &bindings],
        )
        .await?;
    Ok(())
}

fn read_record(row: &Row) -> Result<KeyRecord, Fault> {
    // A status that is null, or none that we know, is no user that may come in.
    let user_status: Option<&str> = row.try_get(9)?;
    let binding: Option<&[u8]> = row.try_get(11)?;
    Ok(KeyRecord {
        id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        user_id: row.try_get(2)?,
        name: row.try_get(3)?,
        key_hash: row.try_get(4)?,
        key_prefix: row.try_get(5)?,
        scopes: scopes(row, 6)?,
        status: key_status(row, 7)?,
        expires_at: timestamp::read_optional(row, 8)?,
        user_status: user_status.and_then(UserStatus::parse),
        device_id: row.try_get(10)?,
        digest_binding: binding.and_then(|binding| binding.try_into().ok()),
    })
}
