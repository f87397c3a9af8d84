//! The programs of a release, built for each platform in a folder of its own and without a trace of where that is.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use askalf_e2e::workspace_root;

use super::{Program, output};
use crate::{cargo, tools};

/// What a program is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    /// Linux with the C library of the machine that builds.
    Gnu,
    /// Linux, with everything linked in.
    Musl,
    Windows,
}

impl Platform {
    /// What is released for it. A bridge on Windows is for trying out.
    pub(super) fn programs(self) -> &'static [Program] {
        match self {
            Self::Gnu | Self::Musl => &[Program::Agent, Program::Bridge],
            Self::Windows => &[Program::Agent],
        }
    }

    /// Its part of a file's name.
    pub(super) fn name(self) -> Result<String> {
        Ok(match self {
            Self::Gnu => format!("{}-linux-gnu", architecture()?),
            Self::Musl => format!("{}-linux", architecture()?),
            Self::Windows => "x86_64-windows".to_owned(),
        })
    }

    /// Its name among compilers.
    pub(super) fn triple(self) -> Result<String> {
        Ok(match self {
            Self::Gnu => format!("{}-unknown-linux-gnu", architecture()?),
            Self::Musl => format!("{}-unknown-linux-musl", architecture()?),
            Self::Windows => "x86_64-pc-windows-gnu".to_owned(),
        })
    }
}

/// A Linux release is built on the architecture that it is for.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        known @ ("x86_64" | "aarch64") => Ok(known),
        other => bail!("releases are built on x86_64 and aarch64, and this is {other}"),
    }
}

/// Programs that were built.
#[derive(Debug)]
pub(super) struct Built {
    folder: PathBuf,
    suffix: &'static str,
}

impl Built {
    pub(super) fn file(&self, program: Program) -> PathBuf {
        self.folder.join(format!("{}{}", program.name(), self.suffix))
    }
}

/// Builds the programs of this machine in the development profile, beside this process.
pub(super) fn of_development(platform: Platform, folder: &Path) -> Result<Built> {
    ensure!(
        platform == Platform::Gnu,
        "the development profile is for packages of Debian alone"
    );
    let built = cargo::build(&[])?;
    let folder = folder.join("development");
    fs::create_dir_all(&folder)?;
    for (program, file) in [(Program::Agent, &built.agent), (Program::Bridge, &built.bridge)] {
        output(
            Command::new("strip")
                .arg("-o")
                .arg(folder.join(program.name()))
                .arg(file),
        )?;
    }
    Ok(Built { folder, suffix: "" })
}

/// Builds the programs of a platform under `folder`.
pub(super) fn build(platform: Platform, folder: &Path, epoch: u64) -> Result<Built> {
    let triple = platform.triple()?;
    let target = folder.join(match platform {
        Platform::Gnu => "gnu",
        Platform::Musl => "musl",
        Platform::Windows => "windows",
    });
    fs::create_dir_all(&target)?;
    // Each for itself, as cargo::EACH_BINARY says.
    for program in platform.programs() {
        build_program(*program, platform, &triple, &target, epoch)?;
    }
    Ok(Built {
        folder: target.join(&triple).join("release"),
        suffix: if platform == Platform::Windows { ".exe" } else { "" },
    })
}

fn build_program(
    program: Program,
    platform: Platform,
    triple: &str,
    target: &Path,
    epoch: u64,
) -> Result<()> {
    let arguments = [
        "build",
        "--locked",
        "--release",
        "--target",
        triple,
        "--package",
        program.name(),
    ];
    let mut command = match platform {
        Platform::Gnu => cargo::cargo(&arguments)?,
        Platform::Musl | Platform::Windows => of_debian(&arguments)?,
    };
    let mut flags = same_paths(platform, target)?;
    match platform {
        Platform::Gnu => {}
        Platform::Musl => {
            flags.extend(static_linking(target)?);
            let linker = format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase().replace('-', "_"));
            command
                .env(linker, "cc")
                .env(format!("CC_{}", triple.replace('-', "_")), "musl-gcc");
        }
        Platform::Windows => {
            // Links are not dated.
            flags.push("-Clink-arg=-Wl,--no-insert-timestamp".to_owned());
            command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", tools::MINGW);
        }
    }
    command
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .env_remove("RUSTFLAGS");
    let paths = maps(platform, target)?;
    let c_flags: Vec<String> = paths
        .iter()
        .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
        .collect();
    command.env(format!("CFLAGS_{}", triple.replace('-', "_")), c_flags.join(" "));
    cargo::succeed(&mut command, &arguments)
}

/// Debian's cargo, which builds the standard library from its source: for targets that no toolchain here has ready.
fn of_debian(arguments: &[&str]) -> Result<Command> {
    let mut command = cargo::cargo_of(Path::new(tools::DEBIANS_CARGO))?;
    command
        .args(arguments)
        .arg("-Zbuild-std=std,panic_unwind")
        .env("RUSTC", tools::DEBIANS_RUSTC)
        // Building the standard library is not a stable feature.
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTUP_TOOLCHAIN");
    Ok(command)
}

/// Folders of this machine that would stand in the programs, and what stands there instead.
fn maps(platform: Platform, target: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
    let registry = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("there is no home folder")?;
    let rustc = match platform {
        Platform::Gnu => std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc")),
        Platform::Musl | Platform::Windows => tools::DEBIANS_RUSTC.into(),
    };
    let sysroot = output(
        Command::new(rustc)
            .args(["--print", "sysroot"])
            .current_dir(workspace_root()?),
    )?;
    // The last one that fits counts.
    Ok(vec![
        (sysroot.trim().into(), "/rust"),
        (registry, "/cargo"),
        (workspace_root()?.to_owned(), "/askalf"),
        (target.to_owned(), "/target"),
    ])
}

fn same_paths(platform: Platform, target: &Path) -> Result<Vec<String>> {
    let map = |(from, to): &(PathBuf, &str)| format!("--remap-path-prefix={}={to}", from.display());
    Ok(maps(platform, target)?.iter().map(map).collect())
}

/// What links musl's C library in, by the C compiler of the system: `musl-gcc` knows no static program that the kernel may load
/// anywhere (`static-pie`).
fn static_linking(target: &Path) -> Result<Vec<String>> {
    let multiarch = format!("{}-linux-musl", architecture()?);
    let musl = Path::new("/usr/lib").join(&multiarch);
    ensure!(
        musl.join("rcrt1.o").exists(),
        "{} lacks rcrt1.o: install musl-dev",
        musl.display()
    );
    let folder = target.join("unwinder");
    fs::create_dir_all(&folder)?;
    let object = folder.join("dl_find_object.o");
    let source = workspace_root()?.join("xtask/src/dl_find_object.c");
    output(
        Command::new("musl-gcc")
            .args(["-O2", "-fPIC", "-c", "-o"])
            .args([&object, &source]),
    )?;
    let unwinder = output(Command::new("cc").arg("-print-file-name=libgcc_eh.a"))?;
    // The standard library for musl wants an LLVM unwinder by this name; gcc's does the same. It refers to functions of threads
    // weakly, and a weak reference takes nothing out of an archive.
    fs::write(
        folder.join("libunwind.a"),
        format!(
            "EXTERN ( __pthread_key_create pthread_getspecific pthread_setspecific pthread_key_create pthread_mutex_lock \
             pthread_mutex_unlock pthread_once )\nGROUP ( {} {} )\n",
            unwinder.trim(),
            object.display()
        ),
    )?;
    let musl = musl.display();
    Ok(vec![
        "-Clink-self-contained=no".to_owned(),
        "-Zpre-link-args=-nostartfiles".to_owned(),
        format!("-Zpre-link-args=-L{musl}"),
        format!("-Zpre-link-args={musl}/rcrt1.o"),
        format!("-Zpre-link-args={musl}/crti.o"),
        format!("-Lnative={}", folder.display()),
        format!("-Clink-arg={musl}/crtn.o"),
    ])
}
