//! Starts servers as separate processes on free ports, and stops them at the end of the run.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{Sender, Target};

/// A server that ends when it is dropped.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ticks of the times in `/proc` in a second: `USER_HZ`, which is 100 on Linux.
const TICKS: f64 = 100.0;

impl Server {
    /// Seconds that processors have worked for its process since its start.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The second field is a name in brackets; user and system time are the 14th and 15th.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: f64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<f64>().ok())
            .sum();
        Ok(ticks / TICKS)
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .to_string())
}

/// Starts a program and waits until `ready` is answered.
pub async fn start(command: &mut Command, ready: &Target) -> Result<Server> {
    let log = std::env::var_os("LOAD_LOG").is_some();
    let output = || if log { Stdio::inherit() } else { Stdio::null() };
    let mut server = Server(command.stdout(output()).stderr(output()).spawn()?);
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Ok(mut senders) = Sender::connect(ready, 1, 1).await
            && let Some(sender) = senders.first_mut()
            && sender.ask().await.is_ok()
        {
            return Ok(server);
        }
        if server.0.try_wait()?.is_some() || Instant::now() > deadline {
            return Err(format!("{command:?} does not answer {}", ready.path).into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Evergreen with its sample, or with a folder of models and no customers.
pub fn evergreen(program: &Path, models: &Path, rest: &str, grpc: &str) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(["serve", "--http", rest, "--grpc", grpc, "--ops", &free_address()?]);
    command.arg("--models").arg(models);
    Ok(command)
}
