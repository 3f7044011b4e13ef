//! Parameters of paths and query strings, with errors that name the parameter.

use std::convert::Infallible;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::schema::WindowName;
use crate::api::context::record_model;
use crate::error::Error;
use crate::observe::window::WindowKind;
use crate::scoring::{ModelRef, VersionSelector, Wanted};
use crate::suggest::unknown;

/// Query parameters that choose a version.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the parameters")]
pub(super) struct VersionParameters {
    /// Version to use. Default: the live one.
    version: Option<u64>,
    /// Label of the version to use, instead of `version`.
    label: Option<String>,
}

/// The query parameters for reasons.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the parameters")]
pub(super) struct ExplainParameter {
    /// Number of reasons per score, whatever their direction. Default: 0.
    #[param(value_type = Option<usize>, example = 3)]
    explain: usize,
    /// Number of reasons that raise the score. Default: 0.
    #[param(value_type = Option<usize>)]
    explain_raising: usize,
    /// Number of reasons that lower the score. Default: 0.
    #[param(value_type = Option<usize>)]
    explain_lowering: usize,
}

/// The query parameter for changes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the parameter")]
pub(super) struct ChangesParameter {
    /// Number of reasons. Default: 3.
    #[param(value_type = Option<usize>, example = 3)]
    explain: usize,
}

/// The query parameter for decision paths.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the parameter")]
pub(super) struct TreesParameter {
    /// Number of trees, at most 1000. Default: 10.
    #[param(value_type = Option<usize>, example = 10)]
    trees: usize,
}

/// The query parameter for drift.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the parameter")]
pub(super) struct WindowParameter {
    /// Length of the window: `hour` or `day`. Default: `day`.
    #[param(value_type = Option<WindowName>, example = "day")]
    window: String,
}

/// Query parameters of the scoring operations.
#[derive(Debug, Default)]
pub(super) struct ScoreQuery {
    pub(super) version: VersionSelector,
    pub(super) explain: Wanted,
    /// Number of trees whose paths are wanted.
    pub(super) trees: Option<usize>,
    /// The length of the window of drift.
    pub(super) window: Option<WindowKind>,
}

/// The query parameters of a request, or which one is wrong. The handler reports the error.
pub(super) struct QueryParameters(pub(super) Result<ScoreQuery, Error>);

impl<S: Sync> FromRequestParts<S> for QueryParameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let query = pairs
            .map_err(|_| Error::invalid("query: expected pairs such as ?explain=3").about("query"))
            .and_then(|Query(pairs)| score_query(pairs));
        Ok(Self(query))
    }
}

/// The names of the query parameters.
const NAMES: [&str; 7] = [
    "version",
    "label",
    "explain",
    "explain_raising",
    "explain_lowering",
    "trees",
    "window",
];

fn score_query(pairs: Vec<(String, String)>) -> Result<ScoreQuery, Error> {
    let (mut version, mut label) = (None, None);
    let (mut explain, mut raising, mut lowering, mut trees) = (None, None, None, None);
    let mut window = None;
    for (name, value) in pairs {
        let twice = match name.as_str() {
            "version" => version.replace(whole(&name, &value)?).is_some(),
            "label" => label.replace(value).is_some(),
            "explain" => explain.replace(whole(&name, &value)?).is_some(),
            "explain_raising" => raising.replace(whole(&name, &value)?).is_some(),
            "trees" => trees.replace(whole(&name, &value)?).is_some(),
            "window" => window.replace(window_kind(&value)?).is_some(),
            "explain_lowering" => lowering.replace(whole(&name, &value)?).is_some(),
            _ => {
                let message = unknown("query parameter", &name, NAMES.into_iter());
                return Err(Error::invalid(message).about(name));
            }
        };
        if twice {
            return Err(Error::invalid(format!("query: `{name}` is given twice; keep one")).about(name));
        }
    }
    let count = |wanted: Option<u64>| usize::try_from(wanted.unwrap_or(0)).unwrap_or(usize::MAX);
    Ok(ScoreQuery {
        version: VersionSelector::from_parts(version, label)?,
        explain: Wanted {
            strongest: count(explain),
            raising: count(raising),
            lowering: count(lowering),
        },
        trees: trees.map(|trees| count(Some(trees))),
        window,
    })
}

/// A request about one entity of a model.
#[derive(Debug)]
pub(super) struct EntityQuery {
    pub(super) model: ModelRef,
    pub(super) id: String,
    pub(super) explain: Wanted,
    /// Number of trees whose paths are wanted.
    pub(super) trees: Option<usize>,
}

/// Combines the parameters of a path with the model and the id of an entity, and those of the query.
///
/// # Errors
/// A parameter is not valid.
pub(super) fn entity_query(
    parameters: PathParameters<(String, String)>,
    query: Result<ScoreQuery, Error>,
) -> Result<EntityQuery, Error> {
    let (name, id) = path(parameters)?;
    record_model(&name);
    let ScoreQuery {
        version,
        explain,
        trees,
        window: _,
    } = query?;
    Ok(EntityQuery {
        model: ModelRef { name, version },
        id,
        explain,
        trees,
    })
}

fn window_kind(text: &str) -> Result<WindowKind, Error> {
    let found = WindowKind::ALL.into_iter().find(|kind| kind.label() == text);
    found.ok_or_else(|| {
        Error::invalid(format!(
            "window: expected hour or day, such as day, found {text:?}"
        ))
        .about("window")
    })
}

/// Parses a whole number from 0.
pub(super) fn whole(name: &str, text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| {
        Error::invalid(format!(
            "{name}: expected a whole number from 0, such as 3, found {text:?}"
        ))
        .about(name)
    })
}

/// Parameters of a path as axum extracts them.
pub(super) type PathParameters<T> = Result<Path<T>, PathRejection>;

/// Returns the parameters of a path.
///
/// # Errors
/// A parameter is not UTF-8 text.
pub(super) fn path<T: DeserializeOwned>(path: PathParameters<T>) -> Result<T, Error> {
    let rejection = match path {
        Ok(Path(parameters)) => return Ok(parameters),
        Err(rejection) => rejection,
    };
    let name = match &rejection {
        PathRejection::FailedToDeserializePathParams(failed) => match failed.kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => Some(key.clone()),
            _ => None,
        },
        _ => None,
    };
    let name = name.unwrap_or_else(|| "path".to_owned());
    Err(Error::invalid(format!(
        "{name}: expected UTF-8 text in the path, with other characters than letters and digits as %XX"
    ))
    .about(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<ScoreQuery, Error> {
        let pairs = pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        score_query(pairs.collect())
    }

    #[test]
    fn reads_the_parameters() {
        let found = query(&[("explain", "3"), ("version", "7")]).unwrap();
        assert_eq!(
            (found.explain.strongest, found.version),
            (3, VersionSelector::Number(7))
        );
        let found = query(&[("explain_lowering", "1"), ("explain_raising", "2")]).unwrap();
        assert_eq!((found.explain.raising, found.explain.lowering), (2, 1));
        let found = query(&[("label", "stable")]).unwrap();
        assert_eq!(found.version, VersionSelector::Label("stable".to_owned()));
    }

    #[test]
    fn an_error_names_the_parameter() {
        for (pairs, field, part) in [
            (
                &[("explain", "many")][..],
                "explain",
                "explain: expected a whole number from 0, such as 3, found \"many\"",
            ),
            (&[("version", "-1")], "version", "found \"-1\""),
            (&[("explian", "1")], "explian", "did you mean `explain`?"),
            (&[("explain", "1"), ("explain", "2")], "explain", "given twice"),
            (&[("label", "a"), ("version", "1")], "version", "keep one of them"),
        ] {
            let error = query(pairs).unwrap_err();
            assert_eq!(error.field(), Some(field), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
