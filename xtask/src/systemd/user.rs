//! A service of a user's own: in the user's manager, without root.

use anyhow::{Result, ensure};

use super::{BINARY, Scene, say, title, until};

/// Runs what follows as this user, as a session of theirs would.
const AS_ANN: &str = "exec setpriv --reuid ann --regid ann --init-groups env HOME=/home/ann USER=ann \
    XDG_RUNTIME_DIR=/run/user/$(id -u ann) ";

pub(super) fn own_service(scene: &Scene) -> Result<()> {
    title("a user's own service");
    let container = &scene.container;
    container.shell(&format!(
        "install -m 755 {BINARY} /tmp/askalf-agent && loginctl enable-linger ann"
    ))?;
    until("the user's manager", || {
        Ok(container
            .shell("test -S /run/user/$(id -u ann)/systemd/private && echo yes || true")?
            .contains("yes")
            .then_some(()))
    })?;
    let ann = |line: &str| container.shell(&format!("cd / && {AS_ANN}{line}"));
    let key = scene.bridge.mint("ann")?.key;
    let url = scene.bridge.url();
    let installed = ann("/tmp/askalf-agent install-service --user --profile strict")?;
    installed.lines().for_each(say);
    ensure!(!installed.contains("linger"), "it lingers already");
    let pair = format!("cd / && {AS_ANN}/tmp/askalf-agent pair - --url {url} --name ann");
    container
        .run_with_input(&["sh", "-c", &pair], key.as_bytes())?
        .expect_code(0)?;
    let status = until("the user's agent being online", || {
        let status = ann("systemctl --user show --property=StatusText --value askalf-agent")?;
        Ok(status.starts_with("online ").then_some(status))
    })?;
    say(&format!("status: {}", status.trim()));
    let device = ann("cat /home/ann/.askalf/state/device-id")?;
    let output = scene
        .bridge
        .dispatch(device.trim(), "id -un; dpkg-query --show systemd")?
        .expect_code(0)?;
    ensure!(
        output.stdout.starts_with("ann\n"),
        "a task runs as {}",
        output.stdout
    );
    say("a task runs as ann");
    ann("/home/ann/.local/bin/askalf-agent uninstall-service --user")?;
    let left =
        ann("sh -c 'find /home/ann/.config/systemd -name \"*askalf*\"; ls /home/ann/.askalf/agent.json'")?;
    ensure!(left.trim() == "/home/ann/.askalf/agent.json", "left: {left}");
    say("uninstalled: the unit is gone, the credential is not");
    Ok(())
}
