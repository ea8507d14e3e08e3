//! Encryption at rest: values under chosen prefixes (`/registry/secrets/`) are sealed with AES-256-GCM before they reach a disk
//! or an etcd cluster, and opened when they are read. In memory they are plain.
//!
//! The key of the object is bound in as associated data, so that a sealed value cannot be moved to another key. Nonces are
//! random; with 96 bits one key may seal 2³² values (NIST SP 800-38D, 8.3), far beyond what secrets of one cluster reach
//! between rotations. Each sealed value names the key that sealed it, so that a ring of keys can be rotated: new values are
//! sealed with the first key, old ones are still opened with theirs.
use crate::{Error, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Opens every sealed value: not valid UTF-8 nor JSON, so no object of the API can begin with it.
const MAGIC: &[u8] = b"\xffisopod-seal-1\0";
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;

/// One AES-256 key and the name that sealed values know it by.
struct SealKey {
    id: String,
    bytes: [u8; KEY_BYTES],
    cipher: RandomizedNonceKey,
}

/// Keys in order: the first seals, all open. The default ring is empty: it opens nothing and cannot seal.
#[derive(Default)]
pub struct KeyRing {
    keys: Vec<SealKey>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl SealKey {
    fn new(id: String, bytes: [u8; KEY_BYTES]) -> Result<Self, String> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| "key was refused".to_owned())?;
        Ok(Self { id, bytes, cipher })
    }

    fn random() -> Result<Self, String> {
        let mut id = [0u8; ID_BYTES / 2];
        let mut bytes = [0u8; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| "no randomness".to_owned())?;
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "no randomness".to_owned())?;
        Self::new(format!("{:08x}", u32::from_be_bytes(id)), bytes)
    }

    /// A line of the key file: `<id> <base64>`, the id being eight hexadecimal digits. A key without an id
    /// (`head -c 32 /dev/urandom | base64`) is named after its digest.
    fn parse(line: &str) -> Result<Self, String> {
        let Some((id, key)) = line.split_once(' ') else {
            let bytes: Option<[u8; KEY_BYTES]> = BASE64.decode(line).ok().and_then(|key| key.try_into().ok());
            let bytes = bytes.ok_or("expected `<id> <base64 key>`, or the base64 of 32 bytes")?;
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
            let id = digest.as_ref().iter().take(ID_BYTES / 2).map(|byte| format!("{byte:02x}")).collect();
            return Self::new(id, bytes);
        };
        if id.len() != ID_BYTES || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("key id {id:?} is not {ID_BYTES} hexadecimal digits"));
        }
        let decoded = BASE64.decode(key.trim()).map_err(|_| format!("key {id} is not valid base64"))?;
        let bytes = decoded.try_into().map_err(|_| format!("key {id} is not {KEY_BYTES} bytes long"))?;
        Self::new(id.to_owned(), bytes)
    }
}

impl KeyRing {
    /// A ring of one new random key.
    pub fn generate() -> Result<Self> {
        Ok(Self { keys: vec![SealKey::random().map_err(|reason| key_file("(new)", reason))?] })
    }

    /// Reads a key file: one `<id> <base64 of 32 bytes>` a line (the id may be left out), the first is the one that seals; `#`
    /// opens a comment.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| key_file(path.display(), error))?;
        if let Ok(metadata) = std::fs::metadata(path)
            && metadata.permissions().mode() & 0o077 != 0
        {
            tracing::warn!(path = %path.display(), "encryption key file can be read by others; chmod it to 0600");
        }
        Self::parse(&text).map_err(|reason| key_file(path.display(), reason))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(SealKey::parse).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("holds no key".to_owned());
        }
        Ok(Self { keys })
    }

    /// Writes the ring, readable by its owner alone, in one step: a crash leaves the old file or the new one.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.write(path).map_err(|error| key_file(path.display(), error))
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut text =
            String::from("# isopod encryption keys: the first seals, the others only open what they sealed\n");
        for key in &self.keys {
            text.push_str(&format!("{} {}\n", key.id, BASE64.encode(key.bytes)));
        }
        let new = path.with_extension("new");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => std::fs::File::open(directory)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// This ring with a new key in front: seals with the new one, still opens what the old ones sealed.
    pub fn with_new_key(self) -> Result<Self> {
        let mut keys = Self::generate()?.keys;
        keys.extend(self.keys);
        Ok(Self { keys })
    }

    /// This ring without its old keys: right once everything is sealed with the first.
    pub fn only_first(mut self) -> Self {
        self.keys.truncate(1);
        self
    }

    /// Names of the keys, the sealing one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }
}

fn key_file(path: impl fmt::Display, reason: impl fmt::Display) -> Error {
    Error::KeyFile { path: path.to_string(), reason: reason.to_string() }
}

/// Seals values under its prefixes; opens whatever is sealed.
#[derive(Debug)]
pub struct Sealer {
    ring: KeyRing,
    prefixes: Vec<String>,
}

impl Sealer {
    pub fn new(ring: KeyRing, prefixes: Vec<String>) -> Self {
        Self { ring, prefixes }
    }

    /// Whether values of this key are sealed.
    pub fn covers(&self, key: &str) -> bool {
        self.prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
    }

    /// Whether `stored` was made by [`Sealer::seal`].
    pub fn is_sealed(stored: &[u8]) -> bool {
        stored.starts_with(MAGIC)
    }

    /// `magic | key id | nonce | ciphertext and tag`.
    pub fn seal(&self, key: &str, value: &[u8]) -> Result<Vec<u8>> {
        let Some(primary) = self.ring.keys.first() else {
            return Err(sealed(key, "no encryption key"));
        };
        let mut text = value.to_vec();
        let nonce = primary
            .cipher
            .seal_in_place_append_tag(Aad::from(key.as_bytes()), &mut text)
            .map_err(|_| sealed(key, "encryption failed"))?;
        Ok([MAGIC, primary.id.as_bytes(), nonce.as_ref(), &text].concat())
    }

    /// Opens what [`Sealer::seal`] made.
    pub fn open(&self, key: &str, stored: &[u8]) -> Result<Vec<u8>> {
        let parts = stored.strip_prefix(MAGIC).and_then(|rest| rest.split_at_checked(ID_BYTES));
        let (id, nonce, text) = parts
            .and_then(|(id, rest)| rest.split_first_chunk::<NONCE_LEN>().map(|(nonce, text)| (id, nonce, text)))
            .ok_or_else(|| sealed(key, "sealed value is cut short"))?;
        let Some(by) = self.ring.keys.iter().find(|by| by.id.as_bytes() == id) else {
            let id = String::from_utf8_lossy(id);
            return Err(sealed(key, format!("it is sealed with key {id}, which is not in the encryption key file")));
        };
        let mut text = text.to_vec();
        let length = by
            .cipher
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(key.as_bytes()), &mut text)
            .map_err(|_| sealed(key, format!("key {} does not open it: wrong key or damaged data", by.id)))?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

fn sealed(key: &str, reason: impl Into<String>) -> Error {
    Error::Sealed { key: key.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "/registry/secrets/default/token";

    fn sealer(ring: KeyRing) -> Sealer {
        Sealer::new(ring, vec!["/registry/secrets/".to_owned()])
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let sealer = sealer(KeyRing::generate().unwrap());
        let stored = sealer.seal(KEY, b"hunter2").unwrap();
        assert!(Sealer::is_sealed(&stored));
        assert!(!stored.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(sealer.open(KEY, &stored).unwrap(), b"hunter2");
        assert_ne!(stored, sealer.seal(KEY, b"hunter2").unwrap(), "nonces differ");
        let moved = sealer.open("/registry/secrets/default/other", &stored).unwrap_err();
        assert!(moved.to_string().contains("wrong key or damaged data"), "{moved}");
        for at in 0..stored.len() {
            let mut bent = stored.clone();
            bent[at] ^= 1;
            assert!(sealer.open(KEY, &bent).is_err(), "byte {at} flipped");
            assert!(sealer.open(KEY, &stored[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn old_keys_open_until_they_are_dropped() {
        let ring = KeyRing::generate().unwrap();
        let old = ring.ids().next().unwrap().to_owned();
        let stored = sealer(KeyRing::parse(&format!("{old} {}", BASE64.encode(ring.keys[0].bytes))).unwrap())
            .seal(KEY, b"hunter2")
            .unwrap();
        let both = sealer(ring.with_new_key().unwrap());
        assert_eq!(both.open(KEY, &stored).unwrap(), b"hunter2");
        let again = both.seal(KEY, b"hunter2").unwrap();
        let new_only = sealer(both.ring.only_first());
        assert_eq!(new_only.open(KEY, &again).unwrap(), b"hunter2");
        let lost = new_only.open(KEY, &stored).unwrap_err().to_string();
        assert_eq!(
            lost,
            format!("cannot decrypt {KEY}: it is sealed with key {old}, which is not in the encryption key file")
        );
    }

    #[test]
    fn key_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let ring = KeyRing::generate().unwrap().with_new_key().unwrap();
        ring.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(KeyRing::load(&path).unwrap().ids().eq(ring.ids()));
        for (text, reason) in [
            ("", "holds no key"),
            ("# nothing\n", "holds no key"),
            ("secret", "expected `<id> <base64 key>`, or the base64 of 32 bytes"),
            ("xyz AAAA", "key id \"xyz\" is not 8 hexadecimal digits"),
            ("00000001 !", "key 00000001 is not valid base64"),
            ("00000001 AAAA", "key 00000001 is not 32 bytes long"),
        ] {
            assert_eq!(KeyRing::parse(text).unwrap_err(), reason);
        }
        // sha256 of 32 zero bytes is 66687aadf862…
        let bare = KeyRing::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
        assert_eq!(bare.ids().collect::<Vec<_>>(), ["66687aad"]);
    }
}
