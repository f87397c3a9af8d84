//! Making the service, or bringing one up to date: the same acts, of which those that are done already are left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use askalf_agent_core::State;
use askalf_cli::{ExitCode, Failure, in_plain_words};
use askalf_cred::KeySources;
use serde::Serialize;

use super::adopt::{Source, adopt, has_credential};
use super::find::foreign_drop_ins;
use super::old_agent::{self, OldUnit};
use super::units::{DaemonUnit, UnitFile};
use super::users::{self, Account};
use super::{Profile, SERVICE, SERVICE_HOME, SERVICE_USER, SYSTEM_UNITS, Scope, systemctl};
use crate::service::acts::{Act, Acts, cannot};
use crate::service::task_units::{TASK_HOME, TASK_USER};

/// Folders of programs that every user and every boot finds; a program that stands there is used where it is.
const PROGRAM_FOLDERS: [&str; 6] = [
    "/usr/bin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/local/sbin",
    "/bin",
    "/sbin",
];

/// Where packages have their units.
const PACKAGED_UNITS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];

/// How long is waited for what the started service comes to.
const SETTLING: Duration = Duration::from_secs(3);

/// What is to be installed.
#[derive(Debug)]
pub(crate) struct Install {
    pub scope: Scope,
    pub profile: Profile,
    pub dry_run: bool,
    pub json: bool,
    /// A home to take over.
    pub adopt: Option<PathBuf>,
    /// What may unseal its key.
    pub keys: KeySources,
    /// The agent's home of a user's service.
    pub user_home: PathBuf,
    /// The folder of the units of a user's own manager.
    pub user_units: PathBuf,
    /// Who called root to run this.
    pub caller: Option<String>,
}

/// What was done.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub scope: &'static str,
    pub profile: &'static str,
    pub dry_run: bool,
    pub unit: PathBuf,
    pub binary: PathBuf,
    pub home: PathBuf,
    /// Who the agent runs as, where that is another user.
    pub user: Option<&'static str>,
    pub acts: Vec<Act>,
    pub notes: Vec<String>,
    /// What the started service says of itself.
    pub status: Option<String>,
}

/// Installs the service and starts it.
pub(crate) fn install(wanted: &Install) -> Result<Report, Failure> {
    check(wanted.scope, wanted.dry_run, "install-service")?;
    let mut acts = Acts::new(wanted.dry_run, wanted.json);
    let (unit, binary, home) = match wanted.scope {
        Scope::System => system(wanted, &mut acts)?,
        Scope::User => user(wanted, &mut acts)?,
    };
    acts.systemctl(wanted.scope, &["daemon-reload"])?;
    for name in wanted.scope.units_to_enable() {
        acts.systemctl(wanted.scope, &["enable", name])?;
    }
    for name in wanted.scope.units_to_enable() {
        acts.systemctl(wanted.scope, &["restart", name])?;
    }
    if wanted.scope == Scope::User && !lingers() {
        acts.note(
            "the service ends when you log out, and does not start with the machine, until somebody runs: \
             sudo loginctl enable-linger $USER",
        );
    }
    if !wanted.dry_run && !has_credential(&home) {
        let sudo = if wanted.scope == Scope::System {
            "sudo "
        } else {
            ""
        };
        acts.note(format!(
            "the device has no key yet: {sudo}askalf-agent pair CODE --url https://BRIDGE. The service takes it at once"
        ));
    }
    let status = (!wanted.dry_run)
        .then(|| settled_status(wanted.scope))
        .filter(|status| !status.is_empty());
    let (done, notes) = acts.into_parts();
    Ok(Report {
        scope: wanted.scope.as_str(),
        profile: wanted.profile.as_str(),
        dry_run: wanted.dry_run,
        unit,
        binary,
        home,
        user: (wanted.scope == Scope::System).then_some(SERVICE_USER),
        acts: done,
        notes,
        status,
    })
}

/// What the started service says of itself, once it is past its first steps or they take long.
fn settled_status(scope: Scope) -> String {
    let asked = Instant::now();
    loop {
        let status = systemctl::ask(scope, &["show", "--property=StatusText", "--value", SERVICE]);
        let on_its_way = [State::Connecting, State::Authenticating, State::Registering]
            .iter()
            .any(|state| status.starts_with(state.as_str()));
        if !on_its_way || asked.elapsed() > SETTLING {
            return status;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Whether this can be done here, by this user.
pub(super) fn check(scope: Scope, dry_run: bool, command: &str) -> Result<(), Failure> {
    if dry_run {
        return Ok(());
    }
    if scope == Scope::System && users::own_uid() != 0 {
        return Err(Failure::new(
            ExitCode::Permission,
            "a service of the system is root's to make and to remove",
        )
        .hint(format!(
            "sudo askalf-agent {command}, or a service of your own: askalf-agent {command} --user"
        )));
    }
    if !systemctl::is_booted() {
        let hint = if command == "install-service" {
            "have 'askalf-agent daemon' started by what starts programs here; '--dry-run' prints the unit of systemd"
        } else {
            "there is no service of systemd to remove; 'askalf-agent disconnect' stops an agent that runs"
        };
        return Err(Failure::new(ExitCode::Failed, "this system was not booted with systemd").hint(hint));
    }
    Ok(())
}

fn system(wanted: &Install, acts: &mut Acts) -> Result<(PathBuf, PathBuf, PathBuf), Failure> {
    let home = PathBuf::from(SERVICE_HOME);
    let caller = wanted.caller.as_deref().and_then(users::named);
    let old_units = old_agent::units(caller.as_ref());
    let source = source(wanted, &old_units, caller.as_ref(), &home)?;

    make_user(acts, SERVICE_USER, &home, "askalf device agent")?;
    make_user(
        acts,
        TASK_USER,
        Path::new(TASK_HOME),
        "tasks of the askalf device agent",
    )?;
    let binary = program(acts, Path::new("/usr/local/bin"))?;
    // While the older agent still runs: where its credential cannot be read, nothing has ended.
    match &source {
        Some(Found::Take(source)) => take_over(acts, wanted, source, &home)?,
        Some(Found::Mention(folder)) => acts.note(format!(
            "{folder} holds an agent's credential. To take it over: stop what runs there, then sudo askalf-agent \
             install-service --adopt {folder}",
            folder = folder.display()
        )),
        None => {}
    }
    let taken = match &source {
        Some(Found::Take(source)) => Some(source.runs_as.uid),
        _ => None,
    };
    let of_units = old_units.iter().map(|unit| unit.runs_as.uid);
    let users: Vec<u32> = of_units
        .chain(taken)
        .chain(caller.as_ref().map(|caller| caller.uid))
        .chain([0])
        .collect();
    stop_old(acts, &old_units, |uid| users.contains(&uid))?;
    make_home(acts, &home)?;
    let units = Path::new(SYSTEM_UNITS);
    let files = UnitFile::of_the_system(&binary, &home, wanted.profile);
    for file in &files {
        let path = units.join(file.name);
        if is_packaged(file) {
            // One of ours in front of it would stay as it is for ever.
            acts.unchanged("write", path.display().to_string())?;
            acts.remove(&path)?;
        } else {
            acts.write(&path, &file.text)?;
        }
    }
    forget_old(acts, &old_units, &files.map(|file| units.join(file.name)))?;
    for file in foreign_drop_ins(Path::new("/")) {
        acts.note(format!(
            "{} has the service start another program, or gives it a key that everybody can read: remove the file unless you \
             want that, then sudo systemctl daemon-reload and restart askalf-agent",
            file.display()
        ));
    }
    Ok((units.join(SERVICE), binary, home))
}

/// Whether a package has brought this very unit.
fn is_packaged(file: &UnitFile) -> bool {
    PACKAGED_UNITS.iter().any(|folder| {
        let packaged = fs::read_to_string(Path::new(folder).join(file.name));
        packaged.is_ok_and(|text| text == file.text)
    })
}

fn user(wanted: &Install, acts: &mut Acts) -> Result<(PathBuf, PathBuf, PathBuf), Failure> {
    let home = wanted.user_home.clone();
    if let Some(folder) = &wanted.adopt {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("a user's own service takes no home over: {}", folder.display()),
        )
        .hint("name the folder itself: askalf-agent --home DIR install-service --user"));
    }
    let me = users::with_id(users::own_uid());
    let old_units: Vec<OldUnit> = old_agent::units(me.as_ref())
        .into_iter()
        .filter(|unit| unit.scope == Scope::User)
        .collect();
    let local = me.as_ref().map(|me| me.home.join(".local/bin"));
    let local = local.ok_or_else(|| Failure::new(ExitCode::Failed, "this user has no home folder"))?;
    let binary = program(acts, &local)?;
    stop_old(acts, &old_units, |uid| uid == users::own_uid())?;
    let unit = wanted.user_units.join(SERVICE);
    let text = DaemonUnit {
        scope: Scope::User,
        binary: &binary,
        home: &home,
        profile: wanted.profile,
    }
    .text();
    acts.write(&unit, &text)?;
    forget_old(acts, &old_units, std::slice::from_ref(&unit))?;
    Ok((unit, binary, home))
}

/// A home with a credential.
enum Found {
    /// The one that was named, or that of an older agent that the service takes the place of.
    Take(Box<Source>),
    /// It may be a device of its own.
    Mention(PathBuf),
}

/// What is there to take over, while the service has no key of its own.
fn source(
    wanted: &Install,
    old_units: &[OldUnit],
    caller: Option<&Account>,
    home: &Path,
) -> Result<Option<Found>, Failure> {
    if let Some(folder) = &wanted.adopt {
        if has_credential(home) {
            return Err(Failure::new(
                ExitCode::Configuration,
                format!("the service has a credential already, in {}", home.display()),
            )
            .hint("give it a new one with 'askalf-agent pair', or move its agent.json away first"));
        }
        let owner = fs::metadata(folder).map_err(|error| cannot("read", folder, &error))?;
        let runs_as = askalf_cli::owner(&owner).and_then(users::with_id);
        let runs_as = runs_as.ok_or_else(|| {
            Failure::new(
                ExitCode::Failed,
                format!("{} belongs to no user of this system", folder.display()),
            )
        })?;
        let folder = std::path::absolute(folder).map_err(|error| cannot("read", folder, &error))?;
        return Ok(Some(Found::Take(Box::new(Source::new(folder, runs_as, None)))));
    }
    if has_credential(home) {
        return Ok(None);
    }
    let of_unit = old_units
        .iter()
        .find(|unit| has_credential(&unit.home) || unit.key.is_some());
    if let Some(unit) = of_unit {
        return Ok(Some(Found::Take(Box::new(Source::new(
            unit.home.clone(),
            unit.runs_as.clone(),
            unit.key
                .clone()
                .map(|key| (key, unit.url.clone(), unit.device_name.clone())),
        )))));
    }
    let (trusted, others): (Vec<Account>, Vec<Account>) = old_agent::processes()
        .iter()
        .filter_map(|process| users::with_id(process.uid))
        .filter(|account| has_credential(&account.home.join(".askalf")))
        .partition(|account| is_trusted(account.uid, caller));
    if let Some(account) = trusted.into_iter().next() {
        return Ok(Some(Found::Take(Box::new(Source::new(
            account.home.join(".askalf"),
            account,
            None,
        )))));
    }
    let idle = caller.map(|caller| caller.home.join(".askalf"));
    let idle = idle.filter(|folder| has_credential(folder));
    let running = others.first().map(|account| account.home.join(".askalf"));
    Ok(idle.or(running).map(Found::Mention))
}

/// Whose running agent the service takes the place of unasked. Every user can run something that looks like one, with a bridge of
/// their own in its config, which would be the machine's then.
fn is_trusted(uid: u32, caller: Option<&Account>) -> bool {
    uid == 0 || caller.is_some_and(|caller| caller.uid == uid)
}

fn take_over(acts: &mut Acts, wanted: &Install, source: &Source, home: &Path) -> Result<(), Failure> {
    let folder = source.folder.display();
    if let Some(holder) = crate::home_lock::holder(&askalf_cred::Home::new(&source.folder)) {
        return Err(Failure::new(
            ExitCode::TryAgain,
            format!("an agent runs in {folder}{holder}: two of them would take each other's place"),
        )
        .hint(format!(
            "stop it first: as {}, askalf-agent --home {folder} disconnect",
            source.runs_as.name
        )));
    }
    let mut notes = Vec::new();
    acts.act("take over", format!("{folder} as {}", home.display()), || {
        // Not while the service that was never paired holds the folder.
        if systemctl::ask(Scope::System, &["is-active", SERVICE]) == "active" {
            systemctl::run(Scope::System, &["stop", SERVICE])?;
        }
        let service = users::named(SERVICE_USER)
            .ok_or_else(|| Failure::new(ExitCode::Failed, format!("there is no user {SERVICE_USER}")))?;
        notes = adopt(source, &wanted.keys, home, &service)?;
        Ok(())
    })?;
    for note in notes {
        acts.note(note);
    }
    acts.note(format!(
        "{folder} is as it was, and still holds the key: remove it once the device is online"
    ));
    Ok(())
}

/// Ends what an older agent runs, so that two of them do not take each other's place.
fn stop_old(acts: &mut Acts, units: &[OldUnit], is_of: impl Fn(u32) -> bool) -> Result<(), Failure> {
    for unit in units {
        let name = unit.name();
        match unit.scope {
            Scope::System => acts.systemctl(Scope::System, &["disable", "--now", &name])?,
            Scope::User if unit.runs_as.uid == users::own_uid() => {
                acts.systemctl(Scope::User, &["disable", "--now", &name])?;
            }
            Scope::User => {
                let machine = format!("--machine={}@.host", unit.runs_as.name);
                // Nobody can be asked where the user has no session; the process is ended below.
                acts.act(
                    "run",
                    format!("systemctl {machine} --user disable --now {name}"),
                    || {
                        let _no_session =
                            systemctl::succeed("systemctl", &[&machine, "--user", "disable", "--now", &name]);
                        Ok(())
                    },
                )?;
            }
        }
    }
    for process in old_agent::processes().iter().filter(|process| is_of(process.uid)) {
        let what = format!("the older agent (process {})", process.pid.as_raw_nonzero());
        acts.act("end", what, || old_agent::end(process))?;
    }
    Ok(())
}

/// Removes the older agent's units but those that ours were written over, and says what stood in them.
fn forget_old(acts: &mut Acts, old: &[OldUnit], ours: &[PathBuf]) -> Result<(), Failure> {
    for unit in old {
        if !ours.contains(&unit.path) {
            let wanted = unit.path.with_file_name("default.target.wants").join(unit.name());
            for path in [&unit.path, &wanted] {
                remove_of(acts, unit, path)?;
            }
        }
        if unit.key.is_some() {
            acts.note(format!(
                "the device's key stood readable for everybody in {} and in the list of processes. Give the device a new \
                 one: on the bridge, askalf-bridge keys rotate --device {}",
                unit.path.display(),
                unit.device_name.as_deref().unwrap_or("DEVICE")
            ));
        }
    }
    Ok(())
}

/// Removes a file of the older agent's unit: in a user's folder as that user.
fn remove_of(acts: &mut Acts, unit: &OldUnit, path: &Path) -> Result<(), Failure> {
    if unit.scope == Scope::System || unit.runs_as.uid == users::own_uid() {
        return acts.remove(path);
    }
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let what = format!("{} as {}", path.display(), unit.runs_as.name);
    acts.act("remove", what, || old_agent::remove_as(&unit.runs_as, path))
}

/// A user without a password or a shell.
fn make_user(acts: &mut Acts, name: &str, home: &Path, what: &str) -> Result<(), Failure> {
    if users::named(name).is_some() {
        return acts.unchanged("make the user", name);
    }
    let folder = home.display().to_string();
    acts.act("make the user", name, || {
        let inline = format!("u {name} - \"{what}\" {folder}");
        let made = systemctl::succeed("systemd-sysusers", &["--inline", &inline]);
        if made.is_ok() && users::named(name).is_some() {
            return Ok(());
        }
        let arguments = [
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            &folder,
        ];
        let arguments =
            arguments
                .into_iter()
                .chain(["--shell", "/usr/sbin/nologin", "--comment", what, name]);
        systemctl::succeed("useradd", &arguments.collect::<Vec<_>>())
    })
}

/// The service's home, for its user alone.
pub(crate) fn make_home(acts: &mut Acts, home: &Path) -> Result<(), Failure> {
    if home.is_dir() {
        return Ok(());
    }
    acts.act("make", home.display().to_string(), || {
        make_home_of(home, SERVICE_USER)
    })
}

/// Makes a home that belongs to this user.
pub(crate) fn make_home_of(home: &Path, user: &str) -> Result<(), Failure> {
    let account = users::named(user)
        .ok_or_else(|| Failure::new(ExitCode::Failed, format!("there is no user {user}")))?;
    askalf_cli::private_folder()
        .create(home)
        .and_then(|()| std::os::unix::fs::lchown(home, Some(account.uid), Some(account.gid)))
        .map_err(|error| cannot("made", home, &error))
}

/// The program that the unit names: this one, where it stands in a folder of programs; else a copy of it in `folder`.
pub(crate) fn program(acts: &mut Acts, folder: &Path) -> Result<PathBuf, Failure> {
    let running = std::env::current_exe()
        .and_then(fs::canonicalize)
        .map_err(|error| {
            Failure::new(
                ExitCode::Failed,
                format!("the program's own file is not found: {}", in_plain_words(&error)),
            )
            .hint("it was replaced while it ran: run the new one")
        })?;
    let stands_well = running.parent().is_some_and(|parent| {
        PROGRAM_FOLDERS.iter().any(|folder| parent == Path::new(folder)) || parent == folder
    });
    if stands_well {
        return Ok(running);
    }
    let to = folder.join("askalf-agent");
    acts.copy_program(&running, &to)?;
    Ok(to)
}

/// Whether this user's services run without a session. Where nothing can be asked, nothing is said.
fn lingers() -> bool {
    let uid = users::own_uid().to_string();
    let output = std::process::Command::new("loginctl")
        .args(["show-user", &uid, "--property=Linger", "--value"])
        .output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_of_root_or_of_the_caller_is_taken_over_unasked_and_no_others() {
        let ann = Account {
            name: "ann".to_owned(),
            uid: 4_001,
            gid: 4_001,
            home: "/home/ann".into(),
        };
        assert!(is_trusted(0, None) && is_trusted(4_001, Some(&ann)));
        assert!(!is_trusted(4_001, None) && !is_trusted(4_002, Some(&ann)));
    }
}
