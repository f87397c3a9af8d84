use std::sync::Arc;

use askalf_bridge_core::stores::{
    Cause, ExecutionEnd, ExecutionFilter, ExecutionStatus, Finish, Kind, NewExecution, PendingTask,
    Principal, StoreError, TaskTerms,
};

use super::{ADMIN, NOW, Shared, acts, device_of, dispatched, execution, later, operator, registered};

fn completed(output: &str) -> ExecutionEnd {
    ExecutionEnd {
        status: ExecutionStatus::Completed,
        cause: Some(Cause::Exit),
        exit_code: Some(0),
        signal: None,
        output: Some(output.to_owned()),
        error: None,
        cost: 0.25,
        turns: 3,
        input_tokens: 1000,
        output_tokens: 20,
        duration_ms: Some(1234),
    }
}

pub(crate) async fn an_execution_goes_from_pending_to_its_end(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let added = store
        .add_execution(&operator("ann"), execution("exec_1", "dev_1"))
        .await
        .unwrap();
    assert_eq!(
        (added.owner_id.as_str(), added.device_id.as_deref()),
        ("ann", Some("dev_1"))
    );
    assert_eq!(
        (added.status, added.executor.as_deref()),
        (ExecutionStatus::Pending, Some("shell"))
    );
    assert_eq!(
        (added.created_at, added.started_at, added.completed_at),
        (NOW, None, None)
    );
    assert_eq!(added.input, "uname -a");

    assert!(store.execution_running(&who, "exec_1", later(1)).await.unwrap());
    let running = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(
        (running.status, running.started_at),
        (ExecutionStatus::Running, Some(later(1)))
    );

    let end = completed("Grüße 🦀\n");
    assert_eq!(
        store
            .finish_execution(&who, "exec_1", end.clone(), later(2))
            .await
            .unwrap(),
        Finish::Recorded
    );
    let ended = store.execution(&operator("ann"), "exec_1").await.unwrap();
    assert_eq!(
        (ended.status, ended.completed_at),
        (ExecutionStatus::Completed, Some(later(2)))
    );
    assert_eq!(
        (ended.cause, ended.exit_code, ended.signal),
        (Some(Cause::Exit), Some(0), None)
    );
    assert_eq!((ended.output, ended.error), (end.output, None));
    assert_eq!(
        (ended.cost, ended.turns, ended.duration_ms),
        (0.25, 3, Some(1234))
    );
    assert_eq!((ended.input_tokens, ended.output_tokens), (1000, 20));
    assert_eq!(
        (ended.started_at, ended.executor),
        (Some(later(1)), Some("shell".to_owned()))
    );
}

pub(crate) async fn a_late_end_changes_nothing(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    dispatched(&*store, "exec_1", "dev_1").await;
    let cut_off = ExecutionEnd::interrupted("the device went away");
    let first = store
        .finish_execution(&Principal::Bridge, "exec_1", cut_off, later(1))
        .await
        .unwrap();
    assert_eq!(first, Finish::Recorded);
    let before = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(
        (before.status, before.cause),
        (ExecutionStatus::Failed, Some(Cause::Interrupted))
    );
    assert_eq!(before.error.as_deref(), Some("the device went away"));

    for end in [completed("late"), ExecutionEnd::interrupted("again")] {
        let late = store
            .finish_execution(&who, "exec_1", end, later(2))
            .await
            .unwrap();
        assert_eq!(late, Finish::AlreadyRecorded);
    }
    assert!(!store.execution_running(&who, "exec_1", later(3)).await.unwrap());
    assert_eq!(store.execution(&ADMIN, "exec_1").await.unwrap(), before);
}

pub(crate) async fn of_sixteen_ends_at_once_one_is_recorded(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    dispatched(&*store, "exec_1", "dev_1").await;
    let mut ends = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (store, who) = (Arc::clone(&store), who.clone());
        ends.spawn(async move {
            let end = completed(&format!("output {number}"));
            (
                number,
                store
                    .finish_execution(&who, "exec_1", end, later(number))
                    .await
                    .unwrap(),
            )
        });
    }
    let ends = ends.join_all().await;
    let recorded: Vec<_> = ends.iter().filter(|(_, end)| *end == Finish::Recorded).collect();
    let [(winner, _)] = recorded.as_slice() else {
        panic!("{ends:?}")
    };
    assert_eq!(
        ends.iter()
            .filter(|(_, end)| *end == Finish::AlreadyRecorded)
            .count(),
        15
    );
    let kept = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(kept.output, Some(format!("output {winner}")));
    assert_eq!(kept.completed_at, Some(later(*winner)));
}

pub(crate) async fn an_end_takes_nothing_away(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    dispatched(&*store, "exec_1", "dev_1").await;
    store.execution_running(&who, "exec_1", later(1)).await.unwrap();
    let mut end = ExecutionEnd::without_result(ExecutionStatus::Timeout, Cause::Timeout, "too long");
    end.signal = Some(9);
    store
        .finish_execution(&who, "exec_1", end, later(2))
        .await
        .unwrap();
    let ended = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(
        (ended.status, ended.signal, ended.exit_code),
        (ExecutionStatus::Timeout, Some(9), None)
    );
    assert_eq!(
        (ended.executor.as_deref(), ended.started_at),
        (Some("shell"), Some(later(1)))
    );
    assert_eq!(
        (ended.input.as_str(), ended.output, ended.duration_ms),
        ("uname -a", None, None)
    );
}

pub(crate) async fn a_report_beyond_the_columns_is_recorded_within_them(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    dispatched(&*store, "exec_1", "dev_1").await;
    let mut end = completed("nul \0 inside");
    (end.cost, end.turns) = (f64::INFINITY, u32::MAX);
    (end.input_tokens, end.output_tokens, end.duration_ms) = (u64::MAX, 1, Some(u64::MAX));
    assert_eq!(
        store.finish_execution(&who, "exec_1", end, NOW).await.unwrap(),
        Finish::Recorded
    );
    let ended = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(ended.output.as_deref(), Some("nul \u{fffd} inside"));
    assert_eq!((ended.cost, ended.turns), (9_999.999_999, i32::MAX as u32));
    assert_eq!((ended.input_tokens, ended.output_tokens), (i32::MAX as u64, 1));
    assert_eq!(ended.duration_ms, Some(i32::MAX as u64));
}

pub(crate) async fn what_is_open_is_no_end(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let before = dispatched(&*store, "exec_1", "dev_1").await;
    for status in [ExecutionStatus::Pending, ExecutionStatus::Running] {
        let mut end = completed("x");
        end.status = status;
        let error = store
            .finish_execution(&who, "exec_1", end, NOW)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("an execution cannot end as '{}'", status.as_str())
        );
    }
    assert_eq!(store.execution(&ADMIN, "exec_1").await.unwrap(), before);
}

pub(crate) async fn running_is_said_once_and_by_its_device(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let (other, _) = registered(&*store, "ann", "key_2", "dev_2").await;
    dispatched(&*store, "exec_1", "dev_1").await;
    for stranger in [
        &other,
        &device_of("ann", "key_1"),
        &operator("bob"),
        &operator("gil"),
    ] {
        assert!(
            !store.execution_running(stranger, "exec_1", NOW).await.unwrap(),
            "{stranger:?}"
        );
    }
    assert_eq!(
        store.execution(&ADMIN, "exec_1").await.unwrap().status,
        ExecutionStatus::Pending
    );
    assert!(store.execution_running(&who, "exec_1", later(1)).await.unwrap());
    assert!(store.execution_running(&who, "exec_1", later(2)).await.unwrap());
    assert_eq!(
        store.execution(&ADMIN, "exec_1").await.unwrap().started_at,
        Some(later(1))
    );
    assert!(!store.execution_running(&who, "exec_2", NOW).await.unwrap());
}

pub(crate) async fn a_device_ends_its_own_executions_alone(store: Shared) {
    let (ann, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let (sibling, _) = registered(&*store, "ann", "key_2", "dev_2").await;
    let (stranger, _) = registered(&*store, "gil", "key_3", "dev_3").await;
    let before = dispatched(&*store, "exec_1", "dev_1").await;
    // A principal of another user that claims the device's id.
    let liar = device_of("gil", "key_3").registered_as("dev_1");
    for who in [&sibling, &stranger, &liar, &device_of("ann", "key_1")] {
        let end = store
            .finish_execution(who, "exec_1", completed("forged"), NOW)
            .await
            .unwrap();
        assert_eq!(end, Finish::NotYours, "{who:?}");
        let seen = store.execution(who, "exec_1").await.unwrap_err();
        assert_eq!(seen, StoreError::NotFound(Kind::Execution));
        assert_eq!(
            store.executions(who, ExecutionFilter::default()).await.unwrap(),
            []
        );
    }
    assert_eq!(store.execution(&ann, "exec_1").await.unwrap(), before);
    let missing = store
        .finish_execution(&ann, "exec_2", completed("x"), NOW)
        .await
        .unwrap();
    assert_eq!(missing, Finish::NotYours);
    let end = store
        .finish_execution(&ann, "exec_1", completed("true"), NOW)
        .await
        .unwrap();
    assert_eq!(end, Finish::Recorded);
    // Nobody else learns that it has ended.
    let end = store
        .finish_execution(&sibling, "exec_1", completed("forged"), NOW)
        .await
        .unwrap();
    assert_eq!(end, Finish::NotYours);
}

pub(crate) async fn an_operator_reaches_the_executions_of_its_user_alone(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    dispatched(&*store, "exec_1", "dev_1").await;
    let stray = Principal::Operator {
        tenant_id: "globex".to_owned(),
        user_id: "ann".to_owned(),
        key_id: "key_9".to_owned(),
    };
    for who in [operator("bob"), operator("gil"), stray] {
        let cancel = ExecutionEnd::without_result(ExecutionStatus::Cancelled, Cause::Cancelled, "cancelled");
        let end = store.finish_execution(&who, "exec_1", cancel, NOW).await.unwrap();
        assert_eq!(end, Finish::NotYours, "{who:?}");
        assert!(store.execution(&who, "exec_1").await.is_err());
        assert_eq!(
            store.executions(&who, ExecutionFilter::default()).await.unwrap(),
            []
        );
    }
    let cancel = ExecutionEnd::without_result(ExecutionStatus::Cancelled, Cause::Cancelled, "cancelled");
    let end = store
        .finish_execution(&operator("ann"), "exec_1", cancel, NOW)
        .await
        .unwrap();
    assert_eq!(end, Finish::Recorded);
}

pub(crate) async fn an_execution_needs_a_device_within_reach(store: Shared) {
    let (device, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    for (who, id) in [
        (&ADMIN, "dev_2"),
        (&operator("bob"), "dev_1"),
        (&operator("gil"), "dev_1"),
        (&device, "dev_1"),
    ] {
        let error = store
            .add_execution(who, execution("exec_1", id))
            .await
            .unwrap_err();
        assert_eq!(error, StoreError::NotFound(Kind::Device), "{who:?} {id}");
    }
    assert_eq!(
        store
            .executions(&ADMIN, ExecutionFilter::default())
            .await
            .unwrap(),
        []
    );
}

pub(crate) async fn a_repeated_id_is_a_conflict(store: Shared) {
    registered(&*store, "ann", "key_1", "dev_1").await;
    registered(&*store, "gil", "key_2", "dev_2").await;
    let first = dispatched(&*store, "exec_1", "dev_1").await;
    let error = store
        .add_execution(&ADMIN, execution("exec_1", "dev_2"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "an execution with this id exists already");
    assert_eq!(store.execution(&ADMIN, "exec_1").await.unwrap(), first);
}

pub(crate) async fn a_listing_is_newest_first_filtered_and_bounded(store: Shared) {
    let (one, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    registered(&*store, "ann", "key_2", "dev_2").await;
    for number in 0..103 {
        let mut new = execution(
            &format!("exec_{number:03}"),
            if number == 50 { "dev_2" } else { "dev_1" },
        );
        new.created_at = later(number);
        store.add_execution(&ADMIN, new).await.unwrap();
    }
    store
        .finish_execution(&one, "exec_102", completed("x"), NOW)
        .await
        .unwrap();
    let listed = async |who: &Principal, device: Option<&str>, open_only: bool, limit: u32| {
        let filter = ExecutionFilter {
            device_id: device.map(str::to_owned),
            open_only,
            limit,
        };
        let found = store.executions(who, filter).await.unwrap();
        found
            .into_iter()
            .map(|execution| execution.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(&ADMIN, None, false, 2).await, ["exec_102", "exec_101"]);
    assert_eq!(listed(&ADMIN, None, true, 2).await, ["exec_101", "exec_100"]);
    assert_eq!(
        listed(&operator("ann"), Some("dev_2"), true, 9).await,
        ["exec_050"]
    );
    assert_eq!(listed(&operator("gil"), Some("dev_2"), true, 9).await, [""; 0]);
    assert_eq!(listed(&ADMIN, None, false, 0).await.len(), 100);
    assert_eq!(listed(&ADMIN, None, false, u32::MAX).await.len(), 103);
    assert_eq!(listed(&one, Some("dev_2"), false, 0).await, [""; 0]);
}

pub(crate) async fn a_cancel_is_on_record_until_the_end(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let added = dispatched(&*store, "exec_1", "dev_1").await;
    assert!(!added.cancel_requested);
    for (principal, open) in [
        (operator("bob"), false),
        (operator("gil"), false),
        (operator("ann"), true),
    ] {
        let asked = store
            .request_cancel(&principal, "exec_1", later(1))
            .await
            .unwrap();
        assert_eq!(asked, open, "{principal}");
        let row = store.execution(&ADMIN, "exec_1").await.unwrap();
        assert_eq!(row.cancel_requested, open, "{principal}");
        assert_eq!(
            (row.status, row.executor.as_deref()),
            (ExecutionStatus::Pending, Some("shell"))
        );
    }
    store.execution_running(&who, "exec_1", later(2)).await.unwrap();
    assert!(store.request_cancel(&ADMIN, "exec_1", later(3)).await.unwrap());
    let open = ExecutionFilter {
        open_only: true,
        ..ExecutionFilter::default()
    };
    assert!(
        store.executions(&ADMIN, open).await.unwrap()[0].cancel_requested,
        "a listing tells it too"
    );
    assert_eq!(
        acts(&*store, 2).await,
        [
            "user ann with key key_op_ann: execution.cancel exec_1",
            "uid 0: execution.dispatch exec_1"
        ],
        "the first request alone is an act"
    );
    store
        .finish_execution(&who, "exec_1", completed("just in time"), later(4))
        .await
        .unwrap();
    assert!(!store.request_cancel(&ADMIN, "exec_1", later(5)).await.unwrap());
    assert!(!store.request_cancel(&ADMIN, "exec_none", later(5)).await.unwrap());
    assert_eq!(acts(&*store, 10).await.len(), 3);
}

pub(crate) async fn a_pending_task_is_kept_whole_and_without_its_credentials(store: Shared) {
    let (who, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let terms = TaskTerms {
        timeout_ms: Some(60_000),
        working_directory: Some("/srv/Grüße".to_owned()),
        max_turns: Some(7),
        max_budget: Some(1.25),
        had_credentials: false,
    };
    let task = |id: &str, terms: &TaskTerms| NewExecution {
        executor: "claude".to_owned(),
        input: "x".repeat(5000),
        terms: terms.clone(),
        ..execution(id, "dev_1")
    };
    store.add_execution(&ADMIN, task("exec_1", &terms)).await.unwrap();
    let kept = |terms: TaskTerms| PendingTask {
        executor: "claude".to_owned(),
        input: "x".repeat(5000),
        terms: Some(terms),
    };
    assert_eq!(store.pending_task("exec_1").await.unwrap(), Some(kept(terms)));
    let secret = TaskTerms {
        had_credentials: true,
        ..TaskTerms::default()
    };
    store
        .add_execution(&ADMIN, task("exec_2", &secret))
        .await
        .unwrap();
    assert_eq!(store.pending_task("exec_2").await.unwrap(), Some(kept(secret)));

    store.execution_running(&who, "exec_1", later(1)).await.unwrap();
    assert_eq!(store.pending_task("exec_1").await.unwrap(), None);
    store
        .finish_execution(&who, "exec_2", completed("done"), later(2))
        .await
        .unwrap();
    assert_eq!(store.pending_task("exec_2").await.unwrap(), None);
    assert_eq!(store.pending_task("exec_none").await.unwrap(), None);
}

pub(crate) async fn a_listing_is_short_whatever_was_recorded(store: Shared) {
    let (one, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    let mut new = execution("exec_1", "dev_1");
    new.input = "ü".repeat(100_000);
    store.add_execution(&ADMIN, new).await.unwrap();
    let mut end = completed(&"y".repeat(1_000_000));
    end.error = Some("é".repeat(100_000));
    store.finish_execution(&one, "exec_1", end, NOW).await.unwrap();

    let listed = store
        .executions(&ADMIN, ExecutionFilter::default())
        .await
        .unwrap()
        .remove(0);
    assert_eq!(listed.input, "ü".repeat(1024));
    assert_eq!(listed.error, Some("é".repeat(1024)));
    assert_eq!(listed.output, None);
    assert_eq!(listed.status, ExecutionStatus::Completed);
    let whole = store.execution(&ADMIN, "exec_1").await.unwrap();
    assert_eq!(whole.input.chars().count(), 100_000);
    assert_eq!(whole.output.map(|output| output.len()), Some(1_000_000));
}

pub(crate) async fn devices_with_open_executions_are_found_however_many_there_are(store: Shared) {
    let (one, _) = registered(&*store, "ann", "key_1", "dev_1").await;
    registered(&*store, "gil", "key_2", "dev_2").await;
    registered(&*store, "ann", "key_3", "dev_3").await;
    for number in 0..600 {
        dispatched(&*store, &format!("exec_{number}"), "dev_2").await;
    }
    dispatched(&*store, "exec_old", "dev_3").await;
    dispatched(&*store, "exec_done", "dev_1").await;
    store
        .finish_execution(&one, "exec_done", completed("x"), NOW)
        .await
        .unwrap();
    assert_eq!(
        store.devices_with_open_executions().await.unwrap(),
        ["dev_2", "dev_3"]
    );
}
