//! Executions.

use askalf_bridge_auth::UnixMillis;
use askalf_bridge_core::stores::{
    Cause, Execution, ExecutionEnd, ExecutionFilter, ExecutionStatus, ExecutionStore, Finish, Kind,
    NewExecution, PendingTask, Principal, StoreError,
};
use async_trait::async_trait;
use serde_json::Value;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    fault::Fault,
    session::{Session, after, numbered},
    timestamp::{self, Timestamp},
    trail::NewAct,
};
use crate::{
    column,
    execution_facts::{self, DISPATCH_AGENT, dispatch_metadata, end_metadata, is_somebody, kept_dispatch},
    reach::{self, Condition},
};

const SELECT: &str =
    "select id, owner_id, device_id, status, metadata, input, output, error, cost::float8, iterations,
    input_tokens, output_tokens, duration_ms, created_at, started_at, completed_at from forge_executions";

/// The same for listings, where results and inputs of a mebibyte each would add up: see [`ExecutionStore::executions`].
const SELECT_LISTED: &str =
    "select id, owner_id, device_id, status, metadata, left(input, 1024), null::text, left(error, 1024),
    cost::float8, iterations, input_tokens, output_tokens, duration_ms, created_at, started_at, completed_at
    from forge_executions";

#[async_trait]
impl ExecutionStore for PostgresStore {
    async fn add_execution(&self, who: &Principal, execution: NewExecution) -> Result<Execution, StoreError> {
        if matches!(who, Principal::Device { .. }) {
            return Err(StoreError::NotFound(Kind::Device));
        }
        let device_id = column::text(execution.device_id.clone());
        let device = reach::devices(who).and("id = ?", [&device_id]);
        let session = self.begin().await?;
        let added = add(&session, &device, &who.to_string(), execution).await;
        Ok(session.settle(added).await?)
    }

    async fn execution_running(
        &self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let condition = reach::executions(who).and("id = ?", [&column::text(id.to_owned())]);
        let session = self.begin().await?;
        let open = start(&session, &condition, now).await;
        Ok(session.settle(open).await?)
    }

    async fn finish_execution(
        &self,
        who: &Principal,
        id: &str,
        end: ExecutionEnd,
        now: UnixMillis,
    ) -> Result<Finish, StoreError> {
        execution_facts::refuse_open(&end)?;
        let condition = reach::executions(who).and("id = ?", [&column::text(id.to_owned())]);
        let is_cancelled_by_somebody = end.status == ExecutionStatus::Cancelled && is_somebody(who);
        let session = self.begin().await?;
        let end = async {
            let finish = finish(&session, &condition, end, now).await?;
            if finish == Finish::Recorded && is_cancelled_by_somebody {
                keep_cancellation(&session, id, &who.to_string(), now).await?;
            }
            Ok(finish)
        };
        let finish = end.await;
        Ok(session.settle(finish).await?)
    }

    async fn request_cancel(&self, who: &Principal, id: &str, now: UnixMillis) -> Result<bool, StoreError> {
        let condition = reach::executions(who).and("id = ?", [&column::text(id.to_owned())]);
        let session = self.begin().await?;
        let request = async {
            let update = "update forge_executions set metadata = case jsonb_typeof(metadata)
                   when 'object' then metadata || '{\"cancelRequested\": true}' else '{\"cancelRequested\": true}' end
                 where status in ('pending', 'running')
                   and (metadata -> 'cancelRequested') is distinct from 'true'::jsonb";
            if session.update(update, &[], &condition).await? > 0 && is_somebody(who) {
                keep_cancellation(&session, id, &who.to_string(), now).await?;
            }
            let status = status(&session, &condition).await?;
            Ok(status.is_some_and(|status| status == "pending" || status == "running"))
        };
        let open = request.await;
        Ok(session.settle(open).await?)
    }

    async fn executions(
        &self,
        who: &Principal,
        filter: ExecutionFilter,
    ) -> Result<Vec<Execution>, StoreError> {
        let mut condition = reach::executions(who);
        if let Some(device) = &filter.device_id {
            condition = condition.and("device_id = ?", [&column::text(device.clone())]);
        }
        if filter.open_only {
            condition = condition.and("status in ('pending', 'running')", []);
        }
        let limit = execution_facts::limit(&filter);
        let session = self.session().await?;
        let listed = session.list(
            SELECT_LISTED,
            &condition,
            "created_at desc, id collate \"C\" desc",
            limit,
            read_execution,
            |execution| execution.input.len() + execution.error.as_ref().map_or(0, String::len),
        );
        Ok(listed.await?)
    }

    async fn pending_task(&self, id: &str) -> Result<Option<PendingTask>, StoreError> {
        let rows = self
            .rows(
                "select input, metadata from forge_executions where id = $1 and status = 'pending'",
                &[&column::text(id.to_owned())],
            )
            .await?;
        let task = rows.first().map(|row| {
            let metadata: Value = row.try_get(1)?;
            let (executor, terms) = kept_dispatch(&metadata);
            Ok::<_, Fault>(PendingTask {
                executor,
                input: row.try_get(0)?,
                terms,
            })
        });
        Ok(task.transpose()?)
    }

    async fn devices_with_open_executions(&self) -> Result<Vec<String>, StoreError> {
        let rows = self
            .rows(
                "select distinct device_id from forge_executions
                 where status in ('pending', 'running') and device_id is not null order by device_id",
                &[],
            )
            .await?;
        let devices: Result<_, Fault> = rows.iter().map(|row| Ok(row.try_get(0)?)).collect();
        Ok(devices?)
    }

    async fn execution(&self, who: &Principal, id: &str) -> Result<Execution, StoreError> {
        let condition = reach::executions(who).and("id = ?", [&column::text(id.to_owned())]);
        let session = self.session().await?;
        let execution = session.first(SELECT, &condition, read_execution).await?;
        execution.ok_or(StoreError::NotFound(Kind::Execution))
    }
}

async fn add(session: &Session, device: &Condition, by: &str, new: NewExecution) -> Result<Execution, Fault> {
    // The device stays until this is committed: it is not removed under an execution that is being added.
    let owner = session
        .row(
            &format!(
                "select user_id, tenant_id from agent_devices where {} for share",
                numbered(device.sql(), 0)
            ),
            &after(&[], device),
        )
        .await?;
    let owner = owner.ok_or(StoreError::NotFound(Kind::Device))?;
    let (owner, tenant): (String, String) = (owner.try_get(0)?, owner.try_get(1)?);
    let created_at = Timestamp(new.created_at);
    let agent = dispatch_agent(session, &owner, created_at).await?;
    let metadata = dispatch_metadata(new.executor, new.terms);
    let added = session
        .row(
            "insert into forge_executions (id, agent_id, owner_id, status, input, metadata, device_id, created_at)
             values ($1, $2, $3, 'pending', $4, $5, $6, $7) on conflict (id) do nothing returning id",
            &[
                &new.id,
                &agent,
                &owner,
                &column::text(new.input),
                &metadata,
                &column::text(new.device_id),
                &created_at,
            ],
        )
        .await?;
    if added.is_none() {
        return Err(StoreError::Conflict("an execution with this id".to_owned()).into());
    }
    NewAct {
        at: new.created_at,
        by,
        owner: Some((&tenant, &owner)),
        what: "execution.dispatch",
        subject: &new.id,
    }
    .keep(session)
    .await?;
    let by_id = Condition::default().and("id = ?", [&new.id]);
    session
        .first(SELECT, &by_id, read_execution)
        .await?
        .ok_or_else(|| Fault::damaged_row("a new execution"))
}

/// An execution names no tenant: that of its user stands for it.
async fn keep_cancellation(session: &Session, id: &str, by: &str, now: UnixMillis) -> Result<(), Fault> {
    let row = session
        .row(
            "select users.tenant_id, owner_id from forge_executions left join users on users.id = owner_id
             where forge_executions.id = $1",
            &[&id],
        )
        .await?
        .ok_or_else(|| Fault::damaged_row("an execution"))?;
    let (tenant, user): (Option<&str>, &str) = (row.try_get(0)?, row.try_get(1)?);
    NewAct {
        at: now,
        by,
        owner: tenant.map(|tenant| (tenant, user)),
        what: "execution.cancel",
        subject: id,
    }
    .keep(session)
    .await
}

/// The id of the owner's agent for dispatches, made where there is none. An id derived from the owner needs no random
/// source and cannot be made twice.
async fn dispatch_agent(session: &Session, owner: &str, now: Timestamp) -> Result<String, Fault> {
    let find = "select id from forge_agents where owner_id = $1 and slug = $2";
    if let Some(row) = session.row(find, &[&owner, &DISPATCH_AGENT]).await? {
        return Ok(row.try_get(0)?);
    }
    session
        .execute(
            "insert into forge_agents (id, owner_id, name, slug, status, created_at)
             values ($1, $2, 'Dispatch', $3, 'active', $4) on conflict do nothing",
            &[
                &format!("{DISPATCH_AGENT}:{owner}"),
                &owner,
                &DISPATCH_AGENT,
                &now,
            ],
        )
        .await?;
    // Another dispatch may have made it a moment ago.
    let row = session.row(find, &[&owner, &DISPATCH_AGENT]).await?;
    Ok(row
        .ok_or_else(|| Fault::damaged_row("the agent of dispatches"))?
        .try_get(0)?)
}

async fn start(session: &Session, condition: &Condition, now: UnixMillis) -> Result<bool, Fault> {
    let update = "update forge_executions set status = 'running', started_at = $1 where status = 'pending'";
    if session.update(update, &[&Timestamp(now)], condition).await? > 0 {
        return Ok(true);
    }
    Ok(status(session, condition)
        .await?
        .is_some_and(|status| status == "running"))
}

async fn finish(
    session: &Session,
    condition: &Condition,
    end: ExecutionEnd,
    now: UnixMillis,
) -> Result<Finish, Fault> {
    // One statement both asks whether the execution is open and ends it: of two ends one finds it open, since the other
    // waits for the row and asks again. What the end does not tell stays as it was.
    let update =
        "update forge_executions set status = $1, output = coalesce($2, output), error = coalesce($3, error),
           metadata = case jsonb_typeof(metadata) when 'object' then metadata || $4 else $4 end,
           cost = $5::float8, iterations = $6, input_tokens = $7, output_tokens = $8, total_tokens = $9,
           duration_ms = coalesce($10, duration_ms), completed_at = $11
         where status in ('pending', 'running')";
    let metadata = end_metadata(&end);
    let total = end.input_tokens.saturating_add(end.output_tokens);
    let changed = session
        .update(
            update,
            &[
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
                &Timestamp(now),
            ],
            condition,
        )
        .await?;
    if changed > 0 {
        return Ok(Finish::Recorded);
    }
    Ok(match status(session, condition).await? {
        Some(_) => Finish::AlreadyRecorded,
        None => Finish::NotYours,
    })
}

async fn status(session: &Session, condition: &Condition) -> Result<Option<String>, Fault> {
    session
        .first("select status from forge_executions", condition, |row| {
            Ok(row.try_get(0)?)
        })
        .await
}

fn read_execution(row: &Row) -> Result<Execution, Fault> {
    let status: &str = row.try_get(3)?;
    // The forge keeps other things in there as well; what is not ours, or not in our form, reads as not told.
    let metadata: Value = row.try_get(4)?;
    let text = |name: &str| metadata.get(name).and_then(Value::as_str);
    let number = |name: &str| {
        metadata
            .get(name)
            .and_then(Value::as_i64)
            .and_then(|number| number.try_into().ok())
    };
    let count = |column: usize| Ok::<_, Fault>(row.try_get::<_, i32>(column)?.max(0).unsigned_abs());
    Ok(Execution {
        id: row.try_get(0)?,
        owner_id: row.try_get(1)?,
        device_id: row.try_get(2)?,
        executor: text("executor").map(str::to_owned),
        status: ExecutionStatus::from_word(status)
            .ok_or_else(|| Fault::damaged_row("the status of an execution"))?,
        cause: text("cause").and_then(Cause::from_wire),
        exit_code: number("exitCode"),
        signal: number("signal"),
        input: row.try_get(5)?,
        output: row.try_get(6)?,
        error: row.try_get(7)?,
        cost: row.try_get(8)?,
        turns: count(9)?,
        input_tokens: count(10)?.into(),
        output_tokens: count(11)?.into(),
        duration_ms: row
            .try_get::<_, Option<i32>>(12)?
            .and_then(|millis| millis.try_into().ok()),
        cancel_requested: metadata.get("cancelRequested") == Some(&Value::Bool(true)),
        created_at: timestamp::read(row, 13)?,
        started_at: timestamp::read_optional(row, 14)?,
        completed_at: timestamp::read_optional(row, 15)?,
    })
}
