#![allow(unsafe_code, reason = "a judge of access lists that shares nothing with the code it judges")]

use std::fs;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::MetadataExt;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetFileSecurityW, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SetFileSecurityW,
};

/// How the rights that [`expose`] gives are told.
pub(crate) const EXPOSED: &str = "access for Everyone";

/// When it was made and last written.
pub(crate) type Stat = (u64, u64);

pub(crate) fn stat(facts: &fs::Metadata) -> Stat {
    (facts.creation_time(), facts.last_write_time())
}

/// The user that runs the tests, by an owner of its own making.
fn us() -> String {
    let scratch = tempfile::NamedTempFile::new().unwrap();
    let text = sddl(scratch.path());
    text["O:".len()..text.find("D:").unwrap()].to_owned()
}

pub(crate) fn make_private(path: &Path) {
    set_sddl(path, &format!("D:P(A;;FA;;;{})(A;;FA;;;SY)(A;;FA;;;BA)", us()));
}

/// Lets everybody read it.
pub(crate) fn expose(path: &Path) {
    set_sddl(
        path,
        &format!("D:P(A;;FA;;;{})(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;WD)", us()),
    );
}

/// Fails unless nobody but the user, the system and the administrators has any right on a file or folder.
pub(crate) fn assert_private(path: &Path) {
    let text = sddl(path);
    let trusted = [us(), "SY".into(), "BA".into()];
    let grants: Vec<&str> = text.split("(A;").skip(1).collect();
    assert!(!grants.is_empty(), "{}: {text}", path.display());
    for grant in grants {
        let sid = grant.trim_end_matches(')').rsplit(';').next().unwrap();
        assert!(
            trusted.iter().any(|trusted| trusted == sid),
            "{}: {text}",
            path.display()
        );
    }
}

/// How what a person is told to do with an exposed file begins.
pub(crate) fn private_hint(path: &str) -> String {
    format!("run `icacls {path} /reset` and then `icacls {path} /inheritance:r /grant:r ")
}

/// Owner and access list, in the system's own spelling.
pub(crate) fn sddl(path: &Path) -> String {
    let path = wide(path.as_os_str().encode_wide());
    let what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let mut descriptor = [0_u64; 512];
    let room = u32::try_from(size_of_val(&descriptor)).unwrap();
    let mut text = ptr::null_mut();
    let mut len = 0;
    // SAFETY: the path ends in a zero, the buffer is aligned and as large as is said; the text is read up to the length that
    // the call gives, and freed once.
    unsafe {
        let descriptor: PSECURITY_DESCRIPTOR = descriptor.as_mut_ptr().cast();
        let mut needed = 0;
        assert_ne!(
            GetFileSecurityW(path.as_ptr(), what, descriptor, room, &raw mut needed),
            0
        );
        let done = ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor,
            SDDL_REVISION_1,
            what,
            &raw mut text,
            &raw mut len,
        );
        assert_ne!(done, 0);
        let units = std::slice::from_raw_parts(text, len as usize);
        let found = String::from_utf16_lossy(units).trim_end_matches('\0').to_owned();
        LocalFree(text.cast());
        found
    }
}

/// Sets the access list, spelt as [`sddl`] does; with `O:` also the owner.
pub(crate) fn set_sddl(path: &Path, text: &str) {
    let path = wide(path.as_os_str().encode_wide());
    let words = wide(text.encode_utf16());
    let mut what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    if text.starts_with("O:") {
        what |= OWNER_SECURITY_INFORMATION;
    }
    let mut descriptor = ptr::null_mut();
    // SAFETY: both texts end in a zero; the descriptor is one that the system made, and is freed once.
    unsafe {
        let done = ConvertStringSecurityDescriptorToSecurityDescriptorW(
            words.as_ptr(),
            SDDL_REVISION_1,
            &raw mut descriptor,
            ptr::null_mut(),
        );
        assert_ne!(done, 0, "{text}: {}", std::io::Error::last_os_error());
        let done = SetFileSecurityW(path.as_ptr(), what, descriptor);
        assert_ne!(done, 0, "{text}: {}", std::io::Error::last_os_error());
        LocalFree(descriptor);
    }
}

fn wide(units: impl Iterator<Item = u16>) -> Vec<u16> {
    units.chain([0]).collect()
}
