//! The executor of prompts for the OpenAI Codex command line.

use std::ffi::OsString;
use std::sync::Arc;

use askalf_agent_core::{CancelSignal, Executor, Runner, Task, TaskEnd, TaskOutput};
use askalf_proto::Executor as ExecutorKind;
use async_trait::async_trait;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli_executor::{Cli, CliExecutor, CliOptions};
use crate::codex_events::CodexEvents;
use crate::credential_folder::is_json_object;
use crate::interpreter::Interpreter;
use crate::json_lines::JsonLines;

/// Runs a task's input as a prompt: `codex exec --json --skip-git-repo-check -`, with the prompt on its standard input.
///
/// What the model says is the task's output. Turns and tokens are told, a cost is not. The program has no flag for a limit of
/// turns or of cost: `max_turns` and `max_budget` are without effect. Its sandbox is what the settings of the device's owner
/// say (`~/.codex/config.toml`), by default one that only reads.
///
/// With `credentials` the program gets a home of its own for the time of the task (`CODEX_HOME`), with them as
/// `auth.json` and a copy of the owner's settings; without, it uses the login that it has. Credentials are the JSON of that
/// file, or a bare API key.
pub struct CodexExecutor(CliExecutor);

impl CodexExecutor {
    /// An executor that starts `codex`, as it is found in the `PATH` of the options' environment, under `runner`.
    pub fn new(runner: Arc<dyn Runner>, options: CliOptions) -> Self {
        Self(CliExecutor::new(runner, options))
    }
}

#[async_trait]
impl Executor for CodexExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::Codex
    }

    fn is_installed(&self) -> bool {
        self.0.is_installed::<Codex>()
    }

    async fn run(&self, task: Task, output: TaskOutput, cancel: CancelSignal) -> TaskEnd {
        self.0.run::<Codex>(task, output, cancel).await
    }
}

/// Reads what `codex exec --json` writes, since version 0.44 of the program. Events that are not known, lines that are broken
/// and lines beyond 1 MiB are passed over.
pub fn codex_interpreter() -> Box<dyn Interpreter> {
    Box::new(JsonLines::new(CodexEvents::default()))
}

struct Codex;

impl Cli for Codex {
    const PROGRAM: &'static str = "codex";
    const CONFIG_VARIABLE: &'static str = "CODEX_HOME";
    const SECRET_FILE: &'static str = "auth.json";
    const SETTINGS: &'static str = ".codex/config.toml";

    fn arguments(_: &Task) -> Result<Vec<OsString>, String> {
        // A device's home folder is seldom a repository; '-' takes the prompt from standard input.
        Ok(["exec", "--json", "--skip-git-repo-check", "-"]
            .map(Into::into)
            .into())
    }

    fn login(secret: &str) -> Zeroizing<String> {
        if is_json_object(secret) {
            return secret.to_owned().into();
        }
        json!({ "OPENAI_API_KEY": secret }).to_string().into()
    }

    fn events() -> Box<dyn Interpreter> {
        codex_interpreter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_kept_as_it_is_and_a_key_becomes_one() {
        let login = r#"{"tokens":{"access_token":"a"}}"#;
        assert_eq!(*Codex::login(login), login);
        assert_eq!(*Codex::login("sk-proj-1"), r#"{"OPENAI_API_KEY":"sk-proj-1"}"#);
    }
}
