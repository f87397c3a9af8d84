//! The conditions of [`crate::reach`] on SQLite, and what is read by them.

use rusqlite::{Connection, Params, Row, ToSql, params_from_iter};

use super::fault::Fault;

use crate::reach::MAX_LISTING_BYTES;
pub(super) use crate::reach::{
    Condition, MAX_NAMESAKES, MAX_ROWS, device_rotation, devices, executions, keys, operators,
    rotation_by_new_key, rotations, unowned, users,
};

impl Condition {
    /// `first`, then the values of the condition.
    pub(super) fn after<'a>(&'a self, first: &[&'a dyn ToSql]) -> impl Params + 'a {
        let all: Vec<&dyn ToSql> = first
            .iter()
            .copied()
            .chain(self.values().iter().map(|value| value as &dyn ToSql))
            .collect();
        params_from_iter(all)
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
