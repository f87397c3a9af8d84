//! Refused checks, and acts.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{Act, Attempt, MAX_ACTS, MAX_ATTEMPTS, Principal, StoreError, TrailStore};
use async_trait::async_trait;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    session::Session,
    timestamp::{self, Timestamp},
};
use crate::{column, reach};

const SELECT_ATTEMPTS: &str = "select at, address, preview, key_id, reason, count from askalf_attempts";

const SELECT_ACTS: &str = "select at, actor, tenant_id, what, subject from askalf_acts";

const NEWEST_FIRST: &str = "id desc";

#[async_trait]
impl TrailStore for PostgresStore {
    async fn keep_attempts(&self, attempts: &[Attempt], forget_before: UnixMillis) -> Result<(), StoreError> {
        let session = self.begin().await?;
        let kept = keep_attempts(&session, attempts, forget_before).await;
        Ok(session.settle(kept).await?)
    }

    async fn attempts(
        &self,
        who: &Principal,
        prefix: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Attempt>, StoreError> {
        let mut condition = reach::unowned(who);
        if let Some(prefix) = prefix {
            condition = condition.and("starts_with(preview, ?)", [&column::text(prefix.to_owned())]);
        }
        let session = self.session().await?;
        let listed = session.list(
            SELECT_ATTEMPTS,
            &condition,
            NEWEST_FIRST,
            limit,
            read_attempt,
            |attempt| attempt.preview.len() + attempt.reason.len(),
        );
        Ok(listed.await?)
    }

    async fn acts(&self, who: &Principal, limit: u32) -> Result<Vec<Act>, StoreError> {
        let condition = reach::operators(who);
        let session = self.session().await?;
        let listed = session.list(SELECT_ACTS, &condition, NEWEST_FIRST, limit, read_act, |act| {
            act.by.len() + act.subject.len()
        });
        Ok(listed.await?)
    }
}

async fn keep_attempts(
    session: &Session,
    attempts: &[Attempt],
    forget_before: UnixMillis,
) -> Result<(), Fault> {
    let text = |text: &str| column::text(text.to_owned());
    let times: Vec<_> = attempts.iter().map(|attempt| Timestamp(attempt.at)).collect();
    let addresses: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt.address.as_deref().map(text))
        .collect();
    let previews: Vec<_> = attempts.iter().map(|attempt| text(&attempt.preview)).collect();
    let keys: Vec<_> = attempts.iter().map(|attempt| attempt.key_id.as_deref()).collect();
    let reasons: Vec<_> = attempts.iter().map(|attempt| attempt.reason.as_str()).collect();
    let counts: Vec<_> = attempts
        .iter()
        .map(|attempt| column::int4(attempt.count.into()))
        .collect();
    session
        .execute(
            "insert into askalf_attempts (at, address, preview, key_id, reason, count)
             select at, address, preview, key_id, reason, count
             from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int4[]) with ordinality
               as kept (at, address, preview, key_id, reason, count, place)
             order by place",
            &[&times, &addresses, &previews, &keys, &reasons, &counts],
        )
        .await?;
    session
        .execute(
            "delete from askalf_attempts where at < $1",
            &[&Timestamp(forget_before)],
        )
        .await?;
    // Counted and not reckoned from the last id: a transaction that was rolled back has used ids up.
    session
        .execute(
            "delete from askalf_attempts
             where id <= (select id from askalf_attempts order by id desc offset $1 limit 1)",
            &[&i64::from(MAX_ATTEMPTS)],
        )
        .await?;
    Ok(())
}

/// An act, as the statements that do it write it: within their transaction, so that neither stands without the other.
pub(super) struct NewAct<'a> {
    pub(super) at: UnixMillis,
    pub(super) by: &'a str,
    /// Tenant and user of what it was done to: within their reach it is seen.
    pub(super) owner: Option<(&'a str, &'a str)>,
    pub(super) what: &'static str,
    pub(super) subject: &'a str,
}

impl NewAct<'_> {
    pub(super) async fn keep(self, session: &Session) -> Result<(), Fault> {
        let row = session
            .row(
                "insert into askalf_acts (at, actor, tenant_id, user_id, what, subject)
                 values ($1, $2, $3, $4, $5, $6) returning id",
                &[
                    &Timestamp(self.at),
                    &self.by,
                    &self.owner.map(|(tenant, _)| tenant),
                    &self.owner.map(|(_, user)| user),
                    &self.what,
                    &self.subject,
                ],
            )
            .await?;
        let id: i64 = row.ok_or_else(|| Fault::damaged_row("a new act"))?.try_get(0)?;
        // Ids that a rollback has used up count here: a few acts less stay, and nothing is counted for each act.
        session
            .execute(
                "delete from askalf_acts where id <= $1",
                &[&(id - i64::from(MAX_ACTS))],
            )
            .await?;
        Ok(())
    }
}

fn read_attempt(row: &Row) -> Result<Attempt, Fault> {
    Ok(Attempt {
        at: timestamp::read(row, 0)?,
        address: row.try_get(1)?,
        preview: row.try_get(2)?,
        key_id: row.try_get(3)?,
        reason: row.try_get(4)?,
        count: row.try_get::<_, i32>(5)?.try_into().unwrap_or(0),
    })
}

fn read_act(row: &Row) -> Result<Act, Fault> {
    Ok(Act {
        at: timestamp::read(row, 0)?,
        by: row.try_get(1)?,
        tenant_id: row.try_get(2)?,
        what: row.try_get(3)?,
        subject: row.try_get(4)?,
    })
}
