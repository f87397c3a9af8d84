use std::fs;
use std::path::Path;

use askalf_agent_core::AuditHead;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SECRET: &str = "curl -H 'Authorization: sesame' https://example.org";

fn log(folder: &Path, file_bytes: u64) -> AuditLog {
    AuditLog::new(AuditOptions {
        file_bytes,
        ..AuditOptions::new(folder.to_owned(), "1.2.3")
    })
}

fn record(log: &AuditLog, number: usize) {
    let record = AuditRecord {
        time: 1_000 + u64::try_from(number).unwrap(),
        executor: Some("shell".to_owned()),
        rule: Some("default".to_owned()),
        ..AuditRecord::new(Event::Allowed, &format!("e{number}"))
    };
    let details = Details::of_task(SECRET, Some("/srv/hidden".to_owned()));
    log.record_blocking(record, Some(&details), false).unwrap();
}

fn check(folder: &Path) -> Verification {
    let key = AuditKey::load(folder).unwrap();
    verify(&AuditFiles::in_folder(folder), &key, None).unwrap().0
}

fn anchored(folder: &Path, head: &AuditHead) -> Result<(), AnchorFault> {
    let key = AuditKey::load(folder).unwrap();
    let anchor = Anchor::parse(&format!("{}:{}", head.seq, head.head)).unwrap();
    verify(&AuditFiles::in_folder(folder), &key, Some(&anchor))
        .unwrap()
        .1
}

fn current(folder: &Path) -> std::path::PathBuf {
    folder.join("audit.log")
}

/// The files from the oldest to the newest.
fn contents(folder: &Path) -> Vec<(u32, Vec<u8>)> {
    AuditFiles::in_folder(folder)
        .parts()
        .into_iter()
        .map(|(number, path)| (number, fs::read(path).unwrap()))
        .collect()
}

#[test]
fn lines_are_listed_opened_and_hold_together() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path(), 1 << 20);
    record(&log, 1);
    record(&log, 2);
    let head = log.heads().borrow().clone().unwrap();
    assert_eq!(head.seq, 3, "the first line says that a daemon began to write");
    let found = check(folder.path());
    assert_eq!((found.good, found.broken, found.first), (3, 0, Some(1)));
    assert_eq!(found.head.as_ref(), Some(&head));
    assert_eq!(anchored(folder.path(), &head), Ok(()));

    let key = AuditKey::load(folder.path()).unwrap();
    let files = AuditFiles::in_folder(folder.path());
    let lines = list(&files, Some(&key), 2).unwrap();
    assert_eq!(
        lines.iter().map(|line| line.record.seq).collect::<Vec<_>>(),
        [2, 3]
    );
    let details = lines[1].details.as_ref().unwrap();
    assert_eq!(details.input.as_deref(), Some(SECRET));
    assert_eq!(details.cwd.as_deref(), Some("/srv/hidden"));
    assert_eq!(list(&files, None, 1).unwrap()[0].details, None);
}

#[test]
fn nothing_of_a_task_lies_readable_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    record(&log(folder.path(), 1 << 20), 1);
    let text = fs::read_to_string(current(folder.path())).unwrap();
    for hidden in ["sesame", "curl", "hidden"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    assert!(text.contains(r#""execution":"e1""#));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(current(folder.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn the_chain_goes_on_over_restarts_and_files_and_old_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    for start in 0..10 {
        let log = log(folder.path(), 1_500);
        for number in 0..3 {
            record(&log, start * 3 + number);
        }
        let found = check(folder.path());
        assert_eq!(
            (found.broken, found.head.clone()),
            (0, log.heads().borrow().clone()),
            "{found:?}"
        );
    }
    let numbers: Vec<_> = contents(folder.path())
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(numbers, [4, 3, 2, 1, 0]);
    let found = check(folder.path());
    assert_eq!(found.head.as_ref().unwrap().seq, 40);
    assert!(found.first.unwrap() > 1);
    let dropped = AuditHead {
        seq: 1,
        head: "0".repeat(64),
    };
    assert_eq!(anchored(folder.path(), &dropped), Err(AnchorFault::TooOld(1)));
}

#[test]
fn a_crash_at_any_byte_of_a_line_is_named_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = log(folder.path(), 1 << 20);
    record(&first, 1);
    let before = fs::metadata(current(folder.path())).unwrap().len();
    record(&first, 2);
    let whole = fs::read(current(folder.path())).unwrap();
    for cut in usize::try_from(before).unwrap()..whole.len() {
        fs::write(current(folder.path()), &whole[..cut]).unwrap();
        let torn = u64::from(cut > usize::try_from(before).unwrap());
        let found = check(folder.path());
        assert_eq!(
            (found.broken, u64::from(found.unfinished)),
            (0, torn),
            "{cut}: {found:?}"
        );
        record(&log(folder.path(), 1 << 20), 3);
        let found = check(folder.path());
        // Where its end alone was cut off, the line itself is whole.
        let torn = if cut + 1 == whole.len() { 0 } else { torn };
        assert_eq!(
            (found.broken, found.torn, found.unfinished),
            (0, torn, false),
            "{cut}: {found:?}"
        );
    }
    // What a crash left cannot be changed later either.
    fs::write(current(folder.path()), &whole[..whole.len() - 2]).unwrap();
    record(&log(folder.path(), 1 << 20), 3);
    let text = fs::read_to_string(current(folder.path())).unwrap();
    let changed = text.replacen("\"execution\":\"e2\"", "\"execution\":\"e9\"", 1);
    assert_ne!(text, changed);
    fs::write(current(folder.path()), changed).unwrap();
    assert_eq!(check(folder.path()).broken, 1);
}

#[test]
fn a_crash_between_two_renames_loses_no_line() {
    for renamed in 0..=4_u32 {
        let folder = tempfile::tempdir().unwrap();
        let writer = log(folder.path(), 600);
        (0..9).for_each(|number| record(&writer, number));
        let files = AuditFiles::in_folder(folder.path());
        let head = writer.heads().borrow().clone().unwrap();
        for number in (4 - renamed..4).rev() {
            let _missing = fs::rename(files.part(number), files.part(number + 1));
        }
        assert_eq!(check(folder.path()).broken, 0, "{renamed}");
        record(&log(folder.path(), 600), 10);
        let found = check(folder.path());
        assert_eq!(
            (found.broken, found.head.unwrap().seq),
            (0, head.seq + 2),
            "{renamed}"
        );
    }
}

#[test]
fn a_disk_that_fails_keeps_no_half_line_and_the_log_goes_on_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    record(&log(folder.path(), 1 << 20), 1);
    let log = log(folder.path(), 1 << 20);
    let aside = folder.path().join("aside");
    fs::rename(current(folder.path()), &aside).unwrap();
    fs::create_dir(current(folder.path())).unwrap();
    let error = log
        .record_blocking(AuditRecord::new(Event::Ended, "e2"), None, true)
        .unwrap_err();
    assert_eq!(error.id(), "audit-io");
    assert!(log.heads().borrow().is_none());
    fs::remove_dir(current(folder.path())).unwrap();
    fs::rename(&aside, current(folder.path())).unwrap();
    record(&log, 3);
    let found = check(folder.path());
    assert_eq!((found.good, found.broken), (4, 0));
}

#[test]
fn another_key_is_told_and_the_lines_behind_it_hold() {
    let folder = tempfile::tempdir().unwrap();
    record(&log(folder.path(), 1 << 20), 1);
    fs::remove_file(folder.path().join("audit.key")).unwrap();
    record(&log(folder.path(), 1 << 20), 2);
    let found = check(folder.path());
    assert_eq!((found.good, found.broken), (2, 2), "{found:?}");
    assert!(
        found.breaks[0]
            .to_string()
            .contains("audit.log, line 1: it was changed")
    );
}

#[test]
fn a_cut_tail_shows_against_an_anchor_alone() {
    let folder = tempfile::tempdir().unwrap();
    let writer = log(folder.path(), 1 << 20);
    (0..4).for_each(|number| record(&writer, number));
    let head = writer.heads().borrow().clone().unwrap();
    let text = fs::read_to_string(current(folder.path())).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(current(folder.path()), lines[..3].concat()).unwrap();
    assert_eq!(check(folder.path()).broken, 0);
    assert_eq!(anchored(folder.path(), &head), Err(AnchorFault::Cut(5)));
    record(&log(folder.path(), 1 << 20), 9);
    assert_eq!(
        check(folder.path()).broken,
        0,
        "the chain goes on from what was left"
    );
    assert_eq!(anchored(folder.path(), &head), Err(AnchorFault::Other(5)));
}

#[test]
fn anchors_are_read_strictly() {
    let mac = "0a".repeat(32);
    assert!(Anchor::parse(&format!("7:{mac}")).is_some());
    for text in [
        "",
        "7",
        "7:",
        "0:00",
        &format!("0:{mac}"),
        &format!("x:{mac}"),
        &format!("7:{}", mac.to_uppercase()),
    ] {
        assert_eq!(Anchor::parse(text), None, "{text}");
    }
}

/// A log of several files, made once.
fn sample() -> (TempDir, AuditHead) {
    let folder = tempfile::tempdir().unwrap();
    let writer = log(folder.path(), 2_000);
    (0..14).for_each(|number| record(&writer, number));
    let head = writer.heads().borrow().clone().unwrap();
    assert!(contents(folder.path()).len() > 2);
    assert_eq!(check(folder.path()).broken, 0);
    (folder, head)
}

#[derive(Debug, Clone)]
enum Edit {
    Flip(usize, u8),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    RemoveLine(usize),
    CopyLine(usize, usize),
    SwapLines(usize, usize),
    RemoveFile(usize),
    SwapFiles(usize, usize),
}

fn edits() -> impl Strategy<Value = Edit> {
    let place = any::<usize>();
    prop_oneof![
        (place, 1..=255_u8).prop_map(|(at, bits)| Edit::Flip(at, bits)),
        (place, 1..900_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        (place, prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        place.prop_map(Edit::RemoveLine),
        (place, place).prop_map(|(from, to)| Edit::CopyLine(from, to)),
        (place, place).prop_map(|(one, other)| Edit::SwapLines(one, other)),
        place.prop_map(Edit::RemoveFile),
        (place, place).prop_map(|(one, other)| Edit::SwapFiles(one, other)),
    ]
}

/// The lines with their ends, over all files, and how many each file has.
fn apply(edit: &Edit, files: &mut [Option<Vec<u8>>]) {
    let lengths: Vec<usize> = files.iter().map(|file| file.as_ref().unwrap().len()).collect();
    let in_file = |at: usize| {
        let mut at = at % lengths.iter().sum::<usize>();
        let mut file = 0;
        while at >= lengths[file] {
            at -= lengths[file];
            file += 1;
        }
        (file, at)
    };
    let lines = |file: &[u8]| -> Vec<Vec<u8>> {
        file.split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    };
    match edit {
        Edit::Flip(at, bits) => {
            let (file, at) = in_file(*at);
            files[file].as_mut().unwrap()[at] ^= bits;
        }
        Edit::Remove(at, count) => {
            let (file, at) = in_file(*at);
            let file = files[file].as_mut().unwrap();
            let end = (at + count).min(file.len());
            file.drain(at..end);
        }
        Edit::Insert(at, bytes) => {
            let (file, at) = in_file(*at);
            files[file]
                .as_mut()
                .unwrap()
                .splice(at..at, bytes.iter().copied());
        }
        Edit::RemoveLine(at) | Edit::CopyLine(at, _) | Edit::SwapLines(at, _) => {
            let mut all: Vec<(usize, Vec<u8>)> = Vec::new();
            for (number, file) in files.iter().enumerate() {
                all.extend(
                    lines(file.as_ref().unwrap())
                        .into_iter()
                        .map(|line| (number, line)),
                );
            }
            let count = all.len();
            match edit {
                Edit::RemoveLine(_) => {
                    all.remove(at % count);
                }
                Edit::CopyLine(_, to) => {
                    let copy = all[at % count].1.clone();
                    let to = to % count;
                    let file = all[to].0;
                    all.insert(to, (file, copy));
                }
                Edit::SwapLines(_, other) => {
                    let (one, other) = (at % count, other % count);
                    let text = all[one].1.clone();
                    all[one].1 = std::mem::replace(&mut all[other].1, text);
                }
                _ => {}
            }
            for (number, file) in files.iter_mut().enumerate() {
                *file = Some(
                    all.iter()
                        .filter(|(it, _)| *it == number)
                        .flat_map(|(_, line)| line.clone())
                        .collect(),
                );
            }
        }
        Edit::RemoveFile(at) => {
            let count = files.len();
            files[at % count] = None;
        }
        Edit::SwapFiles(one, other) => {
            let count = files.len();
            files.swap(one % count, other % count);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever is done to the files is found: by the chain, or, where it is the end alone that is missing, by the anchor.
    #[test]
    fn every_edit_is_found(edit in edits()) {
        thread_local! {
            static SAMPLE: (TempDir, AuditHead) = sample();
        }
        SAMPLE.with(|(folder, head)| {
            let original = contents(folder.path());
            let mut files: Vec<Option<Vec<u8>>> = original.iter().map(|(_, text)| Some(text.clone())).collect();
            apply(&edit, &mut files);
            let paths = AuditFiles::in_folder(folder.path());
            for ((number, _), text) in original.iter().zip(&files) {
                match text {
                    Some(text) => fs::write(paths.part(*number), text).unwrap(),
                    None => fs::remove_file(paths.part(*number)).unwrap(),
                }
            }
            let found = check(folder.path());
            let anchor = anchored(folder.path(), head);
            let joined = |files: Vec<&[u8]>| files.concat();
            let before = joined(original.iter().map(|(_, text)| text.as_slice()).collect());
            let after = joined(files.iter().flatten().map(Vec::as_slice).collect());
            for (number, text) in &original {
                fs::write(paths.part(*number), text).unwrap();
            }
            let changed = original.iter().map(|(_, text)| Some(text)).ne(files.iter().map(Option::as_ref));
            if !changed {
                prop_assert_eq!((found.broken, anchor), (0, Ok(())));
            } else if before.starts_with(&after) {
                prop_assert!(found.broken > 0 || anchor.is_err(), "a cut end: {:?}", found);
            } else {
                let last_line = before[..before.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
                let within_last = after.len() > last_line && after[..=last_line] == before[..=last_line];
                prop_assert!(
                    found.broken > 0 || within_last && found.unfinished && anchor.is_err(),
                    "{:?}: {:?}", edit, found
                );
            }
            Ok(())
        })?;
    }
}
