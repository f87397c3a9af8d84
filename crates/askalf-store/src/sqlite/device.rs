//! Devices.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{
    Device, DeviceFacts, DeviceStatus, DeviceStore, Kind, Principal, StoreError,
};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde_json::{Map, Value};

use super::{
    SqliteStore,
    fault::Fault,
    key,
    reach::{self, Condition},
    rotation, timestamp,
    trail::NewAct,
};
use crate::column;

const SELECT: &str =
    "select id, tenant_id, user_id, api_key_id, device_name, hostname, os, platform_capabilities,
    device_type, status, max_concurrent_tasks, last_seen_at, created_at from agent_devices";

const ORDER: &str = "device_name, id";

/// The keys that a bound key takes the place of. The plus signs keep the indexes over a user's and over all keys out of it:
/// these are few rows, found by their ids. The old key of a rotation is good until the device has confirmed the new one.
const RETIRED: &str = "exists (select 1 from askalf_key_devices where key_id = ? and device_id = ?)
    and api_keys.id in (select ? union all select key_id from askalf_key_devices where device_id = ?)
    and +tenant_id = ? and +user_id = ?
    and (+created_at, +id) < (select created_at, id from api_keys where id = ?)
    and not exists (select 1 from askalf_rotations
        where new_key_id = ? and old_key_id = api_keys.id and state = 'committed')";

#[async_trait]
impl DeviceStore for SqliteStore {
    async fn register_device(
        &self,
        who: &Principal,
        facts: DeviceFacts,
        now: UnixMillis,
    ) -> Result<Device, StoreError> {
        let key = DeviceKey::of(who)?;
        self.write(move |connection| register(connection, &key, facts, now))
            .await
    }

    async fn reconnect_device(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<Device, StoreError> {
        let key = DeviceKey::of(who)?;
        let condition = reach::devices(&key.principal()).and("id = ?", [id]);
        self.write(move |connection| {
            let sql = format!(
                "update agent_devices set api_key_id = ?, status = 'online', last_seen_at = ?, updated_at = ? where {}",
                condition.sql()
            );
            let before = reach::first(connection, SELECT, &condition, read_device)?
                .ok_or(StoreError::NotFound(Kind::Device))?;
            key.refuse_revoked(connection)?;
            let at = timestamp::to_text(now);
            connection.prepare_cached(&sql)?.execute(condition.after(&[&key.key_id, &at, &at]))?;
            key.retire_older(connection, &before.id, &before.api_key_id, now)?;
            let device = reach::first(connection, SELECT, &condition, read_device)?;
            device.ok_or_else(|| StoreError::NotFound(Kind::Device).into())
        })
        .await
    }

    async fn touch_device(
        &self,
        who: &Principal,
        id: &str,
        capabilities: Option<&Map<String, Value>>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let condition = reach::devices(who).and("id = ?", [id]);
        let capabilities = capabilities.map(to_json);
        self.write(move |connection| {
            let sql = format!(
                "update agent_devices set last_seen_at = ?, updated_at = ?,
                   platform_capabilities = coalesce(?, platform_capabilities)
                 where {}",
                condition.sql()
            );
            let now = timestamp::to_text(now);
            match connection
                .prepare_cached(&sql)?
                .execute(condition.after(&[&now, &now, &capabilities]))?
            {
                0 => Err(StoreError::NotFound(Kind::Device).into()),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn device_offline(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        let condition = reach::devices(who).and("id = ?", [id]);
        self.write(move |connection| {
            let sql = format!(
                "update agent_devices set status = 'offline', updated_at = ? where status <> 'offline' and {}",
                condition.sql()
            );
            let now = timestamp::to_text(now);
            connection.prepare_cached(&sql)?.execute(condition.after(&[&now]))?;
            Ok(())
        })
        .await
    }

    async fn all_devices_offline(&self, now: UnixMillis) -> Result<u64, StoreError> {
        self.write(move |connection| {
            // The forge reaches devices of the other protocols by itself: whether they are there is not ours to say.
            let changed = connection.execute(
                "update agent_devices set status = 'offline', updated_at = ?
                 where status <> 'offline' and protocol = 'websocket'",
                [timestamp::to_text(now)],
            )?;
            Ok(changed as u64)
        })
        .await
    }

    async fn devices(&self, who: &Principal, limit: u32) -> Result<Vec<Device>, StoreError> {
        let condition = reach::devices(who);
        self.read(move |connection| {
            reach::list(connection, SELECT, &condition, ORDER, limit, read_device, size)
        })
        .await
    }

    async fn remove_device(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        let condition = reach::operators(who).and("id = ?", [id]);
        let by = who.to_string();
        self.write(move |connection| remove(connection, &condition, &by, now))
            .await
    }

    async fn find_devices(&self, who: &Principal, id_or_name: &str) -> Result<Vec<Device>, StoreError> {
        // An id is one device, even where another one has taken it for a name.
        let by_id = reach::devices(who).and("id = ?", [id_or_name]);
        let by_name = reach::devices(who).and("device_name = ?", [id_or_name]);
        self.read(
            move |connection| match reach::first(connection, SELECT, &by_id, read_device)? {
                Some(device) => Ok(vec![device]),
                None => reach::list(
                    connection,
                    SELECT,
                    &by_name,
                    ORDER,
                    reach::MAX_NAMESAKES,
                    read_device,
                    size,
                ),
            },
        )
        .await
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
    fn refuse_revoked(&self, connection: &Connection) -> Result<(), Fault> {
        let sql = "select 1 from api_keys where id = ? and status = 'active'";
        if reach::exists(connection, sql, &[&self.key_id])? {
            return Ok(());
        }
        Err(StoreError::NotFound(Kind::Key).into())
    }

    /// Revokes the keys that this one, which is bound to the device, takes the place of: those that were bound to it
    /// earlier, and the one that it last came with. A newer one is left: its device has not come with it yet.
    fn retire_older(
        &self,
        connection: &Connection,
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
        rotation::registered(connection, device_id, &self.key_id, &by, now)?;
        key::revoke(connection, &condition, &by, now)?;
        rotation::lost_their_key(connection, device_id, &by, now)
    }
}

/// Removes one device within reach. Its executions stay, as its history; keys that are bound to it act as nothing else, so
/// they are revoked.
fn remove(connection: &Connection, condition: &Condition, by: &str, now: UnixMillis) -> Result<(), Fault> {
    let device = reach::first(connection, SELECT, condition, read_device)?
        .ok_or(StoreError::NotFound(Kind::Device))?;
    let sql = "select 1 from forge_executions where device_id = ? and status in ('pending', 'running')";
    if reach::exists(connection, sql, &[&device.id])? {
        let text = "the device has executions that have not ended: cancel them first".to_owned();
        return Err(StoreError::Invalid(text).into());
    }
    let bound = Condition::default().and(
        "api_keys.id in (select key_id from askalf_key_devices where device_id = ?)",
        [&device.id],
    );
    key::revoke(connection, &bound, by, now)?;
    rotation::device_removed(connection, &device.id, by, now)?;
    connection
        .prepare_cached("delete from agent_devices where id = ?")?
        .execute([&device.id])?;
    connection
        .prepare_cached("delete from askalf_audit_heads where device_id = ?")?
        .execute([&device.id])?;
    NewAct {
        at: now,
        by: by.to_owned(),
        owner: Some((&device.tenant_id, &device.user_id)),
        what: "device.remove",
        subject: &device.id,
    }
    .keep(connection)
}

fn register(
    connection: &Connection,
    key: &DeviceKey,
    facts: DeviceFacts,
    now: UnixMillis,
) -> Result<Device, Fault> {
    let condition = reach::devices(&key.principal());
    // The forge has one row per key. Where foreign hands made more, the oldest is the device.
    let sql = format!(
        "select id, api_key_id from agent_devices where {} order by created_at, id limit 1",
        condition.sql()
    );
    let found: Option<(String, String)> = connection
        .prepare_cached(&sql)?
        .query_row(condition.after(&[]), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let is_new = found.is_none();
    if is_new && is_bound(connection, &key.key_id)? {
        return Err(StoreError::NotFound(Kind::Device).into());
    }
    key.refuse_revoked(connection)?;
    let (id, key_before) = found.unwrap_or_else(|| (facts.new_id, key.key_id.clone()));
    let insert = "insert into agent_devices (id, user_id, tenant_id, api_key_id, device_name, hostname, os,
          platform_capabilities, status, last_seen_at, created_at, updated_at, device_type, device_category,
          max_concurrent_tasks)
        values (:id, :user, :tenant, :key, :name, :hostname, :os, :capabilities, 'online', :now, :now, :now, :type,
          :category, :max)
        on conflict (id) do nothing";
    // What a device does not say this time stays known from the last. The owner is compared once more, never set.
    let update = "update agent_devices set api_key_id = :key, device_name = :name, hostname = coalesce(:hostname, hostname),
          os = coalesce(:os, os), platform_capabilities = :capabilities, status = 'online', last_seen_at = :now,
          updated_at = :now, device_type = :type, device_category = :category, max_concurrent_tasks = :max
        where id = :id and user_id = :user and tenant_id = :tenant";
    let changed = connection
        .prepare_cached(if is_new { insert } else { update })?
        .execute(named_params! {
            ":id": id,
            ":user": key.user_id,
            ":tenant": key.tenant_id,
            ":key": key.key_id,
            ":name": column::text(facts.name),
            ":hostname": facts.hostname.map(column::text),
            ":os": facts.os.map(column::text),
            ":capabilities": to_json(&facts.capabilities),
            ":now": timestamp::to_text(now),
            ":type": facts.device_type.as_str(),
            ":category": facts.device_type.category(),
            ":max": column::int4(facts.max_concurrent.into()),
        })?;
    if changed == 0 {
        return Err(StoreError::Conflict("a device with this id".to_owned()).into());
    }
    if !is_new {
        key.retire_older(connection, &id, &key_before, now)?;
    }
    let by_id = reach::devices(&Principal::Bridge).and("id = ?", [&id]);
    reach::first(connection, SELECT, &by_id, read_device)?.ok_or_else(|| Fault::damaged_row("a device"))
}

fn is_bound(connection: &Connection, key_id: &str) -> Result<bool, Fault> {
    let row = connection
        .prepare_cached("select 1 from askalf_key_devices where key_id = ?")?
        .query_row(params![key_id], |_| Ok(()))
        .optional()?;
    Ok(row.is_some())
}

fn read_device(row: &Row<'_>) -> Result<Device, Fault> {
    let capabilities: String = row.get(7)?;
    let status: String = row.get(9)?;
    let created_at: String = row.get(12)?;
    Ok(Device {
        id: row.get(0)?,
        tenant_id: row.get(1)?,
        user_id: row.get(2)?,
        api_key_id: row.get(3)?,
        name: row.get(4)?,
        hostname: row.get(5)?,
        os: row.get(6)?,
        capabilities: from_json(&capabilities),
        device_type: row.get(8)?,
        status: DeviceStatus::from_word(&status)
            .ok_or_else(|| Fault::damaged_row("the status of a device"))?,
        max_concurrent: u32::try_from(row.get::<_, i64>(10)?).unwrap_or(0),
        last_seen_at: timestamp::from_optional_text(row.get(11)?)?,
        created_at: timestamp::from_text(&created_at)?,
    })
}

fn to_json(capabilities: &Map<String, Value>) -> String {
    Value::Object(capabilities.clone()).to_string()
}

/// Other programs may keep any JSON here; what is no object names no capability.
fn from_json(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

fn size(device: &Device) -> usize {
    // The text of the capabilities is about what it was made from; the rest is short.
    device.name.len()
        + device
            .capabilities
            .iter()
            .map(|(name, value)| name.len() + json_size(value))
            .sum::<usize>()
}

fn json_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(json_size).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| name.len() + json_size(value))
            .sum(),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, sqlite::open};

    #[test]
    fn taking_a_device_over_reads_no_other_keys() {
        let connection = open::open_memory(&OpenOptions::new(UnixMillis(0))).unwrap();
        let sql = format!("explain query plan update api_keys set status = 'revoked' where {RETIRED}");
        let mut statement = connection.prepare(&sql).unwrap();
        let steps: Vec<String> = statement
            .query_map(rusqlite::params_from_iter([""; 8]), |row| row.get(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            steps[0],
            "SEARCH api_keys USING INDEX sqlite_autoindex_api_keys_1 (id=?)"
        );
        assert!(
            steps[1..].iter().all(|step| !step.starts_with("SCAN api_keys")),
            "{steps:?}"
        );
    }
}
