//! From an id to a score through Redis, in this process: what the look-up costs beside a bare pipelined HMGET of the same
//! keys with the same client, and beside a score whose features are given. `python benches/features.py` starts Redis,
//! fills it, and runs this and Feast in one go.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evergreen::app::App;
use evergreen::config::{Config, Overrides};
use evergreen::features::layout::{Field, Layout, Vector};
use evergreen::features::metrics::FeatureMetrics;
use evergreen::features::remote::{CacheLimits, RemoteSource, Timeouts};
use evergreen::features::source::{FeatureSource, Lane, SourceError};
use evergreen::metrics::Registry;
use evergreen::models::contract::{FeatureType, Parse};
use evergreen::scoring::{Client, Entity, ModelRef, Outcome, ScoreRequest, Scorer, Wanted};
use evergreen::values::cell::Cell;
use evergreen::values::entity_id::EntityId;
use evergreen::values::json::Scalar;
use futures_util::future::BoxFuture;
use redis::aio::ConnectionManager;

#[tokio::main]
async fn main() {
    memory().await;
    let (Ok(url), Ok(ids)) = (std::env::var("BENCH_REDIS"), std::env::var("BENCH_IDS")) else {
        // As a plain `cargo bench` has no store.
        println!("features: not run; `python benches/features.py` starts the stores and runs it");
        return;
    };
    let ids: Vec<String> = std::fs::read_to_string(ids)
        .expect("ids")
        .lines()
        .map(str::to_owned)
        .collect();
    let off = scorer(&url, "bytes = 0");
    let on = scorer(&url, "bytes = 268435456");
    let client = redis::Client::open(url.as_str()).unwrap();
    let info = client.get_connection_info().clone();
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let client = redis::Client::open(info.set_tcp_settings(tcp)).unwrap();
    let bare = ConnectionManager::new(client).await.unwrap();
    let features = given(&on, &ids[0]).await;
    let mut fields: Vec<String> = features.features.iter().map(|(name, _)| name.clone()).collect();
    fields.push("as_of".to_owned());
    println!(
        "| entities | bare HMGET | cache off | ÷ bare | cache on | features given | cache hit adds, each |"
    );
    println!("|---|---|---|---|---|---|---|");
    for entities in [1usize, 64] {
        let batches: Vec<Vec<String>> = ids.chunks_exact(entities).map(<[String]>::to_vec).collect();
        let mut times: [Vec<f64>; 4] = Default::default();
        // Interleaved, so that the machine's moods fall on all alike.
        for _ in 0..30 {
            for (kind, times) in times.iter_mut().enumerate() {
                let rounds = batches.len().min(if entities == 1 { 300 } else { 40 });
                for batch in batches.iter().take(rounds) {
                    let start = Instant::now();
                    match kind {
                        0 => hmget(bare.clone(), &fields, batch).await,
                        1 => ask(&off, batch.iter().map(|id| by_id(id)).collect()).await,
                        2 => ask(&on, batch.iter().map(|id| by_id(id)).collect()).await,
                        _ => ask(&on, vec![features.clone(); batch.len()]).await,
                    }
                    times.push(start.elapsed().as_secs_f64() * 1e6);
                }
            }
        }
        let [hmget, off, on, given] = times.map(median);
        let each = (on - given) / entities as f64;
        println!(
            "| {entities} | {hmget:.1} µs | {off:.1} µs | {:.2} | {on:.1} µs | {given:.1} µs | {each:.2} µs |",
            off / hmget
        );
    }
}

/// Makes a vector for any id at once: the cache in front of it is what is weighed.
#[derive(Debug)]
struct Made(Arc<Layout>);

impl FeatureSource for Made {
    fn fetch<'a>(&'a self, ids: &'a [EntityId], _: Lane) -> BoxFuture<'a, Result<Vec<Vector>, SourceError>> {
        let vector = |_: &EntityId| {
            let mut draft = self.0.builder(evergreen::values::time::now());
            (0..self.0.fields.len()).for_each(|field| draft.set(field, Cell::Float(field as f64)));
            draft.finish()
        };
        Box::pin(std::future::ready(Ok(ids.iter().map(vector).collect())))
    }
}

/// What a million cached entities of 24 features weigh, against the raw numbers.
async fn memory() {
    const ENTITIES: i64 = 1_000_000;
    let field = |number: usize| Field {
        group: None,
        column: format!("f{number}"),
        kind: FeatureType::Float,
        parse: Parse::Strict,
        single: true,
        categories: Vec::new(),
        whole: false,
    };
    let layout = Arc::new(Layout::new("id", (0..24).map(field).collect()));
    let hour = Duration::from_secs(3600);
    let limits = CacheLimits {
        bytes: 1 << 40,
        soft: hour,
        hard: hour,
        unknown: hour,
    };
    let timeouts = Timeouts {
        timeout: hour,
        bulk_timeout: hour,
        cooldown: hour,
    };
    let metrics = FeatureMetrics::new(&Registry::default()).unwrap().source("made");
    let made = Arc::new(Made(layout.clone()));
    let remote = Arc::new(RemoteSource::new(
        "made",
        layout.clone(),
        made,
        Some(limits),
        timeouts,
        metrics,
    ));
    let before = resident();
    for first in (0..ENTITIES).step_by(1000) {
        let ids: Vec<EntityId> = (first..first + 1000).map(EntityId::Int).collect();
        remote.get(&ids, evergreen::values::time::now(), None).await;
    }
    let held = (resident() - before) as f64 / ENTITIES as f64;
    let kept = remote.cached_ids(usize::MAX).len();
    println!(
        "memory: {kept} cached entities hold {held:.0} bytes each; the numbers alone are {}",
        layout.bytes()
    );
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    4096 * pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
}

fn scorer(url: &str, cache: &str) -> Arc<Scorer> {
    let text = format!(
        "[models]\ndir = {:?}\n[source.online]\ntimeout = \"5s\"\ncache = {{ {cache} }}\n[source.online.redis]\n\
         key = \"customer:{{id}}\"\nas_of = \"as_of\"\nserver = {{ urls = [{url:?}], connections = 1 }}\n",
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models")
    );
    let path = std::env::temp_dir().join(format!("evergreen-bench-{}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let config = Config::load(Some(&path), [], &Overrides::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let app =
        tokio::task::block_in_place(|| App::build(config, Registry::default(), &mut |_, _| {})).unwrap();
    // The application lives as long as the benchmark.
    Box::leak(Box::new(app)).scorer.clone()
}

fn by_id(id: &str) -> Entity {
    Entity {
        id: Some(EntityId::Text(id.to_owned())),
        features: Vec::new(),
    }
}

/// A customer's features as a request gives them: what a tensor has.
async fn given(scorer: &Arc<Scorer>, id: &str) -> Entity {
    let model = ModelRef {
        name: "churn".to_owned(),
        version: Default::default(),
    };
    let seen = scorer
        .features(&Client::default(), &model, EntityId::Text(id.to_owned()), None)
        .await
        .unwrap();
    let inputs = seen.model.inputs.iter().zip(&seen.features);
    let features = inputs.map(|(input, view)| {
        let value = match input.present(view.value) {
            serde_json::Value::String(text) => Scalar::Text(text),
            serde_json::Value::Bool(value) => Scalar::Bool(value),
            serde_json::Value::Number(number) => Scalar::Float(number.as_f64().unwrap()),
            _ => Scalar::Null,
        };
        (input.contract.name.clone(), value)
    });
    Entity {
        id: None,
        features: features.collect(),
    }
}

async fn ask(scorer: &Arc<Scorer>, entities: Vec<Entity>) {
    let request = ScoreRequest {
        client: Client::default(),
        model: ModelRef {
            name: "churn".to_owned(),
            version: Default::default(),
        },
        entities,
        explain: Wanted::default(),
        deadline: Some(Instant::now() + Duration::from_secs(5)),
    };
    let scores = scorer.answer(request).await.unwrap();
    assert!(
        scores
            .results
            .iter()
            .all(|result| matches!(&result.outcome, Outcome::Scored(s) if s.unavailable.is_empty()))
    );
}

/// As a plain client would: one pipeline, all fields of each key.
async fn hmget(mut connection: ConnectionManager, fields: &[String], ids: &[String]) {
    let mut pipeline = redis::pipe();
    for id in ids {
        pipeline.cmd("HMGET").arg(format!("customer:{id}")).arg(fields);
    }
    let values: Vec<Vec<Option<Vec<u8>>>> = pipeline.query_async(&mut connection).await.unwrap();
    assert_eq!(values.len(), ids.len());
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
