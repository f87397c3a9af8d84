//! What a task prints leaves the device without its secrets: in the stream that is watched and in what the bridge keeps.

use anyhow::{Result, ensure};
use askalf_e2e::{Agent, Bridge};

#[test]
fn a_task_that_prints_secrets_shows_none() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, key) = Agent::paired(&bridge, "web-01")?;
    std::fs::write(agent.home().join("redaction.txt"), "name badge BADGE_NO\n")?;
    let device = agent.start()?;

    // The key in two writes, on both streams.
    let (first, second) = key.key.split_at(20);
    let input = format!(
        "printf 'key {first}'; sleep 0.2; echo '{second} out'; printf 'key {first}' >&2; sleep 0.2; echo '{second} err' >&2\n\
         echo DB_PASSWORD=hunter22; echo badge_no: 4711; echo 'Password: '; echo plain"
    );
    let shown = bridge.dispatch(&device, &input)?.expect_code(0)?;
    let id = bridge.execution_of(&input)?;
    let kept = bridge.wait_ended(&id)?["output"].to_string();
    for (way, text) in [("progress", shown.stdout + &shown.stderr), ("result", kept)] {
        for secret in [key.key.as_str(), first, second, "hunter22", "4711"] {
            ensure!(!text.contains(secret), "{way}: '{secret}' is in {text}");
        }
        for expected in [
            "[redacted:agent-key] out",
            "[redacted:agent-key] err",
            "DB_PASSWORD=[redacted:password]",
            "badge_no: [redacted:badge]",
            "Password: ",
            "plain",
        ] {
            ensure!(text.contains(expected), "{way}: no '{expected}' in {text}");
        }
    }
    Ok(())
}

#[test]
fn a_daemon_does_not_start_with_rules_that_it_does_not_understand() -> Result<()> {
    let bridge = Bridge::start()?;
    let (mut agent, _) = Agent::paired(&bridge, "web-01")?;
    std::fs::write(agent.home().join("redaction.txt"), "# mine\ntext pin hunter2\n")?;
    let output = agent.run(&["daemon"])?.expect_code(78)?;
    ensure!(
        output.stderr.contains("line 2: the text has fewer than 8 bytes")
            && !output.stderr.contains("hunter2"),
        "{}",
        output.stderr
    );

    std::fs::write(agent.home().join("redaction.txt"), "text pin hunter2!\n")?;
    let output = agent
        .run_with_input(&["redact"], b"it is hunter2!\n")?
        .expect_code(0)?;
    ensure!(output.stdout == "it is [redacted:pin]\n", "{}", output.stdout);
    agent.start()?;
    Ok(())
}
