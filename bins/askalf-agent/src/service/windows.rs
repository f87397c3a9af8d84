//! The agent as a service of Windows: what the service control manager is told, and whose the service's home is.
//!
//! The service runs as an account of its own, which Windows makes with the service and which is no administrator. Tasks run as that
//! account too.

use std::path::{Path, PathBuf};

#[cfg(windows)]
mod control;
#[cfg(windows)]
mod process;

#[cfg(windows)]
pub(crate) use control::{after_act, install, uninstall};
#[cfg(windows)]
pub(crate) use process::{log_file, run};

/// Name of the service.
#[cfg(windows)]
const NAME: &str = "askalf-agent";

/// The account that Windows makes for a service of this name.
const ACCOUNT: &str = r"NT SERVICE\askalf-agent";

/// The home of the service under the folder of all users' data (`%ProgramData%`).
pub(crate) fn home(program_data: &Path) -> PathBuf {
    program_data.join("askalf-agent")
}

/// Where the program is put (`%ProgramFiles%`): only administrators can write there.
fn program(program_files: &Path) -> PathBuf {
    program_files.join("askalf-agent").join("askalf-agent.exe")
}

/// Arguments with which the service control manager starts the program.
fn arguments(home: &Path) -> [PathBuf; 3] {
    ["--home".into(), home.to_owned(), "service-run".into()]
}

/// Calls of `icacls` that make a home the service's: it, the system and the administrators may do all there, nobody else anything.
/// Files that an administrator wrote there belong to the administrators then, and have the list of their folder.
fn hand_over(home: &Path, has_files: bool) -> Vec<Vec<String>> {
    let folder = home.display().to_string();
    let all = |who: &str| format!("{who}:(OI)(CI)F");
    let mut calls = vec![vec![
        folder.clone(),
        "/inheritance:r".to_owned(),
        "/grant:r".to_owned(),
        all(SYSTEM),
        all(ADMINISTRATORS),
        all(ACCOUNT),
        "/q".to_owned(),
    ]];
    if has_files {
        let inside = |what: &[&str]| {
            let words = [
                &[format!(r"{folder}\*")][..],
                &what.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(),
            ];
            words.concat()
        };
        calls.push(inside(&["/setowner", ADMINISTRATORS, "/t", "/q"]));
        calls.push(inside(&["/reset", "/t", "/q"]));
    }
    calls
}

/// Well-known accounts by number: their names are translated.
const SYSTEM: &str = "*S-1-5-18";
const ADMINISTRATORS: &str = "*S-1-5-32-544";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_the_services_and_the_administrators_alone() {
        let home = Path::new("HOME");
        let calls = hand_over(home, true);
        let lines: Vec<String> = calls.iter().map(|call| call.join(" ")).collect();
        assert_eq!(
            lines,
            [
                r"HOME /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F NT SERVICE\askalf-agent:(OI)(CI)F /q",
                r"HOME\* /setowner *S-1-5-32-544 /t /q",
                r"HOME\* /reset /t /q",
            ]
        );
        // In an empty folder there is nothing that `*` stands for.
        assert_eq!(hand_over(home, false), calls[..1]);
    }

    #[test]
    fn the_program_is_started_on_the_services_home() {
        let home = home(Path::new("DATA"));
        assert_eq!(home, Path::new("DATA").join("askalf-agent"));
        assert_eq!(
            arguments(&home),
            [Path::new("--home"), &home, Path::new("service-run")]
        );
        assert!(program(Path::new("FILES")).ends_with("askalf-agent/askalf-agent.exe"));
    }
}
