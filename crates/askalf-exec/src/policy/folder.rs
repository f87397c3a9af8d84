//! Rules on the folder a task runs in.

use std::path::{Component, Path, PathBuf};

use super::pattern::{Pattern, PatternFault};

/// A folder and all that is below it; a `*` in it stands for any run of characters, `/` included.
///
/// What is matched is the folder's real path: symbolic links are followed and `..` is gone. A folder that the pattern names may itself be reached by
/// links: it matches as it is written and as it really is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FolderPattern {
    written: String,
    /// What stands before the first star: a path whose links can be followed.
    fixed: PathBuf,
    /// What stands behind it.
    rest: String,
    itself: Pattern,
    below: Pattern,
}

/// Why a text names no folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FolderFault {
    #[error("a folder is named by its whole path, from the root")]
    Relative,
    #[error("a folder is named without '.' and '..'")]
    Dots,
    #[error(transparent)]
    Pattern(#[from] PatternFault),
}

impl FolderPattern {
    pub(crate) fn parse(written: &str) -> Result<Self, FolderFault> {
        let text = slashes(written);
        let text = text.as_str();
        let is_root_relative = text.starts_with('/') || cfg!(windows) && Path::new(text).is_absolute();
        if !is_root_relative && !text.starts_with('*') {
            return Err(FolderFault::Relative);
        }
        if text.split('/').any(|part| part == "." || part == "..") {
            return Err(FolderFault::Dots);
        }
        let star = text.find('*').unwrap_or(text.len());
        // The last whole folder before the star.
        let fixed = match text[..star].rfind('/') {
            Some(_) if star == text.len() => text,
            Some(at) => &text[..at],
            None => "",
        };
        let rest = &text[fixed.len()..];
        let (itself, below) = patterns(text)?;
        Ok(Self {
            written: written.to_owned(),
            fixed: PathBuf::from(fixed),
            rest: rest.to_owned(),
            itself,
            below,
        })
    }

    /// As it stands in the file.
    pub(crate) fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether this folder, whose links were followed, is one of them.
    pub(crate) fn matches(&self, folder: &Path, real_path: &dyn Fn(&Path) -> Option<PathBuf>) -> bool {
        let folder = folder_text(folder);
        if self.itself.matches(&folder) || self.below.matches(&folder) {
            return true;
        }
        if self.fixed.as_os_str().is_empty() {
            return false;
        }
        let Some(real) = real_path(&self.fixed) else {
            return false;
        };
        // The real path is text, not a pattern.
        let real = folder_text(&real).replace('\\', "\\\\").replace('*', "\\*");
        patterns(&format!("{}{}", real.trim_end_matches('/'), self.rest))
            .is_ok_and(|(itself, below)| itself.matches(&folder) || below.matches(&folder))
    }
}

fn patterns(text: &str) -> Result<(Pattern, Pattern), PatternFault> {
    let trimmed = text.trim_end_matches('/');
    let itself = Pattern::parse(if trimmed.is_empty() { "/" } else { trimmed })?;
    Ok((itself, Pattern::parse(&format!("{trimmed}/*"))?))
}

/// A path as patterns see it: on Windows with `/`, in small letters and without the prefix that following links adds.
fn folder_text(path: &Path) -> String {
    let text = path.to_string_lossy();
    if cfg!(windows) {
        let plain = text.strip_prefix(r"\\?\").unwrap_or(&text);
        slashes(plain)
    } else {
        text.into_owned()
    }
}

fn slashes(text: &str) -> String {
    if cfg!(windows) {
        text.replace('\\', "/").to_lowercase()
    } else {
        text.to_owned()
    }
}

/// The folder that a task would run in, with links followed; `None` where there is none, or where its path holds what is no text.
///
/// Blocks.
pub(crate) fn real_folder(default: &Path, named: Option<&Path>) -> Option<PathBuf> {
    let folder = named.map_or_else(|| default.to_owned(), |named| default.join(named));
    let real = folder.canonicalize().ok()?;
    let is_text = real.components().all(|part| match part {
        Component::Normal(name) => name.to_str().is_some(),
        _ => true,
    });
    (is_text && real.is_dir()).then_some(real)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn matches(pattern: &str, folder: &str) -> bool {
        FolderPattern::parse(pattern)
            .unwrap()
            .matches(Path::new(folder), &|_| None)
    }

    #[test]
    fn a_folder_means_itself_and_all_below_and_no_neighbour() {
        for (pattern, folder, expected) in [
            ("/srv/app", "/srv/app", true),
            ("/srv/app/", "/srv/app/x/y", true),
            ("/srv/app", "/srv/application", false),
            ("/srv/app", "/srv", false),
            ("/", "/", true),
            ("/", "/etc", true),
            ("/home/*/work", "/home/ann/work/x", true),
            ("/home/*/work", "/home/ann", false),
            ("*", "/anywhere", true),
        ] {
            assert_eq!(matches(pattern, folder), expected, "{pattern} on {folder}");
        }
    }

    #[test]
    fn relative_folders_and_dots_are_no_patterns() {
        assert_eq!(FolderPattern::parse("srv"), Err(FolderFault::Relative));
        assert_eq!(FolderPattern::parse("/srv/../etc"), Err(FolderFault::Dots));
        assert_eq!(FolderPattern::parse("~/x"), Err(FolderFault::Relative));
    }

    #[test]
    fn links_lead_to_the_real_folder_on_both_sides() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let real = root.join("real*");
        std::fs::create_dir_all(real.join("deep")).unwrap();
        std::os::unix::fs::symlink(&real, root.join("link")).unwrap();
        let follow = |path: &Path| path.canonicalize().ok();

        let by_link = real_folder(&root, Some(Path::new("link/deep/../deep"))).unwrap();
        assert_eq!(by_link, real.join("deep"));
        let rule = |name: &str| FolderPattern::parse(&format!("{}/{name}", root.display())).unwrap();
        assert!(rule("link").matches(&by_link, &follow), "the rule names the link");
        assert!(rule("link/de*").matches(&by_link, &follow));
        assert!(!rule("other").matches(&by_link, &follow));
        std::fs::create_dir(root.join("realx")).unwrap();
        assert!(
            !rule("link").matches(&root.join("realx"), &follow),
            "a star in a real name is no wildcard"
        );
        assert_eq!(real_folder(&root, Some(Path::new("missing"))), None);
    }
}
