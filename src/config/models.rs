//! `[models]`: where models are, which of their versions answer, and how a fresh one is watched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::models::contract::Band;
use evergreen_forest::KernelName;

/// `[models]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsSection {
    /// The folder with `<model>/<version>/`, or a prefix in object storage.
    pub dir: PathBuf,
    /// Seconds between two looks for new versions; 0 for none, then only requests to the operations port load.
    pub poll_seconds: f64,
    /// Whether clients of the Open Inference Protocol may load and unload models.
    pub repository_api: bool,
    /// Where operators' orders and versions that were taken back are kept across restarts; empty for nowhere.
    pub state_file: PathBuf,
    /// How trees are walked.
    pub kernel: KernelSetting,
    /// How a version that has just gone live is watched.
    pub watch: WatchSection,
    /// Which versions answer, by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policy: BTreeMap<String, PolicySection>,
}

impl Default for ModelsSection {
    fn default() -> Self {
        Self {
            dir: "models".into(),
            poll_seconds: 5.0,
            repository_api: false,
            state_file: PathBuf::new(),
            kernel: KernelSetting::Auto,
            watch: WatchSection::default(),
            policy: BTreeMap::new(),
        }
    }
}

impl ModelsSection {
    /// Takes relative paths from where the settings are.
    pub(super) fn rebase(&mut self, base: &Path) {
        super::security::rebase(&mut self.state_file, base);
    }
}

/// `kernel`: all give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelSetting {
    /// The fastest for each model, measured on the model itself when it is loaded.
    Auto,
    /// One row, one tree, one split at a time.
    Scalar,
    /// Numbers as they are, eight trees abreast; any machine.
    Direct,
    /// Thirty-two trees to an instruction; x86-64 with AVX2.
    Avx2,
    /// A bit for each row.
    Sliced,
}

impl KernelSetting {
    /// The kernel to insist on.
    pub fn name(self) -> Option<KernelName> {
        match self {
            Self::Auto => None,
            Self::Scalar => Some(KernelName::Scalar),
            Self::Direct => Some(KernelName::Direct),
            Self::Avx2 => Some(KernelName::Binned),
            Self::Sliced => Some(KernelName::BitSliced),
        }
    }
}

/// `[models.watch]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchSection {
    /// Seconds after going live in which a version that misbehaves is taken back; 0 for none. The version before is
    /// kept in memory for so long.
    pub seconds: f64,
    /// Scores that must have been given before they are judged.
    pub samples: u64,
    /// Largest share of entities without a score, where the version before had less than half of that.
    pub error_rate: f64,
    /// Largest share of scores that are no finite number.
    pub non_finite_rate: f64,
    /// Largest distance (population stability index) of the scores from those at training and, if it had enough, from
    /// those of the version before; 0 for no limit.
    pub psi: f64,
}

impl Default for WatchSection {
    fn default() -> Self {
        Self {
            seconds: 300.0,
            samples: 500,
            error_rate: 0.05,
            non_finite_rate: 0.01,
            psi: 0.5,
        }
    }
}

/// `[models.policy.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// Which versions are loaded.
    pub versions: Versions,
    /// The version or label that answers requests which name neither; without it, the newest that is loaded.
    pub default: Option<VersionName>,
    /// Names for versions.
    pub labels: BTreeMap<String, u64>,
    /// A version that answers for a share of the entities.
    pub canary: Option<ShareSection>,
    /// A version that is scored beside the one that answers, and compared.
    pub shadow: Option<ShareSection>,
    /// Bands that go before those of the contract.
    pub bands: Vec<Band>,
}

/// `versions` of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Versions {
    /// The newest so many that pass the gate.
    Latest(usize),
    /// These.
    Only(Vec<u64>),
    /// Every one that passes the gate.
    All,
}

impl Default for Versions {
    fn default() -> Self {
        Self::Latest(1)
    }
}

/// A version by its number or by a label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a version's number or a label")]
pub enum VersionName {
    /// `7`
    Number(u64),
    /// `"stable"`
    Label(String),
}

/// `canary` or `shadow` of a policy.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSection {
    /// The version.
    pub version: u64,
    /// The share of entities, 0 to 1.
    #[serde(default = "whole")]
    pub share: f64,
}

fn whole() -> f64 {
    1.0
}

impl ModelsSection {
    /// Checks what a type alone does not say.
    pub(super) fn validate(&self) -> Result<(), String> {
        let not_negative = [
            ("models.poll_seconds", self.poll_seconds),
            ("models.watch.seconds", self.watch.seconds),
            ("models.watch.error_rate", self.watch.error_rate),
            ("models.watch.non_finite_rate", self.watch.non_finite_rate),
            ("models.watch.psi", self.watch.psi),
        ];
        // A day is beyond any use, and bounds what becomes a duration.
        if let Some((key, value)) = not_negative
            .into_iter()
            .find(|(_, value)| !(0.0..=86_400.0).contains(value))
        {
            return Err(format!("{key} is {value}: expected 0 to 86400"));
        }
        self.policy.iter().try_for_each(|(name, policy)| {
            policy
                .validate()
                .map_err(|message| format!("[models.policy.{name}] {message}"))
        })
    }
}

impl PolicySection {
    fn validate(&self) -> Result<(), String> {
        match &self.versions {
            Versions::Latest(0) => return Err("versions: latest = 0 loads nothing".to_owned()),
            Versions::Only(versions) if versions.is_empty() => {
                return Err("versions: only = [] loads nothing".to_owned());
            }
            _ => {}
        }
        if let Some(VersionName::Label(label)) = &self.default
            && !self.labels.contains_key(label)
        {
            return Err(format!("default = {label:?}: labels has none of that name"));
        }
        self.labels.keys().try_for_each(|label| label_name(label))?;
        for (key, share) in [("canary", &self.canary), ("shadow", &self.shadow)] {
            if let Some(share) = share {
                valid_share(share.share).map_err(|message| format!("{key}: {message}"))?;
            }
        }
        let pairs = self.bands.windows(2);
        match pairs
            .into_iter()
            .find(|pair| pair[0].from.total_cmp(&pair[1].from).is_ge())
        {
            Some(pair) => Err(format!(
                "bands: `{}` must start above `{}`",
                pair[1].name, pair[0].name
            )),
            None => Ok(()),
        }
    }
}

/// Checks a share.
///
/// # Errors
/// It is not one of 0 to 1.
pub fn valid_share(share: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&share) {
        Ok(())
    } else {
        Err(format!("share is {share}: expected 0 to 1"))
    }
}

/// Checks that a label cannot be taken for a version's number.
///
/// # Errors
/// It is empty, begins with a digit, or has more than letters, digits, `-` and `_`.
pub fn label_name(label: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let starts = label.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && label.chars().all(plain) && label.len() <= 64 {
        Ok(())
    } else {
        Err(format!(
            "label {label:?}: expected a letter, then letters, digits, - and _"
        ))
    }
}
