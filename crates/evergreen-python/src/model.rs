//! A loaded version of a model, and what scoring tables needs besides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evergreen::config::StorageSection;
use evergreen::lifecycle::version_for_servers;
use evergreen::models::ModelVersion;
use evergreen::models::bundle::identity;
use evergreen::models::contract::{FILE_NAME, FeatureContract, FeatureType};
use evergreen::models::derived::DerivedInput;
use evergreen::models::gate::{self, GateContext};
use evergreen::models::input::{EncodedCell, ModelInput};
use evergreen::models::repository::Repository;
use evergreen::models::signature::TrustedKeys;
use evergreen::values::cell::Cell;
use evergreen_forest::Format;

/// A model ready to score tables.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) version: Arc<ModelVersion>,
    /// The folder or file that it was read from.
    pub(crate) path: PathBuf,
    /// The inputs, for a model without a contract.
    bare: Vec<ModelInput>,
    /// By input, the numbers that need no second look.
    plain: Vec<PlainNumbers>,
}

/// The numbers that the model takes as they are: finite, within the contract's range and the precisions of both sides. Any
/// other goes through the contract's rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainNumbers {
    pub(crate) kind: FeatureType,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Below this, whole numbers of 64 bits and floats convert into each other exactly.
const EXACT: f64 = 9_007_199_254_740_991.0;

impl PlainNumbers {
    fn of(input: &ModelInput) -> Self {
        let most = if input.is_narrow() {
            f64::from(f32::MAX)
        } else {
            f64::MAX
        };
        let [low, high] = input.bounds().unwrap_or([-most, most]);
        Self {
            kind: input.contract.kind,
            low: low.max(-most),
            high: high.min(most),
        }
    }

    /// The same for whole numbers.
    pub(crate) fn whole(self) -> Self {
        Self {
            low: self.low.max(-EXACT),
            high: self.high.min(EXACT),
            ..self
        }
    }

    /// Whether a number needs no second look.
    #[inline]
    pub(crate) fn contain(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Why a model was not loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// There is no such file or folder.
    NotFound(String),
    /// The gate refused it.
    Refused(String),
}

/// The version of the model in a folder that servers with these keys use.
fn version_in_use(folder: &Path, trusted: &TrustedKeys) -> Result<Arc<ModelVersion>, String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let models = folder.parent().unwrap_or(Path::new("/"));
    version_for_servers(
        &Repository::open(models, &StorageSection::default())?,
        &name,
        trusted,
    )
}

/// Refuses a model in the words of Python, where the trusted keys are no setting.
fn refused(message: &str) -> LoadError {
    LoadError::Refused(message.replace("models.trusted_keys", "trusted_keys"))
}

impl Model {
    /// Validates a bundle's folder or a model file as a server with these trusted keys does, or finds the newest valid
    /// version in the folder of a model. Keys are public keys, or files with some.
    ///
    /// # Errors
    /// There is no such file, a key is not one, or the gate refused the model.
    pub(crate) fn load(path: &Path, trusted: &[String]) -> Result<Self, LoadError> {
        let trusted = TrustedKeys::read(trusted).map_err(|message| refused(&message))?;
        if !path.exists() {
            let path = path.display();
            return Err(LoadError::NotFound(format!(
                "{path}: no such file or folder; expected a bundle such as models/churn/1"
            )));
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (name, number) = identity(&path);
        if is_model_folder(&path) {
            let version = version_in_use(&path, &trusted).map_err(|message| refused(&message))?;
            let path = path.join(version.version.to_string());
            return Ok(Self::new(version, path));
        }
        let mut context = GateContext {
            trusted: Some(&trusted),
            ..GateContext::default()
        };
        let version = gate::validate_with(&path, &name, number, &mut context).map_err(|report| {
            let reason = report.failure().map_or("", |step| step.detail.as_str());
            let at = path.display().to_string();
            match reason.starts_with(&at) {
                true => refused(reason),
                false => refused(&format!("{at}: {reason}")),
            }
        })?;
        Ok(Self::new(Arc::new(version), path))
    }

    fn new(version: Arc<ModelVersion>, path: PathBuf) -> Self {
        let precision = version.forest.precision();
        let features = version.forest.features().iter();
        let bare: Vec<ModelInput> = match version.contract {
            Some(_) => Vec::new(),
            None => features
                .map(|feature| ModelInput::bare(feature, precision))
                .collect(),
        };
        let inputs = if version.contract.is_some() {
            &version.inputs
        } else {
            &bare
        };
        let plain = inputs.iter().map(PlainNumbers::of).collect();
        Self {
            version,
            path,
            bare,
            plain,
        }
    }

    /// The inputs in the model's order.
    pub(crate) fn inputs(&self) -> &[ModelInput] {
        if self.version.contract.is_some() {
            &self.version.inputs
        } else {
            &self.bare
        }
    }

    /// The contract of a slot: an input, or an operand of derived inputs.
    pub(crate) fn slot(&self, slot: usize) -> Option<&FeatureContract> {
        match self.bare.get(slot) {
            Some(input) => Some(&input.contract),
            None => self.version.slot(slot),
        }
    }

    /// Number of slots.
    pub(crate) fn slots(&self) -> usize {
        self.inputs().len() + self.version.operands.len()
    }

    pub(crate) fn derived(&self, position: usize) -> Option<&DerivedInput> {
        self.version.derived.get(position)?.as_ref()
    }

    pub(crate) fn plain(&self, position: usize) -> Option<PlainNumbers> {
        // The file of a bare model may not say whether a number is a category.
        match self.version.contract {
            Some(_) => self.plain.get(position).copied(),
            None => None,
        }
    }

    /// Converts a cell for a slot.
    ///
    /// # Errors
    /// The cell does not have the slot's type.
    pub(crate) fn encode(&self, slot: usize, cell: Cell<'_>) -> Result<EncodedCell, String> {
        let encoded = match self.bare.get(slot) {
            Some(input) => input.encode(cell),
            None => self.version.slot_encode(slot, cell),
        }?;
        if encoded == EncodedCell::UnknownCategory && self.refuses_unknown_categories() {
            return Err("unknown category; expected one of the model's".to_owned());
        }
        Ok(encoded)
    }

    /// Returns whether an unknown category is an error. With a contract, its policy decides. Without one, LightGBM
    /// treats it as missing, and the other libraries refuse it.
    fn refuses_unknown_categories(&self) -> bool {
        self.version.contract.is_none() && self.version.forest.summary().format != Format::LightGbm
    }
}

/// Whether a folder holds the versions of a model.
fn is_model_folder(path: &Path) -> bool {
    let numbered = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.parse::<u64>().is_ok()) && entry.path().is_dir()
    };
    let Ok(mut entries) = path.read_dir() else {
        return false;
    };
    !path.join(FILE_NAME).is_file() && entries.any(|entry| entry.is_ok_and(numbered))
}
