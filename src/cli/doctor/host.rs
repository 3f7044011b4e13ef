//! Checks of the machine: open files, ports, clock, memory, processor.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::Finding;
use crate::config::Config;
use crate::memory::container_limit;
use crate::server::files_needed;
use crate::values::time::{now, rfc3339};

/// Memory that a server needs beside models, customers and caches, in bytes.
const BASE_MEMORY: u64 = 128 << 20;

/// A clock before this is not set: 1 January 2025.
const EARLIEST: f64 = 1_735_689_600.0;

/// A clock after this cannot be written as RFC 3339: the end of the year 9999.
const LATEST: f64 = 253_402_300_799.0;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = vec![open_files(config)];
    let server = &config.server;
    for (name, address) in [("http", server.http), ("grpc", server.grpc), ("ops", server.ops)] {
        findings.push(port(name, address));
    }
    findings.extend([clock(), memory(config), processor()]);
    findings
}

fn open_files(config: &Config) -> Finding {
    let check = "open files";
    let Some((soft, hard)) = file_limits() else {
        return Finding::warning(check, "the limit cannot be read from /proc/self/limits");
    };
    let wanted = files_needed(config.server.connections, config.source.len()) as u64;
    let text = |limit: u64| {
        if limit == u64::MAX {
            "unlimited".to_owned()
        } else {
            limit.to_string()
        }
    };
    let detail = format!(
        "limit {} (at most {}), {wanted} for server.connections = {} on two ports",
        text(soft),
        text(hard),
        config.server.connections
    );
    // The server raises the soft limit to the hard one.
    if hard >= wanted {
        Finding::ok(check, detail)
    } else {
        Finding::warning(
            check,
            format!("{detail}; raise it (`ulimit -Hn {wanted}`, LimitNOFILE=) or lower server.connections"),
        )
    }
}

/// The soft and the hard limit of open files.
fn file_limits() -> Option<(u64, u64)> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        word => word.parse().ok(),
    });
    Some((words.next()??, words.next()??))
}

fn port(name: &str, address: SocketAddr) -> Finding {
    let check = format!("port {name}");
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) => Finding::failed(
            check,
            format!("{address}: {error}; stop what uses it, or choose another address (server.{name})"),
        ),
    }
}

fn clock() -> Finding {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = seconds.map_or(-1.0, |since| since.as_secs_f64());
    if (EARLIEST..=LATEST).contains(&seconds) {
        return Finding::ok("clock", rfc3339(now()).unwrap_or_default());
    }
    Finding::failed(
        "clock",
        format!(
            "{seconds:.0} s since 1970 is not plausible; set the system clock (NTP): ages of features and certificates depend on it"
        ),
    )
}

fn memory(config: &Config) -> Finding {
    let check = "memory";
    let caches: u64 = config.source.values().map(|source| source.cache.bytes).sum();
    let models = newest_models(&config.models.dir);
    let customers = config.snapshot().map_or(0, |path| size(&path, 3));
    // A new version and a new snapshot are read while the old ones answer.
    let requests = config.limits.memory as u64;
    let wanted = BASE_MEMORY + 3 * models + 3 * customers + caches + requests;
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let detail = format!(
        "about {} MiB for models ({} MiB of files), customers ({} MiB), caches ({} MiB) and requests (limits.memory: {} MiB)",
        mib(wanted),
        mib(models),
        mib(customers),
        mib(caches),
        mib(requests)
    );
    match container_limit() {
        None => Finding::ok(check, format!("no limit of a container; {detail}")),
        Some(limit) if limit >= wanted => Finding::ok(check, format!("limit {} MiB, {detail}", mib(limit))),
        Some(limit) => Finding::warning(
            check,
            format!(
                "limit {} MiB, {detail}; raise the limit of the container",
                mib(limit)
            ),
        ),
    }
}

/// The size of the newest version of each model in a local repository.
fn newest_models(repository: &Path) -> u64 {
    let models = repository.read_dir().into_iter().flatten().filter_map(Result::ok);
    models
        .filter_map(|model| {
            let versions = model.path().read_dir().ok()?.filter_map(Result::ok);
            let numbers = versions.filter_map(|version| version.file_name().to_str()?.parse::<u64>().ok());
            Some(size(&model.path().join(numbers.max()?.to_string()), 1))
        })
        .sum()
}

/// The size of a file, or of the files in a folder down to `depth` levels; 0 if it cannot be read.
fn size(path: &Path, depth: usize) -> u64 {
    let Ok(metadata) = path.metadata() else { return 0 };
    if !metadata.is_dir() || depth == 0 {
        return if metadata.is_file() { metadata.len() } else { 0 };
    }
    let entries = path.read_dir().into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| size(&entry.path(), depth - 1)).sum()
}

fn processor() -> Finding {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let check = "processor";
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("avx2") {
        return Finding::warning(
            check,
            format!(
                "{threads} threads, without AVX2: the kernels `binned` and `bit-sliced` cannot run, scoring is slower"
            ),
        );
    }
    Finding::ok(
        check,
        format!(
            "{threads} threads, all kernels of {} can run",
            std::env::consts::ARCH
        ),
    )
}
