//! The journal's file under what disks, people and other programs do to it.

use tempfile::TempDir;

use super::*;

/// 2026-01-31, 23:59:59.
const NOW: u64 = 1_769_903_999_000;

struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("executions.db")
    }

    fn journal(&self) -> JournalFile {
        JournalFile::new(self.path())
    }

    fn load(&self) -> Held {
        self.journal().load(NOW).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn accepted(id: &str) -> Record {
    Record::Accepted {
        execution_id: id.to_owned(),
        executor: "shell".to_owned(),
    }
}

fn ended(id: &str, frame: &str) -> Record {
    Record::Ended {
        execution_id: id.to_owned(),
        frame: Arc::from(frame),
    }
}

fn quarantined(id: &str, replacement: Option<&str>) -> Record {
    Record::Quarantined {
        execution_id: id.to_owned(),
        replacement: replacement.map(Arc::from),
    }
}

fn delivered(id: &str) -> Record {
    Record::Delivered {
        execution_id: id.to_owned(),
    }
}

fn results(held: &Held) -> Vec<(&str, &str)> {
    held.results
        .iter()
        .map(|result| (&*result.execution_id, &*result.frame))
        .collect()
}

fn running(held: &Held) -> Vec<&str> {
    held.accepted.iter().map(|it| &*it.execution_id).collect()
}

/// What each record does, twice over: a commit of which nobody knows how far it came is made again.
#[test]
fn every_record_survives_the_process_and_may_come_twice() {
    let scratch = Scratch::new();
    assert_eq!(scratch.load(), Held::default());
    assert_eq!(scratch.names(), Vec::<String>::new(), "reading makes nothing");
    let records = [
        accepted("b"),
        accepted("a"),
        accepted("c"),
        ended("c", "frame c"),
        ended("a", "frame a"),
        delivered("c"),
        ended("d", "poison"),
        quarantined("d", Some("short")),
        ended("e", "poison too"),
        quarantined("e", None),
        Record::Remembered(EndedId::of("f")),
    ];
    for record in &records {
        let journal = scratch.journal();
        journal.commit(std::slice::from_ref(record), NOW).unwrap();
        journal.commit(std::slice::from_ref(record), NOW).unwrap();
    }
    let held = scratch.load();
    assert_eq!(running(&held), ["b"]);
    assert_eq!(held.accepted[0].executor, "shell");
    assert_eq!(results(&held), [("a", "frame a"), ("d", "short")]);
    assert_eq!(held.ended, ["c", "a", "d", "e", "f"].map(EndedId::of));
    assert_eq!((held.quarantined, held.moved_aside), (2, None));
}

#[test]
fn one_commit_takes_many_records_or_none() {
    let scratch = Scratch::new();
    let journal = scratch.journal();
    let many: Vec<_> = (0..300).map(|n| accepted(&format!("e{n}"))).collect();
    journal.commit(&many, NOW).unwrap();
    assert_eq!(journal.load(NOW).unwrap().accepted.len(), 300);
    journal.commit(&[], NOW).unwrap();
    assert_eq!(journal.load(NOW).unwrap().accepted.len(), 300);
}

#[test]
fn the_newest_ids_are_remembered() {
    let scratch = Scratch::new();
    let journal = scratch.journal();
    let all: Vec<_> = (0..REMEMBERED + 10).map(|n| delivered(&n.to_string())).collect();
    for part in all.chunks(1000) {
        journal.commit(part, NOW).unwrap();
    }
    let held = journal.load(NOW).unwrap();
    assert_eq!(held.ended.len(), REMEMBERED);
    assert_eq!(held.ended[0], EndedId::of("10"));
    let last = EndedId::of(&(REMEMBERED + 9).to_string());
    assert_eq!(held.ended.last(), Some(&last));
}

#[test]
fn the_quarantine_drops_its_oldest_beyond_its_bounds() {
    let scratch = Scratch::new();
    let journal = scratch.journal();
    let put = |n: usize, frame: &str| {
        let id = n.to_string();
        let records = [ended(&id, frame), quarantined(&id, None)];
        journal.commit(&records, NOW).unwrap().quarantined
    };
    for n in 0..64 {
        assert_eq!(put(n, "x"), n + 1);
    }
    assert_eq!(put(64, "x"), 64);
    let large = "x".repeat(1024 * 1024);
    let counts: Vec<_> = (65..75).map(|n| put(n, &large)).collect();
    assert_eq!(counts.last(), Some(&8), "{counts:?}");
}

/// As a full disk, seen from here.
#[test]
fn a_full_journal_says_so_loses_nothing_and_goes_on_once_there_is_room() {
    let scratch = Scratch::new();
    let journal = JournalFile {
        max_bytes: 256 * 1024,
        ..scratch.journal()
    };
    let frame = "x".repeat(60 * 1024);
    let mut kept = 0;
    let error = loop {
        match journal.commit(&[ended(&format!("e{kept}"), &frame)], NOW) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 10, "it is never full");
    };
    assert_eq!(error, JournalError::Full { path: scratch.path() });
    assert_eq!((error.id(), error.starts_anew()), ("journal-full", false));
    assert!(kept > 0);
    assert_eq!(journal.load(NOW).unwrap().results.len(), kept);
    journal.commit(&[delivered("e0"), delivered("e1")], NOW).unwrap();
    journal.commit(&[ended("last", &frame)], NOW).unwrap();
    drop(journal);
    assert_eq!(scratch.load().results.last().unwrap().execution_id, "last");
}

#[test]
fn what_is_no_journal_is_moved_aside_named_and_dated() {
    let foreign = |path: &Path| {
        let other = Connection::open(path).unwrap();
        other.execute_batch("create table t (x)").unwrap();
    };
    let newer = |path: &Path| {
        JournalFile::new(path).commit(&[accepted("a")], NOW).unwrap();
        let other = Connection::open(path).unwrap();
        other.pragma_update(None, "user_version", VERSION + 1).unwrap();
    };
    let altered = |path: &Path| {
        JournalFile::new(path).commit(&[accepted("a")], NOW).unwrap();
        let other = Connection::open(path).unwrap();
        other.execute_batch("drop table results").unwrap();
    };
    let garbage = |path: &Path| fs::write(path, vec![7; 10_000]).unwrap();
    let folder = |path: &Path| fs::create_dir(path).unwrap();
    let damages: [&dyn Fn(&Path); 5] = [&garbage, &foreign, &newer, &altered, &folder];
    for damage in damages {
        let scratch = Scratch::new();
        damage(&scratch.path());
        let journal = scratch.journal();
        let held = journal.load(NOW).unwrap();
        let kept = scratch.0.path().join("executions.db.unreadable-20260131T235959Z");
        assert_eq!(held.moved_aside.as_deref(), Some(&*kept));
        assert!(kept.exists());
        journal.commit(&[accepted("b")], NOW).unwrap();
        drop(journal);
        assert_eq!(running(&scratch.load()), ["b"]);
        // A second one within the same second has a name of its own.
        fs::write(scratch.path(), "x").unwrap();
        let again = scratch.load().moved_aside.unwrap();
        assert!(again.to_string_lossy().ends_with("Z-1"), "{}", again.display());
    }
}

/// The process that found it may die before a bridge heard of it: the next one must not claim to remember.
#[test]
fn what_was_lost_is_not_known_to_later_starts_either() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let scratch = Scratch::new();
    fs::write(scratch.path(), vec![7; 10_000]).unwrap();
    fs::write(with_suffix(&scratch.path(), "-wal"), "log").unwrap();
    let kept = scratch.journal().load(NOW).unwrap().moved_aside.unwrap();
    assert!(!scratch.path().exists());
    let aside = |now| scratch.journal().load(now).unwrap().moved_aside;
    assert_eq!(aside(NOW), Some(kept.clone()), "killed before it began anew");
    scratch.journal().commit(&[accepted("a")], NOW).unwrap();
    assert_eq!(aside(NOW + DAY - 1000), Some(kept.clone()));
    assert_eq!(aside(NOW - DAY), Some(kept), "the clock was set back");
    assert_eq!(aside(NOW + DAY), None);
    assert_eq!(running(&scratch.load()), ["a"]);
}

/// Wherever a byte is wrong, a start finds a journal or begins a fresh one.
#[test]
fn a_flipped_byte_never_stops_a_start() {
    let scratch = Scratch::new();
    let frame = "f".repeat(9000);
    scratch
        .journal()
        .commit(&[accepted("a"), ended("b", &frame), delivered("c")], NOW)
        .unwrap();
    let whole = fs::read(scratch.path()).unwrap();
    let (mut read, mut aside) = (0, 0);
    for at in (0..whole.len()).step_by(211) {
        let other = Scratch::new();
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        fs::write(other.path(), bytes).unwrap();
        let journal = other.journal();
        match journal.load(NOW) {
            Ok(held) if held.moved_aside.is_some() => aside += 1,
            Ok(_) => read += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
        let commit = journal.commit(&[accepted("d")], NOW);
        if commit.as_ref().is_err_and(JournalError::starts_anew) {
            journal.commit(&[accepted("d")], NOW).unwrap();
        } else {
            commit.unwrap_or_else(|error| panic!("byte {at}: {error}"));
        }
        drop(journal);
        assert!(running(&other.load()).contains(&"d"), "byte {at}");
    }
    assert!(read > 0 && aside > 0, "{read} read, {aside} moved aside");
}

/// The power goes in the middle of writing the log: what was flushed before is there, in order, and nothing by halves.
#[test]
fn a_log_that_is_cut_off_anywhere_leaves_whole_commits() {
    let scratch = Scratch::new();
    let journal = scratch.journal();
    // The tables are in the file itself, the commits below in its log.
    journal.commit(&[], NOW).unwrap();
    journal
        .state
        .lock()
        .unwrap()
        .open
        .as_ref()
        .unwrap()
        .connection
        .query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))
        .unwrap();
    let log = with_suffix(&scratch.path(), "-wal");
    let mut flushed = vec![fs::metadata(&log).unwrap().len()];
    for n in 0..6 {
        let id = format!("e{n}");
        journal
            .commit(&[accepted(&id), ended(&id, "frame")], NOW)
            .unwrap();
        flushed.push(fs::metadata(&log).unwrap().len());
    }
    let (file, log) = (fs::read(scratch.path()).unwrap(), fs::read(&log).unwrap());
    for cut in (0..=log.len()).step_by(1021).chain([log.len()]) {
        let after = Scratch::new();
        fs::write(after.path(), &file).unwrap();
        fs::write(with_suffix(&after.path(), "-wal"), &log[..cut]).unwrap();
        let held = after.load();
        assert_eq!(held.moved_aside, None, "cut at {cut}");
        let whole = flushed.iter().filter(|len| **len <= cut as u64).count().max(1) - 1;
        let ids: Vec<_> = (0..whole).map(|n| EndedId::of(&format!("e{n}"))).collect();
        assert_eq!(held.ended, ids, "cut at {cut}");
        assert_eq!(held.results.len(), whole, "cut at {cut}");
    }
}

#[cfg(unix)]
#[test]
fn its_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = Scratch::new();
    let journal = scratch.journal();
    journal.commit(&[accepted("a")], NOW).unwrap();
    for name in ["executions.db", "executions.db-wal"] {
        let mode = fs::metadata(scratch.0.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
    drop(journal);
    assert_eq!(
        scratch.names(),
        ["executions.db"],
        "the log goes with an orderly end"
    );
}

#[cfg(unix)]
#[test]
fn a_journal_that_is_removed_under_the_agent_is_noticed_and_begun_anew() {
    let scratch = Scratch::new();
    let journal = scratch.journal();
    journal.commit(&[accepted("a")], NOW).unwrap();
    fs::remove_file(scratch.path()).unwrap();
    let error = journal.commit(&[accepted("b")], NOW).unwrap_err();
    assert_eq!((error.id(), error.starts_anew()), ("journal-removed", true));
    journal.commit(&[accepted("a"), accepted("b")], NOW).unwrap();
    drop(journal);
    assert_eq!(running(&scratch.load()), ["a", "b"]);
}

#[test]
fn a_missing_folder_is_made_and_a_missing_home_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let journal = JournalFile::new(home.join("state").join("executions.db"));
    assert_eq!(journal.load(NOW).unwrap(), Held::default());
    let error = journal.commit(&[], NOW).unwrap_err();
    assert_eq!(error.id(), "journal-not-writable");
    assert!(error.hint().contains("owner and mode"), "{}", error.hint());
    fs::create_dir(&home).unwrap();
    journal.commit(&[accepted("a")], NOW).unwrap();
    fs::remove_dir_all(home.join("state")).unwrap();
    let error = journal.commit(&[], NOW).unwrap_err();
    assert_eq!(error.id(), "journal-removed");
    journal.commit(&[accepted("a")], NOW).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = home.join("state").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn a_journal_in_use_is_told_and_not_touched() {
    let scratch = Scratch::new();
    let mine = scratch.journal();
    mine.commit(&[accepted("a")], NOW).unwrap();
    let error = scratch.journal().load(NOW).unwrap_err();
    assert_eq!(error.id(), "journal-busy");
    mine.commit(&[accepted("b")], NOW).unwrap();
}
