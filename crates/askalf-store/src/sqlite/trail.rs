//! Refused checks, and acts.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{Act, Attempt, MAX_ACTS, MAX_ATTEMPTS, Principal, StoreError, TrailStore};
use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::{SqliteStore, fault::Fault, reach, timestamp};
use crate::column;

const SELECT_ATTEMPTS: &str = "select at, address, preview, key_id, reason, count from askalf_attempts";

const SELECT_ACTS: &str = "select at, actor, tenant_id, what, subject from askalf_acts";

const NEWEST_FIRST: &str = "id desc";

#[async_trait]
impl TrailStore for SqliteStore {
    async fn keep_attempts(&self, attempts: &[Attempt], forget_before: UnixMillis) -> Result<(), StoreError> {
        let attempts = attempts.to_vec();
        self.write(move |connection| {
            let mut insert = connection.prepare_cached(
                "insert into askalf_attempts (at, address, preview, key_id, reason, count) values (?, ?, ?, ?, ?, ?)",
            )?;
            for attempt in attempts {
                insert.execute(params![
                    timestamp::to_text(attempt.at),
                    attempt.address.map(column::text),
                    column::text(attempt.preview),
                    attempt.key_id,
                    attempt.reason,
                    column::int4(attempt.count.into()),
                ])?;
            }
            connection
                .prepare_cached("delete from askalf_attempts where at < ?")?
                .execute([timestamp::to_text(forget_before)])?;
            connection
                .prepare_cached(
                    "delete from askalf_attempts where id <= (select max(id) from askalf_attempts) - ?",
                )?
                .execute([MAX_ATTEMPTS])?;
            Ok(())
        })
        .await
    }

    async fn attempts(
        &self,
        who: &Principal,
        prefix: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Attempt>, StoreError> {
        let mut condition = reach::unowned(who);
        if let Some(prefix) = prefix {
            condition = condition.and("substr(preview, 1, length(?)) = ?", [prefix, prefix]);
        }
        self.read(move |connection| {
            reach::list(
                connection,
                SELECT_ATTEMPTS,
                &condition,
                NEWEST_FIRST,
                limit,
                read_attempt,
                |attempt| attempt.preview.len() + attempt.reason.len(),
            )
        })
        .await
    }

    async fn acts(&self, who: &Principal, limit: u32) -> Result<Vec<Act>, StoreError> {
        let condition = reach::operators(who);
        self.read(move |connection| {
            reach::list(
                connection,
                SELECT_ACTS,
                &condition,
                NEWEST_FIRST,
                limit,
                read_act,
                |act| act.by.len() + act.subject.len(),
            )
        })
        .await
    }
}

/// An act, as the statements that do it write it: within their transaction, so that neither stands without the other.
pub(super) struct NewAct<'a> {
    pub(super) at: UnixMillis,
    pub(super) by: String,
    /// Tenant and user of what it was done to: within their reach it is seen.
    pub(super) owner: Option<(&'a str, &'a str)>,
    pub(super) what: &'static str,
    pub(super) subject: &'a str,
}

impl NewAct<'_> {
    pub(super) fn keep(self, connection: &Connection) -> Result<(), Fault> {
        let id = connection
            .prepare_cached(
                "insert into askalf_acts (at, actor, tenant_id, user_id, what, subject) values (?, ?, ?, ?, ?, ?)",
            )?
            .insert(params![
                timestamp::to_text(self.at),
                self.by,
                self.owner.map(|(tenant, _)| tenant),
                self.owner.map(|(_, user)| user),
                self.what,
                self.subject,
            ])?;
        connection
            .prepare_cached("delete from askalf_acts where id <= ?")?
            .execute([id - i64::from(MAX_ACTS)])?;
        Ok(())
    }
}

fn read_attempt(row: &Row<'_>) -> Result<Attempt, Fault> {
    Ok(Attempt {
        at: timestamp::from_column(row, 0)?,
        address: row.get(1)?,
        preview: row.get(2)?,
        key_id: row.get(3)?,
        reason: row.get(4)?,
        count: row.get::<_, i64>(5)?.try_into().unwrap_or(0),
    })
}

fn read_act(row: &Row<'_>) -> Result<Act, Fault> {
    Ok(Act {
        at: timestamp::from_column(row, 0)?,
        by: row.get(1)?,
        tenant_id: row.get(2)?,
        what: row.get(3)?,
        subject: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, sqlite::open};

    #[test]
    fn acts_beyond_the_last_hundred_thousand_are_forgotten() {
        let connection = open::open_memory(&OpenOptions::new(UnixMillis(0))).unwrap();
        let act = |subject| NewAct {
            at: UnixMillis(0),
            by: "uid 0".to_owned(),
            owner: None,
            what: "key.mint",
            subject,
        };
        for subject in ["first", "second"] {
            act(subject).keep(&connection).unwrap();
        }
        let skip = "update sqlite_sequence set seq = ? where name = 'askalf_acts'";
        connection.execute(skip, [MAX_ACTS]).unwrap();
        act("newest").keep(&connection).unwrap();
        let mut statement = connection
            .prepare("select subject from askalf_acts order by id")
            .unwrap();
        let left: Vec<String> = statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(left, ["second", "newest"]);
    }
}
