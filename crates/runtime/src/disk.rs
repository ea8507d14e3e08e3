//! How much of a disk a directory takes.
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Bytes that everything below a directory takes on disk. Links are not followed; what goes away meanwhile does not count.
pub fn disk_usage(directory: &Path) -> u64 {
    let (mut bytes, mut directories) = (0u64, vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_and_links_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let before = disk_usage(directory.path());
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::write(directory.path().join("a/file"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink("/usr", directory.path().join("link")).unwrap();
        let used = disk_usage(directory.path()) - before;
        assert!((1 << 20..(1 << 20) + 65_536).contains(&used), "{used}");
        assert_eq!(disk_usage(&directory.path().join("none")), 0);
    }
}
