//! `connect` and `pair`: prove a key against the bridge, then keep it.

use std::time::SystemTime;

use askalf_agent_core::control::{self, ControlError};
use askalf_agent_core::{DeviceIdStore, Endpoint, Timings, Verification, Verified, VerifyErrorKind, verify};
use askalf_bridge_auth::{Token, TokenShape};
use askalf_cli::{ExitCode, Failure, print, read_token};
use askalf_cred::{AgentConfig, Home, LoadOutcome, SaveOptions, SealMode, load, save_with};

use super::ANSWER_PATIENCE;
use crate::cli::{Connect, Pair, Proof};
use crate::daemon::DEFAULT_CONCURRENT;
use crate::device_id_file::DeviceIdFile;
use crate::environment;
use crate::facts::device_facts;

pub(crate) async fn connect(home: &Home, arguments: Connect) -> anyhow::Result<ExitCode> {
    let token = match arguments.key.as_deref() {
        Some("-") => read_token()?,
        Some(key) => {
            tracing::warn!(
                "a key on the command line can be read by others and stays in the shell's history; use '-'"
            );
            parse(key)?
        }
        None => environment::api_key()?.ok_or_else(|| {
            Failure::new(ExitCode::Usage, "no key was given")
                .hint("askalf-agent connect - --url URL, with the key on standard input")
        })?,
    };
    let mut config = present_config(home);
    if arguments.concurrent.is_some() {
        config.max_concurrent = arguments.concurrent;
    }
    if let Some(minutes) = arguments.timeout {
        config.execution_timeout_ms = Some(minutes * 60_000);
    }
    let mode = if arguments.plaintext {
        SealMode::Plaintext
    } else {
        SealMode::Keyfile
    };
    Setup {
        token,
        config,
        mode,
        url: arguments.url,
        name: arguments.name,
        proof: arguments.proof,
    }
    .carry_out(home)
    .await
}

pub(crate) async fn pair(home: &Home, arguments: Pair) -> anyhow::Result<ExitCode> {
    if arguments.code != "-" {
        return Err(Failure::new(
            ExitCode::Usage,
            "pairing codes are not supported yet, and a key does not belong on a command line",
        )
        .hint("askalf-agent pair - --url URL, with the key on standard input")
        .into());
    }
    let token = read_token()?;
    // What is on standard input may be anything: only what is known to be a key is sent.
    if token.shape() == TokenShape::Other && !arguments.proof.opaque_key {
        return Err(Failure::new(
            ExitCode::Usage,
            "what was read has no known shape of a key (sk_live_, sk_test_, fk_): it is not sent",
        )
        .hint("copy the key again from where it was made; if it really has this form, add --opaque-key")
        .into());
    }
    // A device that keeps its key unsealed by choice goes on doing so.
    let (config, mode) = match load(home) {
        LoadOutcome::Plaintext {
            credential,
            chosen: true,
        } => (credential.config, SealMode::Plaintext),
        _ => (present_config(home), SealMode::Keyfile),
    };
    Setup {
        token,
        config,
        mode,
        url: arguments.url,
        name: arguments.name,
        proof: arguments.proof,
    }
    .carry_out(home)
    .await
}

fn parse(key: &str) -> Result<Token, Failure> {
    Token::parse(key).map_err(|error| Failure::new(ExitCode::Usage, &error).hint(error.hint()))
}

/// The config beside the present key, where it can be read: its other fields are kept.
fn present_config(home: &Home) -> AgentConfig {
    match load(home) {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => credential.config,
        LoadOutcome::Absent | LoadOutcome::Refused(_) => AgentConfig::default(),
    }
}

/// A key and what goes with it, on their way into the folder.
struct Setup {
    token: Token,
    config: AgentConfig,
    mode: SealMode,
    url: Option<String>,
    name: Option<String>,
    proof: Proof,
}

impl Setup {
    async fn carry_out(self, home: &Home) -> anyhow::Result<ExitCode> {
        let Self {
            token,
            mut config,
            mode,
            url,
            name,
            proof,
        } = self;
        let url = url.or_else(|| config.url.clone()).ok_or_else(|| {
            Failure::new(ExitCode::Usage, "no bridge was named, and none is set up here")
                .hint("add --url URL")
        })?;
        config.url = Some(url.clone());
        config.insecure |= proof.insecure;
        if name.is_some() {
            config.device_name = name;
        }
        home.create()
            .map_err(|error| Failure::new(code(error.exit_code()), &error).hint(error.hint()))?;

        let verified = if proof.no_verify {
            Endpoint::parse(&url, config.insecure)
                .map_err(|error| Failure::new(ExitCode::Configuration, &error).hint(error.hint()))?;
            None
        } else {
            Some(prove(&url, &token, &config).await?)
        };

        let options = SaveOptions::default().opaque_key(proof.opaque_key);
        let saved = save_with(home, &token, &config, mode, SystemTime::now(), &options)
            .map_err(|error| Failure::new(code(error.exit_code()), &error).hint(error.hint()))?;
        for moved in &saved.moved_aside {
            print(&format!(
                "The old {} could not be read ({}); it is kept as {}.\n",
                moved.from.display(),
                moved.why,
                moved.to.display()
            ))?;
        }
        if let Some(fault) = &saved.unsynced {
            tracing::warn!(
                "the key is saved, but a power cut in the next seconds may bring the old one back: {fault}"
            );
        }
        match verified {
            Some(Verified { device_id, .. }) => {
                if let Err(error) = DeviceIdFile::new(home).save(&device_id) {
                    tracing::warn!("{error}. {}", error.hint());
                }
                print(&format!(
                    "Paired: the bridge at {url} knows this device as {device_id}.\n"
                ))?;
            }
            None => print("The key is kept; it was not proved against a bridge.\n")?,
        }
        match control::reload(&home.socket_path(), ANSWER_PATIENCE).await {
            Ok(()) => print("The running agent takes the new key now.\n")?,
            Err(ControlError::NotRunning) => print("Start the agent with: askalf-agent daemon\n")?,
            // It looks by itself too.
            Err(error) => tracing::warn!("the running agent was not told at once: {error}"),
        }
        Ok(ExitCode::Done)
    }
}

/// Registers with the key once. Whatever the answer, nothing here has changed yet.
async fn prove(url: &str, token: &Token, config: &AgentConfig) -> Result<Verified, Failure> {
    let verification = Verification {
        url: url.to_owned(),
        insecure: config.insecure,
        token: token.clone(),
        facts: device_facts(config.device_name.clone()),
        max_concurrent: config.max_concurrent.unwrap_or(DEFAULT_CONCURRENT),
        timings: Timings::default(),
    };
    verify(verification).await.map_err(|error| {
        let code = match error.kind() {
            VerifyErrorKind::Configuration | VerifyErrorKind::KeyRefused => ExitCode::Configuration,
            VerifyErrorKind::Unavailable => ExitCode::Unavailable,
        };
        Failure::new(code, format!("the key was not kept: {error}")).hint(error.hint())
    })
}

/// The exit code of an error of the credential library.
fn code(number: u8) -> ExitCode {
    [ExitCode::TryAgain, ExitCode::Permission, ExitCode::Configuration]
        .into_iter()
        .find(|code| code.number() == number)
        .unwrap_or(ExitCode::Failed)
}
