//! Connection strings, with the keys of libpq that this program's TLS replaces.

use tokio_postgres::Config;

/// Keys of libpq that are not supported, and what to use instead.
const REPLACED: [(&str, &str); 5] = [
    ("sslrootcert", "set postgres.ca to the file with the certificates"),
    ("sslcert", "client certificates are not supported; use a password"),
    ("sslkey", "client certificates are not supported; use a password"),
    ("passfile", "set postgres.password, or its environment variable"),
    ("service", "write host, port and dbname"),
];

/// Values of libpq, and their equals here. TLS always verifies the certificate and the host's name.
const EQUALS: [(&str, &str, &str); 4] = [
    ("sslmode", "verify-full", "require"),
    ("sslmode", "verify-ca", "require"),
    ("target_session_attrs", "primary", "read-write"),
    ("target_session_attrs", "standby", "read-only"),
];

/// Parses a connection string, `host=db dbname=features` or `postgresql://db/features`.
///
/// # Errors
/// It is not valid. The message names the key; it does not repeat the string, which may hold a password.
pub(super) fn parse(text: &str) -> Result<Config, String> {
    let mut text = text.to_owned();
    for (key, from, to) in EQUALS {
        text = text.replace(&format!("{key}={from}"), &format!("{key}={to}"));
    }
    let has = |key: &str| {
        let mut parts = text.split([' ', '?', '&', '\n', '\t']);
        parts.any(|part| {
            part.trim()
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with('='))
        })
    };
    if let Some((key, instead)) = REPLACED.iter().find(|(key, _)| has(key)) {
        return Err(format!("postgres.connect: {key} is not supported; {instead}"));
    }
    text.parse().map_err(|error: tokio_postgres::Error| {
        format!(
            "postgres.connect: expected a connection string such as \"host=db dbname=features\"{}",
            cause(&error)
        )
    })
}

/// The cause of an error, if it is the name of a key: a value may be a secret.
fn cause(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let named = cause.filter(|cause| cause.contains("option") && !cause.contains('='));
    named.map_or_else(String::new, |cause| format!("; {cause}"))
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::{SslMode, TargetSessionAttrs};

    use super::*;

    #[test]
    fn the_strings_of_libpq_are_understood() {
        let config = parse("host=db sslmode=verify-full target_session_attrs=primary").unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let config =
            parse("postgresql://u@db/features?sslmode=verify-ca&target_session_attrs=standby").unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadOnly);
    }

    #[test]
    fn what_is_not_supported_is_named_and_secrets_are_not() {
        for (text, part) in [
            (
                "host=db sslrootcert=/etc/ca.pem password=sesame",
                "sslrootcert is not supported; set postgres.ca",
            ),
            ("postgresql://u:sesame@db/f?sslkey=/k", "sslkey is not supported"),
            ("host=db pasword=sesame", "pasword"),
            ("host=db sslmode=sesame", "sslmode"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part) && !error.contains("sesame"), "{error}");
        }
    }
}
