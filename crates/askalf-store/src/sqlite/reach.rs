//! What a principal may see and change, as conditions of a statement: every statement that reads or writes a row on
//! somebody's behalf carries them, so that a check cannot be raced or forgotten.

use askalf_bridge_core::stores::Principal;
use rusqlite::{Connection, Params, Row, ToSql, params_from_iter, types::Value};

use super::fault::Fault;

/// The most rows of any listing: far above what a person reads, and a bound on memory.
pub(super) const MAX_ROWS: u32 = 10_000;

/// The most text of any listing, in bytes. One that reaches it ends early.
const MAX_LISTING_BYTES: usize = 64 * 1024 * 1024;

/// The condition of a statement, with its values.
#[derive(Debug, Default)]
pub(super) struct Condition {
    sql: String,
    values: Vec<Value>,
}

impl Condition {
    /// Adds a condition with one `?` per value. It is a literal, so that no value can become SQL.
    pub(super) fn and<const N: usize>(mut self, sql: &'static str, values: [&str; N]) -> Self {
        self.sql
            .push_str(if self.sql.is_empty() { "(" } else { " and (" });
        self.sql.push_str(sql);
        self.sql.push(')');
        self.values
            .extend(values.into_iter().map(|value| Value::Text(value.to_owned())));
        self
    }

    /// The condition, for after `where`.
    pub(super) fn sql(&self) -> &str {
        if self.sql.is_empty() { "true" } else { &self.sql }
    }

    /// `first`, then the values of the condition.
    pub(super) fn after<'a>(&'a self, first: &[&'a dyn ToSql]) -> impl Params + 'a {
        let all: Vec<&dyn ToSql> = first
            .iter()
            .copied()
            .chain(self.values.iter().map(|value| value as &dyn ToSql))
            .collect();
        params_from_iter(all)
    }
}

/// The keys that `who` may see: an operator its user's, a device its own.
pub(super) fn keys(who: &Principal) -> Condition {
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
pub(super) fn devices(who: &Principal) -> Condition {
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
pub(super) fn executions(who: &Principal) -> Condition {
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

/// What belongs to nobody, and what devices have no business with: it is for those who see everything.
pub(super) fn unowned(who: &Principal) -> Condition {
    match who.owner() {
        Some(_) => Condition::default().and("false", []),
        None => Condition::default(),
    }
}

/// What operators see of their user's, and devices see nothing of.
pub(super) fn operators(who: &Principal) -> Condition {
    match who {
        Principal::Device { .. } => unowned(who),
        _ => owned_by(who),
    }
}

pub(super) fn owned_by(who: &Principal) -> Condition {
    match who.owner() {
        Some((tenant, user)) => Condition::default().and("user_id = ? and tenant_id = ?", [user, tenant]),
        None => Condition::default(),
    }
}

/// The rows of a listing, at most `limit` and within the bounds of every listing. `size` is the text of one, in bytes.
pub(super) fn list<T>(
    connection: &Connection,
    select: &str,
    condition: &Condition,
    order: &str,
    limit: u32,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
    size: impl Fn(&T) -> usize,
) -> Result<Vec<T>, Fault> {
    let limit = limit.min(MAX_ROWS);
    let sql = format!(
        "{select} where {} order by {order} limit {limit}",
        condition.sql()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(condition.after(&[]))?;
    let (mut list, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = rows.next()? {
        let item = read(row)?;
        bytes = bytes.saturating_add(size(&item));
        if bytes > MAX_LISTING_BYTES && !list.is_empty() {
            break;
        }
        list.push(item);
    }
    Ok(list)
}

/// The first row, if there is one.
pub(super) fn first<T>(
    connection: &Connection,
    select: &str,
    condition: &Condition,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    let mut statement = connection.prepare_cached(&format!("{select} where {}", condition.sql()))?;
    let mut rows = statement.query(condition.after(&[]))?;
    rows.next()?.map(read).transpose()
}

/// Whether a statement has a row.
pub(super) fn exists(connection: &Connection, sql: &str, values: &[&str]) -> Result<bool, Fault> {
    Ok(connection.prepare_cached(sql)?.exists(params_from_iter(values))?)
}
