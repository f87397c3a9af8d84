//! From rows to what the API shows.

use askalf_bridge_auth::{UnixMillis, UserStatus};
use askalf_proto::Cause;
use jiff::Timestamp;

use crate::api::{
    ActView, AttemptView, AuditHeadView, DeviceView, ExecutionView, KeyView, PairCodeView, RotationView,
    UserView,
};
use crate::stores::{Act, Attempt, Device, Execution, KeptAuditHead, Key, PairCode, Rotation, User};

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            name: key.name,
            key_prefix: key.prefix,
            scopes: key.scopes.iter().map(str::to_owned).collect(),
            status: key.status.as_str().to_owned(),
            user_id: key.user_id,
            tenant_id: key.tenant_id,
            device_id: key.device_id,
            created_at: rfc3339(key.created_at),
            expires_at: key.expires_at.map(rfc3339),
            revoked_at: key.revoked_at.map(rfc3339),
            last_used_at: key.last_used_at.map(rfc3339),
            usage_count: key.usage_count,
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            at: rfc3339(attempt.at),
            address: attempt.address,
            key_preview: attempt.preview,
            key_id: attempt.key_id,
            reason: attempt.reason,
            count: attempt.count,
        }
    }
}

impl From<Act> for ActView {
    fn from(act: Act) -> Self {
        Self {
            at: rfc3339(act.at),
            by: act.by,
            tenant_id: act.tenant_id,
            what: act.what,
            subject: act.subject,
        }
    }
}

impl From<Rotation> for RotationView {
    fn from(rotation: Rotation) -> Self {
        Self {
            id: rotation.id,
            device_id: rotation.device_id,
            state: rotation.state.as_str().to_owned(),
            reason: rotation.reason,
            old_key_id: rotation.old_key_id,
            new_key_id: rotation.new_key_id,
            attempt: rotation.attempt,
            by: rotation.by,
            staged_at: rfc3339(rotation.staged_at),
            stored_at: rotation.stored_at.map(rfc3339),
            committed_at: rotation.committed_at.map(rfc3339),
            ended_at: rotation.ended_at.map(rfc3339),
        }
    }
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            tenant_id: user.tenant_id,
            email: user.email,
            display_name: user.display_name,
            status: user.status.map_or("unknown", UserStatus::as_str).to_owned(),
            created_at: user.created_at.map(rfc3339),
        }
    }
}

impl From<PairCode> for PairCodeView {
    fn from(code: PairCode) -> Self {
        Self {
            id: code.id,
            name: code.name,
            user_id: code.user_id,
            tenant_id: code.tenant_id,
            device_id: code.device_id,
            created_at: rfc3339(code.created_at),
            expires_at: rfc3339(code.expires_at),
        }
    }
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        Self {
            id: device.id,
            device_name: device.name,
            status: device.status.as_str().to_owned(),
            hostname: device.hostname,
            os: device.os,
            device_type: device.device_type,
            max_concurrent_tasks: device.max_concurrent,
            user_id: device.user_id,
            api_key_id: device.api_key_id,
            platform_capabilities: device.capabilities,
            last_seen_at: device.last_seen_at.map(rfc3339),
            created_at: rfc3339(device.created_at),
            audit_head: None,
        }
    }
}

impl From<KeptAuditHead> for AuditHeadView {
    fn from(kept: KeptAuditHead) -> Self {
        let (at, conflict) = kept
            .last_conflict
            .map(|conflict| (rfc3339(conflict.at), conflict.head))
            .unzip();
        Self {
            seq: kept.head.seq,
            head: kept.head.head,
            key_id: kept.key_id,
            received_at: rfc3339(kept.received_at),
            conflicts: kept.conflicts,
            last_conflict_at: at,
            last_conflict_seq: conflict.as_ref().map(|conflict| conflict.seq),
            last_conflict_head: conflict.map(|conflict| conflict.head),
        }
    }
}

impl From<Execution> for ExecutionView {
    fn from(execution: Execution) -> Self {
        Self {
            id: execution.id,
            status: execution.status.as_str().to_owned(),
            cause: execution.cause.map(Cause::as_str).map(str::to_owned),
            exit_code: execution.exit_code,
            signal: execution.signal,
            device_id: execution.device_id,
            owner_id: execution.owner_id,
            executor: execution.executor,
            input: execution.input,
            output: execution.output,
            error: execution.error,
            cost: execution.cost,
            turns: execution.turns,
            input_tokens: execution.input_tokens,
            output_tokens: execution.output_tokens,
            duration_ms: execution.duration_ms,
            created_at: rfc3339(execution.created_at),
            started_at: execution.started_at.map(rfc3339),
            completed_at: execution.completed_at.map(rfc3339),
        }
    }
}

/// `2026-11-24T07:33:00.000Z`. A time that no calendar of four-digit years holds becomes the nearest that one does.
fn rfc3339(time: UnixMillis) -> String {
    let nearest = if time.0 < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    let time = Timestamp::from_millisecond(time.0).unwrap_or(nearest);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_end_in_z() {
        assert_eq!(rfc3339(UnixMillis(1_795_505_580_007)), "2026-11-24T07:33:00.007Z");
        assert_eq!(rfc3339(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(UnixMillis(i64::MAX)).starts_with("9999-12-"));
    }
}
