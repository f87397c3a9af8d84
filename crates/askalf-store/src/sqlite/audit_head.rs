//! Heads of the devices' audit logs.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{
    AuditHead, AuditHeadStore, HeadKept, KeptAuditHead, Kind, Principal, StoreError,
};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    fault::Fault,
    reach::{self, Condition},
    timestamp,
    trail::NewAct,
};
use crate::audit_head_rules::{HeadRow, Verdict, column_seq, is_act, judge, reporter, shown};

#[async_trait]
impl AuditHeadStore for SqliteStore {
    async fn keep_audit_head(
        &self,
        who: &Principal,
        head: AuditHead,
        now: UnixMillis,
    ) -> Result<HeadKept, StoreError> {
        let (key_id, device_id) = reporter(who)?;
        let report = Report {
            device: reach::devices(who),
            by: who.to_string(),
            key_id: key_id.to_owned(),
            device_id: device_id.to_owned(),
            seq: column_seq(head.seq)?,
            head: head.head,
            now,
        };
        self.write(move |connection| keep(connection, report)).await
    }

    async fn audit_head(
        &self,
        who: &Principal,
        device_id: &str,
    ) -> Result<Option<KeptAuditHead>, StoreError> {
        let device = reach::operators(who).and("id = ?", [device_id]);
        let device_id = device_id.to_owned();
        self.read(move |connection| match owner(connection, &device)? {
            Some(_) => Ok(shown(rows(connection, &device_id)?)),
            None => Ok(None),
        })
        .await
    }
}

struct Report {
    device: Condition,
    by: String,
    key_id: String,
    device_id: String,
    seq: i64,
    head: String,
    now: UnixMillis,
}

fn keep(connection: &Connection, report: Report) -> Result<HeadKept, Fault> {
    let (tenant, user) = owner(connection, &report.device)?.ok_or(StoreError::NotFound(Kind::Device))?;
    let rows = rows(connection, &report.device_id)?;
    let verdict = judge(&rows, &report.key_id, report.seq, &report.head);
    let now = timestamp::to_text(report.now);
    if matches!(verdict, Verdict::Begin | Verdict::BeginBehind | Verdict::Advance) {
        connection
            .prepare_cached(
                "insert into askalf_audit_heads (device_id, key_id, seq, head, received_at) values (?, ?, ?, ?, ?)
                 on conflict (device_id, key_id) do update
                 set seq = excluded.seq, head = excluded.head, received_at = excluded.received_at",
            )?
            .execute(params![report.device_id, report.key_id, report.seq, report.head, now])?;
    }
    match verdict {
        Verdict::Begin | Verdict::Advance => return Ok(HeadKept::Kept),
        Verdict::Unchanged => return Ok(HeadKept::Unchanged),
        Verdict::BeginBehind | Verdict::Conflict => {}
    }
    connection
        .prepare_cached(
            "update askalf_audit_heads
             set conflicts = conflicts + 1, conflict_at = ?, conflict_seq = ?, conflict_head = ?
             where device_id = ? and key_id = ?",
        )?
        .execute(params![
            now,
            report.seq,
            report.head,
            report.device_id,
            report.key_id
        ])?;
    if is_act(&rows, report.now) {
        NewAct {
            at: report.now,
            by: report.by,
            owner: Some((&tenant, &user)),
            what: "audit.conflict",
            subject: &report.device_id,
        }
        .keep(connection)?;
    }
    Ok(HeadKept::Conflict)
}

/// Tenant and user of a device within reach.
fn owner(connection: &Connection, device: &Condition) -> Result<Option<(String, String)>, Fault> {
    let sql = format!(
        "select tenant_id, user_id from agent_devices where {}",
        device.sql()
    );
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(device.after(&[]), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

fn rows(connection: &Connection, device_id: &str) -> Result<Vec<HeadRow>, Fault> {
    let mut statement = connection.prepare_cached(
        "select key_id, seq, head, received_at, conflicts, conflict_at, conflict_seq, conflict_head
         from askalf_audit_heads where device_id = ? order by key_id",
    )?;
    let mut rows = statement.query([device_id])?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(read_row(row)?);
    }
    Ok(list)
}

fn read_row(row: &Row<'_>) -> Result<HeadRow, Fault> {
    let at = timestamp::from_optional_text(row.get(5)?)?;
    let (seq, head): (Option<i64>, Option<String>) = (row.get(6)?, row.get(7)?);
    Ok(HeadRow {
        key_id: row.get(0)?,
        seq: row.get(1)?,
        head: row.get(2)?,
        received_at: timestamp::from_column(row, 3)?,
        conflicts: row.get(4)?,
        conflict: at.zip(seq).zip(head).map(|((at, seq), head)| (at, seq, head)),
    })
}
