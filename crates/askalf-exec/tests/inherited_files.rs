//! What a process inherited does not go on to what it starts. A binary of its own: the call changes the whole process.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::Command;

use askalf_exec::keep_inherited_files;
use rustix::io::{FdFlags, fcntl_setfd};

fn read_by_a_child(file: &File) -> String {
    let script = format!("cat <&{}", file.as_raw_fd());
    let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_file_that_was_left_open_is_kept_from_children() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passphrase");
    File::create(&path)
        .unwrap()
        .write_all(b"correct horse\n")
        .unwrap();
    let [before, after] = [(); 2].map(|()| {
        let file = File::open(&path).unwrap();
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        file
    });
    assert_eq!(
        read_by_a_child(&before),
        "correct horse\n",
        "left open as by a shell"
    );
    keep_inherited_files().unwrap();
    assert_eq!(read_by_a_child(&after), "");
}
