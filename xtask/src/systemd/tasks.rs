//! What a task may do under each profile: tried, not supposed.

use anyhow::{Context, Result, ensure};

use super::{Scene, say, title, until};

/// The profiles of `install-service`.
pub(super) const PROFILES: [&str; 3] = ["strict", "standard", "unconfined"];

/// What is tried, and under which of the profiles it is to work.
const TRIED: [(&str, &str, [bool; 3]); 13] = [
    (
        "runs as a user of its own",
        "test \"$(id -un)\" = askalf-task",
        [true; 3],
    ),
    ("lists packages", "dpkg-query --show systemd", [true; 3]),
    (
        "clones a repository and commits",
        "rm -rf work && git clone -q /srv/repository work && cd work && date > now && git add now && git -c \
         user.name=a -c user.email=a@b commit -qm now",
        [true; 3],
    ),
    (
        "writes to its home and to /tmp",
        "echo x > ~/x && echo x > /tmp/x",
        [true; 3],
    ),
    ("finds its files of an earlier task", "test -s ~/x", [true; 3]),
    ("asks the network", "exec 3<>/dev/tcp/127.0.0.1/$PORT", [true; 3]),
    (
        "reads a person's home",
        "cat /home/ann/notes",
        [false, true, true],
    ),
    (
        "writes where everybody may",
        "echo x > /srv/open/x",
        [false, true, true],
    ),
    (
        "becomes root where sudo lets it",
        "test \"$(/usr/local/bin/rootly -u)\" = 0",
        [false, false, true],
    ),
    (
        "reaches the container engine's socket",
        "perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => q(/run/docker.sock))'",
        [false, true, true],
    ),
    (
        "reads the agent's key",
        "cat /var/lib/askalf-agent/keyfile",
        [false; 3],
    ),
    (
        "reads the agent's environment",
        "cat /proc/$DAEMON/environ",
        [false; 3],
    ),
    (
        "writes to the system",
        "echo x > /etc/x || echo x > /usr/local/bin/x",
        [false; 3],
    ),
];

pub(super) fn under_each_profile(scene: &Scene) -> Result<()> {
    title("tasks under each profile");
    // A setuid program stands in for sudo, and a socket for docker's.
    scene.container.shell(
        "git init -q /srv/repository && cd /srv/repository && git -c user.name=a -c user.email=a@b commit -q \
         --allow-empty -m first && git config --system --add safe.directory '*' && mkdir -p /srv/open && chmod 777 \
         /srv/open && useradd -m ann && chmod 755 /home/ann && echo notes > /home/ann/notes && cp /usr/bin/id \
         /usr/local/bin/rootly && chmod 4755 /usr/local/bin/rootly && cat > /etc/systemd/system/engine-test.socket <<'END'\n\
         [Socket]\nListenStream=/run/docker.sock\nSocketMode=0666\nAccept=yes\nEND\n\
         cat > /etc/systemd/system/engine-test@.service <<'END'\n[Service]\nExecStart=/bin/true\nStandardInput=socket\n\
         END\nsystemctl daemon-reload && systemctl start engine-test.socket",
    )?;
    let mut rows = vec![Vec::new(); TRIED.len()];
    for (at, profile) in PROFILES.into_iter().enumerate() {
        scene.install_profile(profile)?;
        scene.service().wait_status("online")?;
        let daemon = scene.service().property("MainPID")?;
        for (row, (what, input, expected)) in rows.iter_mut().zip(TRIED) {
            let port = scene.bridge.address().port();
            let input = input
                .replace("$DAEMON", &daemon)
                .replace("$PORT", &port.to_string());
            let output = scene.bridge.dispatch(&scene.device, &input)?;
            let due = expected
                .get(at)
                .copied()
                .context("a profile without expectation")?;
            ensure!(
                (output.code == 0) == due,
                "{profile}: a task that {what}: exit code {}\n{}{}",
                output.code,
                output.stdout,
                output.stderr
            );
            row.push(if due { "yes" } else { "no" });
        }
        wall(scene, profile)?;
    }
    say(&format!(
        "{:<40} {:<8} {:<9} unconfined",
        "a task", PROFILES[0], PROFILES[1]
    ));
    for ((what, _, _), row) in TRIED.iter().zip(rows) {
        say(&format!("{what:<40} {:<8} {:<9} {}", row[0], row[1], row[2]));
    }
    let docker = scene.container.run(&["sh", "-c", "command -v docker"])?;
    if docker.code != 0 {
        say("not run: a task with docker itself, which is not in the container");
    }
    Ok(())
}

/// An approval comes from root, by the command without a word of where the service is.
pub(super) fn approved_by_root(scene: &Scene) -> Result<()> {
    title("an approval by root");
    let policy = "/var/lib/askalf-agent/policy.json";
    scene.container.shell(&format!(
        "echo '{{\"version\":1,\"default\":\"ask\",\"rules\":[]}}' > {policy} && chown askalf-agent: {policy}"
    ))?;
    let id = scene.bridge.dispatch_detached(&scene.device, "echo approved")?;
    until("the question", || {
        let waiting = scene.container.run(&["askalf-agent", "approvals", "--json"])?;
        Ok(waiting.stdout.contains(&id).then_some(()))
    })?;
    scene
        .container
        .run(&["askalf-agent", "approvals", "approve", &id])?
        .expect_code(0)?;
    let ended = scene.bridge.wait_ended(&id)?;
    ensure!(
        ended["status"] == "completed",
        "the task ended as {}",
        ended["status"]
    );
    scene.container.run(&["rm", policy])?.expect_code(0)?;
    scene.service().restart(&scene.device)?;
    say("a task that waits for it runs once root has approved it");
    Ok(())
}

/// Whose control group and sandbox a task is in, and that the daemon cannot be reached around the wall.
fn wall(scene: &Scene, profile: &str) -> Result<()> {
    let group = scene.bridge.dispatch(
        &scene.device,
        "cat /proc/self/cgroup; grep NoNewPrivs /proc/self/status",
    )?;
    let group = group.expect_code(0)?.stdout;
    ensure!(
        group.contains("askalf-task") && !group.contains("askalf-agent.service"),
        "{profile}: the task runs in {group}"
    );
    let restricted = group.contains("NoNewPrivs:\t1");
    ensure!(restricted == (profile != "unconfined"), "{profile}: {group}");
    let scan = scene.container.run(&["askalf-agent", "scan"])?.expect_code(0)?;
    ensure!(
        scan.stdout.contains("askalf-task"),
        "{profile}: scan says {}",
        scan.stdout
    );
    let knocks = "for s in /run/askalf-agent/task.sock /var/lib/askalf-agent/agent.sock; do perl -MIO::Socket::UNIX -e \
        'exit(IO::Socket::UNIX->new(Peer => shift) ? 1 : 0)' $s || exit 1; done";
    let output = scene.bridge.dispatch(&scene.device, knocks)?;
    ensure!(
        output.code == 0,
        "{profile}: a task opens a socket of the agent: {}{}",
        output.stdout,
        output.stderr
    );
    Ok(())
}
