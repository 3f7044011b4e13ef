//! The version of a model that servers use, as far as the repository says it: for commands that work without a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decisions::Decisions;
use crate::models::ModelVersion;
use crate::models::gate::GateContext;
use crate::models::repository::{Repository, VersionFiles};
use crate::models::signature::TrustedKeys;

/// Validates the versions of a model until one passes: the one that is held for all servers, then the others, newest first,
/// without those that are rolled back. With `trusted` keys a version needs a signature of one of them. What else the settings of
/// a server say of a model (its default version, a canary) is not in the repository.
///
/// # Errors
/// The repository cannot be read or has no version of the model, or every version was refused; the message says why the first
/// one was.
pub fn version_for_servers(
    repository: &Repository,
    name: &str,
    trusted: &TrustedKeys,
) -> Result<Arc<ModelVersion>, String> {
    first_accepted(repository, name, |version, files| {
        validate(repository, name, version, files, trusted).map(Arc::new)
    })
}

/// The number of the version that [`version_for_servers`] returns. Does not validate the version `valid` of the repository: the
/// caller has done so with the same keys.
///
/// # Errors
/// As [`version_for_servers`].
pub fn number_for_servers(
    repository: &Repository,
    name: &str,
    trusted: &TrustedKeys,
    valid: u64,
) -> Result<u64, String> {
    first_accepted(repository, name, |version, files| {
        if version != valid {
            validate(repository, name, version, files, trusted)?;
        }
        Ok(version)
    })
}

/// What `accept` returns of the first version that it does not refuse, in the order in which servers would use them.
fn first_accepted<T>(
    repository: &Repository,
    name: &str,
    accept: impl Fn(u64, &VersionFiles) -> Result<T, String>,
) -> Result<T, String> {
    let versions = repository.versions(name)?;
    let path = Decisions::path(name);
    let decisions = Decisions::parse(&path, repository.read(&path)?.as_deref())?;
    let mut reason = None;
    for version in order(&versions, &decisions) {
        let Some(files) = versions.get(&version) else {
            continue;
        };
        match accept(version, files) {
            Ok(accepted) => return Ok(accepted),
            Err(detail) => {
                reason.get_or_insert_with(|| format!("version {version}: {detail}"));
            }
        }
    }
    let none = || match versions.len() {
        0 => "no version found; expected a folder such as 1".to_owned(),
        _ => "every version is rolled back; publish another one".to_owned(),
    };
    let place = repository.location().join(name);
    Err(format!("{}: {}", place.display(), reason.unwrap_or_else(none)))
}

fn validate(
    repository: &Repository,
    name: &str,
    version: u64,
    files: &VersionFiles,
    trusted: &TrustedKeys,
) -> Result<ModelVersion, String> {
    let mut context = GateContext {
        trusted: Some(trusted),
        ..GateContext::default()
    };
    repository
        .validate(name, version, files, &mut context)
        .map_err(|report| {
            let failure = report.failure();
            failure.map_or_else(String::new, |step| step.detail.clone())
        })
}

/// The versions in the order in which servers would use them.
fn order(versions: &BTreeMap<u64, VersionFiles>, decisions: &Decisions) -> Vec<u64> {
    let rolled_back = |number: u64, files: &VersionFiles| {
        let mut all = decisions.rolled_back();
        // The same number with other files is another version.
        all.any(|(of, withdrawn)| of == number && withdrawn.has_files(files) != Some(false))
    };
    let newest_first = versions.iter().rev();
    let usable = newest_first.filter(|(number, files)| !rolled_back(**number, files));
    let others = usable
        .map(|(&number, _)| number)
        .filter(|number| Some(*number) != decisions.hold());
    decisions.hold().into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StorageSection;
    use crate::models::sample;

    #[test]
    fn a_version_that_the_caller_has_validated_is_not_validated_again() {
        let models = tempfile::tempdir().unwrap();
        let (good, bad) = (models.path().join("churn/1"), models.path().join("churn/2"));
        std::fs::create_dir_all(&bad).unwrap();
        std::fs::rename(sample::copy().keep(), good).unwrap();
        std::fs::write(bad.join("bundle.toml"), "format = 1\n").unwrap();
        let repository = Repository::open(models.path(), &StorageSection::default()).unwrap();
        let trusted = TrustedKeys::default();
        let number = |valid| number_for_servers(&repository, "churn", &trusted, valid);
        assert_eq!(
            version_for_servers(&repository, "churn", &trusted)
                .unwrap()
                .version,
            1
        );
        assert_eq!(number(1), Ok(1));
        // The gate would refuse it.
        assert_eq!(number(2), Ok(2));
    }
}
