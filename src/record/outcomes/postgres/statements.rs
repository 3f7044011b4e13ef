//! The statements of the store.

use crate::config::outcomes::OutcomesPostgres;
use crate::features::sql::quoted;
use crate::record::outcomes::contact::MOST_SHOWN;

/// What the names of the tables begin with.
const PREFIX: &str = "evergreen";

/// Scores that the evaluation reads at once.
pub(super) const PAGE: i64 = 5000;

/// Most outcomes of the customers of one page.
pub(super) const MOST_EVENTS: i64 = 1_000_000;

/// Rows that one statement deletes.
pub(super) const EXPIRE: i64 = 50_000;

/// The time by which results are ordered, as in [`contact`](crate::record::outcomes::contact): a date of leaving, midnight,
/// comes after all of its day.
const IN_ORDER: &str = "at + CASE WHEN result = 'left' AND at = date_trunc('day', at, 'UTC') THEN interval '1 day' - \
                        interval '1 microsecond' ELSE interval '0' END";

/// The statements, with the names of the tables.
pub(super) struct Statements {
    /// The tables of outcomes and of scores, as statements name them.
    pub(super) tables: [String; 2],
    /// Make each of them.
    pub(super) create: [String; 2],
    /// Inserts or replaces outcomes, and returns those that are new or changed.
    pub(super) insert_outcomes: String,
    /// Inserts the first score of each customer, version and period.
    pub(super) insert_scores: String,
    /// The next scores of a model, by customer.
    pub(super) page: String,
    /// What happened to the customers of a page.
    pub(super) events: String,
    /// What is recorded of one customer.
    pub(super) of_customer: String,
    /// The scores of one customer.
    pub(super) scores_of: String,
    /// What is recorded of some customers.
    pub(super) contacts: String,
    /// The customers who were contacted lately or have left.
    pub(super) handled: String,
    /// Delete old outcomes and old scores, some rows at a time.
    pub(super) expire: [String; 2],
}

impl Statements {
    /// Writes the statements for the tables in the schema of the settings.
    pub(super) fn new(section: &OutcomesPostgres) -> Self {
        let table = |name: &str| {
            let table = quoted(&format!("{PREFIX}_{name}"));
            match section.schema.as_str() {
                "" => table,
                schema => format!("{}.{table}", quoted(schema)),
            }
        };
        let (outcomes, scores) = (table("outcomes"), table("scores"));
        Self {
            create: create(&outcomes, &scores),
            insert_outcomes: insert_outcomes(&outcomes),
            insert_scores: format!(
                "INSERT INTO {scores} (model, customer, version, period, at, score, hold_out) SELECT * FROM \
                 unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::float8[], \
                 $7::boolean[]) ON CONFLICT DO NOTHING RETURNING 1"
            ),
            page: format!(
                "SELECT customer, version, period, at, score, hold_out FROM {scores} WHERE model = $1 AND (customer, \
                 version, period) > ($2, $3, $4) ORDER BY customer, version, period LIMIT {PAGE}"
            ),
            events: format!(
                "SELECT customer, at, action, result FROM {outcomes} WHERE model = $1 AND customer = ANY($2) LIMIT \
                 {MOST_EVENTS}"
            ),
            of_customer: format!(
                "SELECT model, customer, key, at, action, detail, result FROM {outcomes} WHERE model = ANY($1) AND customer \
                 = $2 ORDER BY at DESC LIMIT {MOST_SHOWN}"
            ),
            scores_of: format!(
                "SELECT customer, version, period, at, score, hold_out FROM {scores} WHERE model = $1 AND customer = $2 \
                 ORDER BY at DESC, version DESC LIMIT {MOST_SHOWN}"
            ),
            contacts: format!(
                "SELECT model, customer, key, at, action, detail, result FROM {outcomes} WHERE model = $1 AND customer = \
                 ANY($2) LIMIT {MOST_EVENTS}"
            ),
            handled: format!(
                "SELECT customer FROM {outcomes} WHERE model = $1 GROUP BY customer HAVING max(at) FILTER (WHERE action IN \
                 ('call', 'offer')) >= $2 OR (array_agg(result ORDER BY {IN_ORDER} DESC) FILTER (WHERE result IS NOT \
                 NULL))[1] = 'left' LIMIT {MOST_EVENTS}"
            ),
            expire: [&outcomes, &scores].map(|table| {
                format!(
                    "WITH gone AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE at < $1 \
                     LIMIT {EXPIRE})) RETURNING 1) SELECT count(*) FROM gone"
                )
            }),
            tables: [outcomes, scores],
        }
    }
}

/// The tables. Texts are ordered by bytes, so that pages follow each other whatever the language of the database.
fn create(outcomes: &str, scores: &str) -> [String; 2] {
    [
        format!(
            "CREATE TABLE IF NOT EXISTS {outcomes} (model text COLLATE \"C\" NOT NULL, customer text COLLATE \"C\" NOT \
             NULL, key text COLLATE \"C\" NOT NULL, at timestamptz NOT NULL, action text, detail text, result text, \
             recorded_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (model, customer, key))"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {scores} (model text COLLATE \"C\" NOT NULL, customer text COLLATE \"C\" NOT \
             NULL, version bigint NOT NULL, period bigint NOT NULL, at timestamptz NOT NULL, score float8 NOT NULL, \
             hold_out boolean NOT NULL, PRIMARY KEY (model, customer, version, period))"
        ),
    ]
}

/// Inserts records or replaces those that say something else; returns what has changed, and whether it was new.
fn insert_outcomes(table: &str) -> String {
    format!(
        "INSERT INTO {table} AS kept (model, customer, key, at, action, detail, result) SELECT * FROM unnest($1::text[], \
         $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[]) ON CONFLICT (model, customer, \
         key) DO UPDATE SET at = EXCLUDED.at, action = EXCLUDED.action, detail = EXCLUDED.detail, result = \
         EXCLUDED.result, recorded_at = now() WHERE (kept.at, kept.action, kept.detail, kept.result) IS DISTINCT FROM \
         (EXCLUDED.at, EXCLUDED.action, EXCLUDED.detail, EXCLUDED.result) RETURNING kept.model, kept.customer, \
         kept.key, (kept.xmax = 0)"
    )
}
