//! `[models]`: the repository, the policies of its models, and the comparison of new versions with the live one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::values::band::Band;
use evergreen_forest::KernelName;

/// What a public key in `models.trusted_keys` begins with; any other text there is the name of a file.
pub const PUBLIC_KEY_PREFIX: &str = "ed25519:";

/// The model repository.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsSection {
    /// Folder with the models: `<dir>/<model>/<version>/` holds a bundle (`bundle.toml`) or a bare model file. Or a
    /// prefix in object storage, such as `"s3://bucket/models"`.
    pub dir: PathBuf,
    /// Seconds between two polls for new versions; 0: no polls, only commands on the operations port load versions.
    pub poll_seconds: f64,
    /// Allow clients of the Open Inference Protocol to load and unload models.
    pub repository_api: bool,
    /// File that keeps commands of operators (holds, labels, canaries, unloaded models) and withdrawn versions across
    /// restarts, such as `/var/lib/evergreen/models.json`. Empty: a restart begins with these settings alone.
    pub state_file: PathBuf,
    /// Maximum size of a model file, and of every other file of a bundle, in bytes. A version with a larger one is
    /// refused.
    pub file_bytes: u64,
    /// Maximum seconds for reading and validating one version, or for reading one snapshot. What takes longer is given
    /// up and counts as refused. When three such loads hang at once, the server stops with exit code 4, because each
    /// still holds memory. 0: no limit.
    pub load_seconds: u64,
    /// Kernel that evaluates the trees: `"auto"` times all of them on each model when it is loaded and takes the
    /// fastest; `"scalar"`, `"direct"`, `"binned"` and `"bit-sliced"` force one and refuse models that it cannot
    /// evaluate. All give the same bits. `"avx2"` and `"sliced"`, the names of earlier releases, are accepted for
    /// `"binned"` and `"bit-sliced"`.
    #[serde(with = "kernel")]
    pub kernel: Option<KernelName>,
    /// Public keys whose signature a bundle needs: `"ed25519:…"` as `evergreen key --signing` prints it, or names of files
    /// with one key per line. Bundles without a valid signature and bare models are refused. Empty: no signatures.
    pub trusted_keys: Vec<String>,
    /// Comparison of new versions with the live one.
    pub watch: WatchSection,
    /// Which versions of a model serve.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policy: BTreeMap<String, PolicySection>,
}

/// The default of `models.file_bytes`, 1 GiB: the largest models in use have a few hundred megabytes.
pub const FILE_BYTES: u64 = 1 << 30;

impl Default for ModelsSection {
    fn default() -> Self {
        Self {
            dir: "models".into(),
            poll_seconds: 5.0,
            repository_api: false,
            state_file: PathBuf::new(),
            file_bytes: FILE_BYTES,
            load_seconds: 600,
            kernel: None,
            trusted_keys: Vec::new(),
            watch: WatchSection::default(),
            policy: BTreeMap::new(),
        }
    }
}

impl ModelsSection {
    /// Makes relative paths start at `base`.
    pub(super) fn rebase(&mut self, base: &Path) {
        super::security::rebase(&mut self.state_file, base);
        super::security::rebase(&mut self.watch.ids, base);
        for entry in self
            .trusted_keys
            .iter_mut()
            .filter(|entry| !entry.starts_with(PUBLIC_KEY_PREFIX))
        {
            *entry = base.join(&*entry).to_string_lossy().into_owned();
        }
    }
}

/// `kernel` of `[models]`: the name of a kernel, or `auto` for `None`.
mod kernel {
    use super::{Deserialize, Deserializer, KernelName, Serializer};
    use serde::de::Error as _;

    const AUTO: &str = "auto";

    pub(super) fn serialize<S: Serializer>(
        kernel: &Option<KernelName>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match kernel {
            None => serializer.serialize_str(AUTO),
            Some(name) => serializer.collect_str(name),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<KernelName>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            AUTO => Ok(None),
            name => name
                .parse()
                .map(Some)
                .map_err(|error| D::Error::custom(format!("{error}, or auto"))),
        }
    }
}

/// Comparison of a newer version with the live one before it goes live. Both score the same customers of the snapshot, up
/// to 5,000; the newer one is rolled back if it is clearly worse. Requests have no influence.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchSection {
    /// Seconds for which the previous version stays in memory, so that a rollback needs no load.
    pub seconds: f64,
    /// File with the ids to compare on, one per line, for models without a snapshot. Empty: ids of the snapshot.
    pub ids: PathBuf,
    /// Minimum number of compared customers; with fewer, versions are not compared.
    pub samples: u64,
    /// Maximum share of customers without a score, unless the live version has more than half of that.
    pub error_rate: f64,
    /// Maximum share of scores that are not finite numbers, unless the live version has more than half of that.
    pub non_finite_rate: f64,
    /// Maximum distance of the scores from those at training (population stability index minus its chance level), and
    /// at least twice that of the live version. 0: no limit.
    pub psi: f64,
    /// Minimum rank correlation (Spearman) of the scores with those of the live version, 0 to 1: a version below it
    /// disagrees about who is at risk. 0: no limit.
    pub agreement: f64,
}

impl Default for WatchSection {
    fn default() -> Self {
        Self {
            seconds: 300.0,
            ids: PathBuf::new(),
            samples: 500,
            error_rate: 0.05,
            non_finite_rate: 0.01,
            psi: 0.5,
            agreement: 0.6,
        }
    }
}

/// Which versions of a model serve. Every key is optional; changes take effect on SIGHUP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// Versions to load.
    pub versions: Versions,
    /// Version or label that answers requests without either. Missing: the newest loaded version.
    pub default: Option<VersionName>,
    /// Labels that requests may use in place of a version.
    pub labels: BTreeMap<String, u64>,
    /// Version that answers for a share of the entities; each entity sees one version.
    pub canary: Option<ShareSection>,
    /// Version that is scored without answering, and compared.
    pub shadow: Option<ShareSection>,
    /// Bands that replace those of the contract.
    pub bands: Vec<Band>,
}

/// `versions` of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Versions {
    /// This many of the newest versions that pass the gate.
    Latest(usize),
    /// These versions.
    Only(Vec<u64>),
    /// Every version that passes the gate.
    All,
}

impl Default for Versions {
    fn default() -> Self {
        Self::Latest(1)
    }
}

/// A version, by its number or a label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a version's number or a label")]
pub enum VersionName {
    /// `7`
    Number(u64),
    /// `"stable"`
    Label(String),
}

/// A version and its share of the entities.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a version and its share (0 to 1)")]
pub struct ShareSection {
    /// The version.
    pub version: u64,
    /// Share of the entities, 0 to 1; 1 if missing.
    #[serde(default = "whole")]
    pub share: f64,
}

fn whole() -> f64 {
    1.0
}

impl ModelsSection {
    /// Checks what the types cannot express.
    pub(super) fn validate(&self) -> Result<(), String> {
        let not_negative = [
            ("models.poll_seconds", self.poll_seconds),
            ("models.watch.seconds", self.watch.seconds),
            ("models.watch.error_rate", self.watch.error_rate),
            ("models.watch.non_finite_rate", self.watch.non_finite_rate),
            ("models.watch.psi", self.watch.psi),
            ("models.watch.agreement", self.watch.agreement),
        ];
        // Cap at a day to keep `Duration` in range.
        if let Some((key, value)) = not_negative
            .into_iter()
            .find(|(_, value)| !(0.0..=86_400.0).contains(value))
        {
            return Err(format!("{key}: expected 0 to 86400, found {value}"));
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
            Versions::Latest(0) => return Err("versions: expected latest of at least 1, found 0".to_owned()),
            Versions::Only(versions) if versions.is_empty() => {
                return Err("versions: expected at least one version in only, found none".to_owned());
            }
            _ => {}
        }
        if let Some(VersionName::Label(label)) = &self.default
            && !self.labels.contains_key(label)
        {
            return Err(format!("default: no label {label:?} in labels"));
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
                "bands: expected `{}` to start above `{}`",
                pair[1].name, pair[0].name
            )),
            None => Ok(()),
        }
    }
}

/// Checks that a share is within 0 to 1.
///
/// # Errors
/// It is not.
pub fn valid_share(share: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&share) {
        Ok(())
    } else {
        Err(format!("share: expected 0 to 1, found {share}"))
    }
}

/// Checks that a label cannot be mistaken for a version number.
///
/// # Errors
/// It is empty or too long, does not begin with a letter, or has other characters than letters, digits, `-` and `_`.
pub fn label_name(label: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let starts = label.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && label.chars().all(plain) && label.len() <= 64 {
        Ok(())
    } else {
        Err(format!(
            "label: expected a letter, then letters, digits, - and _, such as \"stable\"; found {label:?}"
        ))
    }
}
