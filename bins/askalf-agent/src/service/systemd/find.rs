//! The system service that is installed, as its units say: root's commands find the agent's home by it.

use std::fs;
use std::path::{Path, PathBuf};

use super::unit_text::{assignments, words};
use super::{SERVICE, SERVICE_HOME};

/// Where units are, the one that counts first.
const FOLDERS: [&str; 4] = [
    "etc/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// The agent's system service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstalledService {
    /// Its unit.
    pub unit: PathBuf,
    /// Who it runs as.
    pub user: String,
    /// Its home.
    pub home: PathBuf,
    /// Its variables.
    environment: Vec<String>,
}

impl InstalledService {
    /// A variable of its environment.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        last(&self.environment, name)
    }
}

/// The last one counts.
fn last<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    let mut values = environment
        .iter()
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values.next_back()
}

/// The service that is installed under this root, where one is: a unit with a home and a user of its own. Units of older agents
/// are none.
pub(crate) fn installed(root: &Path) -> Option<InstalledService> {
    let (unit, text) = FOLDERS.iter().find_map(|folder| {
        let path = root.join(folder).join(SERVICE);
        fs::read_to_string(&path).ok().map(|text| (path, text))
    })?;
    let mut settings = assignments(&text);
    for part in drop_ins(&root.join(FOLDERS[0]).join(format!("{SERVICE}.d"))) {
        settings.extend(assignments(&part));
    }
    // The last one counts.
    let value = |name: &str| settings.iter().rev().find(|(found, _)| found == name);
    let user = value("User").map(|(_, user)| user.clone())?;
    let environment: Vec<String> = settings
        .iter()
        .filter(|(name, _)| name == "Environment")
        .flat_map(|(_, value)| words(value))
        .collect();
    let home = last(&environment, "ASKALF_HOME").map(PathBuf::from);
    let home = home.or_else(|| value("StateDirectory").map(|_| PathBuf::from(SERVICE_HOME)))?;
    (home.is_absolute() && !user.is_empty()).then_some(InstalledService {
        unit,
        user,
        home,
        environment,
    })
}

/// What an administrator has set beside the unit, in the order in which it counts.
fn drop_ins(folder: &Path) -> Vec<String> {
    let files = drop_in_files(folder);
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect()
}

/// Files beside the unit that have it start another program, or give it a key that everybody can read: an older agent's may stay
/// when its unit goes.
pub(super) fn foreign_drop_ins(root: &Path) -> Vec<PathBuf> {
    let mut files = drop_in_files(&root.join(FOLDERS[0]).join(format!("{SERVICE}.d")));
    files.retain(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        assignments(&text).iter().any(|(name, value)| {
            name == "ExecStart" || (name == "Environment" && value.contains("ASKALF_API_KEY"))
        })
    });
    files
}

fn drop_in_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_an_older_agent_left_beside_the_unit_is_named() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let folder = "etc/systemd/system/askalf-agent.service.d";
        let key = "[Service]\nEnvironment=\"ASKALF_API_KEY=sk_live_x\"\n";
        put(root, &format!("{folder}/key.conf"), key);
        put(
            root,
            &format!("{folder}/start.conf"),
            "[Service]\nExecStart=\nExecStart=/usr/bin/node x\n",
        );
        put(root, &format!("{folder}/limits.conf"), "[Service]\nNice=5\n");
        let found = foreign_drop_ins(root);
        let names: Vec<_> = found
            .iter()
            .filter_map(|file| file.file_name()?.to_str())
            .collect();
        assert_eq!(names, ["key.conf", "start.conf"]);
    }

    #[test]
    fn a_service_of_ours_is_found_and_its_administrators_word_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(installed(root), None);
        put(
            root,
            "usr/lib/systemd/system/askalf-agent.service",
            include_str!("golden/strict.service"),
        );
        let found = installed(root).unwrap();
        assert_eq!(
            (found.user.as_str(), found.home.to_str()),
            ("askalf-agent", Some("/var/lib/askalf-agent"))
        );
        assert_eq!(found.variable("ASKALF_TASK_USER"), Some("askalf-task"));
        assert_eq!(found.variable("ASKALF_TASK"), None);
        put(
            root,
            "etc/systemd/system/askalf-agent.service.d/override.conf",
            "[Service]\nUser=device\nEnvironment=\"ASKALF_HOME=/srv/my agent\" LANG=C\n",
        );
        let found = installed(root).unwrap();
        assert_eq!(
            (found.user.as_str(), found.home.to_str()),
            ("device", Some("/srv/my agent"))
        );
        assert_eq!(
            found.unit,
            root.join("usr/lib/systemd/system/askalf-agent.service")
        );
    }

    #[test]
    fn the_unit_of_an_older_agent_is_none() {
        let root = tempfile::tempdir().unwrap();
        put(
            root.path(),
            "etc/systemd/system/askalf-agent.service",
            "[Service]\nExecStart=/usr/bin/node /usr/bin/askalf-agent connect sk_live_x --url ws://h\n",
        );
        assert_eq!(installed(root.path()), None);
    }
}
