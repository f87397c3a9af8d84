//! Alone in its process, which it changes for good.

#![cfg(any(target_os = "linux", windows))]

#[cfg(target_os = "linux")]
#[test]
fn a_hardened_process_cannot_be_dumped_or_traced_and_its_children_can() {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
    askalf_cred::harden_process().unwrap();
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    let core = getrlimit(Resource::Core);
    assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
    // Again does no harm.
    askalf_cred::harden_process().unwrap();
    // A program that is executed belongs to its user again: root owns nothing of it that the user would need.
    let script = "test \"$(stat -c %u /proc/self/environ)\" = \"$(id -u)\"";
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .status()
        .unwrap();
    assert!(status.success());
}

#[cfg(windows)]
#[test]
#[allow(unsafe_code, reason = "std does not tell these things of a process")]
fn a_hardened_process_reports_no_crash_and_lets_its_user_only_see_and_end_it() {
    use windows_sys::Win32::Security::{
        ACCESS_ALLOWED_ACE, ACL, DACL_SECURITY_INFORMATION, GetAce, GetKernelObjectSecurity,
        GetSecurityDescriptorDacl,
    };
    use windows_sys::Win32::System::Diagnostics::Debug::{GetErrorMode, SEM_NOGPFAULTERRORBOX};
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, PROCESS_ALL_ACCESS};

    // PROCESS_TERMINATE, PROCESS_QUERY_LIMITED_INFORMATION, READ_CONTROL, SYNCHRONIZE
    const SEE_AND_END: u32 = 0x0012_1001;

    askalf_cred::harden_process().unwrap();
    // Again does no harm.
    askalf_cred::harden_process().unwrap();
    // SAFETY: a call without conditions.
    assert_ne!(unsafe { GetErrorMode() } & SEM_NOGPFAULTERRORBOX, 0);

    let mut buffer = [0_u64; 128];
    let room = u32::try_from(size_of_val(&buffer)).unwrap();
    let mut masks = Vec::new();
    // SAFETY: the buffer is aligned and as large as is said; each entry is asked for below their number, and each is one that
    // lets in, since the list was made of those alone.
    unsafe {
        let descriptor = buffer.as_mut_ptr().cast();
        let mut needed = 0;
        let what = DACL_SECURITY_INFORMATION;
        let found = GetKernelObjectSecurity(GetCurrentProcess(), what, descriptor, room, &raw mut needed);
        assert_ne!(found, 0);
        let (mut present, mut defaulted) = (0, 0);
        let mut list: *mut ACL = std::ptr::null_mut();
        let found =
            GetSecurityDescriptorDacl(descriptor, &raw mut present, &raw mut list, &raw mut defaulted);
        assert!(found != 0 && present != 0 && !list.is_null());
        for n in 0..(*list).AceCount {
            let mut entry = std::ptr::null_mut();
            assert_ne!(GetAce(list, n.into(), &raw mut entry), 0);
            masks.push((*entry.cast::<ACCESS_ALLOWED_ACE>()).Mask);
        }
    }
    assert_eq!(
        masks,
        [SEE_AND_END, SEE_AND_END, PROCESS_ALL_ACCESS, PROCESS_ALL_ACCESS]
    );

    let status = std::process::Command::new("cmd")
        .args(["/c", "exit 0"])
        .status()
        .unwrap();
    assert!(status.success(), "a child must start as ever");
}
