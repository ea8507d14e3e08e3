//! `--chown` and `--chmod`, by the image's own `/etc/passwd` and `/etc/group`.
use super::{Doing, StepError};
use crate::layer::View;
use std::path::Path;

/// Reads `user`, `user:group`, `1000:1000` against the files of the image under way.
pub fn owner(view: &View, text: &str) -> Result<(u32, u32), StepError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    };
    let (uid, default_gid) = match user.parse::<u32>() {
        // A number without a group is both.
        Ok(uid) => (uid, uid),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let fields = entry(view, "etc/passwd", user)?;
            let number = |n: usize| fields.as_ref().and_then(|f| f.get(n)?.parse::<u32>().ok());
            match (number(2), number(3)) {
                (Some(uid), Some(gid)) => (uid, gid),
                _ => {
                    return Err(StepError::new(format!(
                        "unable to find user {user}: no matching entries in passwd file"
                    )));
                }
            }
        }
    };
    let Some(group) = group else { return Ok((uid, default_gid)) };
    if let Ok(gid) = group.parse::<u32>() {
        return Ok((uid, gid));
    }
    let found = entry(view, "etc/group", group)?.and_then(|f| f.get(2)?.parse::<u32>().ok());
    let gid = found
        .ok_or_else(|| StepError::new(format!("unable to find group {group}: no matching entries in group file")))?;
    Ok((uid, gid))
}

/// Home directory of the user that a step runs as.
pub fn home(view: &View, user: &str) -> Result<String, StepError> {
    let name = user.split(':').next().unwrap_or_default();
    let name = if name.is_empty() { "0" } else { name };
    let Some(passwd) = view.read_file(Path::new("etc/passwd")).doing(|| "/etc/passwd".into())? else {
        return Ok(if matches!(name, "0" | "root") { "/root" } else { "/" }.into());
    };
    let passwd = String::from_utf8_lossy(&passwd).into_owned();
    let found = passwd
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|f| f.first() == Some(&name) || f.get(2) == Some(&name));
    let home = found.and_then(|f| f.get(5).map(|h| (*h).to_owned())).filter(|h| !h.is_empty());
    Ok(home.unwrap_or_else(|| if matches!(name, "0" | "root") { "/root" } else { "/" }.into()))
}

fn entry(view: &View, file: &str, name: &str) -> Result<Option<Vec<String>>, StepError> {
    let Some(bytes) = view.read_file(Path::new(file)).doing(|| format!("/{file}"))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = text.lines().find(|l| l.split(':').next() == Some(name));
    Ok(line.map(|l| l.split(':').map(str::to_owned).collect()))
}

/// `755`, or changes as `chmod(1)` reads them (`u=rwX,go-w`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    Octal(u32),
    Symbolic(Vec<Change>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which of user, group and others, as a mask of all permission bits of theirs.
    who: u32,
    operation: char,
    permissions: String,
}

impl Chmod {
    pub fn parse(text: &str) -> Result<Self, StepError> {
        let invalid = || {
            StepError::new(format!(
                "invalid chmod parameter: {text:?}. it should be octal string and between 0 and 07777"
            ))
        };
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777);
            return mode.map(Self::Octal).ok_or_else(invalid);
        }
        text.split(',').map(|part| change(part).ok_or_else(invalid)).collect::<Result<_, _>>().map(Self::Symbolic)
    }

    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let changes = match self {
            Self::Octal(mode) => return *mode,
            Self::Symbolic(changes) => changes,
        };
        changes.iter().fold(mode, |mode, change| {
            let mut bits = 0;
            for permission in change.permissions.chars() {
                bits |= match permission {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_dir || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    _ => 0,
                };
            }
            let bits = bits & change.who;
            match change.operation {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => mode & !change.who | bits,
            }
        })
    }
}

fn change(text: &str) -> Option<Change> {
    let at = text.find(['+', '-', '='])?;
    let (who, rest) = text.split_at(at);
    let mut mask = 0;
    for c in who.chars() {
        mask |= match c {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    let mut rest = rest.chars();
    let operation = rest.next()?;
    let permissions: String = rest.collect();
    let known = permissions.chars().all(|c| "rwxXst".contains(c));
    known.then_some(Change { who: if who.is_empty() { 0o7777 } else { mask }, operation, permissions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_changed_as_chmod_does() {
        for (text, mode, is_dir, expected) in [
            ("755", 0o600, false, 0o755),
            ("04711", 0, false, 0o4711),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("a+x", 0o640, false, 0o751),
            ("go-rwx", 0o777, false, 0o700),
            ("+t", 0o777, true, 0o1777),
            ("u+s", 0o755, false, 0o4755),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(mode, is_dir), expected, "{text}");
        }
        for bad in ["", "999", "77777", "q+x", "u", "u+q", "x=,"] {
            assert!(Chmod::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn owners_come_from_the_images_files() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::create_dir(tmp.path().join("etc")).unwrap();
        std::fs::write(tmp.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/var/www:\n").unwrap();
        std::fs::write(tmp.path().join("etc/group"), "root:x:0:\nstaff:x:50:web\n").unwrap();
        let view = View::new(vec![tmp.path().to_owned()]);
        for (text, expected) in [
            ("web", (33, 34)),
            ("web:staff", (33, 50)),
            ("7", (7, 7)),
            ("7:staff", (7, 50)),
            ("web:9", (33, 9)),
            (":9", (0, 9)),
        ] {
            assert_eq!(owner(&view, text).unwrap(), expected, "{text}");
        }
        assert!(owner(&view, "nobody").unwrap_err().to_string().contains("unable to find user nobody"));
        assert!(owner(&view, "web:none").is_err());
        assert_eq!((home(&view, "33").unwrap().as_str(), home(&view, "").unwrap().as_str()), ("/var/www", "/root"));
    }
}
