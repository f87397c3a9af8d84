//! What must be on the machine. Root has it installed, where the system's package manager can; everybody else gets one
//! error that names all that is missing.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Something that must be there.
pub(crate) struct Tool {
    name: &'static str,
    /// A command that succeeds where it is there.
    command: Vec<String>,
    remedy: Remedy,
}

#[derive(Clone, Copy)]
enum Remedy {
    /// What a person does about it.
    Say(&'static str),
    Install(Package),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Package {
    CCompiler,
    PostgreSql,
    /// By this name everywhere.
    Named(&'static str),
    /// By this name on Debian; elsewhere it is not packaged in a way that is known here.
    Debian(&'static str),
}

/// Debian's compiler, which brings the source of its standard library, and so builds for Windows.
pub(crate) const DEBIANS_RUSTC: &str = "/usr/bin/rustc";
/// Its cargo.
pub(crate) const DEBIANS_CARGO: &str = "/usr/bin/cargo";
/// The C compiler and linker for Windows.
pub(crate) const MINGW: &str = "x86_64-w64-mingw32-gcc";

/// A C compiler, for SQLite.
pub(crate) fn c_compiler() -> Tool {
    // As the `cc` crate looks for it.
    let compiler = std::env::var("CC")
        .ok()
        .filter(|name| !name.trim().is_empty())
        .unwrap_or_else(|| "cc".to_owned());
    let mut command: Vec<String> = compiler.split_whitespace().map(str::to_owned).collect();
    command.push("--version".to_owned());
    Tool {
        name: "a C compiler",
        command,
        remedy: Remedy::Install(Package::CCompiler),
    }
}

/// What the tasks of the tests and of the demo call.
pub(crate) fn task_programs() -> [Tool; 2] {
    [
        Tool {
            name: "setsid",
            command: words(&["setsid", "true"]),
            remedy: Remedy::Install(Package::Named("util-linux")),
        },
        Tool {
            name: "env, mkfifo and a sleep that knows fractions",
            command: words(&["sh", "-c", "command -v env && command -v mkfifo && sleep 0.01"]),
            remedy: Remedy::Install(Package::Named("coreutils")),
        },
    ]
}

/// A C++ compiler, for the fuzzer's library.
pub(crate) fn cpp_compiler() -> Tool {
    Tool {
        name: "a C++ compiler",
        command: words(&["c++", "--version"]),
        remedy: Remedy::Install(Package::Named("g++")),
    }
}

/// The tracer, with the right to trace.
pub(crate) fn strace() -> Tool {
    Tool {
        name: "strace",
        command: words(&["strace", "-qq", "-o", "/dev/null", "true"]),
        remedy: Remedy::Install(Package::Named("strace")),
    }
}

/// The toolchain that the fuzzer needs.
pub(crate) fn nightly() -> Tool {
    Tool {
        name: "a nightly toolchain",
        command: words(&["rustup", "run", "nightly", "rustc", "--version"]),
        remedy: Remedy::Say("run: rustup toolchain install nightly --profile minimal"),
    }
}

/// The fuzzer's driver.
pub(crate) fn cargo_fuzz() -> Tool {
    component("cargo-fuzz", "fuzz", "run: cargo install cargo-fuzz --locked")
}

/// Mutation testing.
pub(crate) fn cargo_mutants() -> Tool {
    component(
        "cargo-mutants",
        "mutants",
        "run: cargo install cargo-mutants --locked",
    )
}

/// What compiles for Windows.
pub(crate) fn windows() -> Vec<Tool> {
    let debian = |name, command: &[&str], package| Tool {
        name,
        command: words(command),
        remedy: Remedy::Install(Package::Debian(package)),
    };
    vec![
        debian(
            "Debian's rustc, new enough for this edition",
            &[
                DEBIANS_RUSTC,
                "--edition",
                "2024",
                "--crate-name",
                "probe",
                "--print",
                "crate-name",
                "-",
            ],
            "rustc-web",
        ),
        debian("Debian's cargo", &[DEBIANS_CARGO, "--version"], "cargo-web"),
        debian(
            "the source of its standard library",
            &[
                "sh",
                "-c",
                "test -d \"$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std\"",
            ],
            "rust-web-src",
        ),
        debian(MINGW, &[MINGW, "--version"], "gcc-mingw-w64-x86-64-posix"),
    ]
}

/// What runs programs for Windows.
pub(crate) fn wine() -> Tool {
    Tool {
        name: "wine",
        command: words(&[
            "sh",
            "-c",
            "command -v wine && command -v wineserver && wine --version",
        ]),
        remedy: Remedy::Install(Package::Debian("wine wine64")),
    }
}

/// What makes a root file system and boots it.
pub(crate) fn containers() -> Vec<Tool> {
    let debian = |name, command: &[&str], package| Tool {
        name,
        command: words(command),
        remedy: Remedy::Install(Package::Debian(package)),
    };
    vec![
        debian("debootstrap", &["debootstrap", "--version"], "debootstrap"),
        debian(
            "systemd-nspawn",
            &["systemd-nspawn", "--version"],
            "systemd-container",
        ),
        debian(
            "ip, with network namespaces",
            &["ip", "netns", "list"],
            "iproute2",
        ),
        debian(
            "nsenter and setpriv",
            &["sh", "-c", "nsenter --version && setpriv --version"],
            "util-linux",
        ),
    ]
}

/// The server that the stores are tested on, wherever the system puts it.
pub(crate) fn postgresql() -> Tool {
    let look = "for file in \"$(command -v initdb)\" \"$(pg_config --bindir)/initdb\" /usr/lib/postgresql/*/bin/initdb \
        /usr/local/pgsql/bin/initdb; do test -x \"$file\" && exit 0; done; exit 1";
    Tool {
        name: "a PostgreSQL server",
        command: words(&["sh", "-c", look]),
        remedy: Remedy::Install(Package::PostgreSql),
    }
}

/// The headers of OpenSSL, a peer of a bench.
pub(crate) fn openssl() -> Tool {
    Tool {
        name: "OpenSSL with its headers",
        command: words(&["pkg-config", "--exists", "openssl"]),
        remedy: Remedy::Install(Package::Debian("pkg-config libssl-dev")),
    }
}

/// The formatter.
pub(crate) fn rustfmt() -> Tool {
    component(
        "rustfmt",
        "fmt",
        "run: rustup component add rustfmt (or install your system's rustfmt package)",
    )
}

/// The lints.
pub(crate) fn clippy() -> Tool {
    component(
        "clippy",
        "clippy",
        "run: rustup component add clippy (or install your system's clippy package)",
    )
}

fn component(name: &'static str, command: &str, remedy: &'static str) -> Tool {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    Tool {
        name,
        command: vec![cargo, command.to_owned(), "--version".to_owned()],
        remedy: Remedy::Say(remedy),
    }
}

/// Sees to it that every tool is there.
pub(crate) fn require(tools: &[Tool]) -> Result<()> {
    if missing(tools).is_empty() {
        return Ok(());
    }
    let manager = manager();
    if let Some(manager) = manager
        && is_root()
    {
        manager.install(&missing(tools))?;
    }
    match missing(tools).as_slice() {
        [] => Ok(()),
        missing => bail!(explain(missing, manager)),
    }
}

/// Has the tools installed where that can be done, and is content without them.
pub(crate) fn offer(tools: &[Tool]) {
    if !missing(tools).is_empty()
        && let Some(manager) = manager()
        && is_root()
    {
        // What could not be installed is missing, as it was.
        let _ = manager.install(&missing(tools));
    }
}

/// The package manager of this system.
fn manager() -> Option<&'static Manager> {
    MANAGERS
        .iter()
        .find(|manager| answers(&words(&[manager.program, "--version"])))
}

fn missing(tools: &[Tool]) -> Vec<&Tool> {
    tools.iter().filter(|tool| !answers(&tool.command)).collect()
}

fn explain(missing: &[&Tool], manager: Option<&Manager>) -> String {
    let lines = missing.iter().map(|tool| {
        let remedy = match (tool.remedy, manager) {
            (Remedy::Say(remedy), _) => remedy.to_owned(),
            (Remedy::Install(package), Some(manager)) if !manager.packages(package).is_empty() => {
                let packages = manager.packages(package).join(" ");
                format!("run: {} {} {packages}", manager.program, manager.verb)
            }
            (Remedy::Install(Package::Debian(name)), _) => format!("Debian packages it as {name}"),
            (Remedy::Install(Package::CCompiler), _) => {
                "install gcc or clang, or name one with CC".to_owned()
            }
            (Remedy::Install(Package::PostgreSql), _) => "install PostgreSQL 15 or later".to_owned(),
            (Remedy::Install(Package::Named(name)), _) => format!("install {name}"),
        };
        format!("\n  {}: {remedy}", tool.name)
    });
    format!("missing on this machine:{}", lines.collect::<String>())
}

/// A package manager.
struct Manager {
    program: &'static str,
    verb: &'static str,
    /// So that it does not ask.
    unasked: Option<&'static str>,
    /// The list of packages is fetched first: a fresh system has none.
    updates: bool,
    c_compiler: &'static [&'static str],
    postgresql: &'static str,
}

const MANAGERS: [Manager; 5] = [
    Manager {
        program: "apt-get",
        verb: "install",
        unasked: Some("--yes"),
        updates: true,
        c_compiler: &["gcc", "libc6-dev"],
        postgresql: "postgresql",
    },
    Manager {
        program: "dnf",
        verb: "install",
        unasked: Some("--assumeyes"),
        updates: false,
        c_compiler: &["gcc"],
        postgresql: "postgresql-server",
    },
    Manager {
        program: "apk",
        verb: "add",
        unasked: None,
        updates: true,
        c_compiler: &["gcc", "musl-dev"],
        postgresql: "postgresql",
    },
    Manager {
        program: "pacman",
        verb: "-S",
        unasked: Some("--noconfirm"),
        updates: false,
        c_compiler: &["gcc"],
        postgresql: "postgresql",
    },
    Manager {
        program: "zypper",
        verb: "install",
        unasked: Some("--no-confirm"),
        updates: false,
        c_compiler: &["gcc"],
        postgresql: "postgresql-server",
    },
];

impl Manager {
    fn packages(&self, package: Package) -> Vec<&'static str> {
        match package {
            Package::CCompiler => self.c_compiler.to_vec(),
            Package::PostgreSql => vec![self.postgresql],
            Package::Named(name) => vec![name],
            Package::Debian(names) if self.program == "apt-get" => names.split(' ').collect(),
            Package::Debian(_) => Vec::new(),
        }
    }

    fn install(&self, missing: &[&Tool]) -> Result<()> {
        let packages: Vec<&str> = missing
            .iter()
            .filter_map(|tool| match tool.remedy {
                Remedy::Say(_) => None,
                Remedy::Install(package) => Some(self.packages(package)),
            })
            .flatten()
            .collect();
        if packages.is_empty() {
            return Ok(());
        }
        println!("{} {} {}", self.program, self.verb, packages.join(" "));
        if self.updates {
            self.run(&["update"])?;
        }
        let mut arguments = vec![self.verb];
        arguments.extend(self.unasked);
        arguments.extend(packages);
        self.run(&arguments)
    }

    /// A failure shows in what is missing afterwards.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        Command::new(self.program)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("{} cannot be run", self.program))?;
        Ok(())
    }
}

pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn answers(command: &[String]) -> bool {
    let Some((program, arguments)) = command.split_first() else {
        return false;
    };
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &'static str, program: &str, remedy: Remedy) -> Tool {
        Tool {
            name,
            command: words(&[program]),
            remedy,
        }
    }

    #[test]
    fn all_that_is_missing_stands_in_one_error() {
        let say = Remedy::Say("install it");
        let tools = [
            tool("a", "no-such-program", say),
            tool("true", "true", say),
            tool("b", "no-such-program", say),
        ];
        assert_eq!(
            require(&tools).unwrap_err().to_string(),
            "missing on this machine:\n  a: install it\n  b: install it"
        );
    }

    #[test]
    fn the_error_names_the_command_of_this_system() {
        let compiler = tool("a C compiler", "", Remedy::Install(Package::CCompiler));
        let setsid = tool("setsid", "", Remedy::Install(Package::Named("util-linux")));
        let missing = [&compiler, &setsid];
        assert_eq!(
            explain(&missing, Some(&MANAGERS[0])),
            "missing on this machine:\n  a C compiler: run: apt-get install gcc libc6-dev\n  \
             setsid: run: apt-get install util-linux"
        );
        assert_eq!(
            explain(&missing, None),
            "missing on this machine:\n  a C compiler: install gcc or clang, or name one with CC\n  \
             setsid: install util-linux"
        );
    }
}
