//! `--kubelet-config`: how this machine's node agent behaves, in a file of the kubelet's own format (`KubeletConfiguration`,
//! `kubelet.config.k8s.io/v1beta1`). The data directory keeps a copy, `kubelet.yaml`, which the server reads when it starts.
//!
//! Only what the agent really has may be set; a field it does not have is refused, and not passed over.
use crate::datadir::{self, DataDir};
use anyhow::{Context, Result, bail};
use isopod_node::agent::ImageGc;
use jiff::SignedDuration;
use serde::Deserialize;
use std::path::Path;

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
const KIND: &str = "KubeletConfiguration";
/// Kubernetes' default (`maxPods`).
const MAX_PODS: u32 = 110;

/// What a person has set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubeletConfig {
    api_version: String,
    kind: String,
    /// Pods that this node takes.
    max_pods: Option<u32>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    high: Option<u8>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    low: Option<u8>,
    #[serde(rename = "imageMinimumGCAge")]
    min_age: Option<Duration>,
    #[serde(rename = "imageMaximumGCAge")]
    max_age: Option<Duration>,
}

/// In Go's form: `2m0s`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
struct Duration(SignedDuration);

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_number = text != "0" && text.bytes().all(|b| b.is_ascii_digit());
        let parsed = isopod_cli::duration::parse(&text).filter(|_| !is_number);
        let parsed = parsed.and_then(|d| SignedDuration::try_from(d).ok());
        parsed.map(Self).ok_or_else(|| isopod_cli::duration::problem(&text))
    }
}

impl KubeletConfig {
    fn parse(text: &str) -> Result<Self> {
        let config: Self = serde_saphyr::from_str(text)?;
        config.validate()?;
        Ok(config)
    }

    /// The rules of `pkg/kubelet/apis/config/validation`.
    fn validate(&self) -> Result<()> {
        if (self.api_version.as_str(), self.kind.as_str()) != (API_VERSION, KIND) {
            bail!("it begins with apiVersion: {API_VERSION} and kind: {KIND}");
        }
        if self.max_pods == Some(0) {
            bail!("maxPods: a node takes at least one pod");
        }
        let ImageGc { high_percent, low_percent, min_age, max_age, .. } = self.image_gc();
        for (name, percent) in [("High", high_percent), ("Low", low_percent)] {
            if percent > 100 {
                bail!("imageGC{name}ThresholdPercent {percent} must be between 0 and 100, inclusive");
            }
        }
        if low_percent >= high_percent {
            bail!(
                "imageGCLowThresholdPercent {low_percent} must be less than imageGCHighThresholdPercent {high_percent}"
            );
        }
        if max_age > SignedDuration::ZERO && max_age <= min_age {
            bail!("imageMaximumGCAge {max_age:#} must be greater than imageMinimumGCAge {min_age:#}");
        }
        Ok(())
    }

    pub fn max_pods(&self) -> u32 {
        self.max_pods.unwrap_or(MAX_PODS)
    }

    /// A percentage that a person has chosen is meant, however large the disk.
    pub fn image_gc(&self) -> ImageGc {
        let usual = ImageGc::default();
        let chosen = self.high.is_some() || self.low.is_some();
        ImageGc {
            high_percent: self.high.unwrap_or(usual.high_percent),
            low_percent: self.low.unwrap_or(usual.low_percent),
            min_age: self.min_age.map_or(usual.min_age, |d| d.0),
            max_age: self.max_age.map_or(usual.max_age, |d| d.0),
            room_enough: if chosen { 0 } else { usual.room_enough },
        }
    }
}

impl DataDir {
    /// What this node's agent was told; nothing, if there is no file.
    pub fn kubelet_config(&self) -> Result<KubeletConfig> {
        Ok(read(&self.kubelet_config_file())?.map(|(_, config)| config).unwrap_or_default())
    }

    /// Makes `file` this node's configuration.
    pub fn take_kubelet_config(&self, file: &Path) -> Result<()> {
        let Some((text, _valid)) = read(file)? else { bail!("there is no {}", file.display()) };
        datadir::write_atomically(&self.kubelet_config_file(), text.as_bytes(), 0o600)
    }

    /// Whether `file` says what this node's agent was told.
    pub fn has_kubelet_config(&self, file: &Path) -> Result<bool> {
        let Some((_, wanted)) = read(file)? else { bail!("there is no {}", file.display()) };
        Ok(wanted == self.kubelet_config()?)
    }
}

/// The text, and what it says; `None` if there is no such file.
fn read(file: &Path) -> Result<Option<(String, KubeletConfig)>> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let config = KubeletConfig::parse(&text);
    let config = config.with_context(|| format!("{} is no kubelet configuration", file.display()))?;
    Ok(Some((text, config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(fields: &str) -> Result<KubeletConfig> {
        KubeletConfig::parse(&format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{fields}"))
    }

    #[test]
    fn what_is_not_said_is_as_in_kubernetes() {
        let nothing = parsed("").unwrap();
        assert_eq!((nothing.image_gc(), nothing.max_pods()), (ImageGc::default(), 110));
        let some = parsed("imageGCHighThresholdPercent: 70\nimageGCLowThresholdPercent: 50\nimageMinimumGCAge: 0s\nimageMaximumGCAge: 24h\nmaxPods: 20").unwrap();
        let expected = ImageGc {
            high_percent: 70,
            low_percent: 50,
            min_age: SignedDuration::ZERO,
            max_age: SignedDuration::from_hours(24),
            room_enough: 0,
        };
        assert_eq!((some.image_gc(), some.max_pods()), (expected, 20));
        let age = parsed("imageMinimumGCAge: 2m30s").unwrap().image_gc();
        assert_eq!((age.min_age.as_secs(), age.room_enough), (150, ImageGc::default().room_enough));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (
                "imageGCLowThresholdPercent: 85",
                "imageGCLowThresholdPercent 85 must be less than imageGCHighThresholdPercent 85",
            ),
            (
                "imageGCHighThresholdPercent: 101",
                "imageGCHighThresholdPercent 101 must be between 0 and 100, inclusive",
            ),
            ("imageMinimumGCAge: 5 minutes", "time: unknown unit \" minutes\" in duration \"5 minutes\""),
            ("imageMaximumGCAge: \"90\"", "time: missing unit in duration \"90\""),
            ("imageMaximumGCAge: 1m", "imageMaximumGCAge 1m must be greater than imageMinimumGCAge 2m"),
            ("maxPods: 0", "maxPods: a node takes at least one pod"),
            ("evictionHard: {}", "unknown field `evictionHard`"),
        ];
        for (fields, expected) in cases {
            let error = format!("{:#}", parsed(fields).unwrap_err());
            assert!(error.contains(expected), "{fields}: {error}");
        }
        let other = format!("{:#}", KubeletConfig::parse("kind: Pod").unwrap_err());
        assert!(other.contains("it begins with apiVersion: kubelet.config.k8s.io/v1beta1"), "{other}");
    }
}
