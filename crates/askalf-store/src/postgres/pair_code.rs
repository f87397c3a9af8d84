//! Pairing codes.

use askalf_bridge_auth::{Scope, Scopes, UnixMillis};
use askalf_bridge_core::stores::{
    Exchanged, Kind, NewKey, NewPairCode, PairCode, PairCodeStore, Principal, StoreError,
};
use async_trait::async_trait;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    key::{self, Owner},
    session::Session,
    timestamp::{self, Timestamp},
    trail::NewAct,
};
use crate::{
    column, key_rules,
    reach::{self, Condition},
};

const SELECT: &str =
    "select id, tenant_id, user_id, device_id, name, created_at, expires_at from askalf_pair_codes";

/// How long a code that is over stays: within it a device that lost the answer may ask again.
const KEPT_MS: i64 = 24 * 60 * 60 * 1000;

const GONE: StoreError = StoreError::NotFound(Kind::PairCode);

#[async_trait]
impl PairCodeStore for PostgresStore {
    async fn add_pair_code(&self, who: &Principal, code: NewPairCode) -> Result<PairCode, StoreError> {
        key_rules::refuse_device(who, "pairing codes")?;
        let session = self.begin().await?;
        let added = add(&session, who, code).await;
        Ok(session.settle(added).await?)
    }

    async fn pair_codes(
        &self,
        who: &Principal,
        now: UnixMillis,
        limit: u32,
    ) -> Result<Vec<PairCode>, StoreError> {
        let condition = good(reach::operators(who), now);
        let session = self.session().await?;
        let order = "created_at, id collate \"C\"";
        let listed = session.list(SELECT, &condition, order, limit, read_code, |code| {
            code.id.len() + code.name.len()
        });
        Ok(listed.await?)
    }

    async fn withdraw_pair_code(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        let condition = good(reach::operators(who), now).and("id = ?", [&column::text(id.to_owned())]);
        let session = self.begin().await?;
        let withdrawn = withdraw(&session, &condition, &who.to_string(), now).await;
        Ok(session.settle(withdrawn).await?)
    }

    async fn has_pair_code(&self, code_mac: &[u8; 32]) -> Result<bool, StoreError> {
        let rows = self
            .rows(
                "select 1 from askalf_pair_codes where code_mac = $1",
                &[&code_mac.as_slice()],
            )
            .await?;
        Ok(!rows.is_empty())
    }

    async fn exchange_pair_code(
        &self,
        code_mac: &[u8; 32],
        nonce_mac: &[u8; 32],
        key: NewKey,
        now: UnixMillis,
    ) -> Result<Exchanged, StoreError> {
        let session = self.begin().await?;
        let exchanged = exchange(&session, code_mac, nonce_mac, key, now).await;
        Ok(session.settle(exchanged).await?)
    }
}

/// Codes that can still be exchanged.
fn good(condition: Condition, now: UnixMillis) -> Condition {
    condition
        .and("withdrawn_at is null and nonce_mac is null", [])
        .and(
            "expires_at > 'epoch'::timestamptz + ?::text::int8 * interval '1 millisecond'",
            [&now.0.to_string()],
        )
}

async fn add(session: &Session, who: &Principal, code: NewPairCode) -> Result<PairCode, Fault> {
    let owner = Owner::of_new(session, who, code.user_id.as_deref()).await?;
    let name = column::varchar("name of the key", code.name, 255)?;
    if let Some(device_id) = &code.device_id {
        owner.check_device(session, device_id).await?;
    }
    let long_over = UnixMillis(code.created_at.0.saturating_sub(KEPT_MS));
    session
        .execute(
            "delete from askalf_pair_codes where expires_at < $1",
            &[&Timestamp(long_over)],
        )
        .await?;
    let added = session
        .execute(
            "insert into askalf_pair_codes (id, code_mac, tenant_id, user_id, device_id, name, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
            &[
                &code.id,
                &code.code_mac.as_slice(),
                &owner.tenant_id,
                &owner.user_id,
                &code.device_id,
                &name,
                &Timestamp(code.created_at),
                &Timestamp(code.expires_at),
            ],
        )
        .await?;
    if added == 0 {
        return Err(StoreError::Conflict("this pairing code".to_owned()).into());
    }
    NewAct {
        at: code.created_at,
        by: &who.to_string(),
        owner: owner.ids(),
        what: "pair-code.new",
        subject: &code.id,
    }
    .keep(session)
    .await?;
    let by_id = Condition::default().and("id = ?", [&code.id]);
    session
        .first(SELECT, &by_id, read_code)
        .await?
        .ok_or_else(|| Fault::damaged_row("a new pairing code"))
}

async fn withdraw(session: &Session, condition: &Condition, by: &str, now: UnixMillis) -> Result<(), Fault> {
    let code = session
        .first_locked(SELECT, condition, read_code)
        .await?
        .ok_or(GONE)?;
    session
        .execute(
            "update askalf_pair_codes set withdrawn_at = $1 where id = $2",
            &[&Timestamp(now), &code.id],
        )
        .await?;
    NewAct {
        at: now,
        by,
        owner: Some((&code.tenant_id, &code.user_id)),
        what: "pair-code.withdraw",
        subject: &code.id,
    }
    .keep(session)
    .await
}

async fn exchange(
    session: &Session,
    code_mac: &[u8; 32],
    nonce_mac: &[u8; 32],
    key: NewKey,
    now: UnixMillis,
) -> Result<Exchanged, Fault> {
    // The row is held until the end: of two exchanges the second sees what the first has done.
    let row = session
        .row(
            "select id, tenant_id, user_id, device_id, name, created_at, expires_at, withdrawn_at is not null,
               nonce_mac, key_id
             from askalf_pair_codes where code_mac = $1 for update",
            &[&code_mac.as_slice()],
        )
        .await?
        .ok_or(GONE)?;
    let code = read_code(&row)?;
    if row.try_get(7)? {
        return Err(GONE.into());
    }
    let known: Option<&[u8]> = row.try_get(8)?;
    let key_id: Option<String> = row.try_get(9)?;
    match known.zip(key_id) {
        // Asked again by whoever exchanged it: also after its end, since the first answer may have been lost.
        Some((known, key_id)) if known == nonce_mac => repeat(session, code, key_id, now).await,
        Some(_) => Err(GONE.into()),
        None if code.expires_at <= now => Err(GONE.into()),
        None => exchange_once(session, code, nonce_mac, key, now).await,
    }
}

/// Also where the key was used: a device proves it before it keeps it, and may die in between.
async fn repeat(
    session: &Session,
    code: PairCode,
    key_id: String,
    now: UnixMillis,
) -> Result<Exchanged, Fault> {
    if now.0.saturating_sub(code.expires_at.0) > KEPT_MS {
        return Err(GONE.into());
    }
    let sql = "select 1 from api_keys where id = $1 and status = 'active'";
    session.row(sql, &[&key_id]).await?.ok_or(GONE)?;
    Ok(Exchanged {
        key_id,
        device_id: code.device_id,
        name: code.name,
        again: true,
    })
}

async fn exchange_once(
    session: &Session,
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
    if !owner.exists(session).await? {
        return Err(GONE.into());
    }
    key::insert(session, &owner, &key)
        .await
        .map_err(|fault| match fault {
            Fault::Store(StoreError::NotFound(Kind::Device)) => GONE.into(),
            fault => fault,
        })?;
    session
        .execute(
            "update askalf_pair_codes set nonce_mac = $1, key_id = $2 where id = $3",
            &[&nonce_mac.as_slice(), &key.id, &code.id],
        )
        .await?;
    NewAct {
        at: now,
        by: &format!("pairing code {}", code.id),
        owner: owner.ids(),
        what: "pair-code.exchange",
        subject: &key.id,
    }
    .keep(session)
    .await?;
    Ok(Exchanged {
        key_id: key.id,
        device_id: code.device_id,
        name: code.name,
        again: false,
    })
}

fn read_code(row: &Row) -> Result<PairCode, Fault> {
    Ok(PairCode {
        id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        user_id: row.try_get(2)?,
        device_id: row.try_get(3)?,
        name: row.try_get(4)?,
        created_at: timestamp::read(row, 5)?,
        expires_at: timestamp::read(row, 6)?,
    })
}
