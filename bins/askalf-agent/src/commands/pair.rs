//! `connect` and `pair`: a key that was given, or that a code was exchanged for, is proved against the bridge and kept.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use askalf_agent_core::control::{self, ControlError};
use askalf_agent_core::{
    DeviceIdStore, DeviceProbe, Endpoint, Redemption, Route, Timings, TlsPin, Verification, Verified,
    VerifyErrorKind, redeem, verify,
};
use askalf_bridge_auth::{PairCode, PairCodeError, Token, TokenShape};
use askalf_cli::{ExitCode, Failure, print, read_secret, read_token};
use askalf_cred::{
    AgentConfig, Home, KeyFault, LoadOutcome, Saved, SealMode, Unreadable, read_fields, save_with,
};

use super::ANSWER_PATIENCE;
use crate::cli::{Connect, Network, Pair, Proof, Seal};
use crate::daemon::DEFAULT_CONCURRENT;
use crate::device_id_file::DeviceIdFile;
use crate::environment;
use crate::facts::{Probe, device_name};
use crate::pair_nonce_file::PairNonceFile;
use crate::route::{ROUTE_FIELDS, route};
use crate::service::start_command;
use crate::vault::{Vault, exit_code};

pub(crate) async fn connect(vault: Vault, arguments: Connect) -> anyhow::Result<ExitCode> {
    let token = match arguments.key.as_deref() {
        Some("-") => read_token()?,
        Some(key) => {
            tracing::warn!(
                "a key on the command line can be read by others and stays in the shell's history; use '-'"
            );
            Token::parse(key).map_err(|error| Failure::new(ExitCode::Usage, &error).hint(error.hint()))?
        }
        None => environment::api_key()?.ok_or_else(|| {
            Failure::new(ExitCode::Usage, "no key was given")
                .hint("askalf-agent connect - --url URL, with the key on standard input")
        })?,
    };
    let mut present = Present::of(vault)?;
    if arguments.concurrent.is_some() {
        present.config.max_concurrent = arguments.concurrent;
    }
    if let Some(minutes) = arguments.timeout {
        present.config.execution_timeout_ms = Some(minutes * 60_000);
    }
    if arguments.plaintext {
        present.mode = SealMode::Plaintext;
    }
    match arguments.seal {
        None => {}
        Some(Seal::Keyfile) => present.mode = SealMode::Keyfile,
        Some(Seal::ServiceCredential) => present.mode = SealMode::ServiceCredential,
        Some(Seal::Passphrase) => {
            present.mode = SealMode::Passphrase;
            present.vault = present.vault.with_new_passphrase()?;
        }
    }
    present.set_network(arguments.url.as_deref(), arguments.network)?;
    present
        .replace(token, arguments.url, arguments.name, arguments.proof)
        .await
}

pub(crate) async fn pair(vault: Vault, arguments: Pair) -> anyhow::Result<ExitCode> {
    let mut present = Present::of(vault)?;
    let url = present.url(arguments.url.as_ref())?;
    let same_bridge = present.is_set_up_for(&url);
    present.set_network(arguments.url.as_deref(), arguments.network)?;
    present.config.url = Some(url.clone());
    let given = match arguments.code.as_str() {
        "-" => Given::read(
            &read_secret("Pairing code or key (not shown): ")?,
            &arguments.proof,
        )?,
        text => {
            let given = Given::read(text, &arguments.proof)?;
            if matches!(given, Given::Key(_)) {
                tracing::warn!(
                    "a key on the command line can be read by others and stays in the shell's history; use '-'"
                );
            }
            given
        }
    };
    let (token, nonce) = match given {
        Given::Key(token) => (token, None),
        Given::Code(code) => {
            let nonce = PairNonceFile::new(present.vault.home());
            let token = present
                .exchange(code, url, arguments.name.as_deref(), same_bridge, &nonce)
                .await?;
            (token, Some(nonce))
        }
    };
    let outcome = present
        .replace(token, arguments.url, arguments.name, arguments.proof)
        .await?;
    if let Some(nonce) = nonce {
        nonce.forget();
    }
    Ok(outcome)
}

/// What a person gave to pair with.
enum Given {
    Key(Token),
    Code(PairCode),
}

impl Given {
    /// Tells a key of known shape from a code. It may be anything: what is neither is not sent anywhere.
    fn read(text: &str, proof: &Proof) -> Result<Self, Failure> {
        let text = text.trim();
        let token = Token::parse(text);
        if proof.opaque_key {
            return token
                .map(Self::Key)
                .map_err(|error| Failure::new(ExitCode::Usage, &error).hint(error.hint()));
        }
        if let Ok(token) = token
            && token.shape() != TokenShape::Other
        {
            return Ok(Self::Key(token));
        }
        PairCode::parse(text).map(Self::Code).map_err(|error| match error {
            _ if text.is_empty() => Failure::new(ExitCode::Usage, "no pairing code and no key was given: it is empty")
                .hint("give a code of 'askalf-bridge pair-code new', or the key that the operator gave you"),
            PairCodeError::Checksum | PairCodeError::Length { symbols: 11 | 13 } => {
                Failure::new(ExitCode::Usage, &error).hint(error.hint())
            }
            PairCodeError::Length { .. } | PairCodeError::Character => Failure::new(
                ExitCode::Usage,
                "what was given has no known shape of a key (sk_live_, sk_test_, fk_) and is no pairing code: it is \
                 not sent",
            )
            .hint("copy it again from where it was made; if it is a key of another form, add --opaque-key"),
        })
    }
}

/// What the folder holds now: all but the key stays.
struct Present {
    vault: Vault,
    config: AgentConfig,
    mode: SealMode,
    /// See [`facts`]: as they were before the command.
    before: (Option<String>, Option<u32>, Option<u64>),
}

impl Present {
    fn of(vault: Vault) -> Result<Self, Failure> {
        let vault = vault.unlock()?;
        let (config, mode) = match vault.load_any_generation() {
            LoadOutcome::Ready(credential) => (credential.config, credential.seal.mode),
            LoadOutcome::Plaintext { credential, chosen } => (
                credential.config,
                if chosen {
                    SealMode::Plaintext
                } else {
                    SealMode::Keyfile
                },
            ),
            // Its key is within reach: it is not one to move aside.
            LoadOutcome::Refused(
                unreadable @ Unreadable::Key(KeyFault::NoPassphrase | KeyFault::NoServiceCredential),
            ) => {
                return Err(Failure::new(ExitCode::Configuration, &unreadable).hint(
                    "give it too (--passphrase-file FILE); if it is lost, move agent.json away first",
                ));
            }
            LoadOutcome::Absent | LoadOutcome::Refused(_) => {
                (read_fields(vault.home()).unwrap_or_default(), SealMode::Keyfile)
            }
        };
        // Nothing is ever sealed under facts of the machine again.
        let mode = if mode == SealMode::MachineKey {
            SealMode::Keyfile
        } else {
            mode
        };
        let before = facts(&config);
        Ok(Self {
            vault,
            config,
            mode,
            before,
        })
    }

    /// The bridge: the one that is named, else the one that is set up.
    fn url(&self, named: Option<&String>) -> Result<String, Failure> {
        named.or(self.config.url.as_ref()).cloned().ok_or_else(|| {
            Failure::new(ExitCode::Usage, "no bridge was named, and none is set up here")
                .hint("name it: askalf-agent pair CODE --url https://HOST")
        })
    }

    /// Whether the folder is set up for the bridge at this URL.
    fn is_set_up_for(&self, url: &str) -> bool {
        let place = |url: &str| {
            let endpoint = Endpoint::parse(url, true).ok()?;
            Some((endpoint.host().to_ascii_lowercase(), endpoint.port()))
        };
        self.config
            .url
            .as_deref()
            .is_some_and(|present| place(present).is_some() && place(present) == place(url))
    }

    /// Takes how to reach the bridge. What led to another bridge does not lead to this one.
    fn set_network(&mut self, url: Option<&str>, network: Network) -> Result<(), Failure> {
        let Network {
            ca_file,
            tls_pin,
            cf_access_id,
            cf_access_secret_file,
        } = network;
        let other_bridge = url.is_some_and(|url| !self.is_set_up_for(url));
        let config = &mut self.config;
        if other_bridge {
            config.ca_file = None;
            config.tls_pins.clear();
            config.cf_access_id = None;
            config.cf_access_secret_file = None;
            for field in ROUTE_FIELDS {
                config.extra.remove(field);
            }
        }
        if let Some(file) = ca_file {
            config.ca_file = Some(absolute(&file)?);
        }
        if !tls_pin.is_empty() {
            config.tls_pins = tls_pin.iter().map(TlsPin::to_string).collect();
        }
        if cf_access_id.is_some() {
            config.cf_access_id = cf_access_id;
        }
        if let Some(file) = cf_access_secret_file {
            config.cf_access_secret_file = Some(absolute(&file)?);
        }
        Ok(())
    }

    /// Exchanges a code for a key. The device goes by the name that came with the code, where it has none yet.
    async fn exchange(
        &mut self,
        code: PairCode,
        url: String,
        name: Option<&str>,
        same_bridge: bool,
        nonce: &PairNonceFile,
    ) -> Result<Token, Failure> {
        self.vault.create()?;
        let name = name
            .map(str::to_owned)
            .or_else(|| self.config.device_name.clone());
        let is_named = name.is_some();
        let known_as = DeviceIdFile::new(self.vault.home()).load().ok().flatten();
        let redemption = Redemption {
            url,
            route: Arc::new(self.route()?),
            code,
            nonce: nonce.take()?,
            device_name: device_name(name).unwrap_or_default(),
            device_id: known_as.filter(|_| same_bridge),
            timings: Timings::default(),
        };
        let redeemed = redeem(&redemption).await.map_err(|error| {
            let code = if error.is_open() {
                ExitCode::Unavailable
            } else {
                ExitCode::Configuration
            };
            Failure::new(code, &error).hint(error.hint())
        })?;
        if !is_named {
            self.config.device_name = redeemed.name;
        }
        Ok(redeemed.key)
    }

    fn route(&self) -> Result<Route, Failure> {
        Ok(route(&self.config, &environment::proxies()?)?)
    }

    async fn replace(
        self,
        token: Token,
        url: Option<String>,
        name: Option<String>,
        proof: Proof,
    ) -> anyhow::Result<ExitCode> {
        let url = self.url(url.as_ref())?;
        let Self {
            vault,
            mut config,
            mode,
            before,
        } = self;
        config.url = Some(url.clone());
        config.insecure |= proof.insecure;
        if name.is_some() {
            config.device_name = name;
        }
        let restart = facts(&config) != before;
        vault.create()?;

        let route = route(&config, &environment::proxies()?).map_err(Failure::from)?;
        let verified = if proof.no_verify {
            Endpoint::parse(&url, config.insecure)
                .map_err(|error| Failure::new(ExitCode::Configuration, &error).hint(error.hint()))?;
            None
        } else {
            Some(prove(&url, Arc::new(route), &token, &config).await?)
        };

        let options = vault.save_options().opaque_key(proof.opaque_key);
        let saved = save_with(vault.home(), &token, &config, mode, SystemTime::now(), &options)
            .map_err(|error| Failure::new(exit_code(error.exit_code()), &error).hint(error.hint()))?;
        tell_saved(&saved)?;
        match verified {
            Some(Verified { device_id, .. }) => {
                if let Err(error) = DeviceIdFile::new(vault.home()).save(&device_id) {
                    tracing::warn!("{error}. {}", error.hint());
                }
                print(&format!(
                    "Paired: the bridge at {url} knows this device as {device_id}.\n"
                ))?;
            }
            None => print("The key is kept; it was not proved against a bridge.\n")?,
        }
        nudge_daemon(vault.home(), restart).await
    }
}

/// A path that means the same wherever the agent is started.
fn absolute(file: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(file)
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok());
    path.ok_or_else(|| {
        Failure::new(
            ExitCode::Usage,
            format!("the path {} cannot be kept: it is not UTF-8", file.display()),
        )
        .hint("move the file to a path of plain characters")
    })
}

/// What a running agent takes from its config at its start alone.
fn facts(config: &AgentConfig) -> (Option<String>, Option<u32>, Option<u64>) {
    (
        config.device_name.clone(),
        config.max_concurrent,
        config.execution_timeout_ms,
    )
}

/// What a person should know of a save beside its success.
pub(super) fn tell_saved(saved: &Saved) -> anyhow::Result<()> {
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
    Ok(())
}

/// Lets a running agent take the new key at once.
async fn nudge_daemon(home: &Home, restart: bool) -> anyhow::Result<ExitCode> {
    match control::reload(&home.socket_path(), ANSWER_PATIENCE).await {
        Ok(()) if restart => print(
            "The running agent takes the new key now; name, concurrency and time-out count from its next start.\n",
        )?,
        Ok(()) => print("The running agent takes the new key now.\n")?,
        Err(ControlError::NotRunning) => {
            print(&format!("Start the agent with: {}\n", start_command(home.path())))?
        }
        // It looks by itself too.
        Err(error) => tracing::warn!("the running agent was not told at once: {error}"),
    }
    Ok(ExitCode::Done)
}

/// Registers with the key once. Whatever the answer, nothing here has changed yet.
async fn prove(
    url: &str,
    route: Arc<Route>,
    token: &Token,
    config: &AgentConfig,
) -> Result<Verified, Failure> {
    let verification = Verification {
        url: url.to_owned(),
        insecure: config.insecure,
        route,
        token: token.clone(),
        facts: Probe::new(config.device_name.clone()).facts(),
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
