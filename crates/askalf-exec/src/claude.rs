//! The executor of prompts for the Claude Code command line.

use std::ffi::OsString;
use std::sync::Arc;

use askalf_agent_core::{CancelSignal, Executor, Runner, Task, TaskEnd, TaskOutput};
use askalf_proto::Executor as ExecutorKind;
use async_trait::async_trait;
use serde_json::json;
use zeroize::Zeroizing;

use crate::claude_events::ClaudeEvents;
use crate::cli_executor::{Cli, CliExecutor, CliOptions};
use crate::credential_folder::is_json_object;
use crate::interpreter::Interpreter;
use crate::json_lines::JsonLines;

/// Runs a task's input as a prompt: `claude -p --output-format stream-json --verbose`, with the prompt on its standard input
/// and, where the task names them, `--max-turns` and `--max-budget-usd`. 0 names no limit.
///
/// What the model says is the task's output; cost, turns and tokens are those of its result, the tokens that came from a
/// cache included. It may do what the settings of the device's owner allow it (`~/.claude/settings.json`, `.claude` in the
/// working directory): nothing is allowed beyond them.
///
/// With `credentials` the program gets a configuration folder of its own for the time of the task
/// (`CLAUDE_CONFIG_DIR`), with them as `.credentials.json` and a copy of the owner's settings; without, it uses the login
/// that it has. Credentials are the JSON of that file, or a bare access token.
pub struct ClaudeExecutor(CliExecutor);

impl ClaudeExecutor {
    /// An executor that starts `claude`, as it is found in the `PATH` of the options' environment, under `runner`.
    pub fn new(runner: Arc<dyn Runner>, options: CliOptions) -> Self {
        Self(CliExecutor::new(runner, options))
    }
}

#[async_trait]
impl Executor for ClaudeExecutor {
    fn kind(&self) -> ExecutorKind {
        ExecutorKind::Claude
    }

    fn is_installed(&self) -> bool {
        self.0.is_installed::<Claude>()
    }

    async fn run(&self, task: Task, output: TaskOutput, cancel: CancelSignal) -> TaskEnd {
        self.0.run::<Claude>(task, output, cancel).await
    }
}

/// Reads what `claude -p --output-format stream-json --verbose` writes. Events that are not known, lines that are broken and
/// lines beyond 1 MiB are passed over.
pub fn claude_interpreter() -> Box<dyn Interpreter> {
    Box::new(JsonLines::new(ClaudeEvents::default()))
}

struct Claude;

impl Cli for Claude {
    const PROGRAM: &'static str = "claude";
    const CONFIG_VARIABLE: &'static str = "CLAUDE_CONFIG_DIR";
    const SECRET_FILE: &'static str = ".credentials.json";
    const SETTINGS: &'static str = ".claude/settings.json";

    fn arguments(task: &Task) -> Result<Vec<OsString>, String> {
        // Events are written in print mode alone, and there only with --verbose.
        let mut arguments: Vec<OsString> = ["-p", "--output-format", "stream-json", "--verbose"]
            .map(Into::into)
            .into();
        if let Some(turns) = task.max_turns.filter(|turns| *turns > 0) {
            arguments.extend(["--max-turns".into(), turns.to_string().into()]);
        }
        match task.max_budget {
            Some(budget) if !budget.is_finite() || budget < 0.0 => {
                return Err("the budget of the task is no amount".to_owned());
            }
            Some(budget) if budget > 0.0 => {
                arguments.extend(["--max-budget-usd".into(), budget.to_string().into()]);
            }
            Some(_) | None => {}
        }
        Ok(arguments)
    }

    fn login(secret: &str) -> Zeroizing<String> {
        if is_json_object(secret) {
            return secret.to_owned().into();
        }
        // How the program keeps a token of `claude setup-token`; the time is the last one that is known not to be refused.
        let login = json!({"claudeAiOauth": {
            "accessToken": secret,
            "refreshToken": null,
            "expiresAt": 4_102_444_800_000_u64,
            "scopes": ["user:inference"],
        }});
        login.to_string().into()
    }

    fn events() -> Box<dyn Interpreter> {
        claude_interpreter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli_executor::tests::task;

    fn arguments(max_turns: Option<u32>, max_budget: Option<f64>) -> Result<Vec<OsString>, String> {
        Claude::arguments(&Task {
            max_turns,
            max_budget,
            ..task("-x: a prompt")
        })
    }

    #[test]
    fn limits_are_told_and_0_is_none() {
        let plain = ["-p", "--output-format", "stream-json", "--verbose"];
        assert_eq!(arguments(None, None).unwrap(), plain);
        assert_eq!(arguments(Some(0), Some(0.0)).unwrap(), plain);
        let limited = arguments(Some(3), Some(0.25)).unwrap();
        assert_eq!(limited[..4], plain);
        assert_eq!(limited[4..], ["--max-turns", "3", "--max-budget-usd", "0.25"]);
        for budget in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(
                arguments(None, Some(budget)).unwrap_err(),
                "the budget of the task is no amount"
            );
        }
    }

    #[test]
    fn a_login_is_kept_as_it_is_and_a_token_becomes_one() {
        let login = r#"{"claudeAiOauth":{"accessToken":"a","refreshToken":"r","expiresAt":1}}"#;
        assert_eq!(*Claude::login(login), login);
        let made: serde_json::Value = serde_json::from_str(&Claude::login("sk-ant-oat01-\"x")).unwrap();
        assert_eq!(made["claudeAiOauth"]["accessToken"], "sk-ant-oat01-\"x");
    }
}
