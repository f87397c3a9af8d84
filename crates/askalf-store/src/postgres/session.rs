//! A connection for one request.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Object;
use futures_util::{TryStreamExt, pin_mut};
use tokio_postgres::{Row, types::ToSql};

use super::fault::Fault;
use crate::column;
use crate::reach::{Condition, MAX_LISTING_BYTES, MAX_ROWS};

/// The values of a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection of the pool for as long as one request needs it.
///
/// It goes back to the pool only in a known state: one that was left in the middle of a statement or a transaction,
/// because its request was given up or the server fell silent, is closed instead. The server then rolls back.
pub(super) struct Session {
    client: Option<Object>,
    patience: Duration,
    /// A statement or a transaction has begun and not ended.
    in_between: AtomicBool,
    spoilt: AtomicBool,
}

impl Session {
    pub(super) fn new(client: Object, patience: Duration) -> Self {
        Self {
            client: Some(client),
            patience,
            in_between: AtomicBool::new(false),
            spoilt: AtomicBool::new(false),
        }
    }

    /// Starts a transaction; [`Session::settle`] ends it.
    pub(super) async fn begin(&self) -> Result<(), Fault> {
        let client = self.client()?;
        self.in_between.store(true, Ordering::Relaxed);
        self.answered(async { Ok(client.batch_execute("begin").await?) })
            .await
    }

    /// Waits for whoever works on the same thing, until the transaction ends. The table may let two rows of it stand where
    /// one is meant.
    pub(super) async fn lock(&self, kind: &str, id: &str) -> Result<(), Fault> {
        self.execute(
            "select pg_advisory_xact_lock(hashtextextended($1::text || ' ' || $2::text, 0))",
            &[&kind, &column::text(id.to_owned())],
        )
        .await?;
        Ok(())
    }

    /// Ends the transaction: commits what has a result, rolls back what has none.
    pub(super) async fn settle<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        let client = self.client()?;
        match result {
            Ok(value) => {
                self.answered(async { Ok(client.batch_execute("commit").await?) })
                    .await?;
                self.in_between.store(false, Ordering::Relaxed);
                Ok(value)
            }
            Err(fault) => {
                let end = self
                    .answered(async { Ok(client.batch_execute("rollback").await?) })
                    .await;
                if end.is_ok() {
                    self.in_between.store(false, Ordering::Relaxed);
                }
                Err(fault)
            }
        }
    }

    /// Runs SQL of any number of statements, without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        let client = self.client()?;
        self.single(async { Ok(client.batch_execute(sql).await?) }).await
    }

    /// The rows of a statement that has few.
    pub(super) async fn rows(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Fault> {
        let client = self.client()?;
        self.single(async {
            let statement = client.prepare_cached(sql).await?;
            Ok(client.query(&statement, values).await?)
        })
        .await
    }

    /// The first row, if there is one.
    pub(super) async fn row(&self, sql: &str, values: Values<'_>) -> Result<Option<Row>, Fault> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// How many rows a statement changed.
    pub(super) async fn execute(&self, sql: &str, values: Values<'_>) -> Result<u64, Fault> {
        let client = self.client()?;
        self.single(async {
            let statement = client.prepare_cached(sql).await?;
            Ok(client.execute(&statement, values).await?)
        })
        .await
    }

    /// The first row that meets a condition, if there is one.
    pub(super) async fn first<T>(
        &self,
        select: &str,
        condition: &Condition,
        read: impl FnOnce(&Row) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let sql = format!("{select} where {} limit 1", numbered(condition.sql(), 0));
        self.row(&sql, &after(&[], condition))
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// The same, held against changes by others until the transaction ends.
    pub(super) async fn first_locked<T>(
        &self,
        select: &str,
        condition: &Condition,
        read: impl FnOnce(&Row) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let sql = format!(
            "{select} where {} limit 1 for no key update",
            numbered(condition.sql(), 0)
        );
        self.row(&sql, &after(&[], condition))
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// How many rows that meet a condition `update` changed. The condition's values come after `first`.
    pub(super) async fn update(
        &self,
        update: &str,
        first: Values<'_>,
        condition: &Condition,
    ) -> Result<u64, Fault> {
        let sql = format!("{update} and {}", numbered(condition.sql(), first.len()));
        self.execute(&sql, &after(first, condition)).await
    }

    /// The rows of a listing, at most `limit` and within the bounds of every listing. They are read one by one, so that
    /// no more than that is ever held. `size` is the text of one, in bytes.
    pub(super) async fn list<T>(
        &self,
        select: &str,
        condition: &Condition,
        order: &str,
        limit: u32,
        read: impl Fn(&Row) -> Result<T, Fault>,
        size: impl Fn(&T) -> usize,
    ) -> Result<Vec<T>, Fault> {
        let limit = limit.min(MAX_ROWS);
        let sql = format!(
            "{select} where {} order by {order} limit {limit}",
            numbered(condition.sql(), 0)
        );
        let client = self.client()?;
        self.single(async {
            let statement = client.prepare_cached(&sql).await?;
            let rows = client.query_raw(&statement, condition.values()).await?;
            pin_mut!(rows);
            let (mut list, mut bytes) = (Vec::new(), 0_usize);
            while let Some(row) = rows.try_next().await? {
                let item = read(&row)?;
                bytes = bytes.saturating_add(size(&item));
                if bytes > MAX_LISTING_BYTES && !list.is_empty() {
                    break;
                }
                list.push(item);
            }
            Ok(list)
        })
        .await
    }

    fn client(&self) -> Result<&Object, Fault> {
        // Only `drop` takes it.
        self.client
            .as_ref()
            .ok_or_else(|| Fault::damaged_row("a connection"))
    }

    /// A statement: where it stands alone, the connection is in a known state again after it.
    async fn single<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let in_transaction = self.in_between.swap(true, Ordering::Relaxed);
        let result = self.answered(work).await;
        if !matches!(result, Err(Fault::Silence)) {
            self.in_between.store(in_transaction, Ordering::Relaxed);
        }
        result
    }

    async fn answered<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let result = tokio::time::timeout(self.patience, work)
            .await
            .unwrap_or(Err(Fault::Silence));
        if result.as_ref().is_err_and(Fault::spoils_connection) {
            self.spoilt.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if (self.in_between.load(Ordering::Relaxed) || self.spoilt.load(Ordering::Relaxed))
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

/// `first`, then the values of the condition.
pub(super) fn after<'a>(first: Values<'a>, condition: &'a Condition) -> Vec<&'a (dyn ToSql + Sync)> {
    first
        .iter()
        .copied()
        .chain(
            condition
                .values()
                .iter()
                .map(|value| value as &(dyn ToSql + Sync)),
        )
        .collect()
}

/// PostgreSQL's spelling of the `?` of a condition: `$1` and so on, counted on from `before`.
pub(super) fn numbered(sql: &str, before: usize) -> String {
    let mut numbered = String::with_capacity(sql.len() + 8);
    let mut number = before;
    for part in sql.split_inclusive('?') {
        match part.strip_suffix('?') {
            Some(text) => {
                number += 1;
                numbered.push_str(text);
                numbered.push('$');
                numbered.push_str(&number.to_string());
            }
            None => numbered.push_str(part),
        }
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_on() {
        assert_eq!(numbered("true", 3), "true");
        assert_eq!(
            numbered("(a = ?) and (b = ? or c = ?)", 0),
            "(a = $1) and (b = $2 or c = $3)"
        );
        assert_eq!(numbered("(a = ?)", 2), "(a = $3)");
    }
}
