//! `cargo xtask demo`: a bridge and a device in a scratch folder, and everything that may happen to them.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use askalf_e2e::{Agent, Bridge, OnDisk, other_machine};

use crate::{cargo, tools};

/// The name of the device.
const NAME: &str = "demo-device";

/// The host name that the device is given.
const NEW_NAME: &str = "renamed-by-the-demo";

/// Builds, shows, sums up and cleans up. An error where any step failed.
pub(crate) fn run() -> Result<()> {
    let [setsid, coreutils] = tools::task_programs();
    tools::require(&[tools::c_compiler(), setsid, coreutils])?;
    println!("Building askalf-bridge and askalf-agent (development profile; minutes the first time) ...");
    let started = Instant::now();
    let binaries = cargo::build(&[])?;
    println!("Built in {:.0} s.\n", started.elapsed().as_secs_f64());

    let folder = tempfile::Builder::new().prefix("askalf-demo-").tempdir()?;
    println!("Scratch folder: {}", folder.path().display());
    let mut steps = Steps::default();
    let shown = steps.show(&binaries, folder.path());

    // Whatever ran is dropped, and so killed, by now.
    let removed = folder.close().context("the scratch folder could not be removed");
    println!("\n{}", steps.summary());
    println!(
        "Everything was stopped{}.",
        if removed.is_ok() {
            " and the scratch folder removed"
        } else {
            ""
        }
    );
    shown.and(removed)
}

/// What was done so far.
#[derive(Default)]
struct Steps {
    done: Vec<(String, Outcome, Duration)>,
}

enum Outcome {
    Done(String),
    Skipped(String),
    Failed,
}

/// The parts that the steps pass on.
struct Scene {
    bridge: Bridge,
    agent: Agent,
    device: String,
    credential: OnDisk,
}

impl Steps {
    fn show(&mut self, binaries: &askalf_e2e::Binaries, folder: &Path) -> Result<()> {
        let bridge = self.step("start a bridge", |_| {
            say("$ askalf-bridge serve --listen 127.0.0.1:0 --print-address");
            let bridge = Bridge::start_in(binaries, &folder.join("bridge"), &[])?;
            let address = bridge.address();
            say(&format!(
                "{address}, with its own database in {}",
                bridge.home().display()
            ));
            Ok((bridge, format!("listens on {address}")))
        })?;
        let key = self.step("mint a key", |_| {
            say(&format!("$ askalf-bridge keys mint --name {NAME} --json"));
            let key = bridge.mint(NAME)?;
            let shown: String = key.key.chars().take(12).collect();
            say(&format!(
                "{shown}... (shown once; the bridge keeps only its hash)"
            ));
            let id = key.id.clone();
            Ok((key, id))
        })?;
        let agent = self.step("pair an agent", |_| {
            say(&format!(
                "$ askalf-agent pair - --url {} --name {NAME}    (the key on standard input)",
                bridge.url()
            ));
            let agent = Agent::in_folder(binaries, &folder.join("agent"));
            let output = agent.pair(&bridge.url(), NAME, &key.key)?.expect_code(0)?;
            output.stdout.lines().for_each(say);
            Ok((agent, "key proved against the bridge, then sealed".to_owned()))
        })?;
        let mut scene = self.step("start the agent", |_| {
            say("$ askalf-agent daemon");
            let mut agent = agent;
            let device = agent.start()?;
            let credential = agent.on_disk()?;
            say(&format!("Registered as device {device}"));
            let detail = format!("online as {device}");
            Ok((
                Scene {
                    bridge,
                    agent,
                    device,
                    credential,
                },
                detail,
            ))
        })?;

        self.step("run a task, output streaming", |_| Ok(((), stream(&scene)?)))?;
        self.step("run a task that fails", |_| Ok(((), fail(&scene)?)))?;
        self.step("cancel a task", |_| Ok(((), cancel(&scene)?)))?;
        self.step("restart the agent", |_| {
            say("SIGTERM to the agent, then a new one");
            let code = scene.agent.terminate()?;
            ensure!(code == 0, "the agent ended with {code}");
            Ok(((), scene.start_again()?))
        })?;
        self.step("kill the agent", |_| {
            say("SIGKILL to the agent, then a new one");
            scene.agent.kill()?;
            Ok(((), scene.start_again()?))
        })?;
        self.rename(&mut scene)?;
        self.step("restart the bridge", |_| {
            say("SIGTERM to the bridge, then a new one on the same address");
            Ok(((), scene.restart_bridge(|bridge| bridge.terminate().map(|_| ()))?))
        })?;
        self.step("kill the bridge", |_| {
            say("SIGKILL to the bridge, then a new one on the same address");
            Ok(((), scene.restart_bridge(|bridge| bridge.kill())?))
        })?;
        self.step("look at the credential", |_| {
            ensure!(
                scene.agent.on_disk()? == scene.credential,
                "the credential was written"
            );
            let refused = scene
                .agent
                .log()
                .iter()
                .any(|line| line.text.contains("AUTH_FAILED"));
            ensure!(!refused, "the bridge refused the key at some point");
            say("agent.json and keyfile: same bytes, same time of change; no AUTH_FAILED in any log");
            Ok(((), "untouched since the pairing".to_owned()))
        })?;
        self.step("stop both", |_| {
            ensure!(
                scene.agent.terminate()? == 0 && scene.bridge.terminate()? == 0,
                "not an orderly end"
            );
            Ok(((), "exit code 0 each".to_owned()))
        })
    }

    fn rename(&mut self, scene: &mut Scene) -> Result<()> {
        let title = "change the host name";
        let Some(wrapper) = other_machine(NEW_NAME, None) else {
            let why = "no private UTS namespace is allowed here";
            println!("\n== {title}\n   Skipped: {why}.");
            self.done
                .push((title.to_owned(), Outcome::Skipped(why.to_owned()), Duration::ZERO));
            return Ok(());
        };
        self.step(title, |_| {
            let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
            let namespaces: Vec<&str> = words.iter().copied().take_while(|word| *word != "sh").collect();
            say(&format!(
                "SIGTERM to the agent, then a new one as host {} ({})",
                NEW_NAME,
                namespaces.join(" ")
            ));
            scene.agent.wrap(&words);
            scene.agent.terminate()?;
            let detail = scene.start_again()?;
            let output = scene.bridge.dispatch(&scene.device, "uname -n")?.expect_code(0)?;
            say(&format!("a task there says: uname -n = {}", output.stdout.trim()));
            ensure!(
                output.stdout.trim() == NEW_NAME,
                "the name did not change: {}",
                output.stdout
            );
            scene.agent.wrap(&[]);
            Ok(((), detail))
        })
    }

    /// Runs a step and notes how it ended; `act` also says what the summary shows.
    fn step<T>(&mut self, title: &str, act: impl FnOnce(&mut Self) -> Result<(T, String)>) -> Result<T> {
        println!("\n== {title}");
        let started = Instant::now();
        match act(self) {
            Ok((value, detail)) => {
                self.done
                    .push((title.to_owned(), Outcome::Done(detail), started.elapsed()));
                Ok(value)
            }
            Err(error) => {
                self.done
                    .push((title.to_owned(), Outcome::Failed, started.elapsed()));
                Err(error.context(format!("{title} failed")))
            }
        }
    }

    fn summary(&self) -> String {
        let mut text = format!("{:<30} {:<8} {:>7}  {}\n", "step", "result", "time", "what");
        for (title, outcome, took) in &self.done {
            let (result, detail) = match outcome {
                Outcome::Done(detail) => ("ok", detail.as_str()),
                Outcome::Skipped(why) => ("skipped", why.as_str()),
                Outcome::Failed => ("FAILED", "see above"),
            };
            // Writing to a String cannot fail.
            let _infallible = writeln!(
                text,
                "{title:<30} {result:<8} {:>5.1} s  {detail}",
                took.as_secs_f64()
            );
        }
        text
    }
}

impl Scene {
    /// Starts the agent again: it must be the same device and run a task.
    fn start_again(&mut self) -> Result<String> {
        let device = self.agent.start()?;
        let took = self.agent.time_to_registered()?;
        self.prove_back(
            &device,
            &format!("registered {} ms after its start", took.as_millis()),
        )
    }

    fn restart_bridge(&mut self, stop: impl FnOnce(&mut Bridge) -> Result<()>) -> Result<String> {
        let seen = self.agent.daemon()?.lines().len();
        stop(&mut self.bridge)?;
        self.bridge.serve()?;
        let up = Instant::now();
        let device = self.agent.wait_registered_after(seen)?;
        let took = up.elapsed();
        self.prove_back(
            &device,
            &format!("back {:.1} s after the bridge", took.as_secs_f64()),
        )
    }

    fn prove_back(&self, device: &str, how: &str) -> Result<String> {
        say(&format!("Registered as device {device}"));
        if device != self.device {
            bail!("it was {} before", self.device);
        }
        let output = self
            .bridge
            .dispatch(device, "echo at your service")?
            .expect_code(0)?;
        say(&format!("a task there says: {}", output.stdout.trim()));
        ensure!(
            output.stdout == "at your service\n",
            "the task wrote {:?}",
            output.stdout
        );
        Ok(format!("same device, runs a task; {how}"))
    }
}

/// Shows the lines of a task as they come.
fn stream(scene: &Scene) -> Result<String> {
    let input = "for i in 1 2 3; do echo \"line $i\"; sleep 0.4; done; echo 'to standard error' >&2";
    say(&format!(
        "$ askalf-bridge dispatch {NAME} -- '{}'",
        input.replace('\'', "\"")
    ));
    let dispatch = scene.bridge.dispatch_streaming(NAME, &[], input)?;
    let started = dispatch.process.started();
    let mut arrivals = Vec::new();
    for expected in ["line 1", "line 2", "line 3", "to standard error"] {
        let at = dispatch
            .process
            .wait_line(expected, |line| (line.text == expected).then_some(line.at))?;
        let after = at.duration_since(started);
        say(&format!("{:>5.2} s | {expected}", after.as_secs_f64()));
        arrivals.push(after);
    }
    let output = dispatch.end()?.expect_code(0)?;
    say(&format!("exit code {}", output.code));
    let (first, last) = (
        arrivals.first().context("no line came")?,
        arrivals.last().context("no line came")?,
    );
    ensure!(
        *last - *first > Duration::from_millis(500),
        "the lines came all at once"
    );
    Ok("4 lines, each as it was written".to_owned())
}

fn fail(scene: &Scene) -> Result<String> {
    say(&format!(
        "$ askalf-bridge dispatch {NAME} -- 'ls /no/such/folder; exit 3'"
    ));
    let output = scene
        .bridge
        .dispatch(NAME, "ls /no/such/folder; exit 3")?
        .expect_code(3)?;
    output.stderr.lines().for_each(say);
    say(&format!("exit code {}", output.code));
    Ok("exits as the task did: 3".to_owned())
}

fn cancel(scene: &Scene) -> Result<String> {
    let input = "setsid sh -c 'echo daemon $$; exec sleep 600' & wait; sleep 600";
    say(&format!(
        "$ askalf-bridge dispatch {NAME} -- '{}'",
        input.replace('\'', "\"")
    ));
    let dispatch = scene.bridge.dispatch_streaming(NAME, &[], input)?;
    let pid = dispatch.labelled_pid("daemon")?;
    say(&format!("process {pid} runs, in a session of its own"));
    let process = askalf_e2e::Watched::new(pid)?;
    let id = scene.bridge.execution_of(input)?;
    say(&format!("$ askalf-bridge executions cancel {id}"));
    scene.bridge.run(&["executions", "cancel", &id])?.expect_code(0)?;
    ensure!(
        process.ended_within(askalf_e2e::PATIENCE)?,
        "process {pid} still runs"
    );
    let execution = scene.bridge.wait_ended(&id)?;
    ensure!(
        execution["status"] == "cancelled",
        "the execution is {}",
        execution["status"]
    );
    dispatch.end()?;
    say(&format!("process {pid} is gone"));
    Ok("its processes ended with it".to_owned())
}

fn say(line: &str) {
    println!("   {line}");
}
