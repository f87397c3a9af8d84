//! `connect --install` on a machine that has nothing of the agent yet.

use anyhow::{Result, ensure};

use super::{BINARY, Scene, say, title};

/// One command of root from a key to a service; leaves the machine as it was found.
pub(super) fn and_install(scene: &Scene) -> Result<()> {
    title("connect --install, as root");
    let container = &scene.container;
    let clear = "askalf-agent uninstall-service > /dev/null && rm -rf /var/lib/askalf-agent /usr/local/bin/askalf-agent";
    container.shell(clear)?;
    let key = scene.bridge.mint("fresh")?.key;
    let url = scene.bridge.url();
    let words = [
        BINARY,
        "connect",
        "-",
        "--url",
        &url,
        "--name",
        "fresh",
        "--install",
    ];
    container
        .run_with_input(&words, key.as_bytes())?
        .expect_code(0)?
        .stdout
        .lines()
        .for_each(say);
    scene.service().wait_status("online")?;
    let files = container.shell(
        "stat -c '%U %a' /var/lib/askalf-agent/agent.json; find /root/.askalf -type f 2>/dev/null || true",
    )?;
    ensure!(
        files.trim() == "askalf-agent 600",
        "other files than the service's: {files}"
    );
    say("online, and the key stands in the service's home alone");
    container.shell(clear)?;
    container
        .run(&["cp", BINARY, "/usr/local/bin/askalf-agent"])?
        .expect_code(0)?;
    container
        .run(&["askalf-agent", "install-service"])?
        .expect_code(0)?;
    Ok(())
}
