//! A container's last words: the file it may write, or the end of its log (`getTerminationMessage`).
use isopod_api::k8s::api::core::v1::Container;
use isopod_runtime::ContainerStatus;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Limits of the kubelet (`MaxContainerTerminationMessageLength` and its neighbours).
const MOST_FILE: u64 = 4096;
const MOST_LOG: usize = 2048;
const MOST_LINES: usize = 80;
/// Enough of a log's end to hold what is shown of it, with the records' heads.
const LOG_END: u64 = 32 * 1024;

/// Empty when it said nothing.
pub(super) fn read(container: Option<&Container>, status: &ContainerStatus, file: &str, logs: &Path) -> String {
    let text = tail(Path::new(file), MOST_FILE).filter(|_| !file.is_empty()).unwrap_or_default();
    let fallback = container.and_then(|c| c.termination_message_policy.as_deref()) == Some("FallbackToLogsOnError");
    let failed = status.exit.as_ref().is_some_and(|e| e.status.code() != 0);
    let text = String::from_utf8_lossy(&text).into_owned();
    if !text.is_empty() || !fallback || !failed {
        return text;
    }
    let log = status.config.log_path.as_ref().map(|p| logs.join(p));
    let end = log.and_then(|log| tail(&log, LOG_END)).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&end))
}

/// The end of a file; none if it cannot be read.
fn tail(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most))).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The text of the last records of a CRI log.
fn last_lines(log: &str) -> String {
    let mut text = String::new();
    let records: Vec<&str> = log.lines().collect();
    for record in records.iter().skip(records.len().saturating_sub(MOST_LINES)) {
        // `time stream tag text`; the first may be cut.
        let mut parts = record.splitn(4, ' ');
        let (Some(_), Some("stdout" | "stderr"), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        text.push_str(parts.next().unwrap_or_default());
        if tag == "F" {
            text.push('\n');
        }
    }
    let mut from = text.len().saturating_sub(MOST_LOG);
    while !text.is_char_boundary(from) {
        from = from.saturating_add(1);
    }
    text.split_off(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_runtime::{ContainerConfig, ContainerId, ContainerState, Exit, ExitCause, ExitStatus, SandboxId};

    fn ended(code: u8) -> ContainerStatus {
        let at = jiff::Timestamp::UNIX_EPOCH;
        ContainerStatus {
            id: ContainerId("c".into()),
            sandbox: SandboxId("s".into()),
            state: ContainerState::Exited,
            config: ContainerConfig { log_path: Some("c/0.log".into()), ..Default::default() },
            created_at: at,
            started_at: Some(at),
            exit: Some(Exit { at, status: ExitStatus::Code(code), cause: ExitCause::Ended }),
            pid: None,
        }
    }

    #[test]
    fn the_file_goes_before_the_log() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("c")).unwrap();
        let log =
            "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr P two\n2026-01-01T00:00:00Z stderr F !\n";
        std::fs::write(directory.path().join("c/0.log"), log).unwrap();
        let file = directory.path().join("words");
        std::fs::write(&file, "").unwrap();
        let fallback =
            Container { termination_message_policy: Some("FallbackToLogsOnError".into()), ..Container::default() };
        let name = file.to_str().unwrap();
        let read = |container: &Container, code| read(Some(container), &ended(code), name, directory.path());
        assert_eq!(read(&fallback, 1), "one\ntwo!\n");
        assert_eq!(read(&fallback, 0), "", "it did not fail");
        assert_eq!(read(&Container::default(), 1), "", "it does not want its log read");
        std::fs::write(&file, "x".repeat(5000)).unwrap();
        assert_eq!(read(&fallback, 1).len(), 4096);
    }

    #[test]
    fn long_logs_are_cut_in_front() {
        let log: String = (0..100).map(|i| format!("t stdout F {i}{}\n", "y".repeat(40))).collect();
        let end = last_lines(&log);
        assert!(end.len() <= MOST_LOG && end.ends_with(&format!("99{}\n", "y".repeat(40))));
    }
}
