//! `ADD` from the network (BuildKit `source/http`): a file, never extracted unless told so, readable by its owner only.
//!
//! What the step comes to depends on the content, not on the address: with `--checksum` it is known beforehand, and a step that was done
//! before asks nobody; without, the file is fetched each time to see whether it has changed.
use super::stage::Builder;
use super::{Doing, StepError};
use crate::digest::{Digest, Hashing};
use crate::registry::fetch;
use http::header::{CONTENT_DISPOSITION, HeaderMap};
use http::{StatusCode, Uri};
use http_body_util::BodyExt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A server that sends nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// A file to be fetched.
pub struct Download {
    pub url: String,
    uri: Uri,
    /// `--checksum`.
    expected: Option<Digest>,
    fetched: Option<Fetched>,
}

struct Fetched {
    /// Deleted with this value.
    file: tempfile::NamedTempFile,
    digest: Digest,
    /// What the server calls it.
    name: Option<String>,
}

/// Whether a source of `ADD` is an address; one that we cannot fetch is an error.
pub fn is_url(source: &str) -> Result<bool, StepError> {
    let web = source.starts_with("http://") || source.starts_with("https://");
    let path = source.split('#').next().unwrap_or_default();
    let repository = ["git@", "git://", "ssh://"].iter().any(|scheme| source.starts_with(scheme));
    if repository || web && path.trim_end_matches('/').ends_with(".git") {
        let hint = "COPY a checkout of it, or RUN git clone in an image that has git";
        return Err(StepError::new(format!("git repositories are not supported as a source: {hint}")));
    }
    Ok(web)
}

/// `sha256:…`
pub fn checksum(text: &str) -> Result<Digest, StepError> {
    text.parse().map_err(|e| StepError::new(format!("--checksum {text}: {e}")))
}

impl Download {
    pub fn new(url: &str, expected: Option<Digest>) -> Result<Self, StepError> {
        let uri = url.parse().map_err(|e| StepError::new(format!("{url}: {e}")))?;
        Ok(Self { url: url.to_owned(), uri, expected, fetched: None })
    }

    /// Of its content. Fetches it if that is not known.
    pub fn digest(&mut self, builder: &Builder<'_>) -> Result<Digest, StepError> {
        match self.expected {
            Some(digest) => Ok(digest),
            None => Ok(self.fetch(builder)?.digest),
        }
    }

    /// The file, fetched if it was not.
    pub fn path(&mut self, builder: &Builder<'_>) -> Result<PathBuf, StepError> {
        Ok(self.fetch(builder)?.file.path().to_owned())
    }

    fn fetch(&mut self, builder: &Builder<'_>) -> Result<&Fetched, StepError> {
        let fetched = match self.fetched.take() {
            Some(fetched) => fetched,
            None => {
                let file = tempfile::Builder::new().prefix("d").tempfile_in(builder.store.root().join("tmp"));
                let file = file.doing(|| "new file".into())?;
                let done = builder.handle.block_on(receive(&self.url, &self.uri, file))?;
                if let Some(expected) = self.expected.filter(|e| *e != done.digest) {
                    let message = format!("{}: digest mismatch {}: {expected}", self.url, done.digest);
                    return Err(StepError::new(message));
                }
                done
            }
        };
        Ok(self.fetched.insert(fetched))
    }

    /// The last part of the address, or what the server calls it (RFC 6266). Only asked where the target is a directory.
    pub fn name(&mut self, builder: &Builder<'_>) -> Result<PathBuf, StepError> {
        if let Some(name) = plain(self.uri.path().rsplit('/').next().unwrap_or_default()) {
            return Ok(name);
        }
        let given = self.fetch(builder)?.name.as_deref().and_then(plain);
        given.ok_or_else(|| StepError::new(format!("{}: cannot determine a file name for it: name one", self.url)))
    }
}

/// One component of a path.
fn plain(name: &str) -> Option<PathBuf> {
    let bad = matches!(name, "" | "." | "..") || name.contains(['/', '\0']);
    (!bad).then(|| Path::new(name).to_owned())
}

async fn receive(url: &str, uri: &Uri, file: tempfile::NamedTempFile) -> Result<Fetched, StepError> {
    let response = fetch(uri).await.map_err(|e| StepError::new(format!("{url}: {e}")))?;
    if response.status() != StatusCode::OK {
        return Err(StepError::new(format!("{url}: the server answered {}", response.status())));
    }
    let name = name_in(response.headers());
    let mut out = Hashing::new(File::options().write(true).open(file.path()).doing(|| "new file".into())?);
    let mut body = response.into_body();
    loop {
        let next = tokio::time::timeout(SILENCE, body.frame()).await;
        let Some(frame) = next.map_err(|_| StepError::new(format!("{url}: the server has gone silent")))? else {
            break;
        };
        let frame = frame.map_err(|e| StepError::new(format!("{url}: {e}")))?;
        if let Ok(data) = frame.into_data() {
            out.write_all(&data).doing(|| url.to_owned())?;
        }
    }
    let (digest, _, _) = out.finish();
    Ok(Fetched { file, digest, name })
}

/// `attachment; filename="x.tar"`.
fn name_in(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_DISPOSITION)?.to_str().ok()?;
    let value = text.split(';').find_map(|part| part.trim().strip_prefix("filename="))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        for (source, expected) in [
            ("file", Some(false)),
            ("http.txt", Some(false)),
            ("http://host/file", Some(true)),
            ("https://host/git/file.tar", Some(true)),
            ("https://host/a.git", None),
            ("https://host/a.git#main:dir", None),
            ("git@host:a/b", None),
            ("ssh://host/a", None),
        ] {
            assert_eq!(is_url(source).ok(), expected, "{source}");
        }
    }

    #[test]
    fn servers_cannot_name_other_places() {
        let named = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_DISPOSITION, text.parse().unwrap());
            name_in(&headers).as_deref().and_then(plain)
        };
        assert_eq!(named("attachment; filename=\"x.tar\""), Some("x.tar".into()));
        assert_eq!(named("attachment; filename=x"), Some("x".into()));
        for bad in ["inline", "attachment; filename=\"../x\"", "attachment; filename=\"\"", "x; filename=.."] {
            assert_eq!(named(bad), None, "{bad}");
        }
    }
}
