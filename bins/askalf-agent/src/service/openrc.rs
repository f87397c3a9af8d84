//! The agent as a service of OpenRC, on systems such as Alpine and Gentoo.
//!
//! Tasks run as the agent's own user there: OpenRC starts nothing for a connection.

use std::path::Path;

use askalf_cli::{ExitCode, Failure};

use super::acts::Acts;
use super::systemd::{SERVICE_HOME, SERVICE_USER, has_user, make_home, own_uid, place_program};

/// Name of the service, and of its script.
const SERVICE: &str = "askalf-agent";
/// The script.
const SCRIPT: &str = "/etc/init.d/askalf-agent";
/// Where the daemon's log goes.
const LOG: &str = "/var/log/askalf-agent.log";
/// Where the reasons stand.
const HINT: &str = "see /var/log/askalf-agent.log; the same command goes on where this one stopped";

/// Whether this system was booted with OpenRC.
pub(crate) fn is_booted() -> bool {
    Path::new("/run/openrc/softlevel").exists()
}

/// Makes the service and starts it; what a person should know.
pub(crate) fn install(dry_run: bool, json: bool) -> Result<Acts, Failure> {
    check(dry_run, "install-service")?;
    let mut acts = Acts::new(dry_run, json);
    let home = Path::new(SERVICE_HOME);
    if has_user(SERVICE_USER) {
        acts.unchanged("make the user", SERVICE_USER)?;
    } else {
        make_user(&mut acts)?;
    }
    let binary = place_program(&mut acts, Path::new("/usr/local/bin"))?;
    make_home(&mut acts, home)?;
    acts.write_script(Path::new(SCRIPT), &script(&binary))?;
    acts.run("rc-update", &["add", SERVICE, "default"], HINT)?;
    acts.run("rc-service", &[SERVICE, "restart"], HINT)?;
    acts.note("tasks run as the agent's own user and can read its key: dispatch only what you would run there by hand");
    Ok(acts)
}

/// Stops the service and removes it; its home and user stay.
pub(crate) fn uninstall(dry_run: bool, json: bool) -> Result<Acts, Failure> {
    check(dry_run, "uninstall-service")?;
    let mut acts = Acts::new(dry_run, json);
    if Path::new(SCRIPT).exists() {
        acts.run("rc-service", &["--ifstarted", SERVICE, "stop"], HINT)?;
        acts.run("rc-update", &["--all", "del", SERVICE], HINT)?;
        acts.remove(Path::new(SCRIPT))?;
    }
    acts.note(format!("{SERVICE_HOME} with the key stays"));
    Ok(acts)
}

fn check(dry_run: bool, command: &str) -> Result<(), Failure> {
    if dry_run || own_uid() == 0 {
        return Ok(());
    }
    Err(Failure::new(
        ExitCode::Permission,
        "a service of OpenRC is root's to make and to remove",
    )
    .hint(format!("as root: askalf-agent {command}")))
}

/// By the tools of BusyBox, or by those of shadow.
fn make_user(acts: &mut Acts) -> Result<(), Failure> {
    if Path::new("/usr/sbin/useradd").exists() {
        let arguments = [
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            SERVICE_HOME,
        ];
        let arguments = [&arguments[..], &["--shell", "/sbin/nologin", SERVICE_USER]].concat();
        return acts.run("useradd", &arguments, HINT);
    }
    acts.run("addgroup", &["-S", SERVICE_USER], HINT)?;
    let arguments = [
        "-S",
        "-D",
        "-H",
        "-h",
        SERVICE_HOME,
        "-s",
        "/sbin/nologin",
        "-G",
        SERVICE_USER,
        SERVICE_USER,
    ];
    acts.run("adduser", &arguments, HINT)
}

/// The text of the script: `supervise-daemon` starts the daemon again whenever it ends.
fn script(binary: &Path) -> String {
    let binary = quoted(&binary.display().to_string());
    let home = quoted(SERVICE_HOME);
    format!(
        "\
#!/sbin/openrc-run
# Made by 'askalf-agent install-service', which replaces it.

description=\"askalf device agent\"
supervisor=supervise-daemon
command={binary}
command_args=daemon
command_user={SERVICE_USER}:{SERVICE_USER}
directory={home}
export ASKALF_HOME={home}
export HOME={home}
umask=0077
respawn_delay=2
respawn_max=0
retry=TERM/30/KILL/5
output_log={LOG}
error_log={LOG}

depend() {{
	need localmount
	use net dns logger
	after firewall
}}

start_pre() {{
	checkpath --directory --owner {SERVICE_USER}:{SERVICE_USER} --mode 0700 {home}
	checkpath --file --owner {SERVICE_USER}:{SERVICE_USER} --mode 0640 {LOG}
}}
"
    )
}

/// A word of the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_script_is_the_golden_one_and_one_of_the_shell() {
        let text = script(Path::new("/usr/local/bin/askalf-agent"));
        assert_eq!(text, include_str!("golden/askalf-agent.initd"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("askalf-agent");
        std::fs::write(&file, script(Path::new("/opt/ann's $HOME/askalf-agent"))).unwrap();
        assert!(
            Command::new("sh")
                .arg("-n")
                .arg(&file)
                .status()
                .unwrap()
                .success()
        );
        let shown = Command::new("sh")
            .args(["-c", ". \"$1\"; printf %s \"$command\"", "sh"])
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(shown.stdout, b"/opt/ann's $HOME/askalf-agent");
    }

    #[test]
    fn a_dry_run_tells_every_step_and_does_none() {
        let (done, notes) = install(true, true).unwrap().into_parts();
        let acts: Vec<String> = done
            .iter()
            .map(|act| format!("{} {}", act.act, act.what))
            .collect();
        assert!(acts.contains(&format!("write {SCRIPT}")), "{acts:?}");
        assert_eq!(
            acts[acts.len() - 2..],
            [
                "run rc-update add askalf-agent default",
                "run rc-service askalf-agent restart"
            ]
        );
        assert!(notes[0].contains("agent's own user"), "{notes:?}");
        assert!(!Path::new(SCRIPT).exists());
    }
}
