//! The agent of npm on this system: its units, which hold its key in their command line, and its processes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use askalf_bridge_auth::{Token, TokenShape};
use askalf_cli::{ExitCode, Failure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::unit_text::{assignments, words};
use super::units::MARK;
use super::users::{self, Account};
use super::{SYSTEM_UNITS, Scope};

/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest unit that is read.
const MAX_UNIT: u64 = 64 * 1024;

/// What those programs run in.
const INTERPRETERS: [&str; 4] = ["node", "nodejs", "bun", "npx"];

/// A unit of the older agent. No `Debug`: its key stands in it.
pub(super) struct OldUnit {
    /// The file.
    pub path: PathBuf,
    /// Whose manager it belongs to.
    pub scope: Scope,
    /// Who the agent ran as.
    pub runs_as: Account,
    /// Its home.
    pub home: PathBuf,
    /// The key in its command line or environment.
    pub key: Option<Token>,
    /// The bridge in its command line.
    pub url: Option<String>,
    /// The device's name there.
    pub device_name: Option<String>,
}

impl OldUnit {
    /// The unit's name.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().map(OsStr::to_string_lossy);
        name.unwrap_or_default().into_owned()
    }
}

/// The units of older agents among the system's own, and among those of a user.
pub(super) fn units(user: Option<&Account>) -> Vec<OldUnit> {
    let root = users::with_id(0);
    let mut found = Vec::new();
    if let Some(root) = &root {
        found.extend(units_in(Path::new(SYSTEM_UNITS), Scope::System, root));
    }
    if let Some(user) = user {
        found.extend(units_in(
            &user.home.join(".config/systemd/user"),
            Scope::User,
            user,
        ));
    }
    found
}

fn units_in(folder: &Path, scope: Scope, runs_as: &Account) -> Vec<OldUnit> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        // A name that begins with a dash would be an option of `systemctl`.
        if !name.ends_with(".service") || name.starts_with('-') {
            return None;
        }
        // A link is another's unit, or none at all.
        let mut file = open(&path, OFlags::NOFOLLOW).ok()?;
        if file.metadata().ok()?.len() > MAX_UNIT {
            return None;
        }
        let mut text = String::new();
        file.by_ref().take(MAX_UNIT).read_to_string(&mut text).ok()?;
        parse(&text, path, scope, runs_as)
    };
    paths.into_iter().filter_map(read).collect()
}

/// Opens a regular file that somebody else may have put there: anything else could keep its reader for ever.
fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::NONBLOCK).bits();
    let file = File::options()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// The unit, if it is one of an older agent.
fn parse(text: &str, path: PathBuf, scope: Scope, default_user: &Account) -> Option<OldUnit> {
    if text.starts_with(MARK) {
        return None;
    }
    let settings = assignments(text);
    let of = |name: &str| {
        let values = settings.iter().filter(move |(found, _)| found == name);
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let environment: Vec<String> = of("Environment").into_iter().flat_map(words).collect();
    let variable = |name: &str| {
        let value = environment
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.map(str::to_owned)
    };
    let command = words(of("ExecStart").last()?);
    if !is_agent(&command) {
        return None;
    }
    let key = variable("ASKALF_API_KEY")
        .as_deref()
        .and_then(key_in)
        .or_else(|| key_of(&command));
    // A unit that only starts a program of our name is not an older agent's.
    if key.is_none() && !is_interpreted(&command) {
        return None;
    }
    let runs_as = match of("User").last() {
        // A user's own manager runs everything as that user, whatever a unit says.
        Some(name) if scope == Scope::System => users::named(name)?,
        _ => default_user.clone(),
    };
    let home = variable("ASKALF_HOME").map_or_else(|| runs_as.home.join(".askalf"), PathBuf::from);
    Some(OldUnit {
        path,
        scope,
        home,
        runs_as,
        key,
        url: option(&command, "--url"),
        device_name: option(&command, "--name"),
    })
}

/// Whether a command line is one of an agent, of whatever generation.
fn is_agent(command: &[String]) -> bool {
    command.iter().take(4).any(|word| {
        let name = Path::new(word).file_name().map(OsStr::to_string_lossy);
        name.is_some_and(|name| name.starts_with("askalf-agent")) || word.contains("@askalf/agent")
    })
}

/// Whether it is a program of Node: by its interpreter, or by the first line of its file.
fn is_interpreted(command: &[String]) -> bool {
    let Some(program) = command.first() else {
        return false;
    };
    let program = Path::new(program.trim_start_matches(['-', '@', '+', '!', ':']));
    let name = program
        .file_name()
        .map(OsStr::to_string_lossy)
        .unwrap_or_default();
    let mut begin = [0; 2];
    INTERPRETERS.contains(&&*name)
        || open(program, OFlags::empty())
            .and_then(|mut file| file.read_exact(&mut begin))
            .is_ok_and(|()| begin == *b"#!")
}

/// The key in a command line: behind `connect` or `--api-key`, or any word that has the shape of one.
fn key_of(command: &[String]) -> Option<Token> {
    let named = option(command, "--api-key").or_else(|| option(command, "connect"));
    named
        .as_deref()
        .and_then(key_in)
        .or_else(|| command.iter().find_map(|word| key_in(word)))
}

fn key_in(word: &str) -> Option<Token> {
    let token = Token::parse(word).ok()?;
    (token.shape() != TokenShape::Other).then_some(token)
}

/// What stands behind a word, or behind it and a `=`.
fn option(command: &[String], name: &str) -> Option<String> {
    command
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.strip_prefix(name)? {
            "" => command.get(at + 1).cloned(),
            rest => rest.strip_prefix('=').map(str::to_owned),
        })
}

/// A process of an older agent.
#[derive(Debug)]
pub(super) struct OldProcess {
    pub pid: Pid,
    pub uid: u32,
}

/// The processes of older agents, whoever's they are.
pub(super) fn processes() -> Vec<OldProcess> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let process = |entry: fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let owner = entry.metadata().ok()?.uid();
        runs_old_agent(pid).then_some(OldProcess { pid, uid: owner })
    };
    entries.flatten().filter_map(process).collect()
}

fn runs_old_agent(pid: Pid) -> bool {
    let Ok(line) = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())) else {
        return false;
    };
    let words: Vec<String> = line
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let interpreter = words
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .map(OsStr::to_string_lossy);
    interpreter.is_some_and(|name| INTERPRETERS.contains(&&*name)) && is_agent(&words)
}

/// Ends a process: asks it, and forces it where it does not.
pub(super) fn end(process: &OldProcess) -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| {
        Failure::new(
            ExitCode::Failed,
            format!(
                "the older agent (process {}) cannot be ended: {}",
                process.pid.as_raw_nonzero(),
                io::Error::from(error).kind()
            ),
        )
        .hint("end it by hand and run this command again")
    };
    let descriptor = match pidfd_open(process.pid, PidfdFlags::empty()) {
        Ok(descriptor) => descriptor,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    // The number may have become another process's before it was held.
    if !runs_old_agent(process.pid) {
        return Ok(());
    }
    for signal in [Signal::TERM, Signal::KILL] {
        match pidfd_send_signal(&descriptor, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => return Err(failed(error)),
            _ => {}
        }
        let patience = Timespec::try_from(PATIENCE).unwrap_or(Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        });
        let mut ended = [PollFd::new(&descriptor, PollFlags::IN)];
        if poll(&mut ended, Some(&patience)).map_err(failed)? > 0 {
            return Ok(());
        }
    }
    Err(failed(rustix::io::Errno::TIMEDOUT))
}

/// Removes a file in a folder of this user's, as that user: a link in its path leads root to no file of another.
pub(super) fn remove_as(user: &Account, path: &Path) -> Result<(), Failure> {
    let output = Command::new("rm")
        .args(["-f", "--"])
        .arg(path)
        .uid(user.uid)
        .gid(user.gid)
        .current_dir("/")
        .stdin(Stdio::null())
        .output();
    let why = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => askalf_cli::one_line(String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => askalf_cli::in_plain_words(&error),
    };
    Err(Failure::new(
        ExitCode::Failed,
        format!("{} cannot be removed as {}: {why}", path.display(), user.name),
    )
    .hint("remove it by hand and run this command again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk_live_0123456789abcdefghijABCDEFGHIJ01";

    fn root() -> Account {
        Account {
            name: "root".to_owned(),
            uid: 0,
            gid: 0,
            home: "/root".into(),
        }
    }

    fn parsed(text: &str) -> Option<OldUnit> {
        parse(
            text,
            "/etc/systemd/system/askalf-agent.service".into(),
            Scope::System,
            &root(),
        )
    }

    /// As agents 2 and 3 wrote it.
    fn npm_unit() -> String {
        format!(
            "[Unit]\nDescription=Agent\n\n[Service]\nType=simple\n\
             ExecStart=/usr/bin/node /usr/lib/node_modules/x/bin/askalf-agent connect {KEY} --url wss://b.test --name pi\n\
             Restart=always\nEnvironment=NODE_ENV=production\nWorkingDirectory=/root\n"
        )
    }

    #[test]
    fn the_unit_of_the_older_agent_yields_its_key_its_bridge_and_its_home() {
        let unit = parsed(&npm_unit()).unwrap();
        assert_eq!(unit.key.unwrap().expose_secret(), KEY);
        assert_eq!(unit.url.as_deref(), Some("wss://b.test"));
        assert_eq!(unit.device_name.as_deref(), Some("pi"));
        assert_eq!(unit.home, Path::new("/root/.askalf"));
        assert_eq!(unit.runs_as.name, "root");
    }

    #[test]
    fn a_key_is_found_wherever_it_stands() {
        for (command, more) in [
            (
                format!("/usr/bin/askalf-agent daemon --api-key={KEY}"),
                String::new(),
            ),
            (
                format!("/usr/bin/askalf-agent daemon --api-key {KEY}"),
                String::new(),
            ),
            (format!("/usr/bin/askalf-agent run {KEY}"), String::new()),
            (
                "/usr/bin/askalf-agent daemon".to_owned(),
                format!("Environment=\"ASKALF_API_KEY={KEY}\" ASKALF_HOME=/srv/a\n"),
            ),
        ] {
            let unit = parsed(&format!("[Service]\nExecStart={command}\n{more}")).unwrap();
            assert_eq!(unit.key.unwrap().expose_secret(), KEY, "{command}");
            assert_eq!(
                unit.home,
                Path::new(if more.is_empty() {
                    "/root/.askalf"
                } else {
                    "/srv/a"
                })
            );
        }
    }

    #[test]
    fn other_units_are_left_alone() {
        let ours = format!("{MARK}\n{}", npm_unit());
        for text in [
            ours.as_str(),
            "[Service]\nExecStart=/usr/bin/askalf-agent daemon\n",
            "[Service]\nExecStart=/usr/bin/node /srv/app.js connect sk_live_0123456789abcdefghijABCDEFGHIJ01\n",
            "[Service]\nExecStart=/usr/bin/askalf-bridge serve\n",
            "[Service]\n",
        ] {
            assert!(parsed(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_program_without_an_end_is_not_read_to_it() {
        let unit = parsed("[Service]\nExecStart=/dev/zero askalf-agent\n");
        assert!(unit.is_none());
    }

    #[test]
    fn a_users_unit_speaks_for_that_user_alone() {
        let ann = Account {
            name: "ann".to_owned(),
            uid: 4_001,
            gid: 4_001,
            home: "/home/ann".into(),
        };
        let text = npm_unit().replace("[Service]", "[Service]\nUser=root");
        let of = |scope| parse(&text, "/x/askalf-agent.service".into(), scope, &ann).unwrap();
        assert_eq!(of(Scope::User).runs_as, ann);
        assert_eq!(of(Scope::System).runs_as.uid, 0);
    }

    #[test]
    fn a_link_in_a_users_folder_leads_root_to_no_other_file() {
        if users::own_uid() != 0 {
            println!("not run: it takes root to become another user");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (other, own) = (folder.path().join("other"), folder.path().join("own"));
        fs::create_dir(&other).unwrap();
        fs::create_dir(&own).unwrap();
        let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open_to_all).unwrap();
        fs::write(other.join("ssh.service"), "").unwrap();
        fs::write(own.join("old.service"), "").unwrap();
        std::os::unix::fs::symlink(&other, own.join("default.target.wants")).unwrap();
        std::os::unix::fs::chown(&own, Some(4_001), Some(4_001)).unwrap();
        let ann = Account {
            name: "ann".to_owned(),
            uid: 4_001,
            gid: 4_001,
            home: own.clone(),
        };
        let error = remove_as(&ann, &own.join("default.target.wants/ssh.service")).unwrap_err();
        assert!(error.to_string().contains("as ann"), "{error}");
        assert!(other.join("ssh.service").exists());
        remove_as(&ann, &own.join("old.service")).unwrap();
        assert!(!own.join("old.service").exists());
    }

    #[test]
    fn a_unit_whose_name_would_be_an_option_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["-Hhost.service", "askalf-agent.service"] {
            fs::write(folder.path().join(name), npm_unit()).unwrap();
        }
        let found = units_in(folder.path(), Scope::User, &root());
        let names: Vec<String> = found.iter().map(OldUnit::name).collect();
        assert_eq!(names, ["askalf-agent.service"]);
    }

    #[test]
    fn a_process_is_the_older_agent_only_by_its_command_line() {
        let start = |name: &str| {
            let mut command = Command::new("/bin/sh");
            command
                .arg0(name)
                .args(["-c", "echo up; read wait", "/usr/bin/askalf-agent", "daemon"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // Its arguments may come a moment after the spawn was answered.
            let mut up = [0; 3];
            child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
            child
        };
        let (mut old, mut other) = (start("/usr/bin/node"), start("/bin/sh"));
        let found = processes();
        let is = |child: &std::process::Child, process: &OldProcess| {
            process.pid.as_raw_nonzero().get() == i32::try_from(child.id()).unwrap()
        };
        let process = found.iter().find(|process| is(&old, process));
        end(process.expect("it runs the older agent")).unwrap();
        assert!(!old.wait().unwrap().success());
        assert!(!found.iter().any(|process| is(&other, process)));
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
