//! hostPath: a file or directory of the machine, checked or made as its type says (`pkg/volume/hostpath/host_path.go`).
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub(crate) enum HostPathError {
    #[error("hostPath type check failed: {path} is not {wanted}")]
    Type { path: String, wanted: &'static str },
    #[error("{0:?} is not a type of hostPath")]
    UnknownType(String),
    #[error("{0:?} is not an absolute path")]
    Relative(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Makes sure that `path` is there and is what it is said to be.
pub(crate) fn check(path: &str, kind: &str) -> Result<(), HostPathError> {
    let at = Path::new(path);
    if !at.is_absolute() {
        return Err(HostPathError::Relative(path.to_owned()));
    }
    let found = fs::metadata(at).ok();
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(|m| test(&m.file_type()));
    let wanted = |right: bool, wanted: &'static str| {
        if right { Ok(()) } else { Err(HostPathError::Type { path: path.to_owned(), wanted }) }
    };
    match kind {
        // Kubelet leaves it to the container runtime, and containerd makes a directory of what is not there.
        "" if found.is_none() => Ok(fs::create_dir_all(at)?),
        "" => Ok(()),
        "DirectoryOrCreate" if found.is_none() => {
            fs::create_dir_all(at)?;
            Ok(fs::set_permissions(at, Permissions::from_mode(0o755))?)
        }
        "DirectoryOrCreate" | "Directory" => wanted(is(fs::FileType::is_dir), "a directory"),
        "FileOrCreate" if found.is_none() => {
            OpenOptions::new().create(true).append(true).mode(0o644).open(at)?;
            Ok(fs::set_permissions(at, Permissions::from_mode(0o644))?)
        }
        "FileOrCreate" | "File" => wanted(is(fs::FileType::is_file), "a file"),
        "Socket" => wanted(is(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => wanted(is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => wanted(is(FileTypeExt::is_block_device), "a block device"),
        other => Err(HostPathError::UnknownType(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_and_makes_by_type() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::write(at("file"), "x").unwrap();
        let result = |path: &str, kind: &str| check(path, kind).map_err(|e| e.to_string().replace(&at(""), ""));
        let table = [
            (at("new/dir"), "", ""),
            (at("file"), "", ""),
            (at("made/dir"), "DirectoryOrCreate", ""),
            (at("made/dir"), "Directory", ""),
            (at("file"), "DirectoryOrCreate", "hostPath type check failed: file is not a directory"),
            (at("none"), "Directory", "hostPath type check failed: none is not a directory"),
            (at("made-file"), "FileOrCreate", ""),
            (at("made-file"), "File", ""),
            (at("made"), "FileOrCreate", "hostPath type check failed: made is not a file"),
            (at("none"), "File", "hostPath type check failed: none is not a file"),
            (at("no/parent"), "FileOrCreate", "No such file or directory (os error 2)"),
            (at("socket"), "Socket", ""),
            (at("file"), "Socket", "hostPath type check failed: file is not a socket file"),
            ("/dev/null".into(), "CharDevice", ""),
            (at("file"), "CharDevice", "hostPath type check failed: file is not a character device"),
            ("/dev/null".into(), "BlockDevice", "hostPath type check failed: /dev/null is not a block device"),
            ("x".into(), "", "\"x\" is not an absolute path"),
            ("/".into(), "Moon", "\"Moon\" is not a type of hostPath"),
        ];
        for (path, kind, expected) in table {
            assert_eq!(result(&path, kind).err().unwrap_or_default(), expected, "{path} {kind}");
        }
    }
}
