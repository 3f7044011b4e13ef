//! Runs the comparisons, each of two servers, and prints the tables.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use hdrhistogram::Histogram;

use crate::client::{Sender, Target};
use crate::server::{Server, evergreen, free_address, start};
use crate::wire::{Entity, InferInputTensor, ModelInferRequest, ScoreRequest, framed};
use crate::{Result, Settings, load};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// One server's part of a line.
#[derive(Default)]
struct Measured {
    /// Requests a second, by round.
    throughputs: Vec<f64>,
    /// Microseconds of the processors for a request, by round.
    cpu_micros: Vec<f64>,
    micros: Option<Histogram<u64>>,
}

/// The value that a part of the values is not above.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a position among a few rounds"
    )]
    let at = (part * (values.len().max(1) - 1) as f64).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Measures two servers in turn, and who begins alternates: the machine's mood is the same for both.
async fn pair(settings: &Settings, servers: [&Server; 2], targets: [&Target; 2]) -> Result<[Measured; 2]> {
    let mut measured = [Measured::default(), Measured::default()];
    measure(settings, servers, targets, &mut measured).await?;
    Ok(measured)
}

/// Adds the rounds of two servers.
async fn measure(
    settings: &Settings,
    servers: [&Server; 2],
    targets: [&Target; 2],
    measured: &mut [Measured; 2],
) -> Result<()> {
    for target in targets {
        load::closed(target, 1.0).await?;
    }
    for round in 0..settings.rounds {
        for turn in 0..2 {
            let which = (round + turn) % 2;
            let before = servers[which].cpu_seconds()?;
            let (requests, seconds) = load::closed(targets[which], settings.seconds).await?;
            let cpu = servers[which].cpu_seconds()? - before;
            measured[which].throughputs.push(requests / seconds);
            measured[which].cpu_micros.push(cpu * 1e6 / requests);
        }
    }
    let [one, other] = &*measured;
    let rate = median(&one.throughputs).min(median(&other.throughputs)) * settings.load;
    for _ in 0..settings.rounds {
        for (target, measured) in targets.iter().zip(&mut *measured) {
            let more = load::open(target, rate, settings.seconds).await?;
            match &mut measured.micros {
                Some(all) => all.add(more)?,
                none => *none = Some(more),
            }
        }
    }
    Ok(())
}

fn heading(other: &str) {
    println!(
        "| what | Evergreen, requests/s | {other}, requests/s | ratio by rounds: median (quartiles) | server's CPU, µs | {other} | \
         ratio | Evergreen p50, p99 µs | {other} p50, p99 µs | p99 ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
}

fn line(what: &str, [evergreen, other]: &[Measured; 2]) {
    let quantiles = |measured: &Measured| {
        let at = |part| {
            measured
                .micros
                .as_ref()
                .map_or(0, |micros| micros.value_at_quantile(part))
        };
        (at(0.5), at(0.99))
    };
    let (ours, theirs) = (quantiles(evergreen), quantiles(other));
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let p99 = ours.1 as f64 / theirs.1 as f64;
    let ratios = |ours: &[f64], theirs: &[f64]| -> Vec<f64> {
        ours.iter()
            .zip(theirs)
            .map(|(ours, theirs)| ours / theirs)
            .collect()
    };
    let throughput = ratios(&evergreen.throughputs, &other.throughputs);
    let cpu = ratios(&evergreen.cpu_micros, &other.cpu_micros);
    println!(
        "| {what} | {:.0} | {:.0} | {:.3} ({:.3} to {:.3}) | {:.1} | {:.1} | {:.3} | {}, {} | {}, {} | {p99:.2} |",
        median(&evergreen.throughputs),
        median(&other.throughputs),
        median(&throughput),
        quantile(&throughput, 0.25),
        quantile(&throughput, 0.75),
        median(&evergreen.cpu_micros),
        median(&other.cpu_micros),
        median(&cpu),
        ours.0,
        ours.1,
        theirs.0,
        theirs.1,
    );
}

/// Different requests: what is kept of a customer must not depend on who that is.
const REQUESTS: usize = 100;

/// The customers of a request. Most of them are in the sample.
fn ids(request: usize, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("C-{}", 1 + (request + number) % REQUESTS * 7))
}

fn rest(address: &str, count: usize) -> Target {
    let body = |request| {
        let entities = ids(request, count).map(|id| format!(r#"{{"id":"{id}"}}"#));
        let entities: Vec<String> = entities.collect();
        format!(r#"{{"model":"churn","entities":[{}]}}"#, entities.join(",")).into()
    };
    Target {
        address: address.to_owned(),
        path: "/v1/score".to_owned(),
        bodies: (0..REQUESTS).map(body).collect(),
        grpc: false,
    }
}

fn grpc(address: &str, count: usize) -> Target {
    let entity = |id| Entity { text_id: Some(id) };
    let body = |request| {
        framed(&ScoreRequest {
            model: "churn".to_owned(),
            entities: ids(request, count).map(entity).collect(),
        })
    };
    Target {
        address: address.to_owned(),
        path: "/evergreen.v1.ScoringService/Score".to_owned(),
        bodies: (0..REQUESTS).map(body).collect(),
        grpc: true,
    }
}

async fn answer(target: &Target) -> Result<Bytes> {
    let mut senders = Sender::connect(target, 1, 1).await?;
    senders.first_mut().ok_or("no connection")?.ask().await
}

/// Evergreen's sample beside handlers that return the bytes it returned.
pub async fn bare(settings: &Settings) -> Result<()> {
    println!("The driver and the servers share the cores.\n");
    let (ours_rest, ours_grpc) = (free_address()?, free_address()?);
    let models = Path::new(REPOSITORY).join("models");
    let mut command = evergreen(&settings.evergreen, &models, &ours_rest, &ours_grpc)?;
    let evergreen = start(&mut command, &rest(&ours_rest, 1)).await?;
    heading("bare handler");
    for count in [1, 100] {
        let (ours, other) = (rest(&ours_rest, count), grpc(&ours_grpc, count));
        let folder = std::env::temp_dir().join(format!("evergreen-load-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let (rest_bytes, grpc_bytes) = (folder.join("rest"), folder.join("grpc"));
        std::fs::write(&rest_bytes, answer(&ours).await?)?;
        // Without gRPC's five bytes: the bare handler adds its own.
        std::fs::write(&grpc_bytes, answer(&other).await?.slice(5..))?;
        let (bare_rest, bare_grpc) = (free_address()?, free_address()?);
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["answer", &bare_rest, &bare_grpc])
            .args([&rest_bytes, &grpc_bytes]);
        let bare = start(&mut command, &rest(&bare_rest, count)).await?;
        std::fs::remove_dir_all(folder)?;
        let measured = pair(settings, [&evergreen, &bare], [&ours, &rest(&bare_rest, count)]).await?;
        line(&format!("REST, {count} entities"), &measured);
        let measured = pair(settings, [&evergreen, &bare], [&other, &grpc(&bare_grpc, count)]).await?;
        line(&format!("gRPC, {count} entities"), &measured);
    }
    Ok(())
}

/// A server with the sample, and its addresses.
struct Started {
    server: Server,
    rest: String,
    grpc: String,
}

impl Started {
    async fn with(program: &Path, environment: &[(&str, String)]) -> Result<Self> {
        let models = Path::new(REPOSITORY).join("models");
        let (rest_address, grpc_address) = (free_address()?, free_address()?);
        let mut command = evergreen(program, &models, &rest_address, &grpc_address)?;
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Ok(Self {
            server: start(&mut command, &rest(&rest_address, 1)).await?,
            rest: rest_address,
            grpc: grpc_address,
        })
    }
}

/// How a server of a comparison is started.
struct Side<'a> {
    program: &'a Path,
    environment: Vec<(&'a str, String)>,
}

/// Compares two sides, with new servers again and again: two servers of the same build differ by up to 4 %, each for as long
/// as it runs. Who is started first alternates.
async fn sides(settings: &Settings, count: usize, sides: [&Side<'_>; 2]) -> Result<()> {
    let [mut over_rest, mut over_grpc] = [(); 2].map(|()| [Measured::default(), Measured::default()]);
    for number in 0..settings.servers {
        let begin = |at: usize| Started::with(sides[at].program, &sides[at].environment);
        let first = begin(number % 2).await?;
        let second = begin(1 - number % 2).await?;
        let [one, other] = if number % 2 == 0 {
            [first, second]
        } else {
            [second, first]
        };
        let servers = [&one.server, &other.server];
        let targets = [&rest(&one.rest, count), &rest(&other.rest, count)];
        measure(settings, servers, targets, &mut over_rest).await?;
        let targets = [&grpc(&one.grpc, count), &grpc(&other.grpc, count)];
        measure(settings, servers, targets, &mut over_grpc).await?;
    }
    line(&format!("REST, {count} entities"), &over_rest);
    line(&format!("gRPC, {count} entities"), &over_grpc);
    Ok(())
}

/// Each server would choose its kernel by timing, and the two might differ: the fastest one for so many rows.
fn kernel(count: usize) -> (&'static str, String) {
    let kernel = if count == 1 { "binned" } else { "bit-sliced" };
    ("EVERGREEN_MODELS__KERNEL", kernel.to_owned())
}

/// Two builds with the sample.
pub async fn builds(settings: &Settings, other: &Path) -> Result<()> {
    println!("The driver and the servers share the cores.\n");
    heading("other build");
    for &count in &settings.entities {
        let [one, other] = [&settings.evergreen, other].map(|program| Side {
            program,
            environment: vec![kernel(count)],
        });
        sides(settings, count, [&one, &other]).await?;
    }
    Ok(())
}

/// One build with a prediction log beside the same without.
pub async fn monitored(settings: &Settings, sample: &str) -> Result<()> {
    println!(
        "The driver and the servers share the cores. The first column counts drift, keeps scores for outcomes, and logs {sample} \
         of the entities.\n"
    );
    let folder = std::env::temp_dir().join(format!("evergreen-monitored-{}", std::process::id()));
    let path = |name| folder.join(name).to_string_lossy().into_owned();
    heading("without monitoring");
    for &count in &settings.entities {
        let ours = Side {
            program: &settings.evergreen,
            environment: vec![
                kernel(count),
                ("EVERGREEN_PREDICTION_LOG__LOCATION", path("log")),
                ("EVERGREEN_OUTCOMES__FOLDER", path("outcomes")),
                ("EVERGREEN_PREDICTION_LOG__SAMPLE", sample.to_owned()),
            ],
        };
        let other = Side {
            program: &settings.evergreen,
            environment: vec![kernel(count), ("EVERGREEN_DRIFT__ENABLED", "false".to_owned())],
        };
        sides(settings, count, [&ours, &other]).await?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Scores with three reasons beside plain ones.
pub async fn explained(settings: &Settings) -> Result<()> {
    println!("The driver and the server share the cores. The first column is explained.\n");
    let models = Path::new(REPOSITORY).join("models");
    let (address, grpc_address) = (free_address()?, free_address()?);
    let mut command = evergreen(&settings.evergreen, &models, &address, &grpc_address)?;
    let server = start(&mut command, &rest(&address, 1)).await?;
    heading("without reasons");
    for count in [1, 100] {
        let plain = rest(&address, count);
        let body = |body: &Bytes| {
            let text = String::from_utf8_lossy(body);
            text.replacen('{', r#"{"explain":3,"#, 1).into()
        };
        let explained = Target {
            bodies: plain.bodies.iter().map(body).collect(),
            ..rest(&address, count)
        };
        let measured = pair(settings, [&server, &server], [&explained, &plain]).await?;
        line(&format!("REST, {count} entities"), &measured);
    }
    Ok(())
}

const FEATURES: usize = 30;

fn rows(count: usize) -> Vec<f32> {
    let value = |number: usize| ((number * 7919) % 1000) as f32 / 500.0 - 1.0;
    (0..count * FEATURES).map(value).collect()
}

fn infer_rest(address: &str, count: usize) -> Target {
    let data: Vec<String> = rows(count).iter().map(ToString::to_string).collect();
    let (data, shape) = (data.join(","), format!("[{count},{FEATURES}]"));
    Target {
        address: address.to_owned(),
        path: "/v2/models/bench/infer".to_owned(),
        bodies: Arc::new([Bytes::from(format!(
            r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"FP32","data":[{data}]}}]}}"#
        ))]),
        grpc: false,
    }
}

fn infer_grpc(address: &str, count: usize) -> Result<Target> {
    let request = ModelInferRequest {
        model_name: "bench".to_owned(),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![i64::try_from(count)?, i64::try_from(FEATURES)?],
        }],
        raw_input_contents: vec![rows(count).iter().flat_map(|value| value.to_le_bytes()).collect()],
    };
    Ok(Target {
        address: address.to_owned(),
        path: "/inference.GRPCInferenceService/ModelInfer".to_owned(),
        bodies: Arc::new([framed(&request)]),
        grpc: true,
    })
}

/// The same model behind three servers.
pub async fn peers(settings: &Settings, python: &Path) -> Result<()> {
    println!("The driver and the servers share the cores.\n");
    let folder = std::env::temp_dir().join(format!("evergreen-peers-{}", std::process::id()));
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers.py");
    let run = |words: &[&str]| {
        let mut command = Command::new(python);
        command.arg(&script).args(words).current_dir(&folder);
        command
    };
    std::fs::create_dir_all(&folder)?;
    if !run(&["train"]).status()?.success() {
        return Err("training failed".into());
    }
    let (ours_rest, ours_grpc) = (free_address()?, free_address()?);
    let mut command = evergreen(
        &settings.evergreen,
        &folder.join("models"),
        &ours_rest,
        &ours_grpc,
    )?;
    let ours = start(&mut command, &infer_rest(&ours_rest, 1)).await?;
    let (rest, grpc) = (free_address()?, free_address()?);
    {
        let server = start(&mut run(&["mlserver", &rest, &grpc]), &infer_rest(&rest, 1)).await?;
        heading("MLServer");
        for count in [1, 100] {
            let measured = pair(
                settings,
                [&ours, &server],
                [&infer_rest(&ours_rest, count), &infer_rest(&rest, count)],
            )
            .await?;
            line(&format!("Open Inference REST, {count} rows"), &measured);
            let (one, other) = (infer_grpc(&ours_grpc, count)?, infer_grpc(&grpc, count)?);
            line(
                &format!("Open Inference gRPC, {count} rows"),
                &pair(settings, [&ours, &server], [&one, &other]).await?,
            );
        }
        end(server);
    }
    let rest = free_address()?;
    let server = start(&mut run(&["fastapi", &rest]), &infer_rest(&rest, 1)).await?;
    println!();
    heading("FastAPI + XGBoost");
    for count in [1, 100] {
        let measured = pair(
            settings,
            [&ours, &server],
            [&infer_rest(&ours_rest, count), &infer_rest(&rest, count)],
        )
        .await?;
        line(&format!("REST, {count} rows"), &measured);
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Ends a server before the next one starts.
fn end(server: Server) {
    drop(server);
}
