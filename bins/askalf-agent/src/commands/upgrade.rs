//! `upgrade`: a newer program from a package on this machine, and back where it does not register.

use std::time::Duration;

use askalf_agent_core::control;
use askalf_agent_core::{AgentStatus, State};
use askalf_cli::{ExitCode, Failure, print, with_progress};
use askalf_cred::Home;
use tokio::time::{Instant, sleep};

use super::ANSWER_PATIENCE;
use crate::cli::Upgrade;
use crate::home_lock::holding_process;
use crate::upgrade::{Package, Place, ReleaseKey, Restart, Version, version_of};

/// Pause between two looks at the daemon.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn upgrade(home: &Home, arguments: Upgrade) -> anyhow::Result<ExitCode> {
    let place = Place::take()?;
    let package = Package::read(&arguments.package)?;
    let mut keys: Vec<ReleaseKey> = ReleaseKey::built_in().into_iter().collect();
    for file in &arguments.trusted_key {
        keys.push(ReleaseKey::from_file(file)?);
    }
    package.check(&keys, arguments.allow_unsigned)?;

    let staged = place.stage(|file| package.unpack(file))?;
    let (old, new) = (env!("CARGO_PKG_VERSION"), version_of(staged.path())?);
    if new == old {
        print(&format!(
            "This is askalf-agent {old} already; nothing is changed.\n"
        ))?;
        return Ok(ExitCode::Done);
    }
    if Version::parse(&new) < Version::parse(old) && !arguments.allow_downgrade {
        return Err(Failure::new(
            ExitCode::Failed,
            format!("the package holds askalf-agent {new}, which is older than this one, {old}: nothing is changed"),
        )
        .hint("add --allow-downgrade to go back")
        .into());
    }

    let before = crate::block_on(async { Ok(running(home).await) })?;
    let process = before.as_ref().and_then(|_| holding_process(home));
    let process = process.map(|process| process.to_string());
    let restart = Restart::of(arguments.restart_with, process.as_deref());
    place.swap(staged)?;
    print(&format!(
        "askalf-agent {new} is in place at {}; {old} is kept as {}.\n",
        place.program().display(),
        place.previous().display()
    ))?;
    let (Some(before), Some(restart)) = (before, restart) else {
        print(
            "No service runs here that could be restarted. Where an agent runs, stop it with 'askalf-agent disconnect' and start \
             it anew; 'askalf-agent status' says whether it registers.\n",
        )?;
        return Ok(ExitCode::Done);
    };
    let wait = Duration::from_secs(arguments.wait);
    let failed = match restart_and_wait(home, &restart, &new, &before, wait) {
        Ok(state) => {
            print(&format!("The agent runs {new} and is {state}.\n"))?;
            return Ok(ExitCode::Done);
        }
        Err(why) => why,
    };
    Err(roll_back(home, &place, &restart, old, &before, wait, &failed).into())
}

/// Puts the old program back and says how that went: the command has failed either way.
fn roll_back(
    home: &Home,
    place: &Place,
    restart: &Restart,
    old: &str,
    before: &AgentStatus,
    wait: Duration,
    failed: &str,
) -> Failure {
    if let Err(failure) = place.swap_back() {
        let text = format!("{failed}; {failure}");
        let hint = failure.hint_text().unwrap_or_default().to_owned();
        return Failure::new(ExitCode::Failed, text).hint(hint);
    }
    match restart_and_wait(home, restart, old, before, wait) {
        Ok(state) => Failure::new(
            ExitCode::Failed,
            format!("{failed}; {old} is back in its place and is {state}"),
        )
        .hint("see what the new one logged, then try again"),
        Err(why) => Failure::new(
            ExitCode::Failed,
            format!("{failed}; {old} is back in its place, and {why}"),
        )
        .hint("see 'askalf-agent status'; the bridge may be away"),
    }
}

/// Restarts the daemon and waits until the program of this version has come as far as the one before it was; else why not, in words.
fn restart_and_wait(
    home: &Home,
    restart: &Restart,
    version: &str,
    before: &AgentStatus,
    wait: Duration,
) -> Result<State, String> {
    restart.run().map_err(|failure| failure.to_string())?;
    let what = format!("Waiting until {version} has registered");
    let arrived =
        crate::block_on(async { Ok(with_progress(&what, arrival(home, version, before.state, wait)).await) });
    match arrived {
        Ok(arrived) => {
            arrived.map_err(|last| format!("{version} did not register within {} s: {last}", wait.as_secs()))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Waits for the state; else what was seen last.
async fn arrival(home: &Home, version: &str, before: State, wait: Duration) -> Result<State, String> {
    let give_up_at = Instant::now() + wait;
    loop {
        let status = running(home).await;
        let last = match &status {
            Some(status) if status.version == version => {
                // A daemon that was not online before the upgrade need not be so after it: it runs.
                if status.state == State::Online || before != State::Online {
                    return Ok(status.state);
                }
                format!("it is {} ({})", status.state, status.reason)
            }
            Some(status) => format!("{} still runs", status.version),
            None => "it does not run".to_owned(),
        };
        if Instant::now() >= give_up_at {
            return Err(last);
        }
        sleep(PAUSE).await;
    }
}

/// The daemon of this home, where one answers.
async fn running(home: &Home) -> Option<AgentStatus> {
    control::status(&home.socket_path(), ANSWER_PATIENCE).await.ok()
}
