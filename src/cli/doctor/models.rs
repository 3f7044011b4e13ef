//! Checks of the model repository and of the snapshot.

use std::collections::BTreeMap;

use super::Finding;
use crate::config::Config;
use crate::config::location::is_remote;
use crate::features::table::Table;
use crate::models::gate::GateContext;
use crate::models::repository::{FoundVersions, Repository, VersionFiles};
use crate::models::signature::TrustedKeys;
use crate::words::counted;

pub(super) fn findings(config: &Config, gate: bool) -> Vec<Finding> {
    let dir = config.models.dir.display();
    let repository = match Repository::open(&config.models.dir, &config.storage) {
        Ok(repository) => repository,
        Err(error) => return vec![Finding::failed("repository", error)],
    };
    let models = match repository.scan() {
        Ok(models) => models,
        Err(error) => {
            let error = format!("{error}; check models.dir ({dir}) and its permissions");
            return vec![Finding::failed("repository", error)];
        }
    };
    if models.is_empty() {
        let hint = repository.misplaced().map_or_else(
            || "publish one with `evergreen publish`".to_owned(),
            |misplaced| misplaced.clone(),
        );
        return vec![Finding::failed("repository", format!("{dir}: no model; {hint}"))];
    }
    let mut findings = vec![writable(&repository, &models, &dir.to_string())];
    for (name, versions) in &models {
        findings.push(model(&repository, config, name, versions, gate));
    }
    findings
}

/// Whether decisions of operators can be shared, and versions published from here.
fn writable(repository: &Repository, models: &BTreeMap<String, FoundVersions>, dir: &str) -> Finding {
    let count = counted(models.len(), "model");
    let first = models.keys().next().map_or("", String::as_str);
    match repository.check_writable(first) {
        Ok(true) => Finding::ok("repository", format!("{dir}: {count}, writable")),
        Ok(false) => Finding::ok("repository", format!("{dir}: {count}; writing was not tried")),
        Err(error) => Finding::warning(
            "repository",
            format!(
                "{dir}: {count}, not writable ({error}): rollbacks and holds are not shared between servers"
            ),
        ),
    }
}

fn model(
    repository: &Repository,
    config: &Config,
    name: &str,
    versions: &FoundVersions,
    gate: bool,
) -> Finding {
    let check = format!("model {name}");
    let versions = match versions {
        Ok(versions) => versions,
        Err(error) => return Finding::failed(check, error),
    };
    let Some((&newest, files)) = versions.iter().next_back() else {
        return Finding::failed(check, "no version; expected a folder such as 1");
    };
    let detail = format!("{}, newest {newest}", counted(versions.len(), "version"));
    if !gate {
        return match files {
            Ok(_) => Finding::ok(check, format!("{detail}; the gate was not run (--gate)")),
            Err(error) => Finding::failed(check, format!("{detail}: {error}")),
        };
    }
    match passes(repository, config, name, newest, files) {
        Ok(()) => Finding::ok(check, format!("{detail} passes the gate")),
        Err(error) => Finding::failed(
            check,
            format!("{detail} is refused: {error}; see `evergreen check`"),
        ),
    }
}

fn passes(
    repository: &Repository,
    config: &Config,
    name: &str,
    version: u64,
    files: &VersionFiles,
) -> Result<(), String> {
    let trusted = TrustedKeys::read(&config.models.trusted_keys)?;
    let mut context = GateContext {
        trusted: Some(&trusted),
        kernel: config.models.kernel,
        ..GateContext::default()
    };
    let passed = repository.validate(name, version, files, &mut context);
    passed.map(drop).map_err(|report| {
        let failure = report.failure();
        failure.map_or_else(String::new, |step| {
            format!("{}: {}", step.step.label(), step.detail)
        })
    })
}

/// Whether the snapshot can be read, and what it has.
pub(super) fn snapshot(config: &Config) -> Vec<Finding> {
    let check = "snapshot";
    let Some(path) = config.snapshot() else {
        return match config.source.is_empty() {
            true => vec![Finding::warning(
                check,
                "no feature source: requests must bring every feature (features.snapshot, [source.NAME])",
            )],
            false => Vec::new(),
        };
    };
    if is_remote(&path) {
        return vec![Finding::ok(
            check,
            format!("{}: in object storage, not read", path.display()),
        )];
    }
    match Table::open(&path) {
        Ok(table) => {
            let columns = counted(table.columns().len(), "column");
            vec![Finding::ok(check, format!("{}: {columns}", path.display()))]
        }
        Err(error) => vec![Finding::failed(
            check,
            format!("{error}; check features.snapshot"),
        )],
    }
}
