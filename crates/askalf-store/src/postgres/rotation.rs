//! Rotations of device keys.

use askalf_bridge_auth::{Scope, Scopes, UnixMillis};
use askalf_bridge_core::stores::{
    Kind, NewKey, NewRotation, Principal, ROTATION_KEPT_MS, Rotation, RotationEnd, RotationState,
    RotationStore, StoreError,
};
use async_trait::async_trait;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    key::{self, Owner},
    session::{Session, after, numbered},
    timestamp::{self, Timestamp},
    trail::NewAct,
};
use crate::{
    column, key_rules,
    reach::{self, Condition},
};

const SELECT: &str =
    "select id, device_id, old_key_id, new_key_id, state, attempt, actor, reason, staged_at, stored_at,
    committed_at, ended_at from askalf_rotations";

const GONE: StoreError = StoreError::NotFound(Kind::Rotation);

#[async_trait]
impl RotationStore for PostgresStore {
    async fn stage_rotation(&self, who: &Principal, new: NewRotation) -> Result<Rotation, StoreError> {
        key_rules::refuse_device(who, "keys")?;
        let session = self.begin().await?;
        let staged = stage(&session, who, new).await;
        Ok(session.settle(staged).await?)
    }

    async fn open_rotation(&self, device_id: &str, key_id: &str) -> Result<Option<Rotation>, StoreError> {
        let condition = Condition::default().and(
            "device_id = ? and (state = 'staged' or state = 'committed' and new_key_id = ?)",
            [device_id, key_id],
        );
        Ok(self.session().await?.first(SELECT, &condition, read).await?)
    }

    async fn rotation_stored(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        let condition = reach::device_rotation(who, id)
            .ok_or(GONE)?
            .and("state = 'staged'", []);
        self.session()
            .await?
            .update(
                "update askalf_rotations set stored_at = coalesce(stored_at, $1) where true",
                &[&Timestamp(now)],
                &condition,
            )
            .await?;
        Ok(())
    }

    async fn commit_rotation(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Rotation, StoreError> {
        let condition = reach::rotation_by_new_key(who, id).ok_or(GONE)?;
        let session = self.begin().await?;
        let committed = prove(&session, &condition, &who.to_string(), now).await;
        Ok(session.settle(committed).await?)
    }

    async fn confirm_rotation(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Rotation, StoreError> {
        let condition = reach::rotation_by_new_key(who, id).ok_or(GONE)?;
        let session = self.begin().await?;
        let confirmed = confirm(&session, &condition, &who.to_string(), now).await;
        Ok(session.settle(confirmed).await?)
    }

    async fn end_rotation(
        &self,
        who: &Principal,
        id: &str,
        how: RotationEnd,
        now: UnixMillis,
    ) -> Result<Option<Rotation>, StoreError> {
        let condition = reach::rotations(who)
            .and("id = ?", [&column::text(id.to_owned())])
            .and("state = 'staged'", []);
        let by = who.to_string();
        let session = self.begin().await?;
        let end = async {
            let Some(rotation) = session.first_locked(SELECT, &condition, read).await? else {
                return Ok(None);
            };
            give_up(&session, &rotation, how.state(), how.reason(), &by, now).await?;
            by_id(&session, &rotation.id).await
        };
        let ended = end.await;
        Ok(session.settle(ended).await?)
    }

    async fn overdue_rotations(&self, staged_before: UnixMillis) -> Result<Vec<Rotation>, StoreError> {
        let sql =
            format!("{SELECT} where state = 'staged' and staged_at < $1 order by staged_at, id limit 100");
        let session = self.session().await?;
        let rows = session.rows(&sql, &[&Timestamp(staged_before)]).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn rotations(&self, who: &Principal, limit: u32) -> Result<Vec<Rotation>, StoreError> {
        let condition = reach::operators(who);
        let order = "staged_at desc, id collate \"C\" desc";
        let session = self.session().await?;
        Ok(session.list(SELECT, &condition, order, limit, read, size).await?)
    }

    async fn keys_made_at(
        &self,
        ids: &[String],
        tried_after: UnixMillis,
    ) -> Result<Vec<(String, UnixMillis)>, StoreError> {
        let sql =
            "select id, created_at from api_keys where id = any($1) and status = 'active' and not exists
             (select 1 from askalf_rotations where old_key_id = api_keys.id and staged_at > $2)";
        let session = self.session().await?;
        let rows = session.rows(sql, &[&ids, &Timestamp(tried_after)]).await?;
        let made = rows
            .iter()
            .map(|row| Ok::<_, Fault>((row.try_get(0)?, timestamp::read(row, 1)?)));
        Ok(made.collect::<Result<_, _>>()?)
    }
}

/// What a device that has just registered with `key_id` means for its rotations: the key of one is proved by it.
pub(super) async fn registered(
    session: &Session,
    device_id: &str,
    key_id: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let sql = "select id from askalf_rotations where new_key_id = $1 and device_id = $2 and state = 'staged'
        for no key update";
    if session.row(sql, &[&key_id, &device_id]).await?.is_some() {
        commit(session, key_id, by, now).await?;
    }
    Ok(())
}

/// Ends the committed rotations of a device whose new key is revoked.
pub(super) async fn lost_their_key(
    session: &Session,
    device_id: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let condition = Condition::default().and(
        "device_id = ? and state = 'committed'
         and exists (select 1 from api_keys where api_keys.id = new_key_id and status = 'revoked')",
        [device_id],
    );
    for rotation in open(session, &condition).await? {
        let why = "its key was replaced or revoked before the device had confirmed it";
        end(session, &rotation.id, RotationState::Dropped, Some(why), by, now).await?;
    }
    Ok(())
}

/// A person has revoked a key: what was to take its place goes with it, unless a device uses that already.
pub(super) async fn key_revoked(
    session: &Session,
    key_id: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let condition = Condition::default().and(
        "old_key_id = ? and state = 'staged' or new_key_id = ? and state in ('staged', 'committed')",
        [key_id, key_id],
    );
    for rotation in open(session, &condition).await? {
        let why = "its key was revoked";
        give_up(session, &rotation, RotationState::Dropped, why, by, now).await?;
    }
    Ok(())
}

/// The device is no more, and its keys are revoked.
pub(super) async fn device_removed(
    session: &Session,
    device_id: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let condition =
        Condition::default().and("device_id = ? and state in ('staged', 'committed')", [device_id]);
    for rotation in open(session, &condition).await? {
        let why = "the device was removed";
        end(session, &rotation.id, RotationState::Dropped, Some(why), by, now).await?;
    }
    Ok(())
}

async fn stage(session: &Session, who: &Principal, new: NewRotation) -> Result<Rotation, Fault> {
    let now = new.staged_at;
    let old_id = Condition::default().and("api_keys.id = ?", [&new.old_key_id]);
    let old = key::first(session, &old_id)
        .await?
        .ok_or(StoreError::NotFound(Kind::Key))?;
    key_rules::refuse_rotation(&old, now)?;
    key_rules::refuse_operators_key(&old)?;
    let owner = Owner {
        tenant_id: old.tenant_id.clone(),
        user_id: old.user_id.clone().ok_or(StoreError::NotFound(Kind::Key))?,
    };
    // One at a time for each device: the second sees what the first has begun.
    session.lock("rotation", &new.device_id).await?;
    let device = reach::devices(who).and("id = ?", [&column::text(new.device_id.clone())]);
    let sql = format!("select 1 from agent_devices where {}", numbered(device.sql(), 0));
    if session.row(&sql, &after(&[], &device)).await?.is_none() {
        return Err(StoreError::NotFound(Kind::Device).into());
    }
    let under_way = "select 1 from askalf_rotations where device_id = $1
        and (state = 'staged' or state = 'committed' and new_key_id = $2) limit 1";
    let under_way = session.row(under_way, &[&new.device_id, &new.old_key_id]).await?;
    if under_way.is_some() {
        return Err(key_rules::rotation_under_way().into());
    }
    let key = NewKey {
        name: old.name.clone(),
        scopes: Scopes::from_iter([Scope::Device]),
        device_id: Some(new.device_id.clone()),
        expires_at: key_rules::same_lifetime(&old, now),
        ..new.key
    };
    key::insert(session, &owner, &key).await?;
    session
        .execute(
            "insert into askalf_key_devices (key_id, device_id) values ($1, $2) on conflict do nothing",
            &[&old.id, &new.device_id],
        )
        .await?;
    let long_over = UnixMillis(now.0.saturating_sub(ROTATION_KEPT_MS));
    session
        .execute(
            "delete from askalf_rotations where ended_at < $1",
            &[&Timestamp(long_over)],
        )
        .await?;
    let by = who.to_string();
    session
        .execute(
            "insert into askalf_rotations
               (id, device_id, tenant_id, user_id, old_key_id, new_key_id, state, attempt, actor, staged_at)
             values ($1, $2, $3, $4, $5, $6, 'staged', $7, $8, $9)",
            &[
                &new.id,
                &new.device_id,
                &owner.tenant_id,
                &owner.user_id,
                &old.id,
                &key.id,
                &column::int4(new.attempt.into()),
                &by,
                &Timestamp(now),
            ],
        )
        .await?;
    act(session, owner.ids(), "rotation.stage", &new.id, &by, now).await?;
    by_id(session, &new.id)
        .await?
        .ok_or_else(|| Fault::damaged_row("a new rotation"))
}

async fn prove(
    session: &Session,
    condition: &Condition,
    by: &str,
    now: UnixMillis,
) -> Result<Rotation, Fault> {
    let rotation = session.first_locked(SELECT, condition, read).await?.ok_or(GONE)?;
    match rotation.state {
        RotationState::Staged => {}
        RotationState::Committed | RotationState::Confirmed => return Ok(rotation),
        RotationState::Failed | RotationState::Dropped => return Err(GONE.into()),
    }
    commit(session, &rotation.new_key_id, by, now).await?;
    session
        .execute(
            "update agent_devices set api_key_id = $1 where id = $2",
            &[&rotation.new_key_id, &rotation.device_id],
        )
        .await?;
    by_id(session, &rotation.id).await?.ok_or_else(|| GONE.into())
}

async fn confirm(
    session: &Session,
    condition: &Condition,
    by: &str,
    now: UnixMillis,
) -> Result<Rotation, Fault> {
    let rotation = session.first_locked(SELECT, condition, read).await?.ok_or(GONE)?;
    match rotation.state {
        RotationState::Committed => {}
        RotationState::Confirmed => return Ok(rotation),
        RotationState::Staged | RotationState::Failed | RotationState::Dropped => return Err(GONE.into()),
    }
    end(session, &rotation.id, RotationState::Confirmed, None, by, now).await?;
    let old = Condition::default().and("api_keys.id = ?", [&rotation.old_key_id]);
    key::revoke(session, &old, by, now).await?;
    by_id(session, &rotation.id).await?.ok_or_else(|| GONE.into())
}

async fn commit(session: &Session, new_key_id: &str, by: &str, now: UnixMillis) -> Result<(), Fault> {
    let row = session
        .row(
            "update askalf_rotations set state = 'committed', committed_at = $1
             where new_key_id = $2 and state = 'staged' returning id, tenant_id, user_id",
            &[&Timestamp(now), &new_key_id],
        )
        .await?
        .ok_or(GONE)?;
    let owner = Some((row.try_get(1)?, row.try_get(2)?));
    act(session, owner, "rotation.commit", row.try_get(0)?, by, now).await
}

async fn give_up(
    session: &Session,
    rotation: &Rotation,
    state: RotationState,
    reason: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    end(session, &rotation.id, state, Some(reason), by, now).await?;
    let new = Condition::default().and("api_keys.id = ?", [&rotation.new_key_id]);
    key::revoke(session, &new, by, now).await
}

async fn end(
    session: &Session,
    id: &str,
    state: RotationState,
    reason: Option<&str>,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let reason = reason.map(|reason| column::text(reason.to_owned()));
    let row = session
        .row(
            "update askalf_rotations set state = $1, reason = $2, ended_at = $3 where id = $4
             returning tenant_id, user_id",
            &[&state.as_str(), &reason, &Timestamp(now), &id],
        )
        .await?
        .ok_or(GONE)?;
    let owner = Some((row.try_get(0)?, row.try_get(1)?));
    act(session, owner, key_rules::rotation_act(state), id, by, now).await
}

async fn act(
    session: &Session,
    owner: Option<(&str, &str)>,
    what: &'static str,
    subject: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    NewAct {
        at: now,
        by,
        owner,
        what,
        subject,
    }
    .keep(session)
    .await
}

async fn by_id(session: &Session, id: &str) -> Result<Option<Rotation>, Fault> {
    let condition = Condition::default().and("id = ?", [id]);
    session.first(SELECT, &condition, read).await
}

/// Rotations that are about to be changed, held until the transaction ends.
async fn open(session: &Session, condition: &Condition) -> Result<Vec<Rotation>, Fault> {
    let sql = format!(
        "{SELECT} where {} order by id for no key update",
        numbered(condition.sql(), 0)
    );
    let rows = session.rows(&sql, &after(&[], condition)).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Rotation, Fault> {
    let state: &str = row.try_get(4)?;
    Ok(Rotation {
        id: row.try_get(0)?,
        device_id: row.try_get(1)?,
        old_key_id: row.try_get(2)?,
        new_key_id: row.try_get(3)?,
        state: RotationState::from_word(state)
            .ok_or_else(|| Fault::damaged_row("the state of a rotation"))?,
        attempt: u32::try_from(row.try_get::<_, i32>(5)?).unwrap_or(u32::MAX),
        by: row.try_get(6)?,
        reason: row.try_get(7)?,
        staged_at: timestamp::read(row, 8)?,
        stored_at: timestamp::read_optional(row, 9)?,
        committed_at: timestamp::read_optional(row, 10)?,
        ended_at: timestamp::read_optional(row, 11)?,
    })
}

fn size(rotation: &Rotation) -> usize {
    rotation.by.len() + rotation.reason.as_ref().map_or(0, String::len)
}
