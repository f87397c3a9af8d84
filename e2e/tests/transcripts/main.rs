//! What both command lines print, as files: `*.console` holds what a person types after `$`, and what comes of it. `? N` is the
//! exit code where it is not 0; `##` heads a part. Ids, times, secrets, addresses and folders stand as `[NAME]`.
//!
//! `SNAPSHOTS=overwrite cargo test -p askalf-e2e --test transcripts` writes the files anew.

mod script;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, binaries, workspace_root};

use script::Script;

/// What is there before the first line is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    /// The two programs and empty homes.
    Nothing,
    /// A bridge that runs, at `$URL`.
    Bridge,
    /// A bridge, and a device named `laptop` that is online.
    Device,
}

fn transcript(name: &str, around: Around) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let programs = binaries()?;
    let mut script = Script::new(name, scratch.path(), programs)?;
    // Dropped in the order of their declaration: the device before its bridge.
    let mut device = None;
    let mut bridge = None;
    if around != Around::Nothing {
        let running = Bridge::start_in(programs, &scratch.path().join("bridge"), &[])?;
        script.set("URL", &running.url());
        script.set("ADDRESS", &running.address().to_string());
        if around == Around::Device {
            let mut agent = Agent::in_folder(programs, &scratch.path().join("agent"));
            let key = running.mint("laptop")?;
            agent.pair(&running.url(), "laptop", &key.key)?.expect_code(0)?;
            agent.start()?;
            script.set("KEY", &key.key);
            device = Some(agent);
        }
        bridge = Some(running);
    }
    let outcome = script.run();
    drop(device);
    drop(bridge);
    outcome
}

macro_rules! transcripts {
    ($($name:ident: $around:ident,)*) => {
        /// The files that a test replays.
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() -> Result<()> {
                transcript(stringify!($name), Around::$around)
            }
        )*
    };
}

transcripts! {
    agent_approvals: Device,
    agent_audit: Device,
    agent_completions: Nothing,
    agent_connect: Bridge,
    agent_cred: Nothing,
    agent_disconnect: Device,
    agent_doctor: Device,
    agent_help: Nothing,
    agent_pair: Bridge,
    agent_policy: Nothing,
    agent_services: Nothing,
    agent_status: Device,
    agent_usage: Nothing,
    bridge_audit: Bridge,
    bridge_backup: Nothing,
    bridge_check_config: Nothing,
    bridge_devices: Device,
    bridge_dispatch: Device,
    bridge_executions: Device,
    bridge_help: Nothing,
    bridge_keys: Bridge,
    bridge_pair_code: Bridge,
    bridge_serve: Bridge,
    bridge_status: Bridge,
    bridge_usage: Nothing,
    bridge_users: Bridge,
}

#[test]
fn every_file_is_replayed() -> Result<()> {
    let folder = workspace_root()?.join("e2e/tests/transcripts");
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "console") {
            let name = path
                .file_stem()
                .context("no name")?
                .to_string_lossy()
                .into_owned();
            ensure!(
                REPLAYED.contains(&name.as_str()),
                "{name}.console is replayed by no test"
            );
        }
    }
    Ok(())
}

/// A command whose help is in no transcript was added and forgotten.
#[test]
fn every_command_has_its_help_in_a_transcript() -> Result<()> {
    let programs = binaries()?;
    for (program, file) in [(&programs.agent, "agent_help"), (&programs.bridge, "bridge_help")] {
        let path = workspace_root()?.join(format!("e2e/tests/transcripts/{file}.console"));
        let text = std::fs::read_to_string(path)?;
        let name = program
            .file_name()
            .context("no name")?
            .to_string_lossy()
            .into_owned();
        let mut open = vec![String::new()];
        while let Some(words) = open.pop() {
            ensure!(
                text.contains(&format!("$ {name}{words} --help\n")),
                "no help of '{name}{words}'"
            );
            let arguments: Vec<&str> = words.split_whitespace().chain(["--help"]).collect();
            let help = std::process::Command::new(program).args(arguments).output()?;
            let help = String::from_utf8(help.stdout)?;
            let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
            let commands = commands.take_while(|line| line.starts_with("  "));
            let names = commands.filter_map(|line| line.split_whitespace().next());
            open.extend(
                names
                    .filter(|name| *name != "help")
                    .map(|name| format!("{words} {name}")),
            );
        }
    }
    Ok(())
}
