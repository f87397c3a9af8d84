//! The calls of Windows that std does not make, each behind a safe function. The one file of this crate with `unsafe` for it.

#![allow(
    unsafe_code,
    reason = "no maintained crate has safe calls for access lists; each block says why it is sound"
)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, absolute};
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_INSUFFICIENT_BUFFER, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetKernelObjectSecurity, GetTokenInformation, LookupAccountSidW,
    OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, SECURITY_ATTRIBUTES,
    SetKernelObjectSecurity, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateDirectoryW, CreateFileW, FILE_BASIC_INFO, FILE_FLAG_OPEN_REPARSE_POINT, FILE_ID_INFO,
    FILE_INFO_BY_HANDLE_CLASS, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_TYPE_DISK,
    FileBasicInfo, FileIdInfo, GetFileInformationByHandleEx, GetFileType, MOVEFILE_REPLACE_EXISTING,
    MOVEFILE_WRITE_THROUGH, MoveFileExW, ReOpenFile,
};
use windows_sys::Win32::System::Diagnostics::Debug::{
    GetErrorMode, SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::ErrorReporting::{WER_FAULT_REPORTING_FLAG_NOHEAP, WerSetFlags};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};
use windows_sys::core::BOOL;

use crate::security_descriptor::{Security, Sid};

/// Longer paths reach the system only in their verbatim form. `MAX_PATH` is 260, and a folder must leave room for a short name.
const LONGEST_PLAIN_PATH: usize = 240;

/// Other programs may open the file too, and rename or remove it: as on a Unix.
const SHARE_ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

/// Memory that the system fills, aligned for whatever it writes there.
struct Buffer(Vec<u64>);

impl Buffer {
    fn new(bytes: u32) -> Self {
        Self(vec![0; (bytes as usize).div_ceil(8)])
    }

    fn of(bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        Self(bytes.chunks(8).map(word).collect())
    }

    fn len(&self) -> u32 {
        u32::try_from(self.0.len() * 8).unwrap_or(u32::MAX)
    }

    fn as_ptr(&self) -> *const c_void {
        self.0.as_ptr().cast()
    }

    fn as_mut_ptr(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

/// Makes a call that says how large a buffer it wants.
fn filled(mut call: impl FnMut(*mut c_void, u32, *mut u32) -> BOOL) -> io::Result<Buffer> {
    let mut wanted = 256;
    // Once more than it takes to learn the size, for a thing that grows in between.
    for _ in 0..3 {
        let mut buffer = Buffer::new(wanted);
        let room = buffer.len();
        if call(buffer.as_mut_ptr(), room, &raw mut wanted) != 0 {
            return Ok(buffer);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(ERROR_INSUFFICIENT_BUFFER.cast_signed()) {
            return Err(error);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// The user that this process runs as.
pub(crate) fn current_user() -> io::Result<Sid> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: the pseudo handle of the own process is always valid, and `token` is a place for one handle.
    let opened = unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) };
    done(opened)?;
    // SAFETY: the call succeeded, so this is an open handle, and nobody else closes it.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let mut buffer = filled(|into, room, wanted| {
        // SAFETY: the token is open, and `into` has `room` bytes for the call to write.
        unsafe { GetTokenInformation(token.as_raw_handle(), TokenUser, into, room, wanted) }
    })?;
    let start = buffer.as_mut_ptr();
    // SAFETY: the call wrote a TOKEN_USER to the start of the buffer, which is aligned to 8 bytes and larger than one.
    let sid = unsafe { start.cast::<TOKEN_USER>().read() }.User.Sid;
    // The SID lies behind it in the same buffer.
    let at = sid.addr().checked_sub(start.addr());
    at.and_then(|at| Sid::read(buffer.bytes().get(at..)?))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A user or group as a person knows it, such as `BUILTIN\Users`; `None` if it has no name here.
pub(crate) fn account_name(sid: &Sid) -> Option<String> {
    let sid = Buffer::of(sid.bytes());
    let (mut name, mut domain) = ([0; 256], [0; 256]);
    let (mut name_len, mut domain_len) = (256, 256);
    let mut kind = 0;
    // SAFETY: the SID is whole and aligned; the two arrays have as many places as their lengths say, which the call updates to
    // what it wrote without the closing zero.
    let found = unsafe {
        LookupAccountSidW(
            ptr::null(),
            sid.as_ptr().cast_mut(),
            name.as_mut_ptr(),
            &raw mut name_len,
            domain.as_mut_ptr(),
            &raw mut domain_len,
            &raw mut kind,
        )
    };
    let text = |units: &[u16], len: u32| units.get(..len as usize).map(String::from_utf16_lossy);
    let (name, domain) = (text(&name, name_len)?, text(&domain, domain_len)?);
    match (found != 0, domain.as_str()) {
        (false, _) => None,
        (true, "") => Some(name),
        (true, domain) => Some(format!(r"{domain}\{name}")),
    }
}

/// What stands in the descriptor of an open file. The handle needs `READ_CONTROL`.
pub(crate) fn security(file: &File) -> io::Result<Security> {
    let wanted = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let buffer = filled(|into, room, needed| {
        // SAFETY: the file is open, and `into` has `room` bytes for the call to write.
        unsafe { GetKernelObjectSecurity(file.as_raw_handle(), wanted, into, room, needed) }
    })?;
    Security::read(&buffer.bytes()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Gives an open file this access list in the place of its own. The handle needs `WRITE_DAC`. What lies in a folder keeps its
/// own.
pub(crate) fn set_access_list(file: &File, descriptor: &[u8]) -> io::Result<()> {
    set_access_list_of(file.as_raw_handle(), descriptor)
}

/// Gives this process this access list.
pub(crate) fn set_process_access_list(descriptor: &[u8]) -> io::Result<()> {
    // SAFETY: a call without conditions.
    set_access_list_of(unsafe { GetCurrentProcess() }, descriptor)
}

fn set_access_list_of(handle: HANDLE, descriptor: &[u8]) -> io::Result<()> {
    let descriptor = Buffer::of(descriptor);
    let what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: both callers give an open handle, and the descriptor is a whole, aligned, self-relative one that the call only
    // reads.
    done(unsafe { SetKernelObjectSecurity(handle, what, descriptor.as_ptr().cast_mut()) })
}

/// Makes a folder with this descriptor; fails where anything stands already.
pub(crate) fn create_folder(path: &Path, descriptor: &[u8]) -> io::Result<()> {
    let path = wide(path)?;
    let descriptor = Buffer::of(descriptor);
    let attributes = attributes(&descriptor);
    // SAFETY: the path ends in a zero; the attributes point to a whole, aligned descriptor that outlives the call.
    done(unsafe { CreateDirectoryW(path.as_ptr(), &raw const attributes) })
}

/// Opens a file, as `disposition` says, and gives a new one this descriptor. A link is opened as itself.
pub(crate) fn create_file(path: &Path, access: u32, disposition: u32, descriptor: &[u8]) -> io::Result<File> {
    let path = wide(path)?;
    let descriptor = Buffer::of(descriptor);
    let attributes = attributes(&descriptor);
    // SAFETY: the path ends in a zero; the attributes point to a whole, aligned descriptor that outlives the call.
    let handle = unsafe {
        CreateFileW(
            path.as_ptr(),
            access,
            SHARE_ALL,
            &raw const attributes,
            disposition,
            FILE_FLAG_OPEN_REPARSE_POINT,
            ptr::null_mut(),
        )
    };
    opened(handle)
}

fn attributes(descriptor: &Buffer) -> SECURITY_ATTRIBUTES {
    SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor.as_ptr().cast_mut(),
        bInheritHandle: 0,
    }
}

/// Renames a file over what stands at `to`, and returns once the disk has it.
pub(crate) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (wide(from)?, wide(to)?);
    let flags = MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH;
    // SAFETY: both paths end in a zero.
    done(unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), flags) })
}

/// Another handle of the same file, with the right to write.
pub(crate) fn open_again_to_write(file: &File) -> io::Result<File> {
    // SAFETY: the file is open.
    let handle = unsafe { ReOpenFile(file.as_raw_handle(), GENERIC_WRITE, SHARE_ALL, 0) };
    opened(handle)
}

fn opened(handle: HANDLE) -> io::Result<File> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both callers give what a call has just opened, so that nobody else closes it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// The number of an open file on its volume, and when it was written and changed last (content, name, or access list), in
/// steps of 100 ns.
pub(crate) fn identity(file: &File) -> io::Result<(u128, i64, i64)> {
    let mut id = FILE_ID_INFO::default();
    let mut times = FILE_BASIC_INFO::default();
    query(file, FileIdInfo, &raw mut id)?;
    query(file, FileBasicInfo, &raw mut times)?;
    let number = u128::from_ne_bytes(id.FileId.Identifier);
    Ok((number, times.LastWriteTime, times.ChangeTime))
}

/// Whether an open handle is that of a file or a folder: not of a pipe or a device.
pub(crate) fn is_on_a_disk(file: &File) -> bool {
    // SAFETY: the file is open.
    unsafe { GetFileType(file.as_raw_handle()) == FILE_TYPE_DISK }
}

fn query<T: Copy>(file: &File, class: FILE_INFO_BY_HANDLE_CLASS, into: *mut T) -> io::Result<()> {
    // SAFETY: the file is open, and both callers give the place for the structure of that class.
    done(unsafe {
        GetFileInformationByHandleEx(file.as_raw_handle(), class, into.cast(), size_of::<T>() as u32)
    })
}

/// Switches off the report of a crash of this process and of its children, with the dump that would go with it; and leaves the
/// heap out of a report that comes about all the same.
pub(crate) fn switch_off_crash_reports() -> bool {
    // SAFETY: three calls without conditions, on numbers alone.
    unsafe {
        SetErrorMode(GetErrorMode() | SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
        WerSetFlags(WER_FAULT_REPORTING_FLAG_NOHEAP) >= 0
    }
}

/// A path for the system: ended by a zero, and verbatim where it is long.
fn wide(path: &Path) -> io::Result<Vec<u16>> {
    let path = absolute(path)?;
    let mut units: Vec<u16> = path.as_os_str().encode_wide().collect();
    if units.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if units.len() > LONGEST_PLAIN_PATH {
        let [verbatim, device, share] = [r"\\?\", r"\\.\", r"\\"].map(units_of);
        if units.starts_with(&share) && !units.starts_with(&verbatim) && !units.starts_with(&device) {
            units.splice(..share.len(), units_of(r"\\?\UNC\"));
        } else if !units.starts_with(&share) {
            units.splice(..0, verbatim);
        }
    }
    units.push(0);
    Ok(units)
}

fn units_of(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn done(result: BOOL) -> io::Result<()> {
    match result {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
