//! The configuration, read again while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use askalf_agent_core::{AgentSettings, Command};
use askalf_cli::{ExitCode, Failure};
use askalf_cred::{AgentConfig, Home, KeySources, LoadOptions, LoadOutcome, load_with};
use askalf_exec::Guard;
use askalf_exec::redact::Secrets;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_blocking;

use crate::daemon::DEFAULT_CONCURRENT;
use crate::executors::executors;
use crate::facts::{Probe, identity};
use crate::guard::policy_file;
use crate::task_place::TaskPlace;
use crate::{redaction, task_limits};

/// Longest run of a task that names none, where nothing is configured.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// What of a running daemon a reload needs.
#[derive(Clone)]
pub(crate) struct Reloaded {
    pub(crate) home: Home,
    pub(crate) place: TaskPlace,
    pub(crate) keys: KeySources,
    pub(crate) secrets: Secrets,
    pub(crate) guard: Arc<Guard>,
}

impl Reloaded {
    /// What a config means for the driver.
    pub(crate) fn settings(&self, config: &AgentConfig) -> Result<AgentSettings, Failure> {
        let name = config.device_name.clone();
        let limits = task_limits::configured(config)?;
        let executors = executors(&self.home, &self.place, &limits, &self.secrets)?;
        Ok(AgentSettings {
            // The driver looks at the rest before it tells a bridge anything.
            facts: identity(name.clone()),
            probe: Some(Arc::new(Probe::new(name))),
            max_concurrent: config.max_concurrent.unwrap_or(DEFAULT_CONCURRENT),
            default_timeout: config
                .execution_timeout_ms
                .map_or(DEFAULT_TIMEOUT, Duration::from_millis),
            executors: executors
                .into_iter()
                .map(|executor| self.guard.around(executor))
                .collect(),
        })
    }

    /// Reads again whenever it is told to, until the daemon ends. The driver looks at the credential itself, whatever came of the rest.
    pub(crate) async fn follow(
        self,
        told: Arc<Notify>,
        changes: watch::Sender<Option<Arc<AgentSettings>>>,
        commands: mpsc::Sender<Command>,
    ) {
        loop {
            told.notified().await;
            let parts = self.clone();
            match spawn_blocking(move || parts.read()).await {
                Ok(Ok(settings)) => {
                    changes.send_replace(Some(Arc::new(settings)));
                    tracing::info!("the configuration was read again");
                }
                Ok(Err(failure)) => tracing::error!(
                    "the configuration was not taken, and the one before stays: {failure}. {}",
                    failure.hint_text().unwrap_or_default()
                ),
                Err(_) => {
                    tracing::error!("reading the configuration again was cut off; the one before stays")
                }
            }
            if commands.send(Command::CredentialChanged).await.is_err() {
                return;
            }
        }
    }

    /// All of it, or nothing.
    fn read(&self) -> Result<AgentSettings, Failure> {
        let config = self.config()?;
        if let Some(field) = config.misread().next() {
            return Err(Failure::new(
                ExitCode::Configuration,
                format!("agent.json: the value of '{field}' has the wrong type"),
            )
            .hint("mend the file, then tell the daemon again"));
        }
        let rules = redaction::rules(&self.home)?;
        let settings = self.settings(&config)?;
        self.secrets.replace_rules(&rules);
        // Tasks look at it by themselves, each; here it is only said.
        if let Err(error) = policy_file(&self.home).current() {
            tracing::warn!("every task is refused: {error}. {}", error.hint());
        }
        Ok(settings)
    }

    fn config(&self) -> Result<AgentConfig, Failure> {
        match load_with(&self.home, &LoadOptions::default().keys(self.keys.clone())) {
            LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
                Ok(credential.config)
            }
            LoadOutcome::Absent => Ok(AgentConfig::default()),
            LoadOutcome::Refused(unreadable) => {
                Err(Failure::new(ExitCode::Configuration, &unreadable).hint(unreadable.hint()))
            }
        }
    }
}
