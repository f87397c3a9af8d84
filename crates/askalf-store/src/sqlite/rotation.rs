//! Rotations of device keys.

use askalf_bridge_auth::{Scope, Scopes, UnixMillis};
use askalf_bridge_core::stores::{
    Key, Kind, NewKey, NewRotation, Principal, ROTATION_KEPT_MS, Rotation, RotationEnd, RotationState,
    RotationStore, StoreError,
};
use async_trait::async_trait;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::{
    SqliteStore,
    fault::Fault,
    key::{self, Owner},
    reach::{self, Condition},
    timestamp,
    trail::NewAct,
};
use crate::{column, key_rules};

const SELECT: &str =
    "select id, device_id, old_key_id, new_key_id, state, attempt, actor, reason, staged_at, stored_at,
    committed_at, ended_at from askalf_rotations";

const GONE: StoreError = StoreError::NotFound(Kind::Rotation);

#[async_trait]
impl RotationStore for SqliteStore {
    async fn stage_rotation(&self, who: &Principal, new: NewRotation) -> Result<Rotation, StoreError> {
        key_rules::refuse_device(who, "keys")?;
        let who = who.clone();
        self.write(move |connection| stage(connection, &who, new)).await
    }

    async fn open_rotation(&self, device_id: &str, key_id: &str) -> Result<Option<Rotation>, StoreError> {
        let condition = Condition::default().and(
            "device_id = ? and (state = 'staged' or state = 'committed' and new_key_id = ?)",
            [device_id, key_id],
        );
        self.read(move |connection| reach::first(connection, SELECT, &condition, read))
            .await
    }

    async fn rotation_stored(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        let condition = reach::device_rotation(who, id)
            .ok_or(GONE)?
            .and("state = 'staged'", []);
        self.write(move |connection| {
            let sql = format!(
                "update askalf_rotations set stored_at = coalesce(stored_at, ?) where {}",
                condition.sql()
            );
            let at = timestamp::to_text(now);
            connection
                .prepare_cached(&sql)?
                .execute(condition.after(&[&at]))?;
            Ok(())
        })
        .await
    }

    async fn commit_rotation(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Rotation, StoreError> {
        let condition = reach::rotation_by_new_key(who, id).ok_or(GONE)?;
        let by = who.to_string();
        self.write(move |connection| {
            let rotation = reach::first(connection, SELECT, &condition, read)?.ok_or(GONE)?;
            match rotation.state {
                RotationState::Staged => {}
                RotationState::Committed | RotationState::Confirmed => return Ok(rotation),
                RotationState::Failed | RotationState::Dropped => return Err(GONE.into()),
            }
            commit(connection, &rotation.new_key_id, &by, now)?;
            connection
                .prepare_cached("update agent_devices set api_key_id = ? where id = ?")?
                .execute([&rotation.new_key_id, &rotation.device_id])?;
            reach::first(connection, SELECT, &condition, read)?.ok_or_else(|| GONE.into())
        })
        .await
    }

    async fn confirm_rotation(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Rotation, StoreError> {
        let condition = reach::rotation_by_new_key(who, id).ok_or(GONE)?;
        let by = who.to_string();
        self.write(move |connection| {
            let rotation = reach::first(connection, SELECT, &condition, read)?.ok_or(GONE)?;
            match rotation.state {
                RotationState::Committed => {}
                RotationState::Confirmed => return Ok(rotation),
                RotationState::Staged | RotationState::Failed | RotationState::Dropped => {
                    return Err(GONE.into());
                }
            }
            end(connection, &rotation.id, RotationState::Confirmed, None, &by, now)?;
            let old = Condition::default().and("api_keys.id = ?", [&rotation.old_key_id]);
            key::revoke(connection, &old, &by, now)?;
            reach::first(connection, SELECT, &condition, read)?.ok_or_else(|| GONE.into())
        })
        .await
    }

    async fn end_rotation(
        &self,
        who: &Principal,
        id: &str,
        how: RotationEnd,
        now: UnixMillis,
    ) -> Result<Option<Rotation>, StoreError> {
        let condition = reach::rotations(who).and("id = ? and state = 'staged'", [id]);
        let by = who.to_string();
        self.write(move |connection| {
            let Some(rotation) = reach::first(connection, SELECT, &condition, read)? else {
                return Ok(None);
            };
            give_up(connection, &rotation, how.state(), how.reason(), &by, now)?;
            let by_id = Condition::default().and("id = ?", [&rotation.id]);
            reach::first(connection, SELECT, &by_id, read)
        })
        .await
    }

    async fn overdue_rotations(&self, staged_before: UnixMillis) -> Result<Vec<Rotation>, StoreError> {
        let before = timestamp::to_text(staged_before);
        let condition = Condition::default().and("state = 'staged' and staged_at < ?", [&before]);
        self.read(move |connection| {
            reach::list(connection, SELECT, &condition, "staged_at, id", 100, read, size)
        })
        .await
    }

    async fn rotations(&self, who: &Principal, limit: u32) -> Result<Vec<Rotation>, StoreError> {
        let condition = reach::operators(who);
        self.read(move |connection| {
            reach::list(
                connection,
                SELECT,
                &condition,
                "staged_at desc, id desc",
                limit,
                read,
                size,
            )
        })
        .await
    }

    async fn keys_made_at(
        &self,
        ids: &[String],
        tried_after: UnixMillis,
    ) -> Result<Vec<(String, UnixMillis)>, StoreError> {
        let ids = ids.to_vec();
        self.read(move |connection| {
            let marks = vec!["?"; ids.len()].join(", ");
            let sql = format!(
                "select id, created_at from api_keys where id in ({marks}) and status = 'active' and not exists
                   (select 1 from askalf_rotations where old_key_id = api_keys.id and staged_at > ?)"
            );
            let after = timestamp::to_text(tried_after);
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(ids.iter().chain([&after])))?;
            let mut made = Vec::new();
            while let Some(row) = rows.next()? {
                made.push((row.get(0)?, timestamp::from_column(row, 1)?));
            }
            Ok(made)
        })
        .await
    }
}

/// What a device that has just registered with `key_id` means for its rotations: the key of one is proved by it; those whose
/// key went meanwhile are over.
pub(super) fn registered(
    connection: &Connection,
    device_id: &str,
    key_id: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let sql = "select 1 from askalf_rotations where new_key_id = ? and device_id = ? and state = 'staged'";
    if reach::exists(connection, sql, &[key_id, device_id])? {
        commit(connection, key_id, by, now)?;
    }
    Ok(())
}

/// Ends the committed rotations of a device whose new key is revoked.
pub(super) fn lost_their_key(
    connection: &Connection,
    device_id: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let condition = Condition::default().and(
        "device_id = ? and state = 'committed'
         and exists (select 1 from api_keys where api_keys.id = new_key_id and status = 'revoked')",
        [device_id],
    );
    for rotation in open(connection, &condition)? {
        let why = "its key was replaced or revoked before the device had confirmed it";
        end(
            connection,
            &rotation.id,
            RotationState::Dropped,
            Some(why),
            by,
            now,
        )?;
    }
    Ok(())
}

/// A person has revoked a key: what was to take its place goes with it, unless a device uses that already.
pub(super) fn key_revoked(
    connection: &Connection,
    key_id: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let condition = Condition::default().and(
        "old_key_id = ? and state = 'staged' or new_key_id = ? and state in ('staged', 'committed')",
        [key_id, key_id],
    );
    for rotation in open(connection, &condition)? {
        give_up(
            connection,
            &rotation,
            RotationState::Dropped,
            "its key was revoked",
            by,
            now,
        )?;
    }
    Ok(())
}

/// The device is no more, and its keys are revoked.
pub(super) fn device_removed(
    connection: &Connection,
    device_id: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let condition =
        Condition::default().and("device_id = ? and state in ('staged', 'committed')", [device_id]);
    for rotation in open(connection, &condition)? {
        let why = "the device was removed";
        end(
            connection,
            &rotation.id,
            RotationState::Dropped,
            Some(why),
            by,
            now,
        )?;
    }
    Ok(())
}

fn stage(connection: &Connection, who: &Principal, new: NewRotation) -> Result<Rotation, Fault> {
    let now = new.staged_at;
    let by_id = Condition::default().and("api_keys.id = ?", [&new.old_key_id]);
    let old: Key = key::first(connection, &by_id)?.ok_or(StoreError::NotFound(Kind::Key))?;
    key_rules::refuse_rotation(&old, now)?;
    key_rules::refuse_operators_key(&old)?;
    let owner = Owner {
        tenant_id: old.tenant_id.clone(),
        user_id: old.user_id.clone().ok_or(StoreError::NotFound(Kind::Key))?,
    };
    let device = reach::devices(who).and("id = ?", [&new.device_id]);
    let sql = format!("select id from agent_devices where {}", device.sql());
    if !connection.prepare_cached(&sql)?.exists(device.after(&[]))? {
        return Err(StoreError::NotFound(Kind::Device).into());
    }
    let under_way = "select 1 from askalf_rotations where device_id = ?
        and (state = 'staged' or state = 'committed' and new_key_id = ?)";
    if reach::exists(connection, under_way, &[&new.device_id, &new.old_key_id])? {
        return Err(key_rules::rotation_under_way().into());
    }
    let key = NewKey {
        name: old.name.clone(),
        scopes: Scopes::from_iter([Scope::Device]),
        device_id: Some(new.device_id.clone()),
        expires_at: key_rules::same_lifetime(&old, now),
        ..new.key
    };
    key::insert(connection, &owner, &key)?;
    connection
        .prepare_cached(
            "insert into askalf_key_devices (key_id, device_id) values (?, ?) on conflict do nothing",
        )?
        .execute([&old.id, &new.device_id])?;
    connection
        .prepare_cached("delete from askalf_rotations where ended_at < ?")?
        .execute([timestamp::to_text(UnixMillis(
            now.0.saturating_sub(ROTATION_KEPT_MS),
        ))])?;
    let by = who.to_string();
    connection
        .prepare_cached(
            "insert into askalf_rotations
               (id, device_id, tenant_id, user_id, old_key_id, new_key_id, state, attempt, actor, staged_at)
             values (?, ?, ?, ?, ?, ?, 'staged', ?, ?, ?)",
        )?
        .execute(params![
            new.id,
            new.device_id,
            owner.tenant_id,
            owner.user_id,
            old.id,
            key.id,
            new.attempt,
            by,
            timestamp::to_text(now),
        ])?;
    act(connection, &owner, "rotation.stage", &new.id, &by, now)?;
    let by_id = Condition::default().and("id = ?", [&new.id]);
    reach::first(connection, SELECT, &by_id, read)?.ok_or_else(|| Fault::damaged_row("a new rotation"))
}

fn commit(connection: &Connection, new_key_id: &str, by: &str, now: UnixMillis) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "update askalf_rotations set state = 'committed', committed_at = ?
         where new_key_id = ? and state = 'staged' returning id, tenant_id, user_id",
    )?;
    let (id, owner) = statement.query_row([&timestamp::to_text(now), new_key_id], |row| {
        let owner = Owner {
            tenant_id: row.get(1)?,
            user_id: row.get(2)?,
        };
        Ok((row.get::<_, String>(0)?, owner))
    })?;
    act(connection, &owner, "rotation.commit", &id, by, now)
}

fn give_up(
    connection: &Connection,
    rotation: &Rotation,
    state: RotationState,
    reason: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    end(connection, &rotation.id, state, Some(reason), by, now)?;
    let new = Condition::default().and("api_keys.id = ?", [&rotation.new_key_id]);
    key::revoke(connection, &new, by, now)
}

fn end(
    connection: &Connection,
    id: &str,
    state: RotationState,
    reason: Option<&str>,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "update askalf_rotations set state = ?, reason = ?, ended_at = ? where id = ? returning tenant_id, user_id",
    )?;
    let reason = reason.map(|reason| column::text(reason.to_owned()));
    let owner = statement.query_row(
        params![state.as_str(), reason, timestamp::to_text(now), id],
        |row| {
            Ok(Owner {
                tenant_id: row.get(0)?,
                user_id: row.get(1)?,
            })
        },
    )?;
    act(connection, &owner, key_rules::rotation_act(state), id, by, now)
}

fn act(
    connection: &Connection,
    owner: &Owner,
    what: &'static str,
    subject: &str,
    by: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    NewAct {
        at: now,
        by: by.to_owned(),
        owner: owner.ids(),
        what,
        subject,
    }
    .keep(connection)
}

fn open(connection: &Connection, condition: &Condition) -> Result<Vec<Rotation>, Fault> {
    reach::list(connection, SELECT, condition, "id", reach::MAX_ROWS, read, size)
}

fn read(row: &Row<'_>) -> Result<Rotation, Fault> {
    let state: String = row.get(4)?;
    Ok(Rotation {
        id: row.get(0)?,
        device_id: row.get(1)?,
        old_key_id: row.get(2)?,
        new_key_id: row.get(3)?,
        state: RotationState::from_word(&state)
            .ok_or_else(|| Fault::damaged_row("the state of a rotation"))?,
        attempt: u32::try_from(row.get::<_, i64>(5)?).unwrap_or(u32::MAX),
        by: row.get(6)?,
        reason: row.get(7)?,
        staged_at: timestamp::from_column(row, 8)?,
        stored_at: timestamp::from_optional_text(row.get(9)?)?,
        committed_at: timestamp::from_optional_text(row.get(10)?)?,
        ended_at: timestamp::from_optional_text(row.get(11)?)?,
    })
}

fn size(rotation: &Rotation) -> usize {
    rotation.by.len() + rotation.reason.as_ref().map_or(0, String::len)
}
