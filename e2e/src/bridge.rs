//! `askalf-bridge` under test.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::binaries::{Binaries, binaries};
use crate::certificates::Certificates;
use crate::command::Output;
use crate::process::Process;
use crate::program::{Kind, Program};
use crate::wait::until;

static BRIDGE: Kind = Kind {
    name: "askalf-bridge",
    home_variable: "ASKALF_BRIDGE_HOME",
    removed: &["ASKALF_BRIDGE_DATABASE", "ASKALF_BRIDGE_LISTEN", "ASKALF_LOG"],
};

/// A bridge with a folder of its own and a free loopback port, which it keeps over restarts.
#[derive(Debug)]
pub struct Bridge {
    program: Program,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    address: SocketAddr,
}

/// A key that was just minted.
#[derive(Debug, Clone)]
pub struct MintedKey {
    /// Its id.
    pub id: String,
    /// The token.
    pub key: String,
}

/// A dispatch that runs.
#[derive(Debug)]
pub struct Dispatch {
    /// The `askalf-bridge dispatch` that follows it.
    pub process: Process,
}

impl Bridge {
    /// Starts a bridge in a new scratch folder.
    ///
    /// # Errors
    /// It does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a bridge in a new scratch folder with more arguments for `serve`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut bridge = Self::start_in(binaries()?, &folder.path().join("bridge"), arguments)?;
        bridge.program.own(folder);
        Ok(bridge)
    }

    /// Starts a bridge in a new scratch folder that speaks TLS.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_secured(certificates: &Certificates) -> Result<Self> {
        let (chain, key) = (certificates.chain(), certificates.key());
        let path = |path: &Path| {
            path.to_str()
                .map(str::to_owned)
                .context("a path that is not UTF-8")
        };
        Self::start_with(&["--tls-cert", &path(&chain)?, "--tls-key", &path(&key)?])
    }

    /// Starts a bridge in this folder.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_in(binaries: &Binaries, home: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_by(binaries, home, &[], arguments)
    }

    /// Starts a bridge in this folder through a command that runs it, such as one that enters a network of its own.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_by(
        binaries: &Binaries,
        home: &Path,
        wrapper: &[String],
        arguments: &[&str],
    ) -> Result<Self> {
        let mut bridge = Self {
            program: Program::new(&BRIDGE, &binaries.bridge, home),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            wrapper: wrapper.to_vec(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        bridge.serve()?;
        Ok(bridge)
    }

    /// Starts it again on the same address.
    ///
    /// # Errors
    /// It does not start, or takes another address.
    pub fn serve(&mut self) -> Result<()> {
        let listen = self.address.to_string();
        let serve = ["serve", "--print-address", "--listen", &listen];
        let mut command = self.program.command_by(&self.wrapper, &serve);
        command.args(&self.arguments);
        self.address = self
            .program
            .start(&mut command)?
            .wait_line("address on standard output", |line| {
                (!line.is_error).then(|| line.text.trim().parse().ok()).flatten()
            })?;
        Ok(())
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL as an agent takes it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Its URL by TLS.
    pub fn secure_url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The running server.
    ///
    /// # Errors
    /// It does not run.
    pub fn server(&self) -> Result<&Process> {
        self.process()
    }

    /// Mints a key.
    ///
    /// # Errors
    /// The command fails.
    pub fn mint(&self, name: &str) -> Result<MintedKey> {
        let minted = self.run(&["keys", "mint", "--name", name, "--json"])?.json()?;
        let text = |field: &str| {
            minted[field]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {field}"))
        };
        Ok(MintedKey {
            id: text("id")?,
            key: text("key")?,
        })
    }

    /// The devices.
    ///
    /// # Errors
    /// The command fails.
    pub fn devices(&self) -> Result<Vec<Value>> {
        array(self.run(&["devices", "list", "--json"])?.json()?)
    }

    /// Waits until a device has this status.
    ///
    /// # Errors
    /// It does not come to it.
    pub fn wait_device(&self, id: &str, status: &str) -> Result<()> {
        until(&format!("device {id} being {status}"), || {
            Ok(self
                .devices()?
                .iter()
                .any(|device| device["id"] == id && device["status"] == status)
                .then_some(()))
        })
    }

    /// Runs a shell task to its end.
    ///
    /// # Errors
    /// The command does not start or end.
    pub fn dispatch(&self, device: &str, input: &str) -> Result<Output> {
        self.run(&["dispatch", device, "--", input])
    }

    /// Starts a shell task whose output can be waited for.
    ///
    /// # Errors
    /// The command does not start.
    pub fn dispatch_streaming(&self, device: &str, arguments: &[&str], input: &str) -> Result<Dispatch> {
        let mut all = vec!["dispatch", device];
        all.extend(arguments);
        all.extend(["--", input]);
        Ok(Dispatch {
            process: Process::start("the dispatch", &mut self.command(&all), b"")?,
        })
    }

    /// Starts a shell task and answers with its id.
    ///
    /// # Errors
    /// The command fails.
    pub fn dispatch_detached(&self, device: &str, input: &str) -> Result<String> {
        let output = self
            .run(&["dispatch", device, "--detach", "--", input])?
            .expect_code(0)?;
        Ok(output.stdout.trim().to_owned())
    }

    /// The executions, newest first.
    ///
    /// # Errors
    /// The command fails.
    pub fn executions(&self) -> Result<Vec<Value>> {
        array(
            self.run(&["executions", "list", "--limit", "1000", "--json"])?
                .json()?,
        )
    }

    /// The id of the one execution with this input.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn execution_of(&self, input: &str) -> Result<String> {
        let found: Vec<Value> = self
            .executions()?
            .into_iter()
            .filter(|execution| execution["input"] == input)
            .collect();
        match found.as_slice() {
            [execution] => execution["id"]
                .as_str()
                .map(str::to_owned)
                .context("an execution without id"),
            others => bail!("{} executions have the input {input}", others.len()),
        }
    }

    /// An execution as it is now.
    ///
    /// # Errors
    /// The command fails.
    pub fn execution(&self, id: &str) -> Result<Value> {
        self.run(&["executions", "show", id, "--json"])?.json()
    }

    /// Waits until an execution has ended.
    ///
    /// # Errors
    /// It does not end.
    pub fn wait_ended(&self, id: &str) -> Result<Value> {
        until(&format!("the end of {id}"), || {
            let execution = self.execution(id)?;
            let open = execution["status"] == "pending" || execution["status"] == "running";
            Ok((!open).then_some(execution))
        })
    }
}

impl Deref for Bridge {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Bridge {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}

impl Dispatch {
    /// Waits for the first line of output that starts with `label` and a space; what follows.
    ///
    /// # Errors
    /// The task ends without it.
    pub fn labelled(&self, label: &str) -> Result<String> {
        self.process.wait_line(&format!("line '{label} ...'"), |line| {
            line.text
                .strip_prefix(label)?
                .strip_prefix(' ')
                .map(str::to_owned)
        })
    }

    /// [`Dispatch::labelled`] as a process id.
    ///
    /// # Errors
    /// The task ends without it, or it is no number.
    pub fn labelled_pid(&self, label: &str) -> Result<u32> {
        Ok(self.labelled(label)?.trim().parse()?)
    }

    /// Waits for the end of the command.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(mut self) -> Result<Output> {
        let status = self.process.end()?;
        Ok(Output {
            code: crate::process::shell_code(status),
            stdout: self.process.stdout(),
            stderr: self.process.stderr(),
        })
    }
}

fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        other => bail!("not an array: {other}"),
    }
}
