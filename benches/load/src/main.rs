//! Load-tests servers and prints ratios. See benches/README.md for the commands and the meaning of the figures.

mod bare;
mod client;
mod compare;
mod load;
mod server;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// What can go wrong here ends the run with a sentence.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Evergreen beside bare handlers that return the same bytes
    Bare(Settings),
    /// One build of Evergreen beside another one, both with the sample
    Builds {
        #[command(flatten)]
        settings: Settings,
        /// The other server
        #[arg(long)]
        other: PathBuf,
    },
    /// Explained scores of the sample beside plain ones, of one server
    Explained(Settings),
    /// Scores with drift, outcomes and a prediction log beside scores without, of one build
    Monitored {
        #[command(flatten)]
        settings: Settings,
        /// The share of the entities that is logged
        #[arg(long, default_value = "0.1")]
        sample: String,
    },
    /// Evergreen beside MLServer and FastAPI with XGBoost, on one model
    Peers {
        #[command(flatten)]
        settings: Settings,
        /// Python with mlserver, mlserver-xgboost, fastapi, uvicorn and xgboost
        #[arg(long)]
        python: PathBuf,
    },
    /// Serves a file's bytes to whatever is asked; started by `bare`
    #[command(hide = true)]
    Answer {
        rest: SocketAddr,
        grpc: SocketAddr,
        rest_bytes: PathBuf,
        grpc_bytes: PathBuf,
    },
}

/// How a run is made.
#[derive(clap::Args, Clone)]
pub struct Settings {
    /// The server under test
    #[arg(long, default_value = "../../target/dist/evergreen")]
    evergreen: PathBuf,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Measurements of each server, in turn; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Pairs of servers that `builds` and `monitored` start, one after the other, with so many rounds each
    #[arg(long, default_value_t = 1)]
    servers: usize,
    /// Entities in a request of `builds` and `monitored`
    #[arg(long, value_delimiter = ',', default_value = "1,100")]
    entities: Vec<usize>,
    /// Open-loop rate, as a part of the lesser of the two servers' greatest throughputs
    #[arg(long, default_value_t = 0.5)]
    load: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tokio::runtime::Runtime::new()?.block_on(async {
        match arguments.command {
            Command::Bare(settings) => compare::bare(&settings).await,
            Command::Builds { settings, other } => compare::builds(&settings, &other).await,
            Command::Explained(settings) => compare::explained(&settings).await,
            Command::Monitored { settings, sample } => compare::monitored(&settings, &sample).await,
            Command::Peers { settings, python } => compare::peers(&settings, &python).await,
            Command::Answer {
                rest,
                grpc,
                rest_bytes,
                grpc_bytes,
            } => bare::serve(rest, grpc, std::fs::read(rest_bytes)?, std::fs::read(grpc_bytes)?).await,
        }
    })
}
