//! The real program on one home while everything around its process changes: host name, network cards, environment, locale, time
//! zone, working folder, and the way the home is spelled. The clock is changed where it is a value, in the library's test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use askalf_e2e::{Agent, Habit, KEY, OldForge, binaries, other_machine, run};

const ROUNDS: usize = 60;

/// A file: its bytes, its inode, and when it was changed.
type Facts = (Vec<u8>, u64, i64, i64);

fn files(home: &Path) -> Result<BTreeMap<PathBuf, Facts>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(home)? {
        let path = entry?.path();
        let facts = path.symlink_metadata()?;
        let bytes = if facts.is_file() {
            fs::read(&path)?
        } else {
            Vec::new()
        };
        files.insert(path, (bytes, facts.ino(), facts.mtime(), facts.mtime_nsec()));
    }
    Ok(files)
}

#[test]
fn the_key_unseals_in_any_surroundings_and_the_home_stays_as_it_is() -> Result<()> {
    let forge = OldForge::start(KEY, Habit::Prompt)?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path().canonicalize()?;
    let home = folder.join("home");
    let agent = Agent::in_folder(binaries()?, &home);
    agent.pair(&forge.url(), "web-01", KEY)?.expect_code(0)?;
    symlink(&folder, folder.join("link"))?;
    fs::create_dir(folder.join("below"))?;
    let before = files(&home)?;

    let text = |path: &Path| path.display().to_string();
    let spellings: [(PathBuf, String); 8] = [
        (folder.clone(), text(&home)),
        (folder.clone(), text(&home) + "/"),
        (folder.clone(), "home".to_owned()),
        (folder.clone(), "./home/".to_owned()),
        (folder.join("below"), "../home".to_owned()),
        (home.clone(), "../home/.".to_owned()),
        (PathBuf::from("/"), text(&folder.join("link/home"))),
        (folder.join("link"), text(&folder.join("below/../link/home"))),
    ];
    let locales = [
        "C",
        "C.UTF-8",
        "de_DE.ISO-8859-1",
        "tr_TR.UTF-8",
        "no such locale",
        "",
    ];
    let zones = ["UTC", "Pacific/Kiritimati", ":/nonexistent", ""];
    let agent_program = text(&binaries()?.agent);
    let mut other = 0;
    for round in 0..ROUNDS {
        let mac = format!("02:42:ac:00:00:{round:02x}");
        let wrapper = other_machine(
            &format!("host-{round}"),
            Some(mac.as_str()).filter(|_| !round.is_multiple_of(3)),
        )
        .unwrap_or_default();
        other += usize::from(!wrapper.is_empty());
        let mut words = wrapper.iter().map(String::as_str).chain([agent_program.as_str()]);
        let mut command = Command::new(words.next().context("no program")?);
        let (at, spelling) = &spellings[round % spellings.len()];
        command
            .args(words)
            .args(["cred", "verify", "--json"])
            .current_dir(at)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").context("no PATH")?)
            .env("ASKALF_HOME", spelling)
            .env("LC_ALL", locales[round % locales.len()])
            .env("TZ", zones[round % zones.len()])
            .env("HOME", ["/nonexistent", "/", "relative"][round % 3])
            .env("USER", ["root", "", "nobody"][round % 3])
            .env("HOSTNAME", format!("not-the-name-{round}"))
            .envs((0..round % 7 * 50).map(|n| (format!("NOISE_{n}"), "x".repeat(round))));
        let answer = run("cred verify", &mut command, b"")?;
        let point = format!("round {round}, {spelling} in {}: {answer:?}", at.display());
        let answer = answer.json().context(point.clone())?;
        ensure!(answer["outcome"] == "ready", "{point}");
        ensure!(files(&home)? == before, "{point}: the home was written");
    }
    if other == 0 {
        eprintln!("not shown: this system gives no host name and no network of one's own");
    }
    Ok(())
}
