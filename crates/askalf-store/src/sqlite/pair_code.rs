//! Pairing codes.

use askalf_bridge_auth::{Scope, Scopes, UnixMillis};
use askalf_bridge_core::stores::{
    Exchanged, Kind, NewKey, NewPairCode, PairCode, PairCodeStore, Principal, StoreError,
};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    fault::Fault,
    key::{self, Owner},
    reach, timestamp,
    trail::NewAct,
};
use crate::{column, key_rules};

const SELECT: &str =
    "select id, tenant_id, user_id, device_id, name, created_at, expires_at from askalf_pair_codes";

/// How long a code that is over stays: within it a device that lost the answer may ask again.
const KEPT_MS: i64 = 24 * 60 * 60 * 1000;

const GONE: StoreError = StoreError::NotFound(Kind::PairCode);

#[async_trait]
impl PairCodeStore for SqliteStore {
    async fn add_pair_code(&self, who: &Principal, code: NewPairCode) -> Result<PairCode, StoreError> {
        let who = who.clone();
        self.write(move |connection| add(connection, &who, code)).await
    }

    async fn pair_codes(
        &self,
        who: &Principal,
        now: UnixMillis,
        limit: u32,
    ) -> Result<Vec<PairCode>, StoreError> {
        let condition = reach::operators(who)
            .and("withdrawn_at is null and nonce_mac is null", [])
            .and("expires_at > ?", [&timestamp::to_text(now)]);
        self.read(move |connection| {
            let order = "created_at, id";
            reach::list(connection, SELECT, &condition, order, limit, read_code, |code| {
                code.id.len() + code.name.len()
            })
        })
        .await
    }

    async fn withdraw_pair_code(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        let condition = reach::operators(who)
            .and("id = ?", [id])
            .and("withdrawn_at is null and nonce_mac is null", [])
            .and("expires_at > ?", [&timestamp::to_text(now)]);
        let by = who.to_string();
        self.write(move |connection| {
            let code = reach::first(connection, SELECT, &condition, read_code)?.ok_or(GONE)?;
            connection
                .prepare_cached("update askalf_pair_codes set withdrawn_at = ? where id = ?")?
                .execute([&timestamp::to_text(now), &code.id])?;
            NewAct {
                at: now,
                by,
                owner: Some((&code.tenant_id, &code.user_id)),
                what: "pair-code.withdraw",
                subject: &code.id,
            }
            .keep(connection)
        })
        .await
    }

    async fn has_pair_code(&self, code_mac: &[u8; 32]) -> Result<bool, StoreError> {
        let code_mac = *code_mac;
        self.read(move |connection| {
            let sql = "select 1 from askalf_pair_codes where code_mac = ?";
            Ok(connection.prepare_cached(sql)?.exists([code_mac])?)
        })
        .await
    }

    async fn exchange_pair_code(
        &self,
        code_mac: &[u8; 32],
        nonce_mac: &[u8; 32],
        key: NewKey,
        now: UnixMillis,
    ) -> Result<Exchanged, StoreError> {
        let (code_mac, nonce_mac) = (*code_mac, *nonce_mac);
        self.write(move |connection| exchange(connection, &code_mac, &nonce_mac, key, now))
            .await
    }
}

fn add(connection: &Connection, who: &Principal, code: NewPairCode) -> Result<PairCode, Fault> {
    key_rules::refuse_device(who, "pairing codes")?;
    let owner = Owner::of_new_key(connection, who, code.user_id.as_deref())?;
    let name = column::varchar("name of the key", code.name, 255)?;
    if let Some(device_id) = &code.device_id {
        owner.check_device(connection, device_id)?;
    }
    connection
        .prepare_cached("delete from askalf_pair_codes where expires_at < ?")?
        .execute([timestamp::to_text(UnixMillis(
            code.created_at.0.saturating_sub(KEPT_MS),
        ))])?;
    let added = connection
        .prepare_cached(
            "insert into askalf_pair_codes (id, code_mac, tenant_id, user_id, device_id, name, created_at, expires_at)
             values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing",
        )?
        .execute(params![
            code.id,
            code.code_mac,
            owner.tenant_id,
            owner.user_id,
            code.device_id,
            name,
            timestamp::to_text(code.created_at),
            timestamp::to_text(code.expires_at),
        ])?;
    if added == 0 {
        return Err(StoreError::Conflict("this pairing code".to_owned()).into());
    }
    NewAct {
        at: code.created_at,
        by: who.to_string(),
        owner: Some((&owner.tenant_id, &owner.user_id)),
        what: "pair-code.new",
        subject: &code.id,
    }
    .keep(connection)?;
    let by_id = reach::operators(&Principal::Bridge).and("id = ?", [&code.id]);
    reach::first(connection, SELECT, &by_id, read_code)?
        .ok_or_else(|| Fault::damaged_row("a new pairing code"))
}

fn exchange(
    connection: &Connection,
    code_mac: &[u8; 32],
    nonce_mac: &[u8; 32],
    key: NewKey,
    now: UnixMillis,
) -> Result<Exchanged, Fault> {
    let found = connection
        .prepare_cached(
            "select id, tenant_id, user_id, device_id, name, created_at, expires_at, withdrawn_at is not null, nonce_mac,
               key_id
             from askalf_pair_codes where code_mac = ?",
        )?
        .query_row([code_mac], |row| {
            let exchanged: Option<[u8; 32]> = row.get(8)?;
            Ok((read_code(row), row.get(7)?, exchanged.zip(row.get(9)?)))
        })
        .optional()?;
    let Some((code, withdrawn, exchanged)) = found else {
        return Err(GONE.into());
    };
    let code: PairCode = code?;
    if withdrawn {
        return Err(GONE.into());
    }
    match exchanged {
        // Asked again by whoever exchanged it: also after its end, since the first answer may have been lost.
        Some((known, key_id)) if known == *nonce_mac => repeat(connection, code, key_id, now),
        Some(_) => Err(GONE.into()),
        None if code.expires_at <= now => Err(GONE.into()),
        None => exchange_once(connection, code, nonce_mac, key, now),
    }
}

/// Also where the key was used: a device proves it before it keeps it, and may die in between.
fn repeat(
    connection: &Connection,
    code: PairCode,
    key_id: String,
    now: UnixMillis,
) -> Result<Exchanged, Fault> {
    let sql = "select 1 from api_keys where id = ? and status = 'active'";
    let is_kept = now.0.saturating_sub(code.expires_at.0) <= KEPT_MS;
    if !is_kept || !reach::exists(connection, sql, &[&key_id])? {
        return Err(GONE.into());
    }
    Ok(Exchanged {
        key_id,
        device_id: code.device_id,
        name: code.name,
        again: true,
    })
}

fn exchange_once(
    connection: &Connection,
    code: PairCode,
    nonce_mac: &[u8; 32],
    key: NewKey,
    now: UnixMillis,
) -> Result<Exchanged, Fault> {
    let owner = Owner {
        tenant_id: code.tenant_id,
        user_id: code.user_id,
    };
    let key = NewKey {
        name: code.name.clone(),
        scopes: Scopes::from_iter([Scope::Device]),
        device_id: code.device_id.clone(),
        ..key
    };
    // Whose user or device is gone meanwhile is worth nothing any more.
    if !owner.exists(connection)? {
        return Err(GONE.into());
    }
    key::insert(connection, &owner, &key).map_err(|fault| match fault {
        Fault::Store(StoreError::NotFound(Kind::Device)) => GONE.into(),
        fault => fault,
    })?;
    connection
        .prepare_cached("update askalf_pair_codes set nonce_mac = ?, key_id = ? where id = ?")?
        .execute(params![nonce_mac, key.id, code.id])?;
    NewAct {
        at: now,
        by: format!("pairing code {}", code.id),
        owner: Some((&owner.tenant_id, &owner.user_id)),
        what: "pair-code.exchange",
        subject: &key.id,
    }
    .keep(connection)?;
    Ok(Exchanged {
        key_id: key.id,
        device_id: code.device_id,
        name: code.name,
        again: false,
    })
}

fn read_code(row: &Row<'_>) -> Result<PairCode, Fault> {
    Ok(PairCode {
        id: row.get(0)?,
        tenant_id: row.get(1)?,
        user_id: row.get(2)?,
        device_id: row.get(3)?,
        name: row.get(4)?,
        created_at: timestamp::from_column(row, 5)?,
        expires_at: timestamp::from_column(row, 6)?,
    })
}
