//! Runs the comparisons, each of two servers, and prints the tables.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use hdrhistogram::Histogram;

use crate::client::{Sender, Target};
use crate::server::{Server, evergreen, free_address, start};
use crate::wire::{Entity, InferInputTensor, ModelInferRequest, ScoreRequest, framed};
use crate::{Result, Settings, load};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// One server's part of a line.
struct Measured {
    throughput: f64,
    micros: Histogram<u64>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures two servers in turn: the machine's mood is the same for both.
async fn pair(settings: &Settings, one: &Target, other: &Target) -> Result<[Measured; 2]> {
    let targets = [one, other];
    let mut throughputs = [Vec::new(), Vec::new()];
    for target in targets {
        load::closed(target, 1.0).await?;
    }
    for _ in 0..settings.rounds {
        for (target, throughputs) in targets.iter().zip(&mut throughputs) {
            throughputs.push(load::closed(target, settings.seconds).await?);
        }
    }
    let [one, other] = throughputs.map(median);
    let rate = one.min(other) * settings.load;
    let mut histograms = [Histogram::new(3)?, Histogram::new(3)?];
    for _ in 0..settings.rounds {
        for (target, all) in targets.iter().zip(&mut histograms) {
            all.add(load::open(target, rate, settings.seconds).await?)?;
        }
    }
    let [first, second] = histograms;
    Ok([
        Measured {
            throughput: one,
            micros: first,
        },
        Measured {
            throughput: other,
            micros: second,
        },
    ])
}

fn heading(other: &str) {
    println!(
        "| what | Evergreen, requests/s | {other}, requests/s | ratio | Evergreen p50, p99 µs | {other} p50, p99 µs | p99 ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
}

fn line(what: &str, [evergreen, other]: &[Measured; 2]) {
    let quantiles = |measured: &Measured| {
        let at = |quantile| measured.micros.value_at_quantile(quantile);
        (at(0.5), at(0.99))
    };
    let (ours, theirs) = (quantiles(evergreen), quantiles(other));
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let ratio = ours.1 as f64 / theirs.1 as f64;
    println!(
        "| {what} | {:.0} | {:.0} | {:.2} | {}, {} | {}, {} | {ratio:.2} |",
        evergreen.throughput,
        other.throughput,
        evergreen.throughput / other.throughput,
        ours.0,
        ours.1,
        theirs.0,
        theirs.1,
    );
}

fn ids(count: usize) -> Vec<String> {
    // Most of these are customers of the sample.
    (0..count).map(|number| format!("C-{}", 1 + number * 7)).collect()
}

fn rest(address: &str, count: usize) -> Target {
    let entities: Vec<String> = ids(count)
        .iter()
        .map(|id| format!(r#"{{"id":"{id}"}}"#))
        .collect();
    Target {
        address: address.to_owned(),
        path: "/v1/score".to_owned(),
        body: format!(r#"{{"model":"churn","entities":[{}]}}"#, entities.join(",")).into(),
        grpc: false,
    }
}

fn grpc(address: &str, count: usize) -> Target {
    let entity = |id| Entity { text_id: Some(id) };
    let request = ScoreRequest {
        model: "churn".to_owned(),
        entities: ids(count).into_iter().map(entity).collect(),
    };
    Target {
        address: address.to_owned(),
        path: "/evergreen.v1.ScoringService/Score".to_owned(),
        body: framed(&request),
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
    let _evergreen = start(&mut command, &rest(&ours_rest, 1)).await?;
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
        let _bare = start(&mut command, &rest(&bare_rest, count)).await?;
        std::fs::remove_dir_all(folder)?;
        let measured = pair(settings, &ours, &rest(&bare_rest, count)).await?;
        line(&format!("REST, {count} entities"), &measured);
        let measured = pair(settings, &other, &grpc(&bare_grpc, count)).await?;
        line(&format!("gRPC, {count} entities"), &measured);
    }
    Ok(())
}

/// Two builds with the sample.
pub async fn builds(settings: &Settings, other: &Path) -> Result<()> {
    println!("The driver and the servers share the cores.\n");
    let models = Path::new(REPOSITORY).join("models");
    let (ours_rest, ours_grpc) = (free_address()?, free_address()?);
    let mut command = evergreen(&settings.evergreen, &models, &ours_rest, &ours_grpc)?;
    let _ours = start(&mut command, &rest(&ours_rest, 1)).await?;
    let (other_rest, other_grpc) = (free_address()?, free_address()?);
    let mut command = evergreen(other, &models, &other_rest, &other_grpc)?;
    let _other = start(&mut command, &rest(&other_rest, 1)).await?;
    heading("other build");
    for count in [1, 100] {
        let measured = pair(settings, &rest(&ours_rest, count), &rest(&other_rest, count)).await?;
        line(&format!("REST, {count} entities"), &measured);
        let measured = pair(settings, &grpc(&ours_grpc, count), &grpc(&other_grpc, count)).await?;
        line(&format!("gRPC, {count} entities"), &measured);
    }
    Ok(())
}

/// One build with a prediction log beside the same without.
pub async fn monitored(settings: &Settings, sample: &str) -> Result<()> {
    println!(
        "The driver and the servers share the cores. The first column counts drift, keeps scores for outcomes, and logs {sample} \
         of the entities.\n"
    );
    let models = Path::new(REPOSITORY).join("models");
    let folder = std::env::temp_dir().join(format!("evergreen-monitored-{}", std::process::id()));
    let (ours_rest, ours_grpc) = (free_address()?, free_address()?);
    let mut command = evergreen(&settings.evergreen, &models, &ours_rest, &ours_grpc)?;
    command
        .env("EVERGREEN_PREDICTION_LOG__LOCATION", folder.join("log"))
        .env("EVERGREEN_OUTCOMES__FOLDER", folder.join("outcomes"))
        .env("EVERGREEN_PREDICTION_LOG__SAMPLE", sample);
    let ours = start(&mut command, &rest(&ours_rest, 1)).await?;
    let (other_rest, other_grpc) = (free_address()?, free_address()?);
    let mut command = evergreen(&settings.evergreen, &models, &other_rest, &other_grpc)?;
    command.env("EVERGREEN_DRIFT__ENABLED", "false");
    let _other = start(&mut command, &rest(&other_rest, 1)).await?;
    heading("without monitoring");
    for count in [1, 100] {
        let measured = pair(settings, &rest(&ours_rest, count), &rest(&other_rest, count)).await?;
        line(&format!("REST, {count} entities"), &measured);
        let measured = pair(settings, &grpc(&ours_grpc, count), &grpc(&other_grpc, count)).await?;
        line(&format!("gRPC, {count} entities"), &measured);
    }
    end(ours);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Scores with three reasons beside plain ones.
pub async fn explained(settings: &Settings) -> Result<()> {
    println!("The driver and the server share the cores. The first column is explained.\n");
    let models = Path::new(REPOSITORY).join("models");
    let (address, grpc_address) = (free_address()?, free_address()?);
    let mut command = evergreen(&settings.evergreen, &models, &address, &grpc_address)?;
    let _server = start(&mut command, &rest(&address, 1)).await?;
    heading("without reasons");
    for count in [1, 100] {
        let plain = rest(&address, count);
        let text = String::from_utf8(plain.body.to_vec())?;
        let explained = Target {
            body: text.replacen('{', r#"{"explain":3,"#, 1).into(),
            ..rest(&address, count)
        };
        let measured = pair(settings, &explained, &plain).await?;
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
        body: format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"FP32","data":[{data}]}}]}}"#)
            .into(),
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
        body: framed(&request),
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
    let _evergreen = start(&mut command, &infer_rest(&ours_rest, 1)).await?;
    let (rest, grpc) = (free_address()?, free_address()?);
    {
        let server = start(&mut run(&["mlserver", &rest, &grpc]), &infer_rest(&rest, 1)).await?;
        heading("MLServer");
        for count in [1, 100] {
            let measured = pair(
                settings,
                &infer_rest(&ours_rest, count),
                &infer_rest(&rest, count),
            )
            .await?;
            line(&format!("Open Inference REST, {count} rows"), &measured);
            let (ours, theirs) = (infer_grpc(&ours_grpc, count)?, infer_grpc(&grpc, count)?);
            line(
                &format!("Open Inference gRPC, {count} rows"),
                &pair(settings, &ours, &theirs).await?,
            );
        }
        end(server);
    }
    let rest = free_address()?;
    let _server = start(&mut run(&["fastapi", &rest]), &infer_rest(&rest, 1)).await?;
    println!();
    heading("FastAPI + XGBoost");
    for count in [1, 100] {
        let measured = pair(
            settings,
            &infer_rest(&ours_rest, count),
            &infer_rest(&rest, count),
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
