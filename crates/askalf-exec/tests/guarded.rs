//! The gate in front of an executor, with an executor that only notes what it was given.
#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use askalf_agent_core::{
    ApprovalQueue, CancelHandle, CancelSignal, Executor, Task, TaskEnd, TaskOutput, Verdict,
};
use askalf_exec::{
    AuditFiles, AuditKey, AuditLog, AuditOptions, Guard, GuardOptions, Listed, PolicyFile, list_audit,
    verify_audit,
};
use askalf_proto::{Cause, Executor as ExecutorKind};
use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::mpsc;

#[derive(Default)]
struct Noting(Mutex<Vec<Task>>);

#[async_trait]
impl Executor for Noting {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::Shell
    }

    async fn run(&self, task: Task, _output: TaskOutput, _cancel: CancelSignal) -> TaskEnd {
        self.0.lock().unwrap().push(task);
        TaskEnd {
            cause: Some(Cause::Exit),
            exit_code: Some(3),
            output: "12345".to_owned(),
            error: Some("exited with status 3".to_owned()),
            ..TaskEnd::default()
        }
    }
}

struct Device {
    home: TempDir,
    noting: Arc<Noting>,
    guarded: Arc<dyn Executor>,
    approvals: ApprovalQueue,
}

impl Device {
    fn new(policy: Option<&str>) -> Self {
        let home = tempfile::tempdir().unwrap();
        if let Some(policy) = policy {
            std::fs::write(home.path().join("policy.json"), policy).unwrap();
        }
        let approvals = ApprovalQueue::default();
        let noting = Arc::new(Noting::default());
        let guard = Guard::new(GuardOptions {
            policy: PolicyFile::new(home.path().join("policy.json")),
            approvals: approvals.clone(),
            audit: AuditLog::new(AuditOptions::new(home.path().to_owned(), "1.2.3")),
            working_directory: home.path().to_owned(),
            unix_ms: || 1_000,
        });
        let guarded = guard.around(noting.clone());
        Self {
            home,
            noting,
            guarded,
            approvals,
        }
    }

    async fn run(&self, task: Task) -> TaskEnd {
        let (_handle, cancel) = CancelHandle::new();
        self.run_until(task, cancel).await
    }

    async fn run_until(&self, task: Task, cancel: CancelSignal) -> TaskEnd {
        let (sender, _receiver) = mpsc::channel(1);
        let output = TaskOutput::new(task.execution_id.clone(), sender);
        self.guarded.run(task, output, cancel).await
    }

    fn ran(&self) -> Vec<Task> {
        self.noting.0.lock().unwrap().clone()
    }

    fn key(&self) -> AuditKey {
        AuditKey::load(self.home.path()).unwrap()
    }

    fn audit(&self) -> Vec<Listed> {
        list_audit(&AuditFiles::in_folder(self.home.path()), Some(&self.key()), 100).unwrap()
    }

    fn events(&self) -> Vec<&'static str> {
        self.audit()
            .iter()
            .map(|line| line.record.event.as_str())
            .collect()
    }

    fn write_policy(&self, policy: &str) {
        std::fs::write(self.home.path().join("policy.json"), policy).unwrap();
    }
}

fn task(input: &str) -> Task {
    Task {
        execution_id: "e1".to_owned(),
        agent_id: Some("a1".to_owned()),
        agent_name: Some("Deployer".to_owned()),
        input: input.to_owned(),
        named_command: None,
        timeout: Duration::from_secs(3600),
        working_directory: None,
        credentials: None,
        max_turns: None,
        max_budget: None,
    }
}

const DENY_RM: &str = r#"{"version":1,"default":"allow","rules":[{"name":"no-rm","effect":"deny","command":"rm *","reason":"keep it"}]}"#;

const ASK: &str = r#"{"version":1,"default":"ask","approvalTimeoutSeconds":60}"#;

#[tokio::test]
async fn what_is_allowed_runs_and_leaves_its_trace() {
    let device = Device::new(None);
    let end = device.run(task("make test")).await;
    assert_eq!(end.exit_code, Some(3));
    assert_eq!(device.events(), ["opened", "allowed", "started", "ended"]);
    let audit = device.audit();
    let allowed = &audit[1];
    assert_eq!(allowed.record.rule.as_deref(), Some("default"));
    assert_eq!(allowed.record.agent.as_deref(), Some("Deployer"));
    assert_eq!(allowed.record.input_bytes, Some(9));
    assert_eq!(
        allowed.details.as_ref().unwrap().input.as_deref(),
        Some("make test")
    );
    let ended = &audit[3];
    assert_eq!(
        (ended.record.cause.as_deref(), ended.record.exit_code),
        (Some("exit"), Some(3))
    );
    assert_eq!(ended.record.output_bytes, Some(5));
    assert_eq!(
        ended.details.as_ref().unwrap().error.as_deref(),
        Some("exited with status 3")
    );
    let files = AuditFiles::in_folder(device.home.path());
    assert_eq!(verify_audit(&files, &device.key(), None).unwrap().0.broken, 0);
}

#[tokio::test]
async fn what_is_denied_never_reaches_the_executor_and_says_the_rule() {
    let device = Device::new(Some(DENY_RM));
    let end = device.run(task("rm -r x")).await;
    assert_eq!(end.cause, Some(Cause::Refused));
    assert_eq!(
        end.error.unwrap(),
        "refused by the device's policy: rule 'no-rm' (keep it). Its owner can change policy.json; 'askalf-agent policy check' \
         explains"
    );
    assert!(device.ran().is_empty());
    assert_eq!(device.events(), ["opened", "denied"]);
}

#[tokio::test]
async fn a_changed_file_counts_from_the_next_task_on_and_a_broken_one_refuses_all() {
    let device = Device::new(None);
    device.run(task("rm x")).await;
    device.write_policy(DENY_RM);
    assert_eq!(device.run(task("rm x")).await.cause, Some(Cause::Refused));
    device.write_policy("{\n\"version\": 1,");
    let end = device.run(task("ls")).await;
    assert_eq!(end.cause, Some(Cause::Refused));
    let error = end.error.unwrap();
    assert!(error.contains("policy.json, line 2, column"), "{error}");
    assert_eq!(device.ran().len(), 1);
    assert_eq!(
        device.audit().last().unwrap().record.rule.as_deref(),
        Some("policy-invalid")
    );
}

#[tokio::test]
async fn the_time_is_capped_and_a_named_command_takes_the_place_of_the_input() {
    let program = if cfg!(windows) { "C:/bin/x.exe" } else { "/bin/x" };
    let device = Device::new(Some(&format!(
        r#"{{"version":1,"default":"deny","maxTimeoutMinutes":2,"commands":{{"deploy":["{program}","--yes"]}}}}"#
    )));
    device.run(task("deploy")).await;
    let ran = device.ran();
    assert_eq!(ran[0].timeout, Duration::from_secs(120));
    assert_eq!(ran[0].named_command.as_deref().unwrap(), [program, "--yes"]);
    assert_eq!(device.run(task("deploy; id")).await.cause, Some(Cause::Refused));
    assert_eq!(device.audit()[2].record.timeout_ms, Some(120_000));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_out_of_an_allowed_folder_is_followed_before_it_is_judged() {
    let device = Device::new(None);
    let home = device.home.path().canonicalize().unwrap();
    std::fs::create_dir_all(home.join("work/deep")).unwrap();
    std::fs::create_dir(home.join("other")).unwrap();
    std::os::unix::fs::symlink(home.join("other"), home.join("work/out")).unwrap();
    device.write_policy(&format!(
        r#"{{"version":1,"default":"deny","rules":[{{"name":"work","effect":"allow","cwd":"{}/work"}}]}}"#,
        home.display()
    ));
    let within = |folder: &str| Task {
        working_directory: Some(PathBuf::from(folder)),
        ..task("ls")
    };
    for (folder, cause) in [
        ("work/deep", Some(Cause::Exit)),
        ("work/out", Some(Cause::Refused)),
        ("work/../other", Some(Cause::Refused)),
        ("work/missing", Some(Cause::Refused)),
    ] {
        assert_eq!(device.run(within(folder)).await.cause, cause, "{folder}");
    }
    assert_eq!(
        device.ran()[0].working_directory.as_deref(),
        Some(Path::new(&home.join("work/deep")))
    );
}

/// Waits until a task waits.
async fn waiting(device: &Device) -> askalf_agent_core::PendingApproval {
    let mut changes = device.approvals.changes();
    loop {
        if let Some(first) = device.approvals.list().pop() {
            return first;
        }
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_task_waits_for_its_approval() {
    let device = Device::new(Some(ASK));
    let decided = async {
        let shown = waiting(&device).await;
        assert_eq!(
            (shown.input.as_str(), shown.agent.as_deref()),
            ("make deploy", Some("Deployer"))
        );
        assert_eq!(shown.expires_at, 61_000);
        assert!(device.ran().is_empty(), "it does not run before");
        device
            .approvals
            .decide("e1", Verdict::Approved("user 0".to_owned()))
            .unwrap();
    };
    let (end, ()) = tokio::join!(device.run(task("make deploy")), decided);
    assert_eq!(end.cause, Some(Cause::Exit));
    assert_eq!(
        device.events(),
        ["opened", "asked", "approval-given", "started", "ended"]
    );
    assert_eq!(device.audit()[2].record.by.as_deref(), Some("user 0"));
}

#[tokio::test]
async fn a_denied_a_cancelled_and_an_unanswered_task_do_not_run() {
    let device = Device::new(Some(ASK));
    let denied = async {
        waiting(&device).await;
        device
            .approvals
            .decide("e1", Verdict::Denied("user 0".to_owned()))
            .unwrap();
    };
    let (end, ()) = tokio::join!(device.run(task("x")), denied);
    assert_eq!(
        end.error.as_deref(),
        Some("the device's owner was asked and refused it")
    );

    let (handle, cancel) = CancelHandle::new();
    let cancelled = async {
        waiting(&device).await;
        handle.cancel();
    };
    let (end, ()) = tokio::join!(device.run_until(task("x"), cancel), cancelled);
    assert_eq!(end.cause, Some(Cause::Cancelled));
    assert!(device.approvals.list().is_empty());

    device.write_policy(r#"{"version":1,"default":"ask","approvalTimeoutSeconds":1}"#);
    let end = device.run(task("x")).await;
    assert_eq!(end.cause, Some(Cause::Refused));
    assert!(end.error.unwrap().contains("did not answer within 1 s"));
    assert!(device.ran().is_empty());
    assert_eq!(
        device.events()[1..],
        [
            "asked",
            "approval-denied",
            "asked",
            "approval-cancelled",
            "asked",
            "approval-expired"
        ]
    );
}

#[tokio::test]
async fn what_could_not_be_asked_for_is_recorded_as_that() {
    let device = Device::new(Some(ASK));
    let end = device.run(task(&"x".repeat(64 * 1024))).await;
    assert!(
        end.error
            .unwrap()
            .starts_with("the task is too long to be shown whole"),
        "it names why"
    );
    assert_eq!(device.events(), ["opened", "asked", "approval-not-asked"]);
    let rule = device.audit()[2].record.rule.clone();
    assert_eq!(rule.as_deref(), Some("approval-too-long"));
}

#[tokio::test]
async fn a_named_command_is_shown_with_its_arguments_apart() {
    let policy = r#"{"version":1,"default":"allow","rules":[{"name":"deploys","effect":"ask","command":"deploy"}],
        "commands":{"deploy":["/bin/echo","a b","","c"]}}"#;
    let device = Device::new(Some(policy));
    let decided = async {
        assert!(waiting(&device).await.arguments.is_empty(), "a listing is short");
        let shown = device.approvals.find("e1").unwrap();
        assert_eq!(shown.arguments, ["/bin/echo", "a b", "", "c"]);
        device
            .approvals
            .decide("e1", Verdict::Denied("user 0".to_owned()))
            .unwrap();
    };
    tokio::join!(device.run(task("deploy")), decided);
}

/// A folder on a disk that hangs holds a thread; the task ends all the same.
#[test]
fn a_task_that_a_disk_holds_up_ends_by_its_cancel_and_by_its_time() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (gate, closed) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || closed.recv());
    let device = Device::new(None);

    let (handle, cancel) = CancelHandle::new();
    let end = runtime.block_on(async {
        let cancelled = async {
            tokio::task::yield_now().await;
            handle.cancel();
        };
        tokio::join!(device.run_until(task("x"), cancel), cancelled).0
    });
    assert_eq!(end.cause, Some(Cause::Cancelled));

    let soon = Task {
        timeout: Duration::from_millis(20),
        ..task("x")
    };
    let end = runtime.block_on(device.run(soon));
    assert_eq!(end.cause, Some(Cause::Timeout));
    assert!(end.error.unwrap().contains("one of its disks hangs"));
    assert!(device.ran().is_empty());
    drop(gate);
}

#[tokio::test]
async fn where_the_record_is_required_nothing_runs_without_it() {
    for (audit, cause) in [("required", Cause::Refused), ("on", Cause::Exit)] {
        let device = Device::new(Some(&format!(
            r#"{{"version":1,"default":"allow","audit":"{audit}"}}"#
        )));
        std::fs::create_dir(device.home.path().join("audit.log")).unwrap();
        let end = device.run(task("ls")).await;
        assert_eq!(end.cause, Some(cause), "{audit}");
        std::fs::remove_dir(device.home.path().join("audit.log")).unwrap();
        assert_eq!(device.run(task("ls")).await.cause, Some(Cause::Exit));
        assert_eq!(device.events()[..2], ["opened", "allowed"]);
    }
    let device = Device::new(Some(r#"{"version":1,"default":"allow","audit":"off"}"#));
    device.run(task("ls")).await;
    assert!(!device.home.path().join("audit.log").exists());
}
