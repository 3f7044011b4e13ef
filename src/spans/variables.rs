//! The standard variables that OpenTelemetry's library would ignore without a word if they are not valid.

/// The samplers of the specification that the library has, and whether they take a share.
const SAMPLERS: [(&str, bool); 6] = [
    ("always_on", false),
    ("always_off", false),
    ("traceidratio", true),
    ("parentbased_always_on", false),
    ("parentbased_always_off", false),
    ("parentbased_traceidratio", true),
];

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SHARE: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Variables that choose the protocol; the more specific one counts.
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];

/// Checks the sampler, its share, and the protocol. `variable` reads a variable.
///
/// # Errors
/// One is not valid; the message names it.
pub(super) fn check(variable: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    // The specification takes an empty variable for one that is not set.
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(found) = set(SAMPLER) {
        let Some((_, takes_share)) = SAMPLERS.into_iter().find(|(name, _)| *name == found) else {
            let names = SAMPLERS.map(|(name, _)| name).join(", ");
            return Err(format!("{SAMPLER}: expected one of {names}, found \"{found}\""));
        };
        let share = set(SHARE).filter(|_| takes_share);
        let is_share = |text: &String| text.parse().is_ok_and(|share: f64| (0.0..=1.0).contains(&share));
        if let Some(found) = share.filter(|share| !is_share(share)) {
            return Err(format!(
                "{SHARE}: expected a share from 0 to 1, such as 0.01, found \"{found}\""
            ));
        }
    }
    let protocol = PROTOCOLS
        .into_iter()
        .find_map(|name| set(name).map(|value| (name, value)));
    match protocol {
        Some((name, found)) if found != "grpc" => Err(format!(
            "{name}: expected grpc, the protocol of this program, found \"{found}\""
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(variables: &[(&str, &str)]) -> Result<(), String> {
        check(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_would_be_ignored_is_named() {
        for (variables, expected) in [
            (
                vec![(SAMPLER, "parentbased_traceidratoi")],
                "parentbased_traceidratio, found \"parentbased_traceidratoi\"",
            ),
            (
                vec![(SAMPLER, "traceidratio"), (SHARE, "1%")],
                "OTEL_TRACES_SAMPLER_ARG: expected a share from 0 to 1, such as 0.01, found \"1%\"",
            ),
            (vec![(SAMPLER, "traceidratio"), (SHARE, "NaN")], "found \"NaN\""),
            (vec![(PROTOCOLS[0], "grpc"), (PROTOCOLS[1], "http/protobuf")], ""),
            (
                vec![(PROTOCOLS[1], "http/protobuf")],
                "OTEL_EXPORTER_OTLP_PROTOCOL: expected grpc",
            ),
        ] {
            let found = checked(&variables);
            match expected {
                "" => assert_eq!(found, Ok(()), "{variables:?}"),
                expected => assert!(found.unwrap_err().contains(expected), "{variables:?}"),
            }
        }
    }

    #[test]
    fn valid_and_empty_variables_pass() {
        for (sampler, takes_share) in SAMPLERS {
            assert_eq!(checked(&[(SAMPLER, sampler), (SHARE, "0.01")]), Ok(()));
            // Others ignore the share, as the specification says.
            assert_eq!(checked(&[(SAMPLER, sampler), (SHARE, "x")]).is_ok(), !takes_share);
        }
        assert_eq!(checked(&[(SAMPLER, ""), (SHARE, ""), (PROTOCOLS[1], "")]), Ok(()));
        assert_eq!(checked(&[]), Ok(()));
    }
}
