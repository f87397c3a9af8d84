//! What a principal may see and change, as conditions of a statement: every statement that reads or writes a row on
//! somebody's behalf carries them, so that a check cannot be raced or forgotten.

use askalf_bridge_core::stores::Principal;

use crate::column;

/// The most rows of any listing: far above what a person reads, and a bound on memory.
pub(crate) const MAX_ROWS: u32 = 10_000;

/// The most devices that a name can find: enough to say that it is not unique, and which ones have it.
pub(crate) const MAX_NAMESAKES: u32 = 100;

/// The most text of any listing, in bytes. One that reaches it ends early.
pub(crate) const MAX_LISTING_BYTES: usize = 64 * 1024 * 1024;

/// The condition of a statement, with its values.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    sql: String,
    values: Vec<String>,
}

impl Condition {
    /// Adds a condition with one `?` per value. It is a literal, so that no value can become SQL.
    pub(crate) fn and<const N: usize>(mut self, sql: &'static str, values: [&str; N]) -> Self {
        self.sql
            .push_str(if self.sql.is_empty() { "(" } else { " and (" });
        self.sql.push_str(sql);
        self.sql.push(')');
        self.values.extend(values.map(str::to_owned));
        self
    }

    /// The condition, for after `where`.
    pub(crate) fn sql(&self) -> &str {
        if self.sql.is_empty() { "true" } else { &self.sql }
    }

    /// What its `?` stand for, in their order.
    pub(crate) fn values(&self) -> &[String] {
        &self.values
    }
}

/// The keys that `who` may see: an operator its user's, a device its own.
pub(crate) fn keys(who: &Principal) -> Condition {
    let all = owned_by(who);
    match who {
        Principal::Device { key_id, .. } => all.and("api_keys.id = ?", [key_id]),
        _ => all,
    }
}

/// The devices that `who` may see and change: an operator its user's, a device itself.
///
/// A device that has registered is known by its id. Before that it is the one that its key registered, or the one that
/// its key is bound to, and no other.
pub(crate) fn devices(who: &Principal) -> Condition {
    let all = owned_by(who);
    match who {
        Principal::Device { device_id: Some(id), .. } => all.and("agent_devices.id = ?", [id]),
        Principal::Device { key_id, device_id: None, .. } => all.and(
            "agent_devices.id = (select device_id from askalf_key_devices where key_id = ?)
             or agent_devices.api_key_id = ? and not exists (select 1 from askalf_key_devices where key_id = ?)",
            [key_id, key_id, key_id],
        ),
        _ => all,
    }
}

/// The executions that `who` may see and change: an operator its user's, a registered device those sent to it.
pub(crate) fn executions(who: &Principal) -> Condition {
    let Some((tenant, user)) = who.owner() else {
        return Condition::default();
    };
    // Executions name no tenant. Their user does, and one who is no longer there has none to contradict.
    let all = Condition::default().and("forge_executions.owner_id = ?", [user]).and(
        "not exists (select 1 from users where users.id = forge_executions.owner_id and users.tenant_id <> ?)",
        [tenant],
    );
    match who {
        Principal::Device {
            device_id: Some(id), ..
        } => all.and("forge_executions.device_id = ?", [id]),
        Principal::Device { device_id: None, .. } => all.and("false", []),
        _ => all,
    }
}

/// The rotations that `who` may end: an operator its user's, a registered device its own.
pub(crate) fn rotations(who: &Principal) -> Condition {
    match who {
        Principal::Device {
            device_id: Some(id), ..
        } => Condition::default().and("device_id = ?", [id]),
        Principal::Device { device_id: None, .. } => Condition::default().and("false", []),
        _ => operators(who),
    }
}

/// One rotation of a registered device; `None` for everybody else.
pub(crate) fn device_rotation(who: &Principal, id: &str) -> Option<Condition> {
    let id = column::text(id.to_owned());
    matches!(who, Principal::Device { .. }).then(|| rotations(who).and("id = ?", [&id]))
}

/// The rotation that made the key of a device, whether that has registered or not; `None` for everybody else.
pub(crate) fn rotation_by_new_key(who: &Principal, id: &str) -> Option<Condition> {
    let Principal::Device {
        tenant_id,
        user_id,
        key_id,
        ..
    } = who
    else {
        return None;
    };
    let id = column::text(id.to_owned());
    Some(Condition::default().and(
        "id = ? and new_key_id = ? and tenant_id = ? and user_id = ?",
        [&id, key_id, tenant_id, user_id],
    ))
}

/// What belongs to nobody, and what devices have no business with: it is for those who see everything.
pub(crate) fn unowned(who: &Principal) -> Condition {
    match who.owner() {
        Some(_) => Condition::default().and("false", []),
        None => Condition::default(),
    }
}

/// What operators see of their user's, and devices see nothing of.
pub(crate) fn operators(who: &Principal) -> Condition {
    match who {
        Principal::Device { .. } => unowned(who),
        _ => owned_by(who),
    }
}

/// The users that `who` may see: an operator itself, a device none.
pub(crate) fn users(who: &Principal) -> Condition {
    match (who, who.owner()) {
        (Principal::Device { .. }, _) | (_, None) => unowned(who),
        (_, Some((tenant, user))) => Condition::default().and("id = ? and tenant_id = ?", [user, tenant]),
    }
}

fn owned_by(who: &Principal) -> Condition {
    match who.owner() {
        Some((tenant, user)) => Condition::default().and("user_id = ? and tenant_id = ?", [user, tenant]),
        None => Condition::default(),
    }
}
