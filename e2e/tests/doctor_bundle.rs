//! `doctor --bundle`: a report that holds what a helper needs and no secret, wherever one is planted.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use askalf_e2e::{Agent, Bridge};

const GATEWAY: &str = "gateway-secret-5f2b";
const URL_PASSWORD: &str = "hunter2-in-the-url";
const FOREIGN: &str = "foreign-value-77aa";
const GITHUB: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
const IN_TASK: &str = "typed-into-a-task-93c1";

#[test]
fn secrets_that_are_planted_everywhere_are_in_no_report() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, key) = Agent::paired(&bridge, "web-01")?;
    let scratch = tempfile::tempdir()?;
    let log = scratch.path().join("agent.log");
    agent.set_variable("ASKALF_LOG_FILE", &log);
    agent.spawn()?;
    let status = agent.wait_state("online")?;
    let device = status["device_id"].as_str().unwrap_or_default().to_owned();
    bridge
        .dispatch(&device, &format!("echo {IN_TASK} {}", key.key))?
        .expect_code(0)?;
    // What an error of somewhere may once have told the log.
    let mut lines = fs::read_to_string(&log)?;
    lines.push_str(&format!(
        "sent {} and {GITHUB} to https://me:{URL_PASSWORD}@bridge.test with {GATEWAY}\n",
        key.key
    ));
    fs::write(&log, lines)?;
    let gateway = scratch.path().join("gateway");
    fs::write(&gateway, GATEWAY)?;
    let config = agent.home().join("agent.json");
    let text = fs::read_to_string(&config)?.replacen(
        "\"url\"",
        &format!(
            "\"other\":{{\"token\":\"{FOREIGN}\"}},\"cfAccessId\":\"id.access\",\"cfAccessSecretFile\":\"{}\",\"url\"",
            gateway.display()
        ),
        1,
    );
    fs::write(&config, text)?;
    let keyfile = fs::read(agent.home().join("keyfile"))?;

    let bundle = scratch.path().join("report.txt");
    let path = bundle.display().to_string();
    let output = agent.run_alone(&["doctor", "--bundle", &path])?;
    ensure!(output.stdout.contains("The report is in "), "{output:?}");
    let report = fs::read_to_string(&bundle)?;
    let hex: String = keyfile.iter().map(|byte| format!("{byte:02x}")).collect();
    for secret in [
        key.key.as_str(),
        GATEWAY,
        URL_PASSWORD,
        FOREIGN,
        GITHUB,
        IN_TASK,
        &hex,
    ] {
        ensure!(!report.contains(secret), "{secret} is in it:\n{report}");
    }
    for wanted in [
        "== versions\naskalf-agent ",
        "== checks\nok       home",
        "\"state\": \"online\"",
        &format!("\"url\": \"{}\"", bridge.url()),
        "\"other\": \"(left out)\"",
        "\"apiKey\": \"[redacted:",
        "Registered as device ",
        "sent [redacted:agent-key] and [redacted:github] to https://me:[redacted:password]@bridge.test",
        " started ",
        "\"exit_code\": ",
    ] {
        ensure!(report.contains(wanted), "{wanted} is not in it:\n{report}");
    }
    ensure!(bundle.metadata()?.permissions().mode() & 0o777 == 0o600);

    let again = agent.run(&["doctor", "--bundle", &path])?.expect_code(2)?;
    ensure!(
        again.stderr.contains("cannot be made: ") && again.stderr.contains("name a new file"),
        "{again:?}"
    );
    ensure!(fs::read_to_string(&bundle)? == report, "it is not written over");
    Ok(())
}
