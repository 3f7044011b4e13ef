//! Checks of the files that hold secrets: certificates, API keys and keys that sign bundles.

use super::Finding;
use crate::api::auth::Guard;
use crate::config::Config;
use crate::models::signature::TrustedKeys;
use crate::server::tls;
use crate::values::time::timestamp;
use crate::words::counted;

/// A certificate that expires in fewer days than this is to be renewed.
const RENEW_DAYS: i64 = 14;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    vec![certificate(config), keys(config), trusted_keys(config)]
}

fn certificate(config: &Config) -> Finding {
    let check = "certificate";
    if !config.tls.is_on() {
        return Finding::ok(check, "no TLS: tls.certificate is not set");
    }
    let summary = match tls::inspect(&config.tls) {
        Ok(summary) => summary,
        Err(error) => return Finding::failed(check, error),
    };
    let days = (summary.expires.as_second() - timestamp().as_second()) / 86_400;
    let names = summary.names.join(", ");
    let detail = format!(
        "for {names}; expires in {} on {}",
        counted(usize::try_from(days).unwrap_or(0), "day"),
        summary.expires
    );
    if days < RENEW_DAYS {
        Finding::warning(check, format!("{detail}; renew it"))
    } else if summary.names.is_empty() {
        Finding::warning(
            check,
            format!("{detail}; it names no host, so that clients refuse it"),
        )
    } else {
        Finding::ok(check, detail)
    }
}

fn keys(config: &Config) -> Finding {
    let check = "API keys";
    if !config.auth.is_on() {
        return Finding::warning(
            check,
            "auth.file is not set: everyone who reaches a port may do everything",
        );
    }
    let path = config.auth.file.display();
    match Guard::count_keys(&config.auth) {
        Ok(0) => Finding::failed(
            check,
            format!("{path}: no key; add one with `evergreen key NAME >> {path}`"),
        ),
        Ok(count) => Finding::ok(check, format!("{path}: {}", counted(count, "key"))),
        Err(error) => Finding::failed(check, error),
    }
}

fn trusted_keys(config: &Config) -> Finding {
    let check = "signatures";
    match TrustedKeys::read(&config.models.trusted_keys) {
        Ok(trusted) if trusted.is_on() => {
            Finding::ok(check, format!("{} trusted", counted(trusted.keys().len(), "key")))
        }
        Ok(_) => Finding::ok(check, "not asked for: models.trusted_keys is not set"),
        Err(error) => Finding::failed(check, error),
    }
}
