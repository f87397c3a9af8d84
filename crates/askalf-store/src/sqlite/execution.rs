//! Executions.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{
    Cause, Execution, ExecutionEnd, ExecutionFilter, ExecutionStatus, ExecutionStore, Finish, Kind,
    NewExecution, PendingTask, Principal, StoreError,
};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::{
    SqliteStore,
    fault::Fault,
    reach::{self, Condition},
    timestamp,
    trail::NewAct,
};
use crate::{
    column,
    execution_facts::{self, DISPATCH_AGENT, dispatch_metadata, end_metadata, is_somebody, kept_dispatch},
};

const SELECT: &str =
    "select id, owner_id, device_id, status, metadata, input, output, error, cost, iterations,
    input_tokens, output_tokens, duration_ms, created_at, started_at, completed_at from forge_executions";

/// The same for listings, where results and inputs of a mebibyte each would add up: see [`ExecutionStore::executions`].
const SELECT_LISTED: &str =
    "select id, owner_id, device_id, status, metadata, substr(input, 1, 1024), null, substr(error, 1, 1024), cost,
    iterations, input_tokens, output_tokens, duration_ms, created_at, started_at, completed_at from forge_executions";

#[async_trait]
impl ExecutionStore for SqliteStore {
    async fn add_execution(&self, who: &Principal, execution: NewExecution) -> Result<Execution, StoreError> {
        if matches!(who, Principal::Device { .. }) {
            return Err(StoreError::NotFound(Kind::Device));
        }
        let device = reach::devices(who).and("id = ?", [&execution.device_id]);
        let by = who.to_string();
        self.write(move |connection| add(connection, &device, by, execution))
            .await
    }

    async fn execution_running(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let condition = reach::executions(who).and("id = ?", [id]);
        self.write(move |connection| {
            let sql = format!(
                "update forge_executions set status = 'running', started_at = ? where status = 'pending' and {}",
                condition.sql()
            );
            let now = timestamp::to_text(now);
            if connection.prepare_cached(&sql)?.execute(condition.after(&[&now]))? > 0 {
                return Ok(true);
            }
            Ok(status(connection, &condition)?.is_some_and(|status| status == "running"))
        })
        .await
    }

    async fn finish_execution(
        &self,
        who: &Principal,
        id: &str,
        end: ExecutionEnd,
        now: UnixMillis,
    ) -> Result<Finish, StoreError> {
        execution_facts::refuse_open(&end)?;
        let condition = reach::executions(who).and("id = ?", [id]);
        let canceller =
            (end.status == ExecutionStatus::Cancelled && is_somebody(who)).then(|| who.to_string());
        let id = id.to_owned();
        self.write(move |connection| {
            let finish = finish(connection, &condition, end, now)?;
            if let (Finish::Recorded, Some(by)) = (finish, canceller) {
                keep_cancellation(connection, &id, by, now)?;
            }
            Ok(finish)
        })
        .await
    }

    async fn request_cancel(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<bool, StoreError> {
        let condition = reach::executions(who).and("id = ?", [id]);
        let by = is_somebody(who).then(|| who.to_string());
        let id = id.to_owned();
        self.write(move |connection| {
            let sql = format!(
                "update forge_executions set metadata = json_patch(metadata, '{{\"cancelRequested\": true}}')
                 where status in ('pending', 'running') and {}
                   and coalesce(json_extract(metadata, '$.cancelRequested'), 0) <> 1",
                condition.sql()
            );
            let changed = connection.prepare_cached(&sql)?.execute(condition.after(&[]))?;
            if let (1.., Some(by)) = (changed, by) {
                keep_cancellation(connection, &id, by, now)?;
            }
            let status = status(connection, &condition)?;
            Ok(status.is_some_and(|status| status == "pending" || status == "running"))
        })
        .await
    }

    async fn executions(
        &self,
        who: &Principal,
        filter: ExecutionFilter,
    ) -> Result<Vec<Execution>, StoreError> {
        let mut condition = reach::executions(who);
        if let Some(device) = &filter.device_id {
            condition = condition.and("device_id = ?", [device]);
        }
        if filter.open_only {
            condition = condition.and("status in ('pending', 'running')", []);
        }
        let limit = execution_facts::limit(&filter);
        self.read(move |connection| {
            let order = "created_at desc, id desc";
            reach::list(
                connection,
                SELECT_LISTED,
                &condition,
                order,
                limit,
                read_execution,
                |execution| execution.input.len() + execution.error.as_ref().map_or(0, String::len),
            )
        })
        .await
    }

    async fn pending_task(&self, id: &str) -> Result<Option<PendingTask>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| {
            let row: Option<(String, String)> = connection
                .prepare_cached(
                    "select input, metadata from forge_executions where id = ? and status = 'pending'",
                )?
                .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            Ok(row.map(|(input, metadata)| {
                let metadata = serde_json::from_str(&metadata).unwrap_or_default();
                let (executor, terms) = kept_dispatch(&metadata);
                PendingTask {
                    executor,
                    input,
                    terms,
                }
            }))
        })
        .await
    }

    async fn devices_with_open_executions(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "select distinct device_id from forge_executions
                 where status in ('pending', 'running') and device_id is not null order by device_id",
            )?;
            let devices = statement
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            Ok(devices)
        })
        .await
    }

    async fn execution(&self, who: &Principal, id: &str) -> Result<Execution, StoreError> {
        let condition = reach::executions(who).and("id = ?", [id]);
        self.read(move |connection| {
            let execution = reach::first(connection, SELECT, &condition, read_execution)?;
            execution.ok_or_else(|| StoreError::NotFound(Kind::Execution).into())
        })
        .await
    }
}

fn add(
    connection: &Connection,
    device: &Condition,
    by: String,
    new: NewExecution,
) -> Result<Execution, Fault> {
    let sql = format!(
        "select user_id, tenant_id from agent_devices where {}",
        device.sql()
    );
    let owner: Option<(String, String)> = connection
        .prepare_cached(&sql)?
        .query_row(device.after(&[]), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (owner, tenant) = owner.ok_or(StoreError::NotFound(Kind::Device))?;
    let created_at = timestamp::to_text(new.created_at);
    let agent = dispatch_agent(connection, &owner, &created_at)?;
    let metadata = dispatch_metadata(new.executor, new.terms);
    let added = connection
        .prepare_cached(
            "insert into forge_executions (id, agent_id, owner_id, status, input, metadata, device_id, created_at)
             values (?, ?, ?, 'pending', ?, ?, ?, ?) on conflict (id) do nothing",
        )?
        .execute(params![
            new.id,
            agent,
            owner,
            column::text(new.input),
            metadata.to_string(),
            new.device_id,
            created_at,
        ])?;
    if added == 0 {
        return Err(StoreError::Conflict("an execution with this id".to_owned()).into());
    }
    NewAct {
        at: new.created_at,
        by,
        owner: Some((&tenant, &owner)),
        what: "execution.dispatch",
        subject: &new.id,
    }
    .keep(connection)?;
    let by_id = Condition::default().and("id = ?", [&new.id]);
    reach::first(connection, SELECT, &by_id, read_execution)?
        .ok_or_else(|| Fault::damaged_row("a new execution"))
}

/// An execution names no tenant: that of its user stands for it.
fn keep_cancellation(connection: &Connection, id: &str, by: String, now: UnixMillis) -> Result<(), Fault> {
    let (tenant, user): (Option<String>, String) = connection
        .prepare_cached(
            "select users.tenant_id, owner_id from forge_executions left join users on users.id = owner_id
             where forge_executions.id = ?",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    NewAct {
        at: now,
        by,
        owner: tenant.as_deref().map(|tenant| (tenant, user.as_str())),
        what: "execution.cancel",
        subject: id,
    }
    .keep(connection)
}

/// The id of the owner's agent for dispatches, made where there is none. An id derived from the owner needs no random
/// source and cannot be made twice.
fn dispatch_agent(connection: &Connection, owner: &str, now: &str) -> Result<String, Fault> {
    let find = || {
        connection
            .prepare_cached("select id from forge_agents where owner_id = ? and slug = ?")?
            .query_row([owner, DISPATCH_AGENT], |row| row.get(0))
            .optional()
    };
    if let Some(id) = find()? {
        return Ok(id);
    }
    let id = format!("{DISPATCH_AGENT}:{owner}");
    connection.execute(
        "insert into forge_agents (id, owner_id, name, slug, status, created_at)
         values (?, ?, 'Dispatch', ?, 'active', ?)",
        params![id, owner, DISPATCH_AGENT, now],
    )?;
    Ok(id)
}

fn finish(
    connection: &Connection,
    condition: &Condition,
    end: ExecutionEnd,
    now: UnixMillis,
) -> Result<Finish, Fault> {
    // One statement both asks whether the execution is open and ends it: of two ends one finds it open. What the end does
    // not tell stays as it was.
    let sql = format!(
        "update forge_executions set status = ?, output = coalesce(?, output), error = coalesce(?, error),
           metadata = json_patch(metadata, ?), cost = ?, iterations = ?, input_tokens = ?, output_tokens = ?,
           total_tokens = ?, duration_ms = coalesce(?, duration_ms), completed_at = ?
         where status in ('pending', 'running') and {}",
        condition.sql()
    );
    let metadata = end_metadata(&end).to_string();
    let total = end.input_tokens.saturating_add(end.output_tokens);
    let changed = connection.prepare_cached(&sql)?.execute(condition.after(&[
        &end.status.as_str(),
        &end.output.map(column::text),
        &end.error.map(column::text),
        &metadata,
        &column::cost(end.cost),
        &column::int4(end.turns.into()),
        &column::int4(end.input_tokens),
        &column::int4(end.output_tokens),
        &column::int4(total),
        &end.duration_ms.map(column::int4),
        &timestamp::to_text(now),
    ]))?;
    Ok(match (changed, status(connection, condition)?) {
        (0, Some(_)) => Finish::AlreadyRecorded,
        (0, None) => Finish::NotYours,
        _ => Finish::Recorded,
    })
}

fn status(connection: &Connection, condition: &Condition) -> Result<Option<String>, Fault> {
    let sql = format!("select status from forge_executions where {}", condition.sql());
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(condition.after(&[]), |row| row.get(0))
        .optional()?)
}

fn read_execution(row: &Row<'_>) -> Result<Execution, Fault> {
    let status: String = row.get(3)?;
    let metadata: String = row.get(4)?;
    let created_at: String = row.get(13)?;
    let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.max(0) as u64);
    // The forge keeps other things in there as well; what is not ours, or not in our form, reads as not told.
    let metadata: Map<String, Value> = serde_json::from_str(&metadata).unwrap_or_default();
    let text = |name: &str| metadata.get(name).and_then(Value::as_str);
    let number = |name: &str| {
        metadata
            .get(name)
            .and_then(Value::as_i64)
            .and_then(|number| number.try_into().ok())
    };
    Ok(Execution {
        id: row.get(0)?,
        owner_id: row.get(1)?,
        device_id: row.get(2)?,
        executor: text("executor").map(str::to_owned),
        status: ExecutionStatus::from_word(&status)
            .ok_or_else(|| Fault::damaged_row("the status of an execution"))?,
        cause: text("cause").and_then(Cause::from_wire),
        exit_code: number("exitCode"),
        signal: number("signal"),
        input: row.get(5)?,
        output: row.get(6)?,
        error: row.get(7)?,
        cost: row.get(8)?,
        turns: u32::try_from(count(9)?).unwrap_or(u32::MAX),
        input_tokens: count(10)?,
        output_tokens: count(11)?,
        duration_ms: row
            .get::<_, Option<i64>>(12)?
            .and_then(|millis| millis.try_into().ok()),
        cancel_requested: metadata.get("cancelRequested") == Some(&Value::Bool(true)),
        created_at: timestamp::from_text(&created_at)?,
        started_at: timestamp::from_optional_text(row.get(14)?)?,
        completed_at: timestamp::from_optional_text(row.get(15)?)?,
    })
}
