//! The agent as a service of macOS. The files are checked against golden ones; nothing here was run on a Mac.

use std::path::{Path, PathBuf};

/// Name of the job, and of its file.
pub(crate) const LABEL: &str = "org.askalf.agent";

/// A job of launchd.
#[derive(Debug, Clone)]
pub(crate) struct Job<'a> {
    /// The agent's binary.
    pub(crate) binary: &'a Path,
    /// The agent's home.
    pub(crate) home: &'a Path,
    /// Whom a daemon of the system runs as; none for a job of the user's own.
    pub(crate) user: Option<&'a str>,
}

/// Where the file of a job is: the system's folder, or that of the user with this home.
pub(crate) fn file(user_home: Option<&Path>) -> PathBuf {
    let folder = match user_home {
        Some(home) => home.join("Library/LaunchAgents"),
        None => PathBuf::from("/Library/LaunchDaemons"),
    };
    folder.join(format!("{LABEL}.plist"))
}

/// What launchd calls the place of a job: the system, or the session of a user.
pub(crate) fn domain(user: Option<u32>) -> String {
    match user {
        Some(uid) => format!("gui/{uid}"),
        None => "system".to_owned(),
    }
}

impl Job<'_> {
    /// The text of its file. No secret stands in it: everybody on the machine can read it.
    pub(crate) fn plist(&self) -> String {
        let home = escaped(&self.home.display().to_string());
        let user = self.user.map_or_else(String::new, |user| {
            format!("\t<key>UserName</key>\n\t<string>{}</string>\n", escaped(user))
        });
        format!(
            "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<!-- Made by 'askalf-agent install-service', which replaces it. -->
<plist version=\"1.0\">
<dict>
	<key>Label</key>
	<string>{LABEL}</string>
	<key>ProgramArguments</key>
	<array>
		<string>{binary}</string>
		<string>daemon</string>
	</array>
	<key>EnvironmentVariables</key>
	<dict>
		<key>ASKALF_HOME</key>
		<string>{home}</string>
	</dict>
{user}	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<true/>
	<key>ThrottleInterval</key>
	<integer>2</integer>
	<key>ExitTimeOut</key>
	<integer>30</integer>
	<key>Umask</key>
	<string>0077</string>
	<key>ProcessType</key>
	<string>Background</string>
	<key>StandardErrorPath</key>
	<string>{home}/agent.log</string>
</dict>
</plist>
",
            binary = escaped(&self.binary.display().to_string()),
        )
    }
}

/// Text between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(target_os = "macos")]
pub(crate) use macos::{install, uninstall};

#[cfg(target_os = "macos")]
mod macos {
    use std::path::{Path, PathBuf};

    use askalf_cli::{ExitCode, Failure};

    use super::{Job, LABEL, domain, file};
    use crate::service::acts::Acts;

    const HINT: &str = "see agent.log in the agent's home; the same command goes on where this one stopped";

    /// Whose service it is: the machine's, run as the user who called root, or the user's own.
    #[derive(Debug, Clone)]
    pub(crate) struct Place {
        pub(crate) system: bool,
        /// Who called root.
        pub(crate) caller: Option<String>,
        /// The home folder of the user.
        pub(crate) user_home: PathBuf,
        /// The agent's home.
        pub(crate) home: PathBuf,
        pub(crate) uid: u32,
        pub(crate) dry_run: bool,
        pub(crate) json: bool,
    }

    impl Place {
        fn file(&self) -> PathBuf {
            file((!self.system).then_some(&*self.user_home))
        }

        fn domain(&self) -> String {
            domain((!self.system).then_some(self.uid))
        }

        fn user(&self) -> Result<Option<&str>, Failure> {
            match (self.system, self.caller.as_deref()) {
                (false, _) => Ok(None),
                (true, Some(user)) => Ok(Some(user)),
                (true, None) => Err(Failure::new(
                    ExitCode::Usage,
                    "the service of the system would run its tasks as root",
                )
                .hint("run it by 'sudo' as the user that the agent should run as")),
            }
        }
    }

    /// Makes the job and starts it.
    pub(crate) fn install(place: &Place) -> Result<Acts, Failure> {
        let mut acts = Acts::new(place.dry_run, place.json);
        let binary = std::env::current_exe()
            .map_err(|_| Failure::new(ExitCode::Failed, "the program's own file is not found"))?;
        let job = Job {
            binary: &binary,
            home: &place.home,
            user: place.user()?,
        };
        let (file, domain) = (place.file(), place.domain());
        if file.exists() {
            stop(&mut acts, &domain)?;
        }
        acts.write(&file, &job.plist())?;
        acts.run("launchctl", &["bootstrap", &domain, &shown(&file)], HINT)?;
        acts.note("tasks run as the agent's own user and can read its key: dispatch only what you would run there by hand");
        Ok(acts)
    }

    /// Stops the job and removes it.
    pub(crate) fn uninstall(place: &Place) -> Result<Acts, Failure> {
        let mut acts = Acts::new(place.dry_run, place.json);
        let file = place.file();
        if file.exists() {
            stop(&mut acts, &place.domain())?;
            acts.remove(&file)?;
        }
        acts.note(format!("{} with the key stays", place.home.display()));
        Ok(acts)
    }

    /// One that is not loaded is stopped.
    fn stop(acts: &mut Acts, domain: &str) -> Result<(), Failure> {
        let target = format!("{domain}/{LABEL}");
        acts.act("stop", target.clone(), || {
            let _not_loaded = crate::service::programs::succeed("launchctl", &["bootout", &target], HINT);
            Ok(())
        })
    }

    fn shown(path: &Path) -> String {
        path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_the_golden_ones() {
        let daemon = Job {
            binary: Path::new("/usr/local/bin/askalf-agent"),
            home: Path::new("/Users/ann/.askalf"),
            user: Some("ann"),
        };
        assert_eq!(daemon.plist(), include_str!("golden/launch-daemon.plist"));
        let agent = Job {
            binary: Path::new("/Users/ann lee/a&b/askalf-agent"),
            home: Path::new("/Users/ann lee/<1>/.askalf"),
            user: None,
        };
        assert_eq!(agent.plist(), include_str!("golden/launch-agent.plist"));
    }

    #[test]
    fn a_job_of_the_system_and_one_of_a_user_stand_in_their_places() {
        assert_eq!(
            file(None),
            Path::new("/Library/LaunchDaemons/org.askalf.agent.plist")
        );
        assert_eq!(
            file(Some(Path::new("/Users/ann"))),
            Path::new("/Users/ann/Library/LaunchAgents/org.askalf.agent.plist")
        );
        assert_eq!(
            (domain(None).as_str(), domain(Some(501)).as_str()),
            ("system", "gui/501")
        );
    }
}
