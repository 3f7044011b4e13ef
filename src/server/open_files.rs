//! How many connections the limit of open files allows. A server that has no descriptor left could not even be asked whether
//! it is alive.

use crate::config::Config;
use crate::os;

/// Connections of the operations port: probes, Prometheus and operators.
pub(super) const OPERATIONS: usize = 32;

/// Descriptors for everything that is no connection of a client: the program itself, files that are read, stores.
const PROGRAM: usize = 48;
const STORE: usize = 16;

/// Raises the limit of open files and returns the connections that REST and gRPC may have each: `server.connections`, or
/// fewer if the limit is low.
pub(super) fn connections(config: &Config) -> usize {
    let wanted = config.server.connections;
    let Some(files) = os::raise_open_files() else {
        return wanted;
    };
    let allowed = allowed(usize::try_from(files).unwrap_or(usize::MAX), config.source.len());
    if allowed < wanted {
        tracing::warn!(
            open_files = files,
            connections = allowed,
            "fewer connections than server.connections, because the limit of open files is low (ulimit -n)"
        );
    }
    wanted.min(allowed)
}

/// The connections of each of two ports.
fn allowed(files: usize, stores: usize) -> usize {
    let reserved = OPERATIONS.min(files / 8) + PROGRAM.min(files / 2) + STORE * stores;
    (files.saturating_sub(reserved) / 2).max(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_files_is_kept_for_other_things() {
        assert_eq!(allowed(1_048_576, 0), 524_248);
        assert_eq!(allowed(1024, 1), 464);
        assert_eq!(allowed(64, 0), 12);
        assert_eq!(allowed(8, 2), 4);
    }
}
