//! Compares Evergreen's engine with other engines that run the same models.
//!
//! ```text
//! peers MODELS [--rounds N] [--only NAME] [--explain contributions|interactions] [--batch ROWS]
//! ```
//! `MODELS` is the folder that `models.py` wrote. All engines predict the same rows in turn, round after round, on one
//! thread. The table gives the median and minimum time per row, and by both how many times longer an engine takes than
//! Evergreen. With `--explain` the engines explain the rows instead; `XGBOOST_LIBRARIES` may list several XGBoost libraries,
//! divided by colons. An engine that cannot explain a batch in about a second gets a smaller one.

mod clock;
mod peer;

use std::path::{Path, PathBuf};

use clock::Timing;
use peer::{Explanation, Peer};

/// Rows in a file of rows.
const ROWS: usize = 4096;

/// What to measure.
struct Arguments {
    models: PathBuf,
    rounds: usize,
    only: Vec<String>,
    explain: Option<Explanation>,
    batches: Vec<usize>,
}

fn main() {
    let arguments = arguments();
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread();
    one_thread.build_global().expect("the first pool");
    println!("| model | rows | engine | µs a row (median) | least | × Evergreen (median) | × (least) |");
    println!("|---|---|---|---|---|---|---|");
    for path in models(&arguments) {
        compare(&path, &arguments);
    }
}

fn arguments() -> Arguments {
    let mut given = std::env::args().skip(1);
    let mut arguments = Arguments {
        models: given
            .next()
            .expect("usage: peers MODELS [--rounds N] [--only NAME]… [--explain KIND] [--batch ROWS]…")
            .into(),
        rounds: 41,
        only: Vec::new(),
        explain: None,
        batches: Vec::new(),
    };
    while let Some(flag) = given.next() {
        let value = given.next().expect("a flag takes a value");
        match flag.as_str() {
            "--rounds" => arguments.rounds = value.parse().expect("--rounds takes a number"),
            "--only" => arguments.only.push(value),
            "--batch" => arguments
                .batches
                .push(value.parse().expect("--batch takes a number")),
            "--explain" if value == "contributions" => arguments.explain = Some(Explanation::Contributions),
            "--explain" if value == "interactions" => arguments.explain = Some(Explanation::Interactions),
            _ => panic!("no such flag: {flag}"),
        }
    }
    if arguments.batches.is_empty() {
        arguments.batches = vec![1, 64, ROWS];
    }
    arguments
}

/// Names of models, each once.
fn models(arguments: &Arguments) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(&arguments.models)
        .expect("the directory of models")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rows"))
        .map(|path| path.with_extension(""))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            arguments.only.is_empty() || arguments.only.iter().any(|only| *only == name)
        })
        .collect();
    found.sort();
    found
}

fn compare(path: &Path, arguments: &Arguments) {
    let bytes = std::fs::read(path.with_extension("rows")).expect("rows");
    let rows: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect();
    let features = rows.len() / ROWS;
    let own = path.with_extension("gbdt.json");
    if path.ends_with("100x4") && !own.exists() {
        peer::train_gbdt(&own, &rows, features, 100, 4);
    }
    for extension in ["json", "txt", "cat.json", "gbdt.json"] {
        let file = path.with_extension(extension);
        if !file.exists() {
            continue;
        }
        let mut peers = match arguments.explain {
            None => peer::all(&file, features),
            Some(kind) => peer::explainers(&file, features, kind),
        };
        if peers.is_empty() {
            continue;
        }
        agree(&mut peers, &rows[..64 * features]);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        for batch in &arguments.batches {
            let batches = peers.iter_mut().map(|peer| match arguments.explain {
                None => *batch,
                Some(_) => clock::affordable(peer.as_mut(), &rows, features, *batch),
            });
            let batches: Vec<usize> = batches.collect();
            let timings = clock::interleave(&mut peers, &rows, features, &batches, arguments.rounds);
            report(&name, *batch, &timings);
        }
    }
}

/// Says so if peers do not agree on the model.
fn agree(peers: &mut [Box<dyn Peer>], rows: &[f32]) {
    let answers: Vec<Vec<f64>> = peers.iter_mut().map(|peer| peer.batch(rows).to_vec()).collect();
    for (peer, answer) in peers.iter().zip(&answers) {
        let pairs = answer.iter().zip(&answers[0]);
        let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let differs = apart > 0.0 || answer.len() != answers[0].len();
        if differs {
            eprintln!(
                "{}: {} numbers, up to {apart:e} from the first",
                peer.name(),
                answer.len()
            );
        }
    }
}

fn report(model: &str, batch: usize, timings: &[Timing]) {
    for timing in timings {
        let ratio = timing.median / timings[0].median;
        let of_least = timing.least / timings[0].least;
        println!(
            "| {model} | {batch} | {} | {:.3} | {:.3} | {ratio:.1} | {of_least:.1} |",
            timing.name, timing.median, timing.least
        );
    }
}
