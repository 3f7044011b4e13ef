//! `GET /v1/models/{model}/scores/{id}/paths`: the decision paths behind a score.

use axum::extract::State;
use axum::response::Response;
use evergreen_forest::Bound;
use serde::Serialize;
use utoipa::ToSchema;

use super::HttpState;
use super::body;
use super::deadline::{DeadlineHeader, RequestHeaders};
use super::parameters::{
    EntityQuery, PathParameters, QueryParameters, TreesParameter, VersionParameters, entity_query,
};
use super::problem::Problems;
use super::schema::FeatureValue;
use super::score::wire::ModelVersionBody;
use crate::api::client::RequestClient;
use crate::api::context::deadline::within;
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::rule::Rule;
use crate::scoring::paths::{DEFAULT_TREES, PathTree, SameScore, ScorePaths};
use crate::values::entity_id::EntityId;
use crate::work;

/// Approximate size of a tree or a feature as JSON.
const TREE_BYTES: usize = 512;

/// The decision paths behind a score.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PathsBody {
    model: ModelVersionBody<'static>,
    /// The entity's id.
    #[schema(example = "C-1042")]
    id: String,
    /// The score.
    score: f64,
    /// The number of trees on which the score depends.
    #[schema(example = 120)]
    all_trees: usize,
    /// The trees that moved the margin most, the strongest first; at most 1000.
    trees: Vec<TreeBody>,
    /// By feature, within which values the score stays the same if all others stay; the one that most trees ask for first.
    features: Vec<SameScoreBody>,
}

/// The path through one tree.
#[derive(Debug, Serialize, ToSchema)]
struct TreeBody {
    /// The number of the tree, from 0.
    tree: usize,
    /// The leaf, as numbered by the training library.
    leaf: u32,
    /// What the tree adds to the margin, less what it adds on average. Over all trees these add up to the margin less the
    /// base of the explanation.
    #[schema(example = 0.21)]
    contribution: f64,
    /// What the path asks of each feature; all of it holds.
    rules: Vec<RuleBody>,
}

/// What a path asks of a feature.
#[derive(Debug, Serialize, ToSchema)]
struct RuleBody {
    /// The feature's name.
    #[schema(example = "visits_30d")]
    feature: String,
    /// The rule.
    #[schema(example = "4 ≤ visits_30d ≤ 8")]
    text: String,
    /// The lower end of the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lower: Option<BoundBody>,
    /// The upper end of the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    upper: Option<BoundBody>,
    /// The allowed categories.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    categories: Option<Vec<String>>,
    /// Whether the value must be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    missing: Option<bool>,
}

/// An end of an interval.
#[derive(Debug, Serialize, ToSchema)]
struct BoundBody {
    /// The number.
    value: f64,
    /// Whether the number itself belongs to the interval.
    inclusive: bool,
}

/// The values of a feature within which the score stays the same.
#[derive(Debug, Serialize, ToSchema)]
struct SameScoreBody {
    /// The feature's name for people.
    #[schema(example = "Visits to the site, last 30 days")]
    label: String,
    /// The value that the model used.
    #[schema(value_type = FeatureValue)]
    value: serde_json::Value,
    /// The number of trees that ask for the feature.
    #[schema(example = 57)]
    trees: usize,
    /// What they ask together.
    rule: RuleBody,
}

/// Shows the decision paths behind a score: which trees moved it most and what they ask of the features.
#[utoipa::path(
    get, path = "/v1/models/{model}/scores/{id}/paths", tag = "score",
    params(("model" = String, Path, example = "churn"), ("id" = String, Path, example = "C-1042"),
        VersionParameters, TreesParameter, RequestHeaders),
    responses(
        (status = 200, description = "The paths", body = PathsBody),
        Problems,
    )
)]
pub(super) async fn paths(
    State(state): State<HttpState>,
    RequestClient(client): RequestClient,
    DeadlineHeader(deadline): DeadlineHeader,
    parameters: PathParameters<(String, String)>,
    QueryParameters(query): QueryParameters,
) -> Result<Response, Error> {
    let result = async {
        let deadline = deadline?;
        let EntityQuery { model, id, trees, .. } = entity_query(parameters, query)?;
        let most = trees.unwrap_or(DEFAULT_TREES);
        let entity = EntityId::Text(id.clone());
        let paths = state.scorer.paths(&client, &model, entity, most, deadline);
        let paths = within(deadline, paths).await?;
        state.counters.paths.answered_by(&paths.model);
        let bytes = TREE_BYTES * (1 + paths.trees.len() + paths.features.len());
        work::on_bytes(bytes, move || body::answer(&paths_body(id, paths), bytes)).await?
    };
    state.counters.paths.count(result.await)
}

fn paths_body(id: String, paths: ScorePaths) -> PathsBody {
    let ScorePaths {
        model,
        row,
        score,
        trees,
        features,
        all_trees,
    } = paths;
    let trees = trees.into_iter().map(|path| tree_body(&model, path));
    let features = features.into_iter().map(|same| {
        let SameScore { rule, trees } = same;
        let input = model.inputs.get(rule.input);
        SameScoreBody {
            label: input.map_or_else(String::new, |input| input.contract.label().to_owned()),
            value: input
                .zip(row.get(rule.input))
                .map_or(serde_json::Value::Null, |(input, &value)| input.present(value)),
            trees,
            rule: rule_body(&model, rule),
        }
    });
    PathsBody {
        id,
        score,
        all_trees,
        trees: trees.collect(),
        features: features.collect(),
        model: ModelVersionBody::from(&*model).into_owned(),
    }
}

fn tree_body(model: &ModelVersion, path: PathTree) -> TreeBody {
    TreeBody {
        tree: path.tree,
        leaf: path.leaf,
        contribution: path.contribution,
        rules: path
            .rules
            .into_iter()
            .map(|rule| rule_body(model, rule))
            .collect(),
    }
}

fn rule_body(model: &ModelVersion, rule: Rule) -> RuleBody {
    let bound = |Bound { value, inclusive }| BoundBody { value, inclusive };
    let input = model.inputs.get(rule.input);
    RuleBody {
        feature: input.map_or_else(String::new, |input| input.contract.name.clone()),
        text: rule.text,
        lower: rule.lower.map(bound),
        upper: rule.upper.map(bound),
        categories: rule.categories,
        missing: rule.missing,
    }
}
