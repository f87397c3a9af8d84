//! Taking over a device from the agent of npm: its unit with the key in the command line, its process, its folder.

use anyhow::{Context, Result, ensure};

use super::{BINARY, Scene, say, title, until};

/// Stands in for Node, with the program and the arguments that the older agent has in the list of processes.
const OLD_AGENT: &str = "\
mkdir -p /usr/lib/node_modules/@askalf/agent/dist && cp /bin/bash /usr/bin/node && printf 'while :; do sleep 1000; done\\n' > /usr/lib/node_modules/@askalf/agent/dist/cli.js && ln -sf \
../lib/node_modules/@askalf/agent/dist/cli.js /usr/bin/askalf-agent-npm";

pub(super) fn take_over(scene: &mut Scene) -> Result<()> {
    title("upgrade from the agent of npm");
    let container = &scene.container;
    container
        .run(&["askalf-agent", "uninstall-service"])?
        .expect_code(0)?;
    container.shell("rm -rf /var/lib/askalf-agent /usr/local/bin/askalf-agent")?;
    container.shell(OLD_AGENT)?;
    let key = scene.bridge.mint("npm")?.key;
    let url = scene.bridge.url();
    // The device is on record under this key, as it is where the older agent has run.
    let known = container.run_with_input(
        &[
            BINARY,
            "--home",
            "/tmp/known",
            "pair",
            "-",
            "--url",
            &url,
            "--name",
            "old-pi",
        ],
        key.as_bytes(),
    )?;
    known.expect_code(0)?;
    let device = container.shell("cat /tmp/known/state/device-id; rm -rf /tmp/known")?;
    let device = device.trim().to_owned();
    container.shell(&format!(
        "mkdir -p /root/.askalf && cat > /root/.askalf/agent.json <<'END'\n\
         {{\"apiKey\":\"{key}\",\"url\":\"{url}\",\"deviceName\":\"old-pi\",\"maxConcurrent\":3}}\nEND\n\
         cat > /etc/systemd/system/askalf-agent.service <<'END'\n\
         [Unit]\nDescription=Agent of npm\n[Service]\nType=simple\n\
         ExecStart=/usr/bin/node /usr/lib/node_modules/@askalf/agent/dist/cli.js connect {key} --url {url} --name old-pi\n\
         Restart=always\nWorkingDirectory=/root\n[Install]\nWantedBy=multi-user.target\nEND\n\
         systemctl daemon-reload && systemctl enable -q --now askalf-agent && \
         (setsid /usr/bin/node /usr/lib/node_modules/@askalf/agent/dist/cli.js daemon > /dev/null 2>&1 < /dev/null &)"
    ))?;
    let processes = "pgrep -fc '^/usr/bin/node /usr/lib/node_modules/@askalf' || true";
    until("both of the older agent's processes", || {
        Ok((container.shell(processes)?.trim() == "2").then_some(()))
    })?;

    let output = container.run(&[BINARY, "install-service"])?.expect_code(0)?;
    output.stdout.lines().for_each(say);
    scene.service().wait_status("online")?;
    ensure!(
        scene.service().device()? == device,
        "another device than {device}"
    );
    ensure!(
        container.shell(processes)?.trim() == "0",
        "the older agent still runs"
    );
    let prefix = key.get(8..).context("a short key")?;
    let readable = container.shell(&format!(
        "grep -rl '{prefix}' /etc/systemd /run/systemd /var/lib/askalf-agent 2>/dev/null || true; ps axww -o args | grep \
         -F '{prefix}' | grep -v grep || true"
    ))?;
    ensure!(readable.trim().is_empty(), "the key is readable in {readable}");
    ensure!(
        output.stdout.contains("keys rotate --device old-pi"),
        "no advice to rotate the key"
    );
    let home = container
        .shell("stat -c '%U %a' /var/lib/askalf-agent/agent.json; test -e /root/.askalf/agent.json")?;
    ensure!(home.trim() == "askalf-agent 600", "agent.json is {home}");
    let config = container.shell("cat /var/lib/askalf-agent/agent.json")?;
    ensure!(
        config.contains("\"maxConcurrent\":3") || config.contains("\"maxConcurrent\": 3"),
        "{config}"
    );
    let output = scene.bridge.dispatch(&device, "id -un")?.expect_code(0)?;
    ensure!(
        output.stdout.trim() == "askalf-task",
        "a task runs as {}",
        output.stdout
    );
    say("the same device is online; no process, unit or argument has the key any more");
    let rotated = scene.bridge.run(&["keys", "rotate", "--device", &device])?;
    ensure!(
        rotated.code == 0,
        "the advised rotation: {}{}",
        rotated.stdout,
        rotated.stderr
    );
    say("the advised rotation was done");
    Ok(())
}
