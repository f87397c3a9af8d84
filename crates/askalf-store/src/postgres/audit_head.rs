//! Heads of the devices' audit logs.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{
    AuditHead, AuditHeadStore, HeadKept, KeptAuditHead, Kind, Principal, StoreError,
};
use async_trait::async_trait;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    session::Session,
    timestamp::{self, Timestamp},
    trail::NewAct,
};
use crate::audit_head_rules::{HeadRow, Verdict, column_seq, is_act, judge, reporter, shown};
use crate::column;
use crate::reach::{self, Condition};

#[async_trait]
impl AuditHeadStore for PostgresStore {
    async fn keep_audit_head(
        &self,
        who: &Principal,
        head: AuditHead,
        now: UnixMillis,
    ) -> Result<HeadKept, StoreError> {
        let (key_id, device_id) = reporter(who)?;
        let seq = column_seq(head.seq)?;
        let device = reach::devices(who);
        let session = self.begin().await?;
        let kept = async {
            // Two reports at once would both find no row.
            session.lock("audit head", device_id).await?;
            let owner = owner(&session, &device).await?;
            let (tenant, user) = owner.ok_or(StoreError::NotFound(Kind::Device))?;
            let rows = rows(&session, device_id).await?;
            let verdict = judge(&rows, key_id, seq, &head.head);
            write(&session, verdict, device_id, key_id, seq, &head.head, now).await?;
            match verdict {
                Verdict::Begin | Verdict::Advance => return Ok(HeadKept::Kept),
                Verdict::Unchanged => return Ok(HeadKept::Unchanged),
                Verdict::BeginBehind | Verdict::Conflict => {}
            }
            if is_act(&rows, now) {
                NewAct {
                    at: now,
                    by: &who.to_string(),
                    owner: Some((&tenant, &user)),
                    what: "audit.conflict",
                    subject: device_id,
                }
                .keep(&session)
                .await?;
            }
            Ok(HeadKept::Conflict)
        };
        let kept = kept.await;
        Ok(session.settle(kept).await?)
    }

    async fn audit_head(
        &self,
        who: &Principal,
        device_id: &str,
    ) -> Result<Option<KeptAuditHead>, StoreError> {
        let device_id = column::text(device_id.to_owned());
        let device = reach::operators(who).and("id = ?", [&device_id]);
        let session = self.session().await?;
        match owner(&session, &device).await? {
            Some(_) => Ok(shown(rows(&session, &device_id).await?)),
            None => Ok(None),
        }
    }
}

async fn write(
    session: &Session,
    verdict: Verdict,
    device_id: &str,
    key_id: &str,
    seq: i64,
    head: &str,
    now: UnixMillis,
) -> Result<(), Fault> {
    if matches!(verdict, Verdict::Begin | Verdict::BeginBehind | Verdict::Advance) {
        session
            .execute(
                "insert into askalf_audit_heads (device_id, key_id, seq, head, received_at) values ($1, $2, $3, $4, $5)
                 on conflict (device_id, key_id) do update
                 set seq = excluded.seq, head = excluded.head, received_at = excluded.received_at",
                &[&device_id, &key_id, &seq, &head, &Timestamp(now)],
            )
            .await?;
    }
    if matches!(verdict, Verdict::BeginBehind | Verdict::Conflict) {
        session
            .execute(
                "update askalf_audit_heads
                 set conflicts = conflicts + 1, conflict_at = $1, conflict_seq = $2, conflict_head = $3
                 where device_id = $4 and key_id = $5",
                &[&Timestamp(now), &seq, &head, &device_id, &key_id],
            )
            .await?;
    }
    Ok(())
}

/// Tenant and user of a device within reach.
async fn owner(session: &Session, device: &Condition) -> Result<Option<(String, String)>, Fault> {
    session
        .first("select tenant_id, user_id from agent_devices", device, |row| {
            Ok((row.try_get(0)?, row.try_get(1)?))
        })
        .await
}

async fn rows(session: &Session, device_id: &str) -> Result<Vec<HeadRow>, Fault> {
    let rows = session
        .rows(
            "select key_id, seq, head, received_at, conflicts, conflict_at, conflict_seq, conflict_head
             from askalf_audit_heads where device_id = $1 order by key_id",
            &[&device_id],
        )
        .await?;
    rows.iter().map(read_row).collect()
}

fn read_row(row: &Row) -> Result<HeadRow, Fault> {
    let at = timestamp::read_optional(row, 5)?;
    let (seq, head): (Option<i64>, Option<String>) = (row.try_get(6)?, row.try_get(7)?);
    Ok(HeadRow {
        key_id: row.try_get(0)?,
        seq: row.try_get(1)?,
        head: row.try_get(2)?,
        received_at: timestamp::read(row, 3)?,
        conflicts: row.try_get(4)?,
        conflict: at.zip(seq).zip(head).map(|((at, seq), head)| (at, seq, head)),
    })
}
