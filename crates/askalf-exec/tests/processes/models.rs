//! Prompts to stand-ins of the Claude and Codex programs, from the prompt to the result.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use askalf_agent_core::{CancelHandle, Executor, OutputChunk, Task, TaskEnd, TaskOutput};
use askalf_exec::{ClaudeExecutor, CliOptions, CodexExecutor};
use askalf_proto::{Cause, Credentials, Executor as ExecutorKind, OutputStream};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::shell::{run_by, seen, task};
use crate::support::*;

const LOGIN: &str =
    r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-Kv7","refreshToken":"r","expiresAt":1}}"#;

/// Writes down what it was given, and then does what follows.
const RECORD: &str = r#"#!/bin/sh
here=${0%/*}
printf '%s\n' "$@" > "$here/arguments"
cat > "$here/prompt"
env > "$here/environment"
"#;

/// A folder with stand-ins, a home and a place for credentials.
struct Device {
    folder: TempDir,
}

impl Device {
    fn new() -> Self {
        let device = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["bin", "home"] {
            fs::create_dir(device.path(name)).unwrap();
        }
        device
    }

    /// A device with a program of this name.
    fn with(name: &str, script: &str) -> Self {
        let device = Self::new();
        let file = device.path("bin").join(name);
        fs::write(&file, format!("{RECORD}{script}")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
        device
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self) -> CliOptions {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.path("bin").display());
        CliOptions {
            environment: vec![
                ("PATH".into(), path.into()),
                ("HOME".into(), self.path("home").into()),
            ],
            grace: Duration::from_millis(100),
            ..CliOptions::new(self.path("home"), self.path("state/run"))
        }
    }

    fn claude(&self) -> ClaudeExecutor {
        ClaudeExecutor::new(Arc::new(runner()), self.options())
    }

    fn codex(&self) -> CodexExecutor {
        CodexExecutor::new(Arc::new(runner()), self.options())
    }

    /// What the stand-in wrote down.
    fn recorded(&self, name: &str) -> String {
        fs::read_to_string(self.path("bin").join(name)).unwrap()
    }

    fn ran(&self) -> bool {
        self.path("bin").join("arguments").exists()
    }

    /// The folders with credentials that are there now.
    fn credential_folders(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("state/run")) else {
            return Vec::new();
        };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

async fn run(executor: &dyn Executor, task: Task) -> (TaskEnd, Vec<OutputChunk>) {
    let (_handle, cancel) = CancelHandle::new();
    run_by(executor, task, cancel).await
}

fn with_login(input: &str) -> Task {
    Task {
        credentials: Some(Credentials::new(LOGIN)),
        ..task(input)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The command lines and environments of all processes that may be read.
fn what_processes_show() -> String {
    let mut shown = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for name in ["cmdline", "environ"] {
            // Most are somebody else's, or gone by now.
            if let Ok(bytes) = fs::read(entry.path().join(name)) {
                shown += &String::from_utf8_lossy(&bytes);
            }
        }
    }
    shown
}

#[tokio::test]
async fn a_prompt_goes_in_and_text_and_figures_come_out() {
    let device = Device::with(
        "claude",
        r#"
cat <<'EOF'
{"type":"system","subtype":"init","session_id":"s","model":"m"}
{"type":"assistant","message":{"id":"m1","content":[{"type":"text","text":"Zwei Dateien: é"}],"usage":{"input_tokens":1,"output_tokens":1}}}
not json
{"type":"assistant","mess
{"type":"result","subtype":"success","is_error":false,"num_turns":4,"result":"Zwei Dateien: é","total_cost_usd":0.5,"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":7}}
EOF
echo a warning >&2
"#,
    );
    let prompt = "--help; $(touch ran) 'quoted' \"too\"\nsecond line";
    let limited = Task {
        max_turns: Some(4),
        max_budget: Some(1.5),
        ..task(prompt)
    };
    let claude = device.claude();
    assert!(claude.is_installed() && claude.kind() == ExecutorKind::Claude);
    let (end, chunks) = run(&claude, limited).await;
    assert!(end.succeeded(), "{end:?}");
    assert_eq!(
        (end.cost, end.turns, end.input_tokens, end.output_tokens),
        (0.5, 4, 15, 7)
    );
    let said = "Zwei Dateien: é\nnot json\n";
    assert_eq!(seen(&chunks, OutputStream::Stdout), said);
    assert_eq!(seen(&chunks, OutputStream::Stderr), "a warning\n");
    assert!(
        end.output.contains(said) && end.output.contains("a warning\n"),
        "{}",
        end.output
    );
    assert_eq!(device.recorded("prompt"), prompt);
    assert_eq!(
        device.recorded("arguments"),
        "-p\n--output-format\nstream-json\n--verbose\n--max-turns\n4\n--max-budget-usd\n1.5\n"
    );
    assert!(!device.recorded("environment").contains("CLAUDE_CONFIG_DIR"));
    assert!(device.credential_folders().is_empty());
}

#[tokio::test]
async fn codex_is_told_to_read_its_prompt_too() {
    let device = Device::with(
        "codex",
        r#"
cat "$CODEX_HOME/auth.json" > "$here/login"
echo '{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"done"}}'
echo '{"type":"turn.completed","usage":{"input_tokens":12,"cached_input_tokens":2,"output_tokens":3}}'
"#,
    );
    let codex = device.codex();
    assert!(!device.claude().is_installed() && codex.is_installed());
    let keyed = Task {
        credentials: Some(Credentials::new("sk-proj-9\n")),
        ..task("do it")
    };
    let (end, _) = run(&codex, keyed).await;
    assert!(end.succeeded(), "{end:?}");
    assert_eq!(
        (
            end.output.as_str(),
            end.turns,
            end.input_tokens,
            end.output_tokens
        ),
        ("done\n", 1, 12, 3)
    );
    assert_eq!(
        (device.recorded("arguments"), device.recorded("prompt")),
        (
            "exec\n--json\n--skip-git-repo-check\n-\n".to_owned(),
            "do it".to_owned()
        )
    );
    assert_eq!(device.recorded("login"), r#"{"OPENAI_API_KEY":"sk-proj-9"}"#);
    assert!(device.credential_folders().is_empty());
}

#[tokio::test]
async fn a_secret_is_in_its_folder_alone_and_gone_with_the_task() {
    let device = Device::with(
        "claude",
        r#"
ls "$CLAUDE_CONFIG_DIR" -A > "$here/config"
echo '{"type":"assistant","message":{"content":[{"type":"text","text":"ready"}]}}'
read go < "$here/go"
echo '{"type":"result","subtype":"success","result":"ready"}'
"#,
    );
    let go = device.path("bin").join("go");
    let made = std::process::Command::new("mkfifo").arg(&go).status().unwrap();
    assert!(made.success());
    fs::create_dir(device.path("home/.claude")).unwrap();
    fs::write(device.path("home/.claude/settings.json"), "{}").unwrap();
    let prompt = "prompt-4711-that-nobody-else-sees";
    let (sender, mut receiver) = mpsc::channel(4);
    let claude = device.claude();
    let (_handle, cancel) = CancelHandle::new();
    let running = tokio::spawn(async move {
        claude
            .run(with_login(prompt), TaskOutput::new("exec_1", sender), cancel)
            .await
    });
    let first = timeout(LONG, receiver.recv()).await.unwrap().unwrap();
    assert_eq!(first.text, "ready\n");

    let folders = device.credential_folders();
    let [folder] = folders.as_slice() else {
        panic!("{folders:?}")
    };
    let secret = folder.join(".credentials.json");
    assert_eq!(fs::read_to_string(&secret).unwrap(), LOGIN);
    assert_eq!(
        [mode(&device.path("state/run")), mode(folder), mode(&secret)],
        [0o700, 0o700, 0o600]
    );
    let shown = what_processes_show();
    assert!(shown.contains(&format!("CLAUDE_CONFIG_DIR={}", folder.display())));
    assert!(!shown.contains(prompt) && !shown.contains("Kv7"));

    tokio::task::spawn_blocking(move || fs::write(go, "on\n"))
        .await
        .unwrap()
        .unwrap();
    let end = timeout(LONG, running).await.unwrap().unwrap();
    assert!(end.succeeded(), "{end:?}");
    assert!(
        device.credential_folders().is_empty(),
        "gone before the end is told"
    );
    assert_eq!(device.recorded("config"), ".credentials.json\nsettings.json\n");
}

#[tokio::test]
async fn a_secret_is_gone_however_the_task_ends() {
    for (script, cause) in [
        ("chmod 0 \"$CLAUDE_CONFIG_DIR\"; exit 3", Cause::Exit),
        ("kill -9 $$", Cause::Signal),
        ("sleep 1000", Cause::Timeout),
        ("kill -9 $PPID; sleep 1000", Cause::Interrupted),
    ] {
        let device = Device::with("claude", script);
        let short = Task {
            timeout: if cause == Cause::Timeout {
                Duration::from_millis(500)
            } else {
                LONG
            },
            ..with_login("go")
        };
        let (end, _) = run(&device.claude(), short).await;
        assert_eq!(end.cause, Some(cause), "{end:?}");
        assert!(
            device.ran() && device.credential_folders().is_empty(),
            "{cause:?}"
        );
    }
    let device = Device::with("claude", "");
    let (handle, cancel) = CancelHandle::new();
    handle.cancel();
    let (end, _) = run_by(&device.claude(), with_login("go"), cancel).await;
    assert_eq!(end.cause, Some(Cause::Cancelled));
    assert!(!device.ran() && device.credential_folders().is_empty());
}

#[tokio::test]
async fn a_cancel_ends_a_running_model_with_what_it_said_so_far() {
    let device = Device::with(
        "claude",
        r#"
trap '' TERM
echo '{"type":"assistant","message":{"content":[{"type":"text","text":"I begin."}]}}'
sleep 1000 & wait; sleep 1000
"#,
    );
    let (sender, mut receiver) = mpsc::channel(4);
    let (handle, cancel) = CancelHandle::new();
    let claude = device.claude();
    let running = tokio::spawn(async move {
        claude
            .run(with_login("go"), TaskOutput::new("exec_1", sender), cancel)
            .await
    });
    assert_eq!(
        timeout(LONG, receiver.recv()).await.unwrap().unwrap().text,
        "I begin.\n"
    );
    assert_eq!(device.credential_folders().len(), 1);
    handle.cancel();
    let end = timeout(LONG, running).await.unwrap().unwrap();
    assert_eq!(
        (end.cause, end.error.as_deref(), end.output.as_str()),
        (Some(Cause::Cancelled), Some("cancelled"), "I begin.\n")
    );
    assert!(device.credential_folders().is_empty());
}

#[tokio::test]
async fn a_failure_that_the_program_tells_is_one_whatever_its_status() {
    for (status, exit_code) in [(0, None), (1, Some(1))] {
        let script = format!(
            "echo '{{\"type\":\"result\",\"subtype\":\"error_max_turns\",\"is_error\":true,\"num_turns\":2,\"total_cost_usd\":0.1}}'; exit {status}"
        );
        let device = Device::with("claude", &script);
        let (end, _) = run(&device.claude(), task("go")).await;
        assert_eq!((end.cause, end.exit_code), (Some(Cause::Exit), exit_code));
        assert_eq!(
            end.error.as_deref(),
            Some("claude used up the turns that it was given")
        );
        assert_eq!((end.turns, end.cost), (2, 0.1));
    }
}

#[tokio::test]
async fn what_cannot_run_is_refused_and_starts_nothing() {
    let (end, _) = run(&Device::new().codex(), with_login("go")).await;
    assert_eq!(
        (end.cause, end.error.as_deref()),
        (
            Some(Cause::Refused),
            Some("codex is not installed on this device")
        )
    );

    let device = Device::with("claude", "");
    let (end, _) = run(&device.claude(), task(" \n")).await;
    assert_eq!(
        (end.cause, end.error.as_deref()),
        (Some(Cause::Refused), Some("the task has no prompt"))
    );

    fs::write(device.path("state"), "").unwrap();
    let (end, _) = run(&device.claude(), with_login("go")).await;
    let place = device.path("state/run");
    assert_eq!(end.cause, Some(Cause::Refused));
    assert_eq!(
        end.error,
        Some(format!(
            "the credentials cannot be handed over in {}: Not a directory",
            place.display()
        ))
    );
    assert!(!device.ran());
}

#[tokio::test]
async fn a_line_without_end_is_left_out_and_what_follows_is_read() {
    let device = Device::with(
        "claude",
        r#"
printf '{"type":"user","x":"'; head -c 50000000 /dev/zero | tr '\0' x; echo '"}'
echo '{"type":"result","subtype":"success","result":"4","usage":{"output_tokens":1}}'
"#,
    );
    let (end, _) = run(&device.claude(), task("2+2")).await;
    assert!(end.succeeded(), "{:?}", end.error);
    assert_eq!(
        (end.output.as_str(), end.output_tokens),
        ("[a line longer than 1 MiB is left out]\n4\n", 1)
    );
}

#[tokio::test]
async fn a_tool_tells_its_version_within_bounds() {
    use askalf_exec::{find_tools, tool_version};

    let device = Device::with("git", "echo; echo git version 2.9; head -c 100000 /dev/zero");
    let path = device.path("bin");
    let found = find_tools(path.as_os_str());
    let [git] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((git.tool.name, git.path.clone()), ("git", path.join("git")));
    let environment = device.options().environment;
    let version = tool_version(&runner(), git, environment.clone(), &device.path("home")).await;
    assert_eq!(version.as_deref(), Some("git version 2.9"));
    assert_eq!(device.recorded("arguments"), "--version\n");

    let device = Device::with("git", "sleep 1000 & sleep 1000");
    let git = &find_tools(device.path("bin").as_os_str())[0];
    let version = tool_version(&runner(), git, environment, &device.path("home")).await;
    assert_eq!(version, None, "it is ended");
}
