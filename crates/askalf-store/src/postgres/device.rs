//! Devices.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{
    Device, DeviceFacts, DeviceStatus, DeviceStore, Kind, Principal, StoreError,
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    json, key, rotation,
    session::{Session, after, numbered},
    timestamp::{self, Timestamp},
    trail::NewAct,
};
use crate::{
    column,
    reach::{self, Condition},
};

const SELECT: &str =
    "select id, tenant_id, user_id, api_key_id, device_name, hostname, os, platform_capabilities,
    device_type, status, max_concurrent_tasks, last_seen_at, created_at from agent_devices";

// By the bytes of the name, whatever the database's language: the same order as on SQLite.
const ORDER: &str = "device_name collate \"C\", id collate \"C\"";

/// The keys that a bound key takes the place of. The old key of a rotation is good until the device has confirmed the new one.
const RETIRED: &str = "exists (select 1 from askalf_key_devices where key_id = ? and device_id = ?)
    and api_keys.id in (select ?::text union all select key_id from askalf_key_devices where device_id = ?)
    and tenant_id = ? and user_id = ?
    and (created_at, id collate \"C\") < (select created_at, id collate \"C\" from api_keys where id = ?)
    and not exists (select 1 from askalf_rotations
        where new_key_id = ? and old_key_id = api_keys.id and state = 'committed')";

#[async_trait]
impl DeviceStore for PostgresStore {
    async fn register_device(
        &self,
        who: &Principal,
        facts: DeviceFacts,
        now: UnixMillis,
    ) -> Result<Device, StoreError> {
        let key = DeviceKey::of(who)?;
        let session = self.begin().await?;
        let registered = register(&session, &key, facts, now).await;
        Ok(session.settle(registered).await?)
    }

    async fn reconnect_device(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Device, StoreError> {
        let key = DeviceKey::of(who)?;
        let condition = reach::devices(&key.principal()).and("id = ?", [&column::text(id.to_owned())]);
        let session = self.begin().await?;
        let update = async {
            let before = session
                .first_locked(SELECT, &condition, read_device)
                .await?
                .ok_or(StoreError::NotFound(Kind::Device))?;
            key.refuse_revoked(&session).await?;
            session
                .update(
                    "update agent_devices set api_key_id = $1, status = 'online', last_seen_at = $2, updated_at = $2
                     where true",
                    &[&key.key_id, &Timestamp(now)],
                    &condition,
                )
                .await?;
            key.retire_older(&session, &before.id, &before.api_key_id, now)
                .await?;
            let device = session.first(SELECT, &condition, read_device).await?;
            device.ok_or_else(|| StoreError::NotFound(Kind::Device).into())
        };
        let device = update.await;
        Ok(session.settle(device).await?)
    }

    async fn touch_device(
        &self,
        who: &Principal,
        id: &str,
        capabilities: Option<&Map<String, Value>>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let condition = reach::devices(who).and("id = ?", [&column::text(id.to_owned())]);
        let changed = self
            .session()
            .await?
            .update(
                "update agent_devices set last_seen_at = $1, updated_at = $1,
                   platform_capabilities = coalesce($2, platform_capabilities)
                 where true",
                &[&Timestamp(now), &capabilities.map(json::object)],
                &condition,
            )
            .await?;
        match changed {
            0 => Err(StoreError::NotFound(Kind::Device)),
            _ => Ok(()),
        }
    }

    async fn device_offline(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        let condition = reach::devices(who).and("id = ?", [&column::text(id.to_owned())]);
        self.session()
            .await?
            .update(
                "update agent_devices set status = 'offline', updated_at = $1 where status <> 'offline'",
                &[&Timestamp(now)],
                &condition,
            )
            .await?;
        Ok(())
    }

    async fn all_devices_offline(&self, now: UnixMillis) -> Result<u64, StoreError> {
        // The forge reaches devices of the other protocols by itself: whether they are there is not ours to say.
        let update = "update agent_devices set status = 'offline', updated_at = $1
             where status <> 'offline' and protocol = 'websocket'";
        Ok(self.session().await?.execute(update, &[&Timestamp(now)]).await?)
    }

    async fn devices(&self, who: &Principal, limit: u32) -> Result<Vec<Device>, StoreError> {
        let session = self.session().await?;
        let condition = reach::devices(who);
        Ok(session
            .list(SELECT, &condition, ORDER, limit, read_device, size)
            .await?)
    }

    async fn remove_device(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        let condition = reach::operators(who).and("id = ?", [&column::text(id.to_owned())]);
        let session = self.begin().await?;
        let removed = remove(&session, &condition, &who.to_string(), now).await;
        Ok(session.settle(removed).await?)
    }

    async fn find_devices(&self, who: &Principal, id_or_name: &str) -> Result<Vec<Device>, StoreError> {
        let wanted = column::text(id_or_name.to_owned());
        // An id is one device, even where another one has taken it for a name.
        let by_id = reach::devices(who).and("id = ?", [&wanted]);
        let by_name = reach::devices(who).and("device_name = ?", [&wanted]);
        let session = self.session().await?;
        let found = match session.first(SELECT, &by_id, read_device).await? {
            Some(device) => vec![device],
            None => {
                session
                    .list(SELECT, &by_name, ORDER, reach::MAX_NAMESAKES, read_device, size)
                    .await?
            }
        };
        Ok(found)
    }
}

/// The key that a device came with. No other principal can be a device.
struct DeviceKey {
    tenant_id: String,
    user_id: String,
    key_id: String,
}

impl DeviceKey {
    fn of(who: &Principal) -> Result<Self, StoreError> {
        match who.clone() {
            Principal::Device {
                tenant_id,
                user_id,
                key_id,
                ..
            } => Ok(Self {
                tenant_id,
                user_id,
                key_id,
            }),
            _ => Err(StoreError::NotFound(Kind::Device)),
        }
    }

    /// The device before it has registered: reached through the key alone.
    fn principal(&self) -> Principal {
        Principal::Device {
            tenant_id: self.tenant_id.clone(),
            user_id: self.user_id.clone(),
            key_id: self.key_id.clone(),
            device_id: None,
        }
    }

    /// A key that was revoked since its session was let in makes no device, and takes none back from the key that replaced it.
    /// Asked once the device's row is held: whoever takes the key's place holds that first.
    async fn refuse_revoked(&self, session: &Session) -> Result<(), Fault> {
        let sql = "select 1 from api_keys where id = $1 and status = 'active'";
        let row = session.row(sql, &[&self.key_id]).await?;
        row.map(drop)
            .ok_or_else(|| StoreError::NotFound(Kind::Key).into())
    }

    /// Revokes the keys that this one, which is bound to the device, takes the place of: those that were bound to it
    /// earlier, and the one that it last came with. A newer one is left: its device has not come with it yet.
    async fn retire_older(
        &self,
        session: &Session,
        device_id: &str,
        key_before: &str,
        now: UnixMillis,
    ) -> Result<(), Fault> {
        let condition = Condition::default().and(
            RETIRED,
            [
                &self.key_id,
                device_id,
                key_before,
                device_id,
                &self.tenant_id,
                &self.user_id,
                &self.key_id,
                &self.key_id,
            ],
        );
        let by = self.principal().registered_as(device_id).to_string();
        rotation::registered(session, device_id, &self.key_id, &by, now).await?;
        key::revoke(session, &condition, &by, now).await?;
        rotation::lost_their_key(session, device_id, &by, now).await
    }
}

/// Removes one device within reach. Its executions stay, as its history; keys that are bound to it act as nothing else, so
/// they are revoked.
async fn remove(session: &Session, condition: &Condition, by: &str, now: UnixMillis) -> Result<(), Fault> {
    // Gone first, and back if that must not be: an execution that is being added waits, and then finds no device.
    let sql = format!(
        "delete from agent_devices where {} returning id, tenant_id, user_id",
        numbered(condition.sql(), 0)
    );
    let row = session.row(&sql, &after(&[], condition)).await?;
    let row = row.ok_or(StoreError::NotFound(Kind::Device))?;
    let (id, tenant, user): (&str, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let open = session
        .row(
            "select 1 from forge_executions where device_id = $1 and status in ('pending', 'running') limit 1",
            &[&id],
        )
        .await?;
    if open.is_some() {
        let text = "the device has executions that have not ended: cancel them first".to_owned();
        return Err(StoreError::Invalid(text).into());
    }
    let bound = Condition::default().and(
        "api_keys.id in (select key_id from askalf_key_devices where device_id = ?)",
        [id],
    );
    key::revoke(session, &bound, by, now).await?;
    session
        .execute("delete from askalf_audit_heads where device_id = $1", &[&id])
        .await?;
    rotation::device_removed(session, id, by, now).await?;
    NewAct {
        at: now,
        by,
        owner: Some((tenant, user)),
        what: "device.remove",
        subject: id,
    }
    .keep(session)
    .await
}

async fn register(
    session: &Session,
    key: &DeviceKey,
    facts: DeviceFacts,
    now: UnixMillis,
) -> Result<Device, Fault> {
    // The forge's table lets a key have several devices: of two registrations of one key the second waits.
    session.lock("device of key", &key.key_id).await?;
    let condition = reach::devices(&key.principal());
    // The forge has one row per key. Where foreign hands made more, the oldest is the device.
    let found = session
        .row(
            &format!(
                "select id, api_key_id from agent_devices where {} order by created_at, id limit 1
                 for no key update",
                numbered(condition.sql(), 0)
            ),
            &after(&[], &condition),
        )
        .await?;
    let found: Option<(String, String)> = found
        .map(|row| Ok::<_, Fault>((row.try_get(0)?, row.try_get(1)?)))
        .transpose()?;
    let is_new = found.is_none();
    if is_new && is_bound(session, &key.key_id).await? {
        return Err(StoreError::NotFound(Kind::Device).into());
    }
    key.refuse_revoked(session).await?;
    let (id, key_before) = found.unwrap_or_else(|| (facts.new_id, key.key_id.clone()));
    let insert = "insert into agent_devices (id, user_id, tenant_id, api_key_id, device_name, hostname, os,
          platform_capabilities, status, last_seen_at, created_at, updated_at, device_type, device_category,
          max_concurrent_tasks)
        values ($1, $2, $3, $4, $5, $6, $7, $8, 'online', $9, $9, $9, $10, $11, $12)
        on conflict (id) do nothing";
    // What a device does not say this time stays known from the last. The owner is compared once more, never set.
    let update =
        "update agent_devices set api_key_id = $4, device_name = $5, hostname = coalesce($6, hostname),
          os = coalesce($7, os), platform_capabilities = $8, status = 'online', last_seen_at = $9,
          updated_at = $9, device_type = $10, device_category = $11, max_concurrent_tasks = $12
        where id = $1 and user_id = $2 and tenant_id = $3";
    let changed = session
        .execute(
            if is_new { insert } else { update },
            &[
                &id,
                &key.user_id,
                &key.tenant_id,
                &key.key_id,
                &column::text(facts.name),
                &facts.hostname.map(column::text),
                &facts.os.map(column::text),
                &json::object(&facts.capabilities),
                &Timestamp(now),
                &facts.device_type.as_str(),
                &facts.device_type.category(),
                &column::int4(facts.max_concurrent.into()),
            ],
        )
        .await?;
    if changed == 0 {
        return Err(StoreError::Conflict("a device with this id".to_owned()).into());
    }
    if !is_new {
        key.retire_older(session, &id, &key_before, now).await?;
    }
    let by_id = Condition::default().and("id = ?", [&id]);
    session
        .first(SELECT, &by_id, read_device)
        .await?
        .ok_or_else(|| Fault::damaged_row("a device"))
}

async fn is_bound(session: &Session, key_id: &str) -> Result<bool, Fault> {
    let row = session
        .row("select 1 from askalf_key_devices where key_id = $1", &[&key_id])
        .await?;
    Ok(row.is_some())
}

fn read_device(row: &Row) -> Result<Device, Fault> {
    let status: &str = row.try_get(9)?;
    Ok(Device {
        id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        user_id: row.try_get(2)?,
        api_key_id: row.try_get(3)?,
        name: row.try_get(4)?,
        hostname: row.try_get(5)?,
        os: row.try_get(6)?,
        // Other programs may keep any JSON here; what is no object names no capability.
        capabilities: match row.try_get(7)? {
            Value::Object(capabilities) => capabilities,
            _ => Map::new(),
        },
        device_type: row.try_get(8)?,
        status: DeviceStatus::from_word(status)
            .ok_or_else(|| Fault::damaged_row("the status of a device"))?,
        max_concurrent: u32::try_from(row.try_get::<_, i32>(10)?).unwrap_or(0),
        last_seen_at: timestamp::read_optional(row, 11)?,
        created_at: timestamp::read(row, 12)?,
    })
}

fn size(device: &Device) -> usize {
    device.name.len() + json::size(&device.capabilities)
}
