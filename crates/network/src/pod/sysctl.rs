//! Settings under `/proc/sys/net` of the network namespace this thread is in. A value is written only where it differs, so that
//! a machine that is set up already needs no right to write there.
use crate::contract::{NetworkError, Result};

/// Sets `net/<name>`.
pub(crate) fn set(name: &str, value: u32) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    let wanted = value.to_string();
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == wanted) {
        return Ok(());
    }
    std::fs::write(&path, wanted)
        .map_err(|source| NetworkError::Kernel { context: format!("write {value} to {path}"), source })
}

/// The same for a setting some kernels lack or a container may not write: without it things work less well, not wrongly.
pub(crate) fn prefer(name: &str, value: u32) {
    if let Err(error) = set(name, value) {
        tracing::debug!(%error, "setting left as it is");
    }
}

/// Lowers `net/<name>` to at most `most`.
pub(crate) fn at_most(name: &str, most: u32) {
    let now =
        std::fs::read_to_string(format!("/proc/sys/net/{name}")).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if now.is_some_and(|now| now > most) {
        prefer(name, most);
    }
}
