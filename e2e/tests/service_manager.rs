//! The agent under a service manager that listens, and the units that it would give to one.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Bridge, PATIENCE};

/// What a service manager hears.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Manager {
    /// One that `agent` is to tell, and that wants to hear of its life every 400 ms.
    fn of(agent: &mut Agent) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        agent.set_variable("NOTIFY_SOCKET", path);
        agent.set_variable("WATCHDOG_USEC", "400000");
        Ok(Self {
            socket,
            heard: Vec::new(),
            _folder: folder,
        })
    }

    /// The next message that begins so; what came before it is kept in `heard`.
    fn wait(&mut self, beginning: &str) -> Result<String> {
        let mut buffer = [0; 4096];
        loop {
            let length = self
                .socket
                .recv(&mut buffer)
                .with_context(|| format!("no {beginning} after {:?}", self.heard))?;
            let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            self.heard.push(message.clone());
            if message.starts_with(beginning) {
                return Ok(message);
            }
        }
    }
}

#[test]
fn the_start_is_complete_without_a_bridge_and_the_state_is_told() -> Result<()> {
    let mut bridge = Bridge::start()?;
    let (mut agent, key) = Agent::paired(&bridge, "served")?;
    let mut manager = Manager::of(&mut agent)?;
    bridge.terminate()?;
    agent.spawn()?;
    manager.wait("READY=1")?;
    ensure!(
        manager
            .heard
            .first()
            .is_some_and(|first| first.starts_with("STATUS=")),
        "the start was complete before there was a state: {:?}",
        manager.heard
    );
    manager.wait("STATUS=backoff (unreachable): ")?;
    bridge.serve()?;
    manager.wait("STATUS=online (registered): Registered as device dev_")?;
    bridge.run(&["keys", "revoke", &key.id])?.expect_code(0)?;
    let status = manager.wait("STATUS=repair_required (revoked): ")?;
    ensure!(status.contains("askalf-agent pair"), "no command in {status}");
    ensure!(
        !manager.heard.iter().any(|message| message.contains(&key.key)),
        "the key was told"
    );
    agent.terminate()?;
    manager.wait("STOPPING=1")?;
    Ok(())
}

#[test]
fn an_agent_that_lives_says_so_and_one_that_is_stopped_does_not() -> Result<()> {
    let mut agent = Agent::new()?;
    let mut manager = Manager::of(&mut agent)?;
    agent.spawn()?;
    for _ in 0..3 {
        manager.wait("WATCHDOG=1")?;
    }
    let pid = agent.daemon()?.pid().to_string();
    let signal =
        |name: &str| askalf_e2e::run("kill", std::process::Command::new("kill").args([name, &pid]), b"");
    signal("-STOP")?.expect_code(0)?;
    // What was on its way has come by then.
    manager
        .socket
        .set_read_timeout(Some(Duration::from_millis(600)))?;
    let silent = (0..5).any(|_| manager.wait("WATCHDOG=1").is_err());
    ensure!(silent, "a stopped agent says that it lives");
    manager.socket.set_read_timeout(Some(PATIENCE))?;
    signal("-CONT")?.expect_code(0)?;
    manager.wait("WATCHDOG=1")?;
    Ok(())
}

#[test]
fn a_dry_run_shows_units_without_a_secret_and_needs_no_right() -> Result<()> {
    let mut agent = Agent::new()?;
    let key = "sk_live_0123456789abcdefghijABCDEFGHIJ01";
    agent.set_variable("ASKALF_API_KEY", key);
    let shown = agent
        .run(&["install-service", "--user", "--dry-run"])?
        .expect_code(0)?;
    for line in [
        "    Type=notify",
        "    WatchdogSec=90s",
        "    Restart=always",
        "would run systemctl --user enable askalf-agent.service",
    ] {
        ensure!(
            shown.stdout.lines().any(|shown| shown == line),
            "no {line} in {}",
            shown.stdout
        );
    }
    ensure!(!shown.stdout.contains(key), "the key stands in {}", shown.stdout);
    ensure!(!agent.home().exists(), "a dry run made the home");

    let report = agent
        .run(&["install-service", "--user", "--dry-run", "--json"])?
        .json()?;
    ensure!(
        report["scope"] == "user" && report["profile"] == "standard",
        "{report}"
    );
    ensure!(
        report["acts"]
            .as_array()
            .is_some_and(|acts| acts.iter().any(|act| act["act"] == "write")),
        "{report}"
    );

    let gone = agent
        .run(&["uninstall-service", "--user", "--dry-run"])?
        .expect_code(0)?;
    let home = agent.home().display().to_string();
    ensure!(
        gone.stdout.contains(&format!("stay in {home}")),
        "{}",
        gone.stdout
    );
    Ok(())
}

#[test]
fn the_service_of_the_system_has_its_own_home() -> Result<()> {
    let agent = Agent::new()?;
    let refused = agent
        .run(&["install-service", "--system", "--dry-run"])?
        .expect_code(2)?;
    let home = agent.home().display();
    ensure!(
        refused.stderr
            == format!(
                "error: the service of the system keeps its files in /var/lib/askalf-agent and nowhere else\n\
                 hint: leave --home and ASKALF_HOME out; to take that folder over: install-service --adopt {home}\n"
            ),
        "{}",
        refused.stderr
    );
    Ok(())
}
