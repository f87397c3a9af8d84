//! The calls of Windows that the standard library does not make, each behind a safe function. The one file of this crate
//! with `unsafe`.

#![allow(
    unsafe_code,
    reason = "job objects, console events and figures of the machine have no safe calls; each block says why it is sound"
)]

use std::ffi::c_void;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr;

use tokio::process::Child;
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, HANDLE_FLAG_INHERIT, SetHandleInformation};
use windows_sys::Win32::Globalization::CP_UTF8;
use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent, GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE,
    STD_OUTPUT_HANDLE, SetConsoleCP, SetConsoleOutputCP,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECTINFOCLASS, JobObjectBasicAccountingInformation,
    JobObjectBasicProcessIdList, JobObjectExtendedLimitInformation, QueryInformationJobObject,
    SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::SystemInformation::{GetTickCount64, GlobalMemoryStatusEx, MEMORYSTATUSEX};
use windows_sys::core::BOOL;

/// A job object. The system ends all that is in it when this is dropped, or when this process ends.
#[derive(Debug)]
pub(crate) struct Job(OwnedHandle);

impl Job {
    /// An empty job, which nobody can leave.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: both arguments may be null: default access, and no name.
        let handle = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so this is an open handle, and nobody else closes it.
        let job = Self(unsafe { OwnedHandle::from_raw_handle(handle) });
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        // A task that crashes ends; it does not stay behind a message box.
        limits.BasicLimitInformation.LimitFlags =
            JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
        // SAFETY: the handle is open, and `limits` is what this class of information takes, with its size.
        done(unsafe {
            SetInformationJobObject(
                job.0.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of_as_u32::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>(),
            )
        })?;
        Ok(job)
    }

    /// Puts a child into the job. What it starts from then on is in it too.
    pub(crate) fn take_in(&self, child: &Child) -> io::Result<()> {
        // None where the child was collected.
        let process = child.raw_handle().ok_or(io::ErrorKind::NotFound)?;
        // SAFETY: both handles are open: the child keeps its own while it is borrowed.
        done(unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), process) })
    }

    /// Ends every process in the job with this exit code.
    pub(crate) fn terminate(&self, code: u32) -> io::Result<()> {
        // SAFETY: the handle is open.
        done(unsafe { TerminateJobObject(self.0.as_raw_handle(), code) })
    }

    /// How many processes of the job run.
    pub(crate) fn active(&self) -> io::Result<u32> {
        let mut accounting = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        let place = (&raw mut accounting).cast();
        let size = size_of_as_u32::<JOBOBJECT_BASIC_ACCOUNTING_INFORMATION>();
        // SAFETY: `place` is what this class of information fills, with its size.
        done(unsafe { self.query(JobObjectBasicAccountingInformation, place, size) })?;
        Ok(accounting.ActiveProcesses)
    }

    /// Numbers of the processes of the job, of the first 64.
    pub(crate) fn processes(&self) -> io::Result<Vec<u32>> {
        /// `JOBOBJECT_BASIC_PROCESS_ID_LIST` with room for more than one number.
        #[repr(C)]
        struct List {
            assigned: u32,
            listed: u32,
            numbers: [usize; 64],
        }
        let mut list = List {
            assigned: 0,
            listed: 0,
            numbers: [0; 64],
        };
        let place = (&raw mut list).cast();
        // SAFETY: `place` is laid out as this class of information is, with its size.
        let listed =
            done(unsafe { self.query(JobObjectBasicProcessIdList, place, size_of_as_u32::<List>()) });
        match listed {
            Err(error) if error.raw_os_error() != Some(ERROR_MORE_DATA.cast_signed()) => Err(error),
            _ => {
                let numbers = list.numbers.iter().take(list.listed as usize);
                Ok(numbers.filter_map(|number| u32::try_from(*number).ok()).collect())
            }
        }
    }

    /// # Safety
    /// `place` must be writable for `size` bytes and laid out as `class` wants it.
    unsafe fn query(&self, class: JOBOBJECTINFOCLASS, place: *mut c_void, size: u32) -> BOOL {
        // SAFETY: the handle is open, the place is the caller's promise, and the length may be null.
        unsafe { QueryInformationJobObject(self.0.as_raw_handle(), class, place, size, ptr::null_mut()) }
    }
}

/// Sends Ctrl-Break to a process group on this process's console.
pub(crate) fn send_break(group: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers alone.
    done(unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, group) })
}

/// Makes programs on this process's console read and write UTF-8.
pub(crate) fn speak_utf8() -> io::Result<()> {
    // SAFETY: the call takes a number alone.
    done(unsafe { SetConsoleOutputCP(CP_UTF8) })?;
    // SAFETY: the same.
    done(unsafe { SetConsoleCP(CP_UTF8) })
}

/// Keeps this process's standard handles from whatever it starts. A child gets every handle that may be inherited, asked for or
/// not, and one that outlives this process would hold its pipes open.
pub(crate) fn keep_standard_handles() -> io::Result<()> {
    for which in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: the call takes a number alone.
        let handle = unsafe { GetStdHandle(which) };
        if handle.is_null() {
            continue;
        }
        // SAFETY: a standard handle of this process, or the invalid one, which the call refuses; only its flag changes.
        done(unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) })?;
    }
    Ok(())
}

fn done(outcome: BOOL) -> io::Result<()> {
    if outcome == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Structures of a few hundred bytes.
fn size_of_as_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

/// All of the machine's memory and what of it is free, in bytes.
pub(crate) fn memory() -> Option<(u64, u64)> {
    let mut status = MEMORYSTATUSEX {
        dwLength: size_of_as_u32::<MEMORYSTATUSEX>(),
        ..MEMORYSTATUSEX::default()
    };
    // SAFETY: the structure is whole and names its own size.
    done(unsafe { GlobalMemoryStatusEx(&raw mut status) }).ok()?;
    Some((status.ullTotalPhys, status.ullAvailPhys))
}

/// Time since the machine started.
pub(crate) fn milliseconds_since_start() -> u64 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { GetTickCount64() }
}

/// Bytes that this user may still write where `path` is.
pub(crate) fn free_disk(path: &Path) -> Option<u64> {
    let wide: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    let mut free = 0_u64;
    // SAFETY: the name ends with NUL and outlives the call; the figures that are not wanted may be null.
    done(unsafe { GetDiskFreeSpaceExW(wide.as_ptr(), &raw mut free, ptr::null_mut(), ptr::null_mut()) })
        .ok()?;
    Some(free)
}
