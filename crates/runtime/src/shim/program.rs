//! Which file a command means: Go's `exec.LookPath`, which runc uses, with its messages.
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Looks for `name` in the directories of `path` (`PATH`), in this process's root. The error is for people.
pub fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    let wrong = |why: &str| format!("exec: {name:?}: {why}");
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(wrong(&format!("stat {name}: no such file or directory")))
            }
            Err(error) => Err(wrong(&reason(&error))),
        };
    }
    let mut why = "executable file not found in $PATH".to_owned();
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let file = Path::new(directory).join(name);
        match executable(&file) {
            Ok(()) if !name.is_empty() => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => why = reason(&error),
            _ => {}
        }
    }
    Err(wrong(&why))
}

fn executable(file: &Path) -> io::Result<()> {
    let metadata = fs::metadata(file)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// As the C library words it.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(errno) => errno.desc().to_lowercase(),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_or_told_as_runc_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let file = |name: &str, mode| {
            let file = directory.path().join(name);
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        let (app, text) = (file("app", 0o755), file("text", 0o644));
        assert_eq!(find("app", &format!("/nowhere:{path}")), Ok(app.clone()));
        assert_eq!(find(app.to_str().unwrap(), ""), Ok(app));
        let text = text.to_str().unwrap();
        for (name, message) in [
            ("nosuch", r#"exec: "nosuch": executable file not found in $PATH"#.to_owned()),
            ("text", r#"exec: "text": permission denied"#.into()),
            ("/nosuch", r#"exec: "/nosuch": stat /nosuch: no such file or directory"#.into()),
            (text, format!(r#"exec: "{text}": permission denied"#)),
            (path, format!(r#"exec: "{path}": is a directory"#)),
            ("", r#"exec: "": executable file not found in $PATH"#.into()),
        ] {
            assert_eq!(find(name, path), Err(message));
        }
    }
}
