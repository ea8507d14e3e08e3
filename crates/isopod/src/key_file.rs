//! `--encryption-key-file`: the keys that Secrets are sealed with on disk, in a file of the person's choice (for example on a
//! volume that backups of the data directory do not hold). The cluster remembers where it is.
use anyhow::{Context, Result, bail};
use isopod_store::seal::KeyRing;
use std::path::{Path, PathBuf};

/// Where the file is, however it was named, if it can be read and holds keys.
pub fn check(path: &Path) -> Result<PathBuf> {
    let found = path.canonicalize().with_context(|| {
        format!("--encryption-key-file {0}: make one with isopod encryption new-key {0}", path.display())
    })?;
    KeyRing::load(&found).map_err(|error| anyhow::anyhow!("--encryption-key-file: {error}"))?;
    Ok(found)
}

/// The file `wanted` in the place of the file `used`, of which it must have all keys: otherwise Secrets could not be opened.
pub fn take_over(wanted: &Path, used: &Path) -> Result<PathBuf> {
    let found = check(wanted)?;
    if found == used || !used.exists() {
        return Ok(found);
    }
    let (old, new) = (KeyRing::load(used)?, KeyRing::load(&found)?);
    let missing: Vec<&str> = old.ids().filter(|id| !new.ids().any(|known| known == *id)).collect();
    if !missing.is_empty() {
        bail!(
            "--encryption-key-file {}: Secrets of this cluster are sealed with key {}, which it does not hold: add the line from {}",
            wanted.display(),
            missing.join(" and "),
            used.display()
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_must_hold_the_keys_in_use() {
        let tmp = tempfile::tempdir().unwrap();
        let [used, copy, other] = ["used", "copy", "other"].map(|name| tmp.path().join(name));
        KeyRing::generate().unwrap().save(&used).unwrap();
        KeyRing::generate().unwrap().save(&other).unwrap();
        KeyRing::load(&used).unwrap().with_new_key().unwrap().save(&copy).unwrap();
        assert_eq!(take_over(&copy, &used).unwrap(), copy.canonicalize().unwrap());
        assert_eq!(take_over(&other, &tmp.path().join("never-made")).unwrap(), other.canonicalize().unwrap());
        let refused = take_over(&other, &used).unwrap_err().to_string();
        assert!(refused.contains("which it does not hold: add the line from"), "{refused}");
        let missing = format!("{:#}", check(&tmp.path().join("nowhere")).unwrap_err());
        assert!(missing.contains("make one with isopod encryption new-key"), "{missing}");
        std::fs::write(&other, "what is this?").unwrap();
        let wrong = check(&other).unwrap_err().to_string();
        assert!(wrong.contains("key id \"what\" is not 8 hexadecimal digits"), "{wrong}");
    }
}
